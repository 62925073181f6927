//! Who a data directory is: node, disk, cluster. Written once when it is made, and once when it joins.
//!
//! Invariants: `one_disk_one_node` (a directory never changes its node id or disk id) and `wiped_disk_refused`
//! (a node that comes back with another disk id than the membership has for it takes part in nothing).

use crate::env::{Disk, disk};
use engram_proto::error::{Error, Kind};
use engram_proto::limits::PEER_VERSION;
use engram_proto::wire::peer::Header;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

const FILE: &str = "identity";
const FORMAT: u32 = 1;
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// 16 bytes, written as hexadecimal.
pub type Id = [u8; 16];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    node_id: u64,
    disk_id: String,
    cluster_name: String,
    /// Empty until the node joins.
    cluster_id: String,
    incarnation: u64,
}

/// The cluster that a node is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Drawn at init.
    pub id: Id,
    /// Changed by a restore.
    pub incarnation: u64,
}

/// A data directory's identity.
pub struct Identity {
    /// This node.
    pub node_id: u64,
    /// Drawn when the directory was made.
    pub disk_id: Id,
    /// From the configuration.
    pub cluster_name: String,
    cluster: RwLock<Option<Cluster>>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

fn hex(id: &Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Id> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(id)
}

fn refuse(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Identity {
    /// Blocking: reads the identity of `dir`, or makes one. A directory of another node or cluster is refused.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        node_id: u64,
        cluster_name: &str,
        rng: &mut StdRng,
    ) -> io::Result<Self> {
        let path = dir.join(FILE);
        let stored = match disk::read_all(&*disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let stored = Stored {
                    format: FORMAT,
                    node_id,
                    disk_id: hex(&rng.random()),
                    cluster_name: cluster_name.into(),
                    cluster_id: String::new(),
                    incarnation: 0,
                };
                disk::replace(&*disk, &path, &encode(&stored))?;
                stored
            }
            Err(e) => return Err(e),
        };
        let place = path.display();
        if stored.node_id != node_id {
            let text = format!("{place} belongs to node {}, the configuration says node {node_id}", stored.node_id);
            return Err(refuse(format!("{text}; use that node's own data directory")));
        }
        if stored.cluster_name != cluster_name {
            let text =
                format!("{place} is of cluster {:?}, the configuration says {cluster_name:?}", stored.cluster_name);
            return Err(refuse(format!("{text}; use another data directory, or mend `cluster`")));
        }
        Self::of(stored, disk, path)
    }

    /// Blocking: reads the identity of `dir`, whoever it is.
    pub fn read(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let stored = parse(&path, &disk::read_all(&*disk, &path, FILE_BYTES_MAX)?)?;
        Self::of(stored, disk, path)
    }

    fn of(stored: Stored, disk: Arc<dyn Disk>, path: PathBuf) -> io::Result<Self> {
        let place = path.display();
        let bad = |field: &str| refuse(format!("{place}: {field} is not 32 hexadecimal digits; restore the file"));
        let disk_id = unhex(&stored.disk_id).ok_or_else(|| bad("disk_id"))?;
        let cluster = match stored.cluster_id.is_empty() {
            true => None,
            false => {
                let id = unhex(&stored.cluster_id).ok_or_else(|| bad("cluster_id"))?;
                Some(Cluster { id, incarnation: stored.incarnation })
            }
        };
        let (node_id, cluster_name, cluster) = (stored.node_id, stored.cluster_name, RwLock::new(cluster));
        Ok(Self { node_id, disk_id, cluster_name, cluster, disk, path })
    }

