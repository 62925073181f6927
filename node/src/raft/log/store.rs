//! openraft's storage traits over [`Log`].

use super::Log;
use super::read::entries;
use super::state::Op;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use futures_util::{Stream, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use tokio::sync::oneshot;

/// One read for replication or apply gives no more than this, but at least one entry.
const READ_BYTES: usize = 4 << 20;

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        entries(&self.0, half_open(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let state = self.0.state();
        state.sound()?;
        Ok(state.vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        entries(&self.0, start..end.max(start), READ_BYTES).await
    }

    /// In pieces: what is applied after a restart may be much more than memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = half_open(&range);
        let pieces = stream::unfold((self.clone(), range, None), |(log, mut range, read)| async move {
            let mut read: std::vec::IntoIter<Entry> = read.unwrap_or_default();
            if let Some(entry) = read.next() {
                range.start = entry.log_id.index + 1;
                return Some((Ok(entry), (log, range, Some(read))));
            }
            if range.is_empty() {
                return None;
            }
            match entries(&log.0, range.clone(), READ_BYTES).await {
                Err(e) => Some((Err(e), (log, range.end..range.end, None))),
                Ok(piece) => {
                    let mut piece = piece.into_iter();
                    let entry = piece.next()?;
                    range.start = entry.log_id.index + 1;
                    Some((Ok(entry), (log, range, Some(piece))))
                }
            }
        });
        Box::pin(pieces)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.0.state();
        state.sound()?;
        Ok(LogState { last_purged_log_id: state.now.purged, last_log_id: state.now.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    /// Returns once the vote is durable. Dropping the future does not take the vote back.
    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, flushed) = oneshot::channel();
        self.0.submit(|state| {
            state.now.vote = Some(*vote);
            Ok(Some(Op::Vote(*vote, done)))
        })?;
        flushed.await.unwrap_or_else(|_| Err(io::Error::other("the write-ahead log's lane stopped")))
    }

    /// Returns at once; written with the next group, or by [`Log::tend`].
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.submit(|state| {
            state.now.committed = committed;
            if let Some(Op::Committed(last)) = state.queue.back_mut() {
                *last = committed;
                return Ok(None);
            }
            Ok(Some(Op::Committed(committed)))
        })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.0.state().now.committed)
    }

    /// Returns once the entries are readable; `callback` is called once they are durable.
    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.0.submit(|state| {
            state.append(&entries)?;
            Ok(Some(Op::Append(entries, callback)))
        })
    }

    /// Returns at once; the next append becomes durable after the truncation did.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.submit(|state| Ok(state.truncate(last).then_some(Op::Truncate(last))))
    }

    /// Returns at once; files go once the purge is durable.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.submit(|state| Ok(state.purge(upto).then_some(Op::Purge(upto))))
    }
}
