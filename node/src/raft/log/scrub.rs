//! Closed segments, read through while the node runs: what is not as it was written is rot.
//!
//! Place: on the files lane, a piece at a time, asked by `crate::integrity`. Whole groups follow each other in a segment up to
//! where the next one's first group says that the log was durable.
//! Leaves out: the segment that is written to, but for its first group, and the durable mark: opening looks at those. What is
//! done about rot is for the caller to say.

use super::format::{BLOCK, Flaw, GROUP_HEAD, Group, Header, Position, Sum, parse_group_alone, u32_at};
use super::state::Op;
use super::{Log, Shared, segment};
use crate::env::disk::{File, read_exact_at};
use crate::env::{Lane, run_on};
use std::io;
use std::sync::Arc;

/// A look ends once it has read so much.
const PIECE_BYTES: u64 = 1 << 20;

/// A segment that is not as it was written.
#[derive(Debug)]
pub struct Rot {
    /// Its number.
    pub segment: u64,
    /// Which file, at which byte, and what is wrong.
    pub detail: String,
}

/// A segment that is not the last.
struct Closed {
    number: u64,
    file: Arc<dyn File>,
    next: Arc<dyn File>,
}

impl Log {
    /// Reads on from where the last look ended, if there is something closed; where this one did. Cancel safe.
    pub async fn scrub(&self, from: Position) -> io::Result<Result<Position, Rot>> {
        let shared = self.0.clone();
        let looked = run_on(&*self.0.pool, Lane::Files, move || shared.look(from)).await;
        looked.ok_or_else(|| io::Error::other("the files lane stopped"))
    }

    /// The log index up to which entries must be purged for a segment to go; `None` once it is gone. One that is written to is
    /// closed first. Cancel safe.
    pub async fn give_up(&self, segment: u64) -> io::Result<Option<u64>> {
        let shared = self.0.clone();
        let asked = move || {
            // Not in the caller's task: the lock is held during syncs.
            let (index, written_to) = {
                let writer = shared.writer();
                (writer.highest(segment), writer.active().0 == segment)
            };
            if written_to {
                // A poisoned log stops the node.
                drop(shared.submit(|_| Ok(Some(Op::Roll))));
            }
            index
        };
        let asked = run_on(&*self.0.pool, Lane::Files, asked).await;
        asked.ok_or_else(|| io::Error::other("the files lane stopped"))
    }
}

impl Shared {
    fn look(&self, from: Position) -> Result<Position, Rot> {
        let closed = {
            let state = self.state();
            let mut files = state.files.range(from.segment..);
            files.next().zip(files.next()).map(|((number, file), (_, next))| {
                let (number, file, next) = (*number, file.clone(), next.clone());
                Closed { number, file, next }
            })
        };
        match closed {
            Some(closed) => self.look_at(&closed, if closed.number == from.segment { from.offset } else { 0 }),
            // From the first again.
            None => Ok(Position::default()),
        }
    }

    fn look_at(&self, closed: &Closed, from: u64) -> Result<Position, Rot> {
        let Closed { number, file, next } = closed;
        let generation = self.generation(*number, &**file)?;
        let (mut offset, mut read) = (from.max(BLOCK), 0);
        while read < PIECE_BYTES {
            let flaw = match self.group(&**file, offset, generation, |group| group.len) {
                Ok(length) => {
                    (offset, read) = (offset + length, read + length);
                    continue;
                }
                Err(flaw) => flaw,
            };
            // It should be the end: the next one knows.
            let following = self.generation(number + 1, &**next)?;
            let ended = self.group(&**next, BLOCK, following, |group| group.previous);
            let ended = ended.map_err(|flaw| self.rot(number + 1, BLOCK, flaw))?;
            return match ended == (Position { segment: *number, offset }) {
                true => Ok(Position { segment: number + 1, offset: 0 }),
                false => Err(self.rot(*number, offset, flaw)),
            };
        }
        Ok(Position { segment: *number, offset })
    }

    fn generation(&self, number: u64, file: &dyn File) -> Result<u64, Rot> {
        let mut block = [0; BLOCK as usize];
        let read = read_exact_at(file, 0, &mut block).map_err(|_| Flaw::Damaged("it cannot be read"));
        match read.and_then(|()| Header::decode(&block, &self.options.identity)) {
            Ok(header) if header.number == number => Ok(header.generation),
            Ok(_) => Err(self.rot(number, 16, Flaw::Damaged("another segment's header"))),
            Err(flaw) => Err(self.rot(number, 0, flaw)),
        }
    }

    /// Reads one group.
    fn group<T>(
        &self,
        file: &dyn File,
        offset: u64,
        generation: u64,
        of: impl FnOnce(&Group<'_>) -> T,
    ) -> Result<T, Flaw> {
        let unreadable = |_| Flaw::Damaged("it cannot be read");
        let room = file.len().map_err(unreadable)?.saturating_sub(offset) as usize;
        let mut bytes = vec![0; GROUP_HEAD.min(room)];
        read_exact_at(file, offset, &mut bytes).map_err(unreadable)?;
        let head = bytes.len();
        bytes.resize((u32_at(&bytes, 16) as usize).clamp(head, room.max(head)), 0);
        read_exact_at(file, offset + head as u64, &mut bytes[head..]).map_err(unreadable)?;
        parse_group_alone(&bytes, offset, generation, Sum::of(&self.options.identity)).map(|group| of(&group))
    }

    fn rot(&self, number: u64, offset: u64, flaw: Flaw) -> Rot {
        let detail = match flaw {
            Flaw::Damaged(detail) => detail,
            Flaw::Blank => "zeros where records were",
            Flaw::Version(_) | Flaw::OtherDisk(_) => "another header than was written",
        };
        let file = segment::path(&self.options.dir, number);
        Rot { segment: number, detail: format!("{} is damaged at byte {offset}: {detail}", file.display()) }
    }
}
