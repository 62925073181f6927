//! The spool's files: one sled tree of rows in order, the session that they go to, and notes of their owner.
//!
//! | key | value |
//! |---|---|
//! | `v` | the format's version, one byte: 1 |
//! | `s` | the space's name |
//! | `t` | session, incarnation, acked sequence: three u64, big-endian; absent without a session |
//! | `n` and a name | a note |
//! | `r` and a position, u64 big-endian | an encoded `Observation` |
//!
//! Invariants: `rows_and_acked_move_together` (rows leave in the same batch that raises the acked sequence, so the first
//! row that waits always has the number after it); `flushed_before_seen` (a row is shown to the sender after it is
//! durable); `spool_bounded`.

use super::SpoolError;
use crate::{Error, Observation, pool::hold};
use prost::Message;
use sled::{Batch, Db, IVec};
use std::fs::{File, OpenOptions, TryLockError, create_dir_all, remove_dir_all, remove_file};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

const VERSION: [u8; 1] = [1];
const STREAM: &[u8] = b"t";
/// sled's cache: rows are read about once.
const CACHE_BYTES: u64 = 16 << 20;

/// The session that the rows go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub session: u64,
    pub incarnation: u64,
    /// Everything up to here left the spool.
    pub acked: u64,
}

impl Stream {
    fn encode(self) -> Vec<u8> {
        [self.session, self.incarnation, self.acked].map(u64::to_be_bytes).concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let [session, incarnation, acked] = <[[u8; 8]; 3]>::try_from(words).ok()?.map(u64::from_be_bytes);
        Some(Self { session, incarnation, acked })
    }
}

/// What is known without a look at the files.
#[derive(Debug, Default)]
pub(super) struct State {
    pub stream: Option<Stream>,
    pub rows: u64,
    pub bytes: u64,
    /// Positions below this are durable.
    next: u64,
    /// No further rows will come.
    pub finished: bool,
    pub delivering: bool,
    broken: Option<String>,
    waiting: Vec<Waker>,
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

pub(super) struct Store {
    pub dir: PathBuf,
    pub space: String,
    db: Db,
    max_bytes: u64,
    state: Mutex<State>,
    _lock: File,
}

fn key(position: u64) -> [u8; 9] {
    let mut key = [b'r'; 9];
    key[1..].copy_from_slice(&position.to_be_bytes());
    key
}

/// A file that is there while the database is made: sled cannot open what was left half made.
struct Making<'a> {
    dir: &'a Path,
    file: PathBuf,
}

impl<'a> Making<'a> {
    fn in_dir(dir: &'a Path) -> Self {
        Self { dir, file: dir.join("making") }
    }

    /// Before the database is opened: what was left half made had no rows, and goes.
    fn begin(&self, rows: &Path) -> io::Result<()> {
        match (self.file.try_exists()?, rows.try_exists()?) {
            (true, true) => remove_dir_all(rows),
            (true, false) | (false, true) => Ok(()),
            (false, false) => {
                OpenOptions::new().write(true).create(true).truncate(true).open(&self.file)?;
                self.sync()
            }
        }
    }

