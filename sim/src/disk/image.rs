//! What a file and the names of a folder are, live and durable.

use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Default)]
pub struct Content {
    pub live: Vec<u8>,
    pub durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Content {
    pub(super) fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Length(length) => bytes.resize(*length as usize, 0),
            Change::Write(offset, written) => {
                let end = *offset as usize + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(written);
            }
        }
    }

    pub fn change(&mut self, change: Change) {
        Self::apply(&mut self.live, &change);
        self.pending.push(change);
    }

    pub fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            Self::apply(&mut self.durable, &change);
        }
    }

    /// Whether something else than zeros waits for a sync.
    pub fn has_news(&self) -> bool {
        let news = |change: &Change| matches!(change, Change::Write(_, bytes) if bytes.iter().any(|byte| *byte != 0));
        self.pending.iter().any(news)
    }

    /// A sync failed: what it should have made durable is lost, though it can be read until then.
    pub fn forsake(&mut self) {
        self.pending.clear();
    }

    pub fn lose_power(&mut self, rng: &mut StdRng) {
        for change in std::mem::take(&mut self.pending) {
            match (rng.random_range(0..3u32), change) {
                (0, _) => {}
                (1, Change::Write(offset, mut bytes)) => {
                    bytes.truncate(rng.random_range(0..=bytes.len()));
                    Self::apply(&mut self.durable, &Change::Write(offset, bytes));
                }
                (_, change) => Self::apply(&mut self.durable, &change),
            }
        }
        self.live = self.durable.clone();
    }
}

#[derive(Clone, Debug)]
pub enum NameChange {
    Made(PathBuf, u64),
    Moved(PathBuf, PathBuf),
    Removed(PathBuf),
}

pub fn rename(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Made(path, file) => drop(names.insert(path.clone(), *file)),
        NameChange::Removed(path) => drop(names.remove(path)),
        NameChange::Moved(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
    }
}
