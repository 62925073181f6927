//! Finds out whether this node's state and graphs are those of the others, and gets others if they are not.
//!
//! Place: a task of every node. The one that leads opens a round of digests from time to time (`state::integrity` says
//! who differs); each votes once its graphs are as far as the round's entry; between rounds memory is read through, space
//! by space, and disk, file by file (`files`, `own`): what changed since it was written is damage. A node that is quarantined answers no reads, hands leadership
//! over, takes the state of a member of the majority, and is compared again. A node that has nobody to ask stops: what it
//! has on disk is checksummed, and is where it starts from.
//! Invariants: `minority_quarantined`, `same_log_same_graph`.
//!
//! Leaves out: a cluster of which no majority agrees; its operator is told.

mod files;
mod own;

use crate::env::{Lane, run_on};
use crate::leader::Leader;
use crate::node::Node;
use crate::raft::ship;
use crate::state::integrity::{Integrity, Round};
use crate::state::rebuild::Hold;
use crate::state::snapshot::Image;
use crate::state::spaces::Space;
use engram_mutants::mutant;
use engram_probes::probe;
use engram_proto::wire::log::{DigestVote, OpenRound, command};
use files::Files;
use futures_util::future::{Either, select};
use openraft::async_runtime::WatchReceiver;
use own::Own;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Between two looks at what is to be done.
const STEP: Duration = Duration::from_millis(500);
/// A round that some do not vote on is closed after so many times its usual length.
const PATIENCE: u64 = 4;
/// Of the time, reading memory through takes one part in so many.
const SCRUB_SHARE: u32 = 50;
/// And of rows no more than so many a second, which a clock that stands still meanwhile, as a simulated one does, feels too.
const SCRUB_ROWS_PER_SECOND: u64 = 20_000;
/// And what one look at the disk counts for at most, however slow that is.
const FILE_READ_MAX: Duration = Duration::from_millis(50);
/// Until what could not be mended is tried again.
const MEND_PAUSE: Duration = Duration::from_secs(5);
/// Time that one look may read through spaces.
const SCRUB_BUDGET: Duration = Duration::from_millis(20);
/// Between two looks at how far the log is.
const LOG_STEP: Duration = Duration::from_millis(20);
/// How long the log may take to be as far as a state that was fetched.
const LOG_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of what is said of damage.
const DAMAGE_BYTES_MAX: usize = 200;

/// Runs until the node stops. An error means that the state is damaged and nobody has another.
pub async fn run(node: Arc<Node>) -> Result<(), String> {
    let (voted, rebuilt, caught_up, scrubbed, next_scrub, files, own) = Default::default();
    let mut task = Task { node, voted, rebuilt, caught_up, scrubbed, next_scrub, files, own };
    loop {
        task.node.env.clock.sleep(STEP).await;
        task.open_round().await;
        task.scrub().await?;
        task.scrub_file().await?;
        task.scrub_own().await?;
        task.sweep_files().await?;
        task.vote().await;
        task.repair().await?;
    }
}

struct Task {
    node: Arc<Node>,
    /// The last round that this node voted on.
    voted: u64,
    /// What was rebuilt last: once for each time that this node is found to differ.
    rebuilt: Option<u64>,
    /// What was applied when this life first had all that was acked.
    caught_up: Option<u64>,
    /// The space that was read through last.
    scrubbed: u64,
    /// When it is time for spaces again.
    next_scrub: Duration,
    /// How far the disk is read through: record files, and the rest.
    files: Files,
    own: Own,
}

impl Task {
    /// If this node leads, and a round is due.
    async fn open_round(&self) {
        let Leader::Here { term } = self.node.leadership.leader() else { return };
        let now_ms = self.node.leadership.stamp_ms(term);
        let due = {
            let data = self.node.state.read();
            let Integrity { round, opened_ms, .. } = data.integrity;
            let (age_ms, length_ms) = (now_ms.saturating_sub(opened_ms), self.node.config.integrity.round_s * 1000);
            let voted = data.integrity.complete(&data.membership);
            round == 0 || age_ms >= length_ms && (voted || age_ms >= PATIENCE * length_ms)
        };
        if due {
            // Refused or in doubt: the next look tries again.
            drop(self.node.proposer.command(command::Kind::OpenRound(OpenRound {})).await);
        }
    }

