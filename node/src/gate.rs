//! The consistency gate: waits until this node may answer at a level, then takes a view of one instant.
//!
//! Place in the corridor: `edge → gate → view`. A read index is confirmed by a quorum, never by a lease. Staleness needs no
//! clock but this node's own: once the state has reached a read index, it has every write that was acked before the index
//! was asked for. Invariants: `answer_within_snapshot`; a read changes nothing and may always be sent again.
//! Leaves out: what is read (`recall`, `edge::read`).

use crate::env::Clock;
use crate::leader::{Leader, Leadership};
use crate::metrics::Meters;
use crate::raft::net::{Connection, PeerCalls};
use crate::state::spaces::Space;
use engram_mutants::mutant;
use engram_probes::probe;
use engram_proto::error::{Error, Kind, Result};
use engram_proto::query::{ReadLevel, check_level};
use engram_proto::transport::{World, timeout};
use engram_proto::wire::peer::ReadIndexRequest;
use engram_proto::wire::v1::{Filter, Snapshot};
use openraft::raft::ReadPolicy;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the leader may take for a read index, and between two questions.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(1);
const READ_INDEX_PAUSE: Duration = Duration::from_millis(50);
/// How often staleness is measured when nobody asks, and how long that may take.
const ROUND: Duration = Duration::from_secs(1);
const ROUND_DEADLINE: Duration = Duration::from_secs(5);

/// Reads of this node. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    leadership: Leadership,
    world: Arc<dyn World>,
    clock: Arc<dyn Clock>,
    incarnation: Arc<dyn Fn() -> u64 + Send + Sync>,
    deadline: Duration,
    meters: Meters,
    times: Arc<Mutex<Times>>,
}

/// By the monotonic clock.
#[derive(Clone, Copy, Default)]
struct Times {
    /// A quorum confirmed a read index that was asked for then.
    confirmed: Option<Duration>,
    /// The state has every write that was acked before this.
    fresh: Option<Duration>,
}

/// What a quorum confirmed.
#[derive(Clone, Copy, Debug)]
pub struct ReadMark {
    /// Every write acked before the question is at this log index or before.
    pub log_index: u64,
    /// The leader's log time.
    pub stamp_ms: u64,
}

/// A space as of one applied index.
pub struct View {
    /// The space.
    pub space: Arc<Space>,
    /// Rows applied, and those of them forgotten, at that index.
    pub at: engram_index::Snapshot,
    /// What the answer states.
    pub snapshot: Snapshot,
}

impl Gate {
    /// `deadline` is how long a read waits for its snapshot unless it says otherwise.
    pub fn new(
        leadership: Leadership,
        world: Arc<dyn World>,
        clock: Arc<dyn Clock>,
        incarnation: Arc<dyn Fn() -> u64 + Send + Sync>,
        deadline: Duration,
        meters: Meters,
    ) -> Self {
        Self { leadership, world, clock, incarnation, deadline, meters, times: Arc::default() }
    }

    /// Runs until the node stops: keeps the staleness known that every answer states.
    pub async fn run(self) {
        loop {
            if self.staleness().is_none_or(|staleness| staleness >= ROUND) {
                // Behind, or no quorum: the staleness grows, and answers say so.
                drop(self.confirm(ROUND_DEADLINE).await);
            }
            self.clock.sleep(ROUND).await;
        }
    }

    /// Waits until this node may answer at `level`, then takes a view of the space. Cancel safe.
    pub async fn view(&self, name: &str, level: ReadLevel, deadline_ms: u32) -> Result<View> {
        check_level(level)?;
        if (self.incarnation)() == 0 {
            // It would not even know that the space is there.
            return Err(self.leadership.in_no_cluster());
        }
        let deadline = self.deadline(deadline_ms);
        let read_index = match level {
            ReadLevel::Eventual => None,
            ReadLevel::AtLeast { index, incarnation } => {
                let mine = (self.incarnation)();
                if incarnation != 0 && incarnation != mine {
                    let text = format!("the token is of incarnation {incarnation}, the cluster is in {mine}");
                    return Err(Error::invalid(format!("{text}: it was restored; drop the token")));
                }
                if !mutant!("token_not_waited_for") {
                    self.wait(index, deadline).await?;
                }
                None
            }
            ReadLevel::Bounded { staleness_ms } => {
                let bound = Duration::from_millis(staleness_ms.into());
                match self.staleness() {
                    Some(staleness) if staleness <= bound || mutant!("bound_ignored") => None,
                    _ => Some(self.confirm(deadline).await?.log_index),
                }
            }
            ReadLevel::Linearizable if mutant!("read_index_skipped") => None,
            ReadLevel::Linearizable => Some(self.confirm(deadline).await?.log_index),
        };
        self.take(name, read_index)
    }

