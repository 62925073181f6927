//! What the kernel alone can do or tell: bytes of this process, files put out of memory, files read plainly.
//!
//! Place: around a measurement, never in one. Leaves out: systems without /proc; there the bytes are not known.
#![expect(clippy::disallowed_methods, reason = "files are looked at behind the log's back")]

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Read at once.
const PIECE: usize = 1 << 20;

/// Bytes of this process so far.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// Handed over to be written, to any file.
    pub handed: u64,
    /// Of pages that had to go to a disk: whole ones, and again when they change after they went.
    pub to_disk: u64,
}

/// Of this process; none where the kernel does not tell.
pub fn io_so_far() -> Option<Io> {
    let bytes = std::fs::read("/proc/self/io").ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(Io { handed: field(&text, "wchar:")?, to_disk: field(&text, "\nwrite_bytes:")? })
}

/// Since then; none where the kernel does not tell.
pub fn io_since(before: Option<Io>) -> Option<Io> {
    let (before, now) = before.zip(io_so_far())?;
    Some(Io { handed: now.handed - before.handed, to_disk: now.to_disk - before.to_disk })
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.split_once(name)?.1;
    rest.lines().next()?.trim().parse().ok()
}

/// All files in a folder and its folders.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files.extend(self::files(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    Ok(files)
}

/// Syncs files and puts them out of memory, as far as the kernel follows.
pub fn forget(files: &[PathBuf]) -> io::Result<()> {
    for path in files {
        let file = File::open(path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Reads files to their ends; answers how many bytes that was.
pub fn read_plainly(files: &[PathBuf]) -> io::Result<u64> {
    let (mut piece, mut bytes) = (vec![0; PIECE], 0);
    for path in files {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_told_apart() {
        let text = "rchar: 1\nwchar: 22\nsyscr: 3\nread_bytes: 4\nwrite_bytes: 55\ncancelled_write_bytes: 6\n";
        assert_eq!((field(text, "wchar:"), field(text, "\nwrite_bytes:")), (Some(22), Some(55)));
        assert_eq!(field(text, "other:"), None);
    }

    #[test]
    fn files_are_found_in_all_folders_and_read_whole() {
        let dir = tempfile::tempdir().expect("temporary");
        std::fs::create_dir(dir.path().join("in")).expect("made");
        std::fs::write(dir.path().join("in/a"), [1; 10]).expect("written");
        std::fs::write(dir.path().join("b"), [1; 5]).expect("written");
        let files = files(dir.path()).expect("listed");
        forget(&files).expect("forgotten");
        assert_eq!((files.len(), read_plainly(&files).expect("read")), (2, 15));
    }
}
