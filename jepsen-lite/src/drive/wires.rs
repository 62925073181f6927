//! A network of namespaces: each node has one of its own, all are on one bridge, and the kernel drops what is to be lost.
//!
//! ```text
//! node n, 10.77.0.n  ──veth── bridge 10.77.0.254 ── driver: the doors of node n, 10.78.0.n
//! ```
//!
//! A node listens on its own address and is known to others by its door, where a proxy of the driver takes the connection and
//! makes another to the node (`proxy`): that one alone is slow where a way is slow, as a kernel without netem delays nothing. On
//! the way from `a` to `b` are the packets from 10.77.0.a to 10.78.0.b, of connections that `a` made, and those from 10.78.0.a
//! to 10.77.0.b, of connections that `b` made. The firewall of whoever receives drops them, all of them or a share. So TCP in
//! both nodes sees what a dead cable and a bad one do: no answer to a connect, resends, waits that double.
//!
//! A namespace is held by a process that dies with the driver; bridge and doors are in the driver's own (`alone`).
//!
//! Invariant `no_trace`: nothing here is visible outside of the driver's namespaces, and nothing outlives its processes.

use crate::drive::child;
use crate::drive::link::{Links, Setting};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

const CLIENT_PORT: u16 = 7400;
const PEER_PORT: u16 = 7401;
const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// The network; it lasts as long as this.
pub struct Wires {
    /// What packets suffer: closed and lossy ways. The proxies do not know these.
    pub packets: Links,
    holders: BTreeMap<u64, Child>,
}

/// Where clients and others reach a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doors {
    /// The node's own.
    pub inner: [SocketAddr; 2],
    /// Those of the driver.
    pub outer: [SocketAddr; 2],
}

fn own(node: u64) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, node as u8)
}

fn door(node: u64) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, node as u8)
}

/// The node that has this address, if it is one of ours.
pub fn node_at(address: IpAddr) -> Option<u64> {
    match address {
        IpAddr::V4(address) if address != BRIDGE && address.octets()[..3] == [10, 77, 0] => {
            Some(address.octets()[3].into())
        }
        _ => None,
    }
}

/// The doors of a node, clients' first.
pub fn doors(node: u64) -> Doors {
    let at = |address: Ipv4Addr| [CLIENT_PORT, PEER_PORT].map(|port| SocketAddr::from((address, port)));
    Doors { inner: at(own(node)), outer: at(door(node)) }
}

impl Wires {
    /// The network of nodes 1 to `nodes`, all ways open.
    pub async fn new(nodes: u64) -> io::Result<Self> {
        let mut bridge = format!(
            "ip link set lo up && ip link add engram type bridge && ip addr add {BRIDGE}/24 dev engram && \
             ip link set engram up"
        );
        for node in 1..=nodes {
            let _ = write!(bridge, " && ip addr add {}/32 dev engram", door(node));
        }
        run(Command::new("sh").arg("-c").arg(bridge), "").await?;
        let mut wires = Self { packets: Links::default(), holders: BTreeMap::new() };
        for node in 1..=nodes {
            let mut holder = child::command("unshare".as_ref())?;
            // The word tells that the namespace is there; then it holds it until it is killed.
            holder.args(["--net", "--", "sh", "-c", "echo held; exec sleep infinity"]).stdout(Stdio::piped());
            let mut held = holder.spawn()?;
            let mut word = [0; 5];
            let out = held.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            tokio::io::AsyncReadExt::read_exact(out, &mut word).await?;
            let pid = held.id().ok_or(io::ErrorKind::BrokenPipe)?;
            wires.holders.insert(node, held);
            let cable = format!(
                "ip link add node{node} type veth peer name eth0 netns {pid} && ip link set node{node} master engram up"
            );
            run(Command::new("sh").arg("-c").arg(cable), "").await?;
            let inside = format!(
                "ip link set lo up && ip addr add {}/24 dev eth0 && ip link set eth0 up && \
                 ip route add 10.78.0.0/24 via {BRIDGE}",
                own(node)
            );
            run(wires.within(node, "sh".as_ref())?.arg("-c").arg(inside), "").await?;
        }
        Ok(wires)
    }