    /// On the open round, once the graphs are there that it is about; at once if there is damage to tell.
    async fn vote(&mut self) {
        let (round, mine) = {
            let data = self.node.state.read();
            (data.round.clone(), data.integrity.votes.get(&self.node.id).cloned())
        };
        let Some(round) = round else { return };
        let damage = self.node.state.damage().unwrap_or_default();
        let told = mine.is_some_and(|mine| mine.damage == damage);
        if told && self.voted != round.log_index {
            probe!("vote_counted_before");
        }
        if told || (self.voted == round.log_index && damage.is_empty()) {
            return;
        }
        let Some(graphs) = graphs(&round).or_else(|| (!damage.is_empty()).then_some(0)) else { return };
        let (node, state, log_index) = (self.node.id, round.state, round.log_index);
        let vote = DigestVote { round: log_index, node, state, graphs, damage };
        // In doubt it may have been counted, and a second one would be counted as the same.
        if self.node.proposer.command(command::Kind::DigestVote(vote)).await.is_ok() {
            self.voted = log_index;
            let (state, graphs) = (format_args!("{state:016x}"), format_args!("{graphs:016x}"));
            tracing::debug!(node, round = log_index, state, graphs, "digests told");
        }
    }

    /// Reads some spaces through, if it is time.
    async fn scrub(&mut self) -> Result<(), String> {
        let (clock, state) = (&self.node.env.clock, &self.node.state);
        let begun = clock.monotonic();
        if begun < self.next_scrub || state.damage().is_some() || mutant!("memory_not_scrubbed") {
            return Ok(());
        }
        let mut rows = 0;
        loop {
            let space = {
                let data = state.read();
                let next = data.spaces.range(self.scrubbed + 1..).next().or_else(|| data.spaces.iter().next());
                next.map(|(_, space)| space.clone())
            };
            let Some(space) = space else { return Ok(()) };
            let wrapped = space.id <= self.scrubbed;
            self.scrubbed = space.id;
            rows += u64::from(space.rows.len());
            let read = run_on(&*self.node.env.pool, Lane::Index, move || damage(&space)).await;
            if let Some(mut damage) = read.ok_or("the index lane stopped: a graph's proof panicked")? {
                damage.truncate(damage.floor_char_boundary(DAMAGE_BYTES_MAX));
                tracing::error!(node = self.node.id, damage, "memory is damaged");
                state.set_damage(damage);
                return Ok(());
            }
            let took = clock.monotonic().saturating_sub(begun);
            let by_rows = Duration::from_millis(rows * 1000 / SCRUB_ROWS_PER_SECOND);
            self.next_scrub = clock.monotonic() + STEP.max(took * SCRUB_SHARE).max(by_rows);
            if wrapped || took >= SCRUB_BUDGET {
                return Ok(());
            }
        }
    }

    /// Takes another state if this node's is in doubt; once for each time that it was found to be.
    async fn repair(&mut self) -> Result<(), String> {
        let node = &self.node;
        if self.caught_up.is_none() && node.gate.staleness().is_some() {
            self.caught_up = Some(node.state.watermark().applied());
        }
        let Some(why) = node.state.quarantined() else { return Ok(()) };
        let since = node.state.read().integrity.quarantined.get(&node.id).copied();
        // An older mark is of a state that is gone: the one that was read anew is voted on next.
        let marked = since != self.rebuilt && self.caught_up.is_some_and(|index| since > Some(index));
        if since.is_some() && since <= self.caught_up {
            probe!("mark_of_a_former_life");
        }
        let due = marked || node.state.damage().is_some();
        if due && node.leadership.members().len() <= 1 {
            return Err(format!("{why}; there is no other member, so start the node again: it reads its disk anew"));
        }
        if due {
            tracing::error!(node = node.id, why, "quarantined");
        }
        if let Leader::Here { .. } = node.leadership.leader() {
            probe!("quarantined_leader_hands_over");
            // Not handed over: the next look tries again.
            drop(node.admin.transfer(None).await);
            return Ok(());
        }
        if !due {
            return Ok(());
        }
        let mut stopping = node.stopping.clone();
        let stop = pin!(stopping.wait_for(|stop| *stop));
        let rebuilt = match select(stop, pin!(self.rebuild())).await {
            Either::Left(_) => return Ok(()),
            Either::Right((rebuilt, _)) => rebuilt,
        };
        match rebuilt {
            Ok(from) => {
                tracing::info!(node = node.id, from, "the state was rebuilt from another node's");
                // Damage may have been told without having come back through the log yet.
                self.rebuilt = since.or(Some(self.voted));
            }
            Err(error) => {
                probe!("rebuild_failed");
                tracing::warn!(node = node.id, error, "the state was not rebuilt; it is tried again");
            }
        }
        Ok(())
    }

