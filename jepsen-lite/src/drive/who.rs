//! Which node has made a connection.
//!
//! A node advertises one address to all others, so a proxy must learn who connects. It asks the kernel: the connection's
//! ends name a socket (`sock_diag`; where that is missing, `/proc/net/tcp`, which is slow), and the node is the process that
//! has it open (`/proc/PID/fd`). Nothing of the protocol is read for that, and no node is configured for it. Linux only;
//! without root for processes of one's own.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// From `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// Where the answer has the inode: after its header, four bytes, the socket's name and four numbers.
const INODE_AT: usize = 16 + 4 + 48 + 16;

/// The node, of these processes, that holds the socket from `source` to `target`.
pub fn connected(source: SocketAddrV4, target: SocketAddrV4, processes: &BTreeMap<u64, u32>) -> Option<u64> {
    let inode = asked(source, target).or_else(|| {
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        inode_of(&table, source.port(), target.port())
    })?;
    let socket = format!("socket:[{inode}]");
    let holds = |process: &u32| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
        open.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == &*socket))
    };
    processes.iter().find(|(_, process)| holds(process)).map(|(node, _)| *node)
}

/// The inode of this one socket.
fn asked(source: SocketAddrV4, target: SocketAddrV4) -> Option<u64> {
    let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::SOCK_DIAG)).ok()?;
    send(&kernel, &question(source, target), SendFlags::empty()).ok()?;
    let mut answer = [0_u8; 512];
    let (_, length) = recv(&kernel, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
    let kind = u16::from_ne_bytes(answer[4..6].try_into().ok()?);
    if kind != SOCK_DIAG_BY_FAMILY || length < INODE_AT + 4 {
        return None;
    }
    let inode = u32::from_ne_bytes(answer[INODE_AT..INODE_AT + 4].try_into().ok()?);
    (inode != 0).then_some(inode.into())
}

fn question(source: SocketAddrV4, target: SocketAddrV4) -> Vec<u8> {
    let mut name = Vec::with_capacity(48);
    name.extend(source.port().to_be_bytes());
    name.extend(target.port().to_be_bytes());
    for end in [source, target] {
        name.extend(end.ip().octets());
        name.extend([0; 12]);
    }
    name.extend([0; 4]); // any interface
    name.extend(NO_COOKIE);
    let mut message = Vec::with_capacity(72);
    message.extend(72_u32.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]); // neither numbered nor from a port of our own
    message.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes()); // in any state
    message.extend(name);
    message
}

/// The inode of the socket with these ports on loopback.
fn inode_of(table: &str, local: u16, remote: u16) -> Option<u64> {
    let ends = |field: Option<&str>, port: u16| field.is_some_and(|field| field.ends_with(&format!(":{port:04X}")));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = ends(fields.next(), local) && ends(fields.next(), remote);
        let inode = fields.nth(6)?.parse().ok()?;
        (found && inode != 0).then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn v4(address: std::io::Result<SocketAddr>) -> SocketAddrV4 {
        match address.expect("open") {
            SocketAddr::V4(address) => address,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_kernel_names_the_process_that_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = v4(listener.local_addr());
        let stream = TcpStream::connect(target).expect("listening");
        let source = v4(stream.local_addr());
        // The first process of the system is nobody's of ours.
        let processes = BTreeMap::from([(1, 1), (7, std::process::id())]);
        assert_eq!(connected(source, target, &processes), Some(7));
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let slow = inode_of(&table, source.port(), target.port());
        assert!(slow.is_some());
        // Machines without `sock_diag` have the slow way alone.
        assert!(asked(source, target).is_none_or(|inode| Some(inode) == slow));
        assert_eq!(connected(SocketAddrV4::new([127, 0, 0, 1].into(), 1), target, &processes), None);
    }
}