    /// A command that runs where the node is, and dies with the driver.
    pub fn within(&self, node: u64, program: &std::path::Path) -> io::Result<Command> {
        let holder = self.holders.get(&node).and_then(Child::id).ok_or(io::ErrorKind::NotFound)?;
        let mut command = child::command("nsenter".as_ref())?;
        command.arg(format!("--net=/proc/{holder}/ns/net")).arg("--").arg(program);
        Ok(command)
    }

    /// Makes the firewalls what `packets` says.
    pub async fn settle(&self) -> io::Result<()> {
        let ways: Vec<(u64, u64, Setting)> = self
            .holders
            .keys()
            .flat_map(|from| self.holders.keys().map(move |to| (*from, *to)))
            .map(|(from, to)| (from, to, *self.packets.way(from, to).borrow()))
            .filter(|(_, _, setting)| *setting != Setting::default())
            .collect();
        let mut set = Vec::new();
        for node in self.holders.keys() {
            let mut firewall = self.within(*node, "nft".as_ref())?;
            firewall.args(["-f", "-"]);
            set.push((firewall, rules(&ways, Some(*node))));
        }
        let mut firewall = Command::new("nft");
        firewall.args(["-f", "-"]);
        set.push((firewall, rules(&ways, None)));
        let all = set.iter_mut().map(|(firewall, rules)| run(firewall, rules));
        futures_util::future::try_join_all(all).await.map(drop)
    }

    /// Every way is open.
    pub async fn heal(&self) -> io::Result<()> {
        self.packets.heal();
        self.settle().await
    }
}

/// The firewall of a node, or of the driver: it drops what comes in on these ways.
fn rules(ways: &[(u64, u64, Setting)], receiver: Option<u64>) -> String {
    let mut rules = String::from("table ip engram\ndelete table ip engram\ntable ip engram {\n chain in {\n");
    rules += "  type filter hook input priority 0;\n";
    for (from, to, setting) in ways {
        let packets = match receiver {
            Some(node) if node == *to => format!("ip saddr {}", door(*from)),
            Some(_) => continue,
            None => format!("ip saddr {} ip daddr {}", own(*from), door(*to)),
        };
        if setting.closed {
            let _ = writeln!(rules, "  {packets} drop");
        }
        if setting.lost_per_mille > 0 {
            let _ = writeln!(rules, "  {packets} numgen random mod 1000 < {} drop", setting.lost_per_mille);
        }
    }
    rules + " }\n}\n"
}

/// Runs a command to its end; the error is what it said first.
async fn run(command: &mut Command, input: &str) -> io::Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended already says why below.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let done = child.wait_with_output().await?;
    let text = String::from_utf8_lossy(&done.stderr);
    let first = text.lines().next().unwrap_or("without a word");
    if done.status.success() { Ok(()) } else { Err(io::Error::other(format!("{:?}: {first}", command.as_std()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_receives_drops_what_comes_on_a_closed_or_lossy_way_and_nobody_else() {
        let closed = Setting { closed: true, ..Setting::default() };
        let lossy = Setting { lost_per_mille: 10, ..Setting::default() };
        let ways = [(1, 2, closed), (3, 1, lossy)];
        let drops = |receiver| {
            let rules = rules(&ways, receiver);
            rules.lines().filter(|line| line.ends_with("drop")).map(|line| line.trim().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(drops(Some(1)), ["ip saddr 10.78.0.3 numgen random mod 1000 < 10 drop"]);
        assert_eq!(drops(Some(2)), ["ip saddr 10.78.0.1 drop"]);
        assert!(drops(Some(3)).is_empty());
        let driver = [
            "ip saddr 10.77.0.1 ip daddr 10.78.0.2 drop",
            "ip saddr 10.77.0.3 ip daddr 10.78.0.1 numgen random mod 1000 < 10 drop",
        ];
        assert_eq!(drops(None), driver);
    }

    #[test]
    fn a_node_is_known_by_the_address_it_connects_from() {
        let inner = doors(3).inner[1];
        assert_eq!(node_at(inner.ip()), Some(3));
        let others = [doors(3).outer[1].ip(), BRIDGE.into(), IpAddr::from([127, 0, 0, 1])];
        assert_eq!(others.map(node_at), [None; 3]);
    }
}
