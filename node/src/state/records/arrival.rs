//! Record files on their way in: bytes that came from elsewhere, verified and written, but not under their name yet.
//!
//! A disk that makes one file after another durable is idle while the next is verified and written, and the other way round.
//! So a transfer writes on while files that came before are synced, several at once, and named then.
//! Invariants: `named_is_durable`; a file that is arriving is not swept away.
//!
//! Leaves out: who sends them (`crate::raft::ship`, `crate::mend`).

use super::{Hash, Records};
use crate::env::{File, Open};
use engram_mutants::mutant;
use std::io;
use std::path::PathBuf;

/// A file that is written and has no name yet. What is dropped without one goes with the next sweep.
pub struct Arrival {
    hash: Hash,
    beside: Beside,
    file: Box<dyn File>,
}

/// Where it is until then; nobody else's, and not swept away while this lives.
struct Beside {
    records: Records,
    name: String,
}

impl Beside {
    fn new(records: &Records, hash: &Hash) -> Self {
        let mut files = records.files();
        files.arrivals += 1;
        let name = format!("{hash}.{}.new", files.arrivals);
        files.arriving.insert(name.clone());
        Self { records: records.clone(), name }
    }

    fn path(&self) -> PathBuf {
        self.records.dir().join(&self.name)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.records.files().arriving.remove(&self.name);
    }
}

impl Records {
    /// Verifies that bytes which came from elsewhere have the hash, and writes them.
    pub fn arrive(&self, hash: &Hash, bytes: &[u8]) -> io::Result<Arrival> {
        let came = Hash::of(bytes);
        if came != *hash {
            let text = format!("bytes of hash {came} came for record file {hash}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let beside = Beside::new(self, hash);
        let (disk, path) = (&*self.0.disk, beside.path());
        match disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = disk.open(&path, Open::CreateNew)?;
        file.write_at(0, bytes)?;
        Ok(Arrival { hash: *hash, beside, file })
    }

    /// Makes files durable and gives them their names. These are durable after `sync`.
    pub fn name(&self, arrivals: Vec<Arrival>) -> io::Result<()> {
        let disk = &*self.0.disk;
        if !mutant!("named_before_synced") {
            let files: Vec<&dyn File> = arrivals.iter().map(|arrival| &*arrival.file).collect();
            disk.sync_all(&files)?;
        }
        for Arrival { hash, beside, .. } in arrivals {
            disk.rename(&beside.path(), &self.path(&hash))?;
            self.written(&hash);
        }
        Ok(())
    }

    /// Takes one file that came from elsewhere, if the bytes have the hash. Durable after `sync`.
    pub fn take(&self, hash: &Hash, bytes: &[u8]) -> io::Result<()> {
        self.name(vec![self.arrive(hash, bytes)?])
    }
}