    /// How long a read may wait that asks for `deadline_ms`; 0: the default.
    pub fn deadline(&self, deadline_ms: u32) -> Duration {
        match deadline_ms {
            0 => self.deadline,
            ms => Duration::from_millis(ms.into()),
        }
    }

    /// How old a write may be, at most, that was acked and is not in the state; `None` while that is not known.
    pub fn staleness(&self) -> Option<Duration> {
        let share = if mutant!("staleness_understated") { 4 } else { 1 };
        self.times().fresh.map(|fresh| self.clock.monotonic().saturating_sub(fresh) / share)
    }

    /// How long ago this node asked for the last read index that a quorum confirmed; `None` while none has.
    pub fn unconfirmed(&self) -> Option<Duration> {
        self.times().confirmed.map(|confirmed| self.clock.monotonic().saturating_sub(confirmed))
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers may come in another order than they were asked for.
    fn note(&self, of: impl FnOnce(&mut Times) -> &mut Option<Duration>, asked: Duration) {
        let mut times = self.times();
        let time = of(&mut times);
        *time = (*time).max(Some(asked));
    }

    /// Makes the state have every write acked before now; the mark that proves it.
    async fn confirm(&self, deadline: Duration) -> Result<ReadMark> {
        let asked = self.clock.monotonic();
        let mark = timeout(&*self.world, deadline, self.ask()).await.ok_or_else(|| {
            let node = self.leadership.node();
            self.behind(format!("node {node}: no quorum confirmed a read index within {deadline:?}"), 0)
        })?;
        let answered = self.clock.monotonic();
        self.note(|times| &mut times.confirmed, asked);
        let left = deadline.saturating_sub(answered.saturating_sub(asked));
        if !mutant!("read_index_not_waited_for") {
            self.wait(mark.log_index, left).await?;
        }
        self.meters.visibility.time(self.clock.monotonic().saturating_sub(answered));
        self.note(|times| &mut times.fresh, asked);
        Ok(mark)
    }

    /// The same, within the default deadline. Cancel safe.
    pub async fn confirmed(&self) -> Result<ReadMark> {
        self.confirm(self.deadline).await
    }

    fn take(&self, name: &str, read_index: Option<u64>) -> Result<View> {
        // Before the state is looked at: it only grows.
        let staleness = self.staleness();
        let state = self.leadership.state();
        let data = state.read();
        if let Some(why) = state.in_doubt(&data)
            && !mutant!("quarantined_answers")
        {
            probe!("read_while_in_quarantine");
            return Err(Error::new(Kind::Quarantined, format!("{why}; ask another node")));
        }
        let space = data.space(name)?.clone();
        let (at, applied_index) = (space.index.now(), data.applied.map_or(0, |id| id.index));
        drop(data);
        tracing::debug!(node = self.leadership.node(), applied_index, "state read");
        let epoch = space.index.epoch();
        let snapshot = Snapshot {
            node: self.leadership.node(),
            incarnation: (self.incarnation)(),
            applied_index,
            rows: at.rows.into(),
            epoch: epoch.number,
            epoch_rows: epoch.rows.into(),
            graph_digest: epoch.digest,
            tail_scanned: 0,
            read_index,
            forgotten: at.forgets.into(),
            staleness_ms: staleness.map(|staleness| staleness.as_micros().div_ceil(1000) as u64),
        };
        Ok(View { space, at, snapshot })
    }

    fn behind(&self, text: String, need: u64) -> Error {
        let have = self.leadership.state().watermark().applied();
        Error::behind(format!("{text}; applied is {have}; wait or ask another node"), need, have)
    }

    /// Waits until this node has applied a log index. Cancel safe.
    pub async fn wait(&self, index: u64, limit: Duration) -> Result<()> {
        let state = self.leadership.state();
        if state.watermark().applied() >= index {
            return Ok(());
        }
        timeout(&*self.world, limit, state.watermark().wait_applied(index)).await.ok_or_else(|| {
            probe!("read_is_behind");
            let node = self.leadership.node();
            self.behind(format!("node {node} did not reach log index {index} within {limit:?}"), index)
        })
    }

    /// Asks again until the caller's time is up: a read is never in doubt.
    async fn ask(&self) -> ReadMark {
        loop {
            let answer = match self.leadership.leader() {
                Leader::Here { .. } => self.read_mark_here().await,
                Leader::There(connection) => self.read_mark_there(&connection).await,
                Leader::Unknown => Err(self.behind("no leader is known".into(), 0)),
            };
            match answer {
                Ok(mark) => return mark,
                Err(error) => {
                    probe!("read_index_not_confirmed");
                    tracing::debug!(node = self.leadership.node(), %error, "no read index yet");
                }
            }
            self.clock.sleep(READ_INDEX_PAUSE).await;
        }
    }

    async fn read_mark_there(&self, connection: &Connection) -> Result<ReadMark> {
        let request = ReadIndexRequest { header: connection.header() };
        let ask = |mut client: PeerCalls| async move { client.read_index(request).await };
        match connection.answer(READ_INDEX_TIMEOUT, ask).await {
            Ok(answer) => Ok(ReadMark { log_index: answer.log_index, stamp_ms: answer.stamp_ms }),
            Err(status) => Err(self.behind(format!("no read index from the leader: {}", status.message()), 0)),
        }
    }

    /// The same, on the leader itself.
    pub async fn read_mark_here(&self) -> Result<ReadMark> {
        if mutant!("read_index_without_quorum")
            && let Leader::Here { term } = self.leadership.leader()
        {
            let log_index = self.leadership.state().watermark().applied();
            return Ok(ReadMark { log_index, stamp_ms: self.leadership.stamp_ms(term) });
        }
        match self.leadership.raft().get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => {
                let log_index = read.index();
                let Leader::Here { term } = self.leadership.leader() else {
                    return Err(self.behind("leadership went elsewhere".into(), 0));
                };
                Ok(ReadMark { log_index, stamp_ms: self.leadership.stamp_ms(term) })
            }
            Err(e) => Err(self.behind(format!("node {}: {e}", self.leadership.node()), 0)),
        }
    }
}

