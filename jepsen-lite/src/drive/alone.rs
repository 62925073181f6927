//! The driver alone: before it begins it becomes a process with namespaces of its own, so that nothing it sets up outlives it.
//!
//! Mounts and interfaces live as long as the namespace that they are in, and that lives as long as its last process. The
//! nodes die with the driver (`child`), so after SIGKILL, too, neither a filesystem in memory nor an interface stays. `unshare`
//! of util-linux does it, then runs the same command line in the same process. Without root it asks for a user namespace as
//! well, in which mounts and interfaces are allowed.
//!
//! Leaves out: what is set up then (`wires`, `nodes`).

use clap::ValueEnum;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// How nodes are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// Namespaces where the machine allows it, else proxies alone.
    Auto,
    /// Each node in a network namespace of its own; partitions and loss are the kernel's.
    Namespaces,
    /// Loopback, and everything by proxies.
    Proxy,
}

/// What the driver has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Inside {
    /// A process with a network and mounts of its own.
    Network,
    /// A process with mounts of its own.
    Mounts,
    /// Nothing else than it was: the machine allows nothing.
    Nothing,
}

/// All that a network of namespaces needs, tried once.
const NETWORK_PROBE: &str = "command -v nsenter >/dev/null || { echo 'there is no nsenter' >&2; exit 1; }
ip link set lo up && ip link add probe type bridge && ip link add one type veth peer name other &&
nft 'table ip probe { chain in { type filter hook input priority 0; ip saddr 10.78.0.1 numgen random mod 1000 < 10 drop; }; }' &&
unshare --net true";

/// Becomes a process with namespaces of its own and never returns; or answers what there is without it. The error: namespaces
/// were asked for, and there are none.
pub fn enter(network: Network) -> Result<Inside, String> {
    if network != Network::Proxy {
        match flags(&["--net", "--mount"], NETWORK_PROBE) {
            Ok(flags) => return become_it(&flags, Inside::Network),
            Err(error) if network == Network::Namespaces => {
                return Err(format!(
                    "no network namespaces here: {error}; they need iproute2, nftables and util-linux, and root or user \
                     namespaces; or use --network proxy"
                ));
            }
            Err(error) => eprintln!("no network namespaces here ({error}): the network is proxies"),
        }
    }
    match flags(&["--mount"], "true") {
        Ok(flags) => become_it(&flags, Inside::Mounts),
        Err(_) => Ok(Inside::Nothing),
    }
}

/// The flags of `unshare` with which the script runs to its end.
fn flags(namespaces: &[&'static str], script: &str) -> Result<Vec<&'static str>, String> {
    let mut last = String::new();
    for user in [&[][..], &["--user", "--map-root-user"]] {
        let flags: Vec<&str> = user.iter().chain(namespaces).copied().collect();
        let mut probe = Command::new("unshare");
        probe.args(&flags).args(["--", "sh", "-c", script]).stdin(Stdio::null());
        match probe.output() {
            Ok(done) if done.status.success() => return Ok(flags),
            Ok(done) => {
                let text = String::from_utf8_lossy(&done.stderr);
                last = text.lines().next().unwrap_or("without a word").to_string();
            }
            Err(error) => last = format!("unshare: {error}"),
        }
    }
    Err(last)
}

fn become_it(flags: &[&str], inside: Inside) -> Result<Inside, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let name = inside.to_possible_value().map_or(String::new(), |value| value.get_name().to_string());
    let mut command = Command::new("unshare");
    command.args(flags).arg("--").arg(own).args(std::env::args_os().skip(1)).arg("--inside").arg(name);
    Err(format!("unshare: {}", command.exec()))
}