    /// The cluster, once the node is in one.
    pub fn cluster(&self) -> Option<Cluster> {
        *self.cluster.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocking: joins a cluster, durably, unless the node is in it already. Another cluster is refused.
    pub fn join(&self, cluster: Cluster) -> Result<(), Error> {
        let mut current = self.cluster.write().unwrap_or_else(PoisonError::into_inner);
        match *current {
            Some(mine) if mine == cluster => return Ok(()),
            Some(mine) => return Err(self.other_cluster(&hex(&mine.id), &hex(&cluster.id))),
            None => {}
        }
        let stored = Stored {
            format: FORMAT,
            node_id: self.node_id,
            disk_id: hex(&self.disk_id),
            cluster_name: self.cluster_name.clone(),
            cluster_id: hex(&cluster.id),
            incarnation: cluster.incarnation,
        };
        let written = disk::replace(&*self.disk, &self.path, &encode(&stored));
        written.map_err(|e| Error::new(Kind::Poisoned, format!("node {}: {e}", self.node_id)))?;
        *current = Some(cluster);
        Ok(())
    }

    fn other_cluster(&self, mine: &str, theirs: &str) -> Error {
        let node = self.node_id;
        Error::invalid(format!(
            "node {node} is in cluster {mine}, not in {theirs}; give it an empty data directory, or mend the address"
        ))
    }

    /// The header of a message to a member. `None` before this node is in a cluster.
    pub fn header(&self, to: u64, to_disk: bytes::Bytes) -> Option<Header> {
        let cluster = self.cluster()?;
        Some(Header {
            cluster_id: cluster.id.to_vec().into(),
            incarnation: cluster.incarnation,
            group: 0,
            from: self.node_id,
            from_disk: self.disk_id.to_vec().into(),
            to,
            to_disk,
            version: PEER_VERSION,
        })
    }

    /// Checks that a message is for this node, on this disk, in this cluster.
    pub fn check(&self, header: Option<&Header>) -> Result<(), Error> {
        let node = self.node_id;
        let header = header.ok_or_else(|| Error::invalid(format!("node {node}: the message has no header")))?;
        if header.version != PEER_VERSION {
            let text = format!("node {node} speaks version {PEER_VERSION}, node {} {}", header.from, header.version);
            return Err(Error::new(Kind::Unsupported, format!("{text}; upgrade the older one")));
        }
        if header.to != node {
            let text = format!("this is node {node}, the message is for node {}; mend the address", header.to);
            return Err(Error::invalid(text));
        }
        let theirs: Id = header.cluster_id[..].try_into().unwrap_or_default();
        match self.cluster() {
            Some(mine) if mine.id != theirs => return Err(self.other_cluster(&hex(&mine.id), &hex(&theirs))),
            Some(mine) if mine.incarnation != header.incarnation => {
                let text =
                    format!("node {node} is in incarnation {}, the sender in {}", mine.incarnation, header.incarnation);
                return Err(Error::invalid(format!("{text}; the cluster was restored: start from its data")));
            }
            Some(_) => {}
            None => return Err(self.wiped(header)),
        }
        if header.to_disk[..] != self.disk_id {
            return Err(self.wiped(header));
        }
        Ok(())
    }

    fn wiped(&self, header: &Header) -> Error {
        let node = self.node_id;
        tracing::error!(
            node,
            from = header.from,
            "this data directory is not the one that joined the cluster as this node"
        );
        Error::invalid(format!(
            "node {node} has another disk than the one that joined: it lost what it promised to remember. Remove \
             node {node} from the cluster and add this one under a new id"
        ))
    }
}

/// JSON and a line with its checksum: a person can read it, damage is noticed.
fn encode(stored: &Stored) -> Vec<u8> {
    let json = serde_json::to_string_pretty(stored).expect("plain fields");
    format!("{json}\ncrc32c {:08x}\n", crc32c::crc32c(json.as_bytes())).into_bytes()
}

fn parse(path: &std::path::Path, bytes: &[u8]) -> io::Result<Stored> {
    let place = path.display();
    let text = std::str::from_utf8(bytes).map_err(|_| refuse(format!("{place} is no text; restore it from a copy")))?;
    let (json, crc) = text
        .trim_end()
        .rsplit_once("\ncrc32c ")
        .ok_or_else(|| refuse(format!("{place} has no checksum line; restore it from a copy")))?;
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(json.as_bytes())) {
        return Err(refuse(format!("{place} is damaged: its checksum does not match; restore it from a copy")));
    }
    let stored: Stored = serde_json::from_str(json).map_err(|e| refuse(format!("{place}: {e}")))?;
    match stored.format {
        FORMAT => Ok(stored),
        other => Err(refuse(format!("{place} has format {other}; this version reads {FORMAT}; upgrade"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{OsDisk, Seed};

    fn open(dir: &std::path::Path, node: u64, cluster: &str) -> io::Result<Identity> {
        Identity::open(Arc::new(OsDisk), dir.into(), node, cluster, &mut Seed(1).stream("identity"))
    }

    #[test]
    fn an_identity_is_kept_and_joins_once() {
        let dir = tempfile::tempdir().expect("temporary");
        let first = open(dir.path(), 1, "a").expect("made");
        let cluster = Cluster { id: [7; 16], incarnation: 1 };
        first.join(cluster).expect("joins");
        let again = open(dir.path(), 1, "a").expect("opened");
        assert_eq!((again.disk_id, again.cluster()), (first.disk_id, Some(cluster)));
        again.join(cluster).expect("is in it");
        assert!(again.join(Cluster { id: [8; 16], incarnation: 1 }).is_err());
    }

    #[test]
    fn another_nodes_or_clusters_directory_is_refused() {
        let dir = tempfile::tempdir().expect("temporary");
        open(dir.path(), 1, "a").expect("made");
        let says = |result: io::Result<Identity>, words: &str| {
            let error = result.err().expect("refused").to_string();
            assert!(error.contains(words), "{error}");
        };
        says(open(dir.path(), 2, "a"), "belongs to node 1");
        says(open(dir.path(), 1, "b"), "of cluster \"a\"");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test damages a file")]
    fn damage_at_any_byte_is_noticed() {
        let dir = tempfile::tempdir().expect("temporary");
        open(dir.path(), 1, "a").expect("made");
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).expect("there");
        for at in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).expect("written");
            let parsed = open(dir.path(), 1, "a");
            assert!(parsed.is_err(), "byte {at} of {}", good.len());
        }
    }

    #[test]
    fn a_wiped_disk_is_refused_with_the_remedy() {
        let (old, new) = (tempfile::tempdir().expect("temporary"), tempfile::tempdir().expect("temporary"));
        let before = open(old.path(), 1, "a").expect("made");
        before.join(Cluster { id: [7; 16], incarnation: 1 }).expect("joins");
        let header = before.header(1, before.disk_id.to_vec().into()).expect("in a cluster");
        assert!(before.check(Some(&header)).is_ok());
        let wiped = Identity::open(Arc::new(OsDisk), new.path().into(), 1, "a", &mut Seed(2).stream("identity"));
        let error = wiped.expect("made").check(Some(&header)).expect_err("another disk").to_string();
        assert!(error.contains("under a new id"), "{error}");
    }
}