impl View {
    /// Makes it what a reader saw at an earlier log index.
    pub fn go_back(&mut self, index: u64) -> Result<()> {
        self.reaches(index)?;
        if !mutant!("past_is_the_present") {
            self.at = self.space.as_of(index);
        }
        (self.snapshot.rows, self.snapshot.forgotten) = (self.at.rows.into(), self.at.forgets.into());
        (self.snapshot.applied_index, self.snapshot.staleness_ms) = (index, None);
        Ok(())
    }

    /// Whether the space's past reaches back to a log index. To be asked again after a read of it, which may have missed
    /// what was erased meanwhile.
    pub fn reaches(&self, index: u64) -> Result<()> {
        let (name, earliest) = (&self.space.config.name, self.space.earliest());
        match index < earliest && !mutant!("floor_not_looked_at") {
            true => {
                let text = format!("the past of space {name} begins at log index {earliest}, after {index}");
                Err(Error::new(Kind::BelowFloor, format!("{text}; ask for that or later")))
            }
            false => Ok(()),
        }
    }

    /// Whether the view has the row and the filter means it.
    pub fn shows(&self, row: u32, filter: Option<&Filter>) -> bool {
        (self.space.index.lives(row, self.at) || mutant!("forgotten_row_shown")) && self.space.means(row, filter)
    }
}
