//! An open file of the simulated disk: void after a crash of its node.
//!
//! Leaves out: what a power loss spares (`super`, `super::image`).

use super::image::Change;
use super::{Inner, SYNC_FAILED, SimDisk};
use engram_node::env::File;
use std::io;

/// One that is open.
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) file: u64,
    pub(super) generation: u64,
    pub(super) writable: bool,
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut Inner, u64) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.inner();
        if inner.generation != self.generation {
            return Err(io::Error::other("the file was opened before a crash"));
        }
        work(&mut inner, self.file)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.with(|inner, file| {
            inner.operate()?;
            let before = inner.files[&file].live.len() as u64;
            let after = match &change {
                Change::Length(length) => *length,
                Change::Write(offset, bytes) => before.max(offset + bytes.len() as u64),
            };
            inner.room(after.saturating_sub(before))?;
            if let Change::Write(_, bytes) = &change
                && inner.write_is_misdirected(file, bytes)
            {
                inner.files.get_mut(&file).expect("open files are there").pretend(&change);
                return Ok(());
            }
            inner.files.get_mut(&file).expect("open files are there").change(change);
            Ok(())
        })
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|inner, file| {
            let astray = inner.read_goes_astray(file) as usize;
            let live = &inner.files[&file].live;
            let from = live.get(offset as usize..).unwrap_or_default();
            let count = from.len().min(into.len());
            into[..count].copy_from_slice(&from[..count]);
            if astray > 0 && !live.is_empty() {
                let elsewhere = live.iter().cycle().skip((offset as usize + astray) % live.len());
                into[..count].iter_mut().zip(elsewhere).for_each(|(byte, other)| *byte = *other);
            }
            Ok(count)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|inner, file| {
            inner.operate()?;
            if inner.fail_syncs > 0 {
                inner.fail_syncs -= 1;
                inner.sync_failed = true;
                inner.files.get_mut(&file).expect("open files are there").forsake();
                return Err(io::Error::other(SYNC_FAILED));
            }
            let lost = inner.files[&file].has_news() && inner.sync_is_lost(file);
            let content = inner.files.get_mut(&file).expect("open files are there");
            match lost {
                true => content.forsake(),
                false => content.sync(),
            }
            Ok(())
        })
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        match self.len()? < len {
            true => self.change(Change::Length(len)),
            false => Ok(()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inner, file| Ok(inner.files[&file].live.len() as u64))
    }
}