    /// Puts the state of another member in the place of this one's; which member. Cancel: this one stays.
    async fn rebuild(&self) -> Result<u64, String> {
        let node = &self.node;
        let (majority, members) = {
            let data = node.state.read();
            let sound = |id: &u64| *id != node.id && !data.integrity.quarantined.contains_key(id);
            let majority = data.integrity.majority_members(&data.membership);
            let members: Vec<u64> = data.membership.nodes().map(|(id, _)| *id).filter(sound).collect();
            (majority, members)
        };
        let hold = node.state.hold().await;
        let mut errors = Vec::new();
        let (trusted, others): (Vec<u64>, Vec<u64>) = members.into_iter().partition(|id| majority.contains(id));
        for from in trusted.into_iter().chain(others) {
            let Some(member) = node.leadership.members().remove(&from) else { continue };
            let connection = node.admin.network.connect(from, &member);
            let image = connection.fetch_state(async |manifest| {
                let image = node.state.image(manifest).map_err(|e| Status::data_loss(e.to_string()))?;
                ship::pull(&node.state, &connection, &image).await?;
                Ok(image)
            });
            let replaced = match image.await {
                Ok(image) => self.take(&hold, image).await,
                Err(status) => Err(status.message().to_string()),
            };
            match replaced {
                Ok(()) => return Ok(from),
                Err(error) => errors.push(format!("node {from}: {error}")),
            }
        }
        Err(format!("no other member gave its state: {}", errors.join("; ")))
    }

    async fn take(&self, hold: &Hold<'_>, image: Image) -> Result<(), String> {
        let node = &self.node;
        let (data, meta) = node.state.decode(&image).await.map_err(|e| e.to_string())?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        // What is applied here must be known here to be committed.
        let deadline = node.env.clock.monotonic() + LOG_TIMEOUT;
        while self.log_reaches() < index {
            if node.env.clock.monotonic() >= deadline {
                return Err(format!("the log did not reach its index {index} within {LOG_TIMEOUT:?}"));
            }
            probe!("rebuild_waits_for_the_log");
            node.env.clock.sleep(LOG_STEP).await;
        }
        match node.state.replace(hold, data, meta, image).await.map_err(|e| e.to_string())? {
            true => Ok(()),
            false => Err("its state is behind this one's".into()),
        }
    }

    /// Up to where entries are durable here and committed.
    fn log_reaches(&self) -> u64 {
        let committed = {
            let metrics = self.node.leadership.raft().metrics();
            metrics.borrow_watched().cluster_committed.map_or(0, |id| id.index)
        };
        committed.min(self.node.log.flushed().map_or(0, |id| id.index))
    }
}

/// Of the graphs that a round is about; `None` while one is not built so far.
fn graphs(round: &Round) -> Option<u64> {
    round.spaces.iter().try_fold(0, |digest, (space, rows)| {
        let epoch = space.index.epoch_within(*rows)?;
        let words = [space.id, u64::from(*rows), epoch.number, u64::from(epoch.rows), epoch.digest];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Some(xxh3_64_with_seed(&bytes, digest))
    })
}

/// What is not as it was written, in words.
fn damage(space: &Space) -> Option<String> {
    let broken = |what: String| format!("space {:?}: {what}", space.config.name);
    let intact = |number: &u32| space.rows.get(*number).is_none_or(|row| row.is_intact());
    let proved = space.index.check().map_err(|e| broken(format!("graph: {e}")));
    proved.err().or_else(|| {
        let bad = (0..space.rows.len()).find(|number| !intact(number))?;
        Some(broken(format!("row {bad}: the payload is not the one that was written")))
    })
}