    /// Once it is made, and before the first row.
    fn end(&self) -> io::Result<()> {
        match self.file.try_exists()? {
            true => remove_file(&self.file).and_then(|()| self.sync()),
            false => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        OpenOptions::new().read(true).open(self.dir)?.sync_all()
    }
}

impl Store {
    pub fn open(dir: &Path, space: &str, max_bytes: u64) -> Result<Self, SpoolError> {
        let failed = |what: String| SpoolError::Disk { dir: dir.to_path_buf(), what };
        let foreign = |what: String| SpoolError::Foreign { dir: dir.to_path_buf(), what };
        create_dir_all(dir).map_err(|e| failed(e.to_string()))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock"));
        let lock = lock.map_err(|e| failed(e.to_string()))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => SpoolError::Busy(dir.to_path_buf()),
            TryLockError::Error(e) => failed(e.to_string()),
        })?;
        let (rows, making) = (dir.join("rows"), Making::in_dir(dir));
        making.begin(&rows).map_err(|e| failed(e.to_string()))?;
        // Nothing is flushed in the background: what must be durable is flushed where that is said.
        let files = sled::Config::new().path(rows).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = files.open().map_err(|e| failed(e.to_string()))?;
        let get = |key: &[u8]| db.get(key).map_err(|e| failed(e.to_string()));
        match (get(b"v")?, get(b"s")?) {
            (None, None) => {
                let mut batch = Batch::default();
                batch.insert(b"v", &VERSION);
                batch.insert(b"s", space);
                db.apply_batch(batch).and_then(|()| db.flush()).map_err(|e| failed(e.to_string()))?;
            }
            (Some(version), _) if version != VERSION => {
                return Err(foreign(format!(
                    "its format is {:?}, not {VERSION:?}; use the program that wrote it",
                    &*version
                )));
            }
            (_, Some(known)) if known == space.as_bytes() => {}
            (_, known) => {
                let known = String::from_utf8_lossy(&known.unwrap_or_default()).into_owned();
                return Err(foreign(format!("it is for the space {known:?}, not {space:?}; use another directory")));
            }
        }
        making.end().map_err(|e| failed(e.to_string()))?;
        let mut state = State { next: 1, ..State::default() };
        if let Some(bytes) = get(STREAM)? {
            state.stream = Some(Stream::decode(&bytes).ok_or_else(|| failed("its session record is damaged".into()))?);
        }
        for row in db.scan_prefix(b"r") {
            let (key, value) = row.map_err(|e| failed(e.to_string()))?;
            let position = key.get(1..).and_then(|position| Some(u64::from_be_bytes(position.try_into().ok()?)));
            state.next = position.ok_or_else(|| failed("a row's key is damaged".into()))? + 1;
            state.rows += 1;
            state.bytes += value.len() as u64;
        }
        let store = Self {
            dir: dir.to_path_buf(),
            space: space.to_string(),
            db,
            max_bytes,
            state: Mutex::new(state),
            _lock: lock,
        };
        if store.with(|state| state.rows == 0 && state.stream.is_some()) {
            // Nothing is on its way: the next rows may go to any session.
            store.leave(0, None)?;
        }
        Ok(store)
    }

    pub fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&hold(&self.state))
    }

    /// Changes flags, and wakes whoever waits.
    pub fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = hold(&self.state);
        let value = change(&mut state);
        state.wake();
        value
    }

    fn sound(&self) -> Result<MutexGuard<'_, State>, SpoolError> {
        let state = hold(&self.state);
        match &state.broken {
            None => Ok(state),
            Some(what) => Err(SpoolError::Disk { dir: self.dir.clone(), what: what.clone() }),
        }
    }

    /// After a failed write nobody knows what is durable: nothing more is taken.
    fn broken(&self, state: &mut State, error: &sled::Error) -> SpoolError {
        state.broken = Some(error.to_string());
        SpoolError::Disk { dir: self.dir.clone(), what: error.to_string() }
    }

    /// Adds rows and sets a note, all durable when this returns, or none.
    pub fn put(&self, rows: &[Observation], note: Option<(&str, &[u8])>) -> Result<(), SpoolError> {
        let mut state = self.sound()?;
        let more: u64 = rows.iter().map(|row| row.encoded_len() as u64).sum();
        if state.bytes + more > self.max_bytes {
            let (waiting, max) = (state.bytes, self.max_bytes);
            return Err(SpoolError::Full { dir: self.dir.clone(), waiting, more, max });
        }
        let mut batch = Batch::default();
        for (position, row) in (state.next..).zip(rows) {
            batch.insert(&key(position), row.encode_to_vec());
        }
        if let Some((name, note)) = note {
            batch.insert([b"n", name.as_bytes()].concat(), note);
        }
        let written = self.db.apply_batch(batch).and_then(|()| self.db.flush());
        written.map_err(|e| self.broken(&mut state, &e))?;
        state.next += rows.len() as u64;
        state.rows += rows.len() as u64;
        state.bytes += more;
        state.wake();
        Ok(())
    }

    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, SpoolError> {
        let mut state = self.sound()?;
        let note = self.db.get([b"n", name.as_bytes()].concat()).map_err(|e| self.broken(&mut state, &e))?;
        Ok(note.map(|note| note.to_vec()))
    }

    pub fn clear_note(&self, name: &str) -> Result<(), SpoolError> {
        let mut state = self.sound()?;
        let removed = self.db.remove([b"n", name.as_bytes()].concat()).and_then(|_| self.db.flush());
        removed.map(drop).map_err(|e| self.broken(&mut state, &e))
    }

    /// The first row at or after a position. `Ready(None)` when there is none and none will come.
    pub fn poll_row(&self, cx: &Context<'_>, from: u64) -> Poll<Result<Option<(u64, Observation)>, SpoolError>> {
        let mut state = match self.sound() {
            Ok(state) => state,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if from >= state.next {
            if state.finished {
                return Poll::Ready(Ok(None));
            }
            state.wait(cx);
            return Poll::Pending;
        }
        let found = match self.db.range(key(from)..key(state.next)).next().transpose() {
            Ok(found) => found,
            Err(error) => return Poll::Ready(Err(self.broken(&mut state, &error))),
        };
        match found {
            Some((key, value)) => Poll::Ready(self.read(&key, &value).map(Some)),
            None if state.finished => Poll::Ready(Ok(None)),
            None => {
                state.wait(cx);
                Poll::Pending
            }
        }
    }

    /// One row, if it waits.
    pub fn row(&self, position: u64) -> Result<Option<Observation>, SpoolError> {
        let key = IVec::from(&key(position));
        let value = self.db.get(&key).map_err(|e| self.broken(&mut hold(&self.state), &e))?;
        value.map(|value| Ok(self.read(&key, &value)?.1)).transpose()
    }

    fn read(&self, key: &IVec, value: &IVec) -> Result<(u64, Observation), SpoolError> {
        let damaged = || SpoolError::Disk { dir: self.dir.clone(), what: "a row is damaged".into() };
        let position = key.get(1..).and_then(|position| position.try_into().ok()).ok_or_else(damaged)?;
        let row = Observation::decode(&**value).map_err(|_| damaged())?;
        Ok((u64::from_be_bytes(position), row))
    }

    /// Ready when rows have come or left, or a flag has changed, since this was first polled.
    pub fn poll_change(&self, cx: &Context<'_>, seen: &mut Option<(u64, u64)>) -> Poll<()> {
        let mut state = hold(&self.state);
        let now = (state.rows, state.next);
        if *seen.get_or_insert(now) != now || !state.delivering {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Takes the session on record, durable when this returns.
    pub fn begin(&self, stream: Stream) -> Result<(), SpoolError> {
        self.leave(0, Some(stream))
    }

    /// The first `count` rows leave, and `stream` is on record from now on: together, and durable.
    pub fn leave(&self, count: u64, stream: Option<Stream>) -> Result<(), SpoolError> {
        let keys: Result<Vec<IVec>, _> = self.db.scan_prefix(b"r").keys().take(count as usize).collect();
        let keys = keys.map_err(|e| self.broken(&mut hold(&self.state), &e))?;
        self.remove(keys, stream, true)
    }

    /// Rows leave by position. Without `flush` a crash may bring them back, together with the acked sequence of before.
    pub fn leave_at(
        &self,
        positions: impl IntoIterator<Item = u64>,
        stream: Option<Stream>,
        flush: bool,
    ) -> Result<(), SpoolError> {
        self.remove(positions.into_iter().map(|position| IVec::from(&key(position))).collect(), stream, flush)
    }

    fn remove(&self, keys: Vec<IVec>, stream: Option<Stream>, flush: bool) -> Result<(), SpoolError> {
        let mut state = self.sound()?;
        let mut batch = Batch::default();
        let (mut rows, mut bytes) = (0, 0);
        for key in keys {
            let value = self.db.get(&key).map_err(|e| self.broken(&mut state, &e))?;
            let Some(value) = value else { continue };
            rows += 1;
            bytes += value.len() as u64;
            batch.remove(key);
        }
        match stream {
            Some(stream) => batch.insert(STREAM, stream.encode()),
            None => batch.remove(STREAM),
        }
        let written = self.db.apply_batch(batch).and_then(|()| if flush { self.db.flush().map(drop) } else { Ok(()) });
        written.map_err(|e| self.broken(&mut state, &e))?;
        state.rows -= rows;
        state.bytes -= bytes;
        state.stream = stream;
        state.wake();
        Ok(())
    }
}

/// A row that no stream takes is refused before it is on disk.
pub(super) fn check(row: &Observation) -> Result<(), SpoolError> {
    let (bytes, max) = (row.encoded_len(), crate::observe::OBSERVATION_BYTES_MAX);
    match bytes > max {
        true => Err(SpoolError::Refused(Error::invalid(format!("it has {bytes} bytes; at most {max}; split it")))),
        false => Ok(()),
    }
}
