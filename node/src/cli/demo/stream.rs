//! The stream through the leader's death: rows go in, the leader goes down at half, comes back later.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

use crate::cli::exit::Failure;
use crate::cli::feed::{self, Fed};
use crate::cli::local::{nodes::Nodes, wait};
use crate::cli::out;
use engram_client::{Client, Event, ObserveOptions, observation};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What was promised to the stream.
pub struct Streamed {
    /// The session.
    pub session: u64,
    /// Row of the data by acked sequence.
    pub acked: BTreeMap<u64, usize>,
    /// Acks that contradicted an earlier one.
    pub contradictions: u64,
    /// Counts, time, latencies.
    pub fed: Fed,
    /// Longest time between two acks.
    pub pause: Duration,
    /// Who was killed, and after how many acks.
    pub killed: (u64, u64),
    /// Who took over, by the observer's own account.
    pub resumed_on: Vec<u64>,
}

struct Heard {
    acked: BTreeMap<u64, usize>,
    contradictions: u64,
    last: Instant,
    pause: Duration,
    resumed_on: Vec<u64>,
}

impl Heard {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Acked { tickets, sequences, .. } => {
                self.pause = self.pause.max(self.last.elapsed());
                self.last = Instant::now();
                for (ticket, sequence) in tickets.clone().zip(sequences.clone()) {
                    let row = ticket as usize - 1;
                    let before = self.acked.insert(sequence, row);
                    self.contradictions += u64::from(before.is_some_and(|before| before != row));
                }
            }
            Event::Resumed { node, .. } => self.resumed_on.push(*node),
            Event::Lost { .. } => self.contradictions += 1,
            _ => {}
        }
    }
}

/// Streams all of `set` into `space` while the leader is killed at half and comes back at three quarters.
pub async fn run(
    client: &Client,
    nodes: &mut Nodes,
    space: &str,
    set: &super::data::Set,
    options: ObserveOptions,
) -> Result<Streamed, Failure> {
    let total = set.texts.len() as u64;
    let observer = client.observe(space, options).await?;
    let bar = feed::bar(total);
    let mut heard = Heard {
        acked: BTreeMap::new(),
        contradictions: 0,
        last: Instant::now(),
        pause: Duration::ZERO,
        resumed_on: Vec::new(),
    };
    let (progress, mut acked) = watch::channel(0);
    let rows = set.texts.iter().zip(&set.vectors).map(|(text, vector)| Ok(observation(*text, vector)));
    let started = Instant::now();
    let say = |text: String| {
        let at = started.elapsed().as_secs_f64();
        bar.suspend(|| out::note(format_args!("          {at:5.2} s into the stream: {text}")));
    };
    let feeding = feed::feed(&observer, rows, |event| {
        heard.event(event);
        bar.set_position(heard.acked.len() as u64);
        progress.send_replace(heard.acked.len() as u64);
        match event {
            Event::Interrupted { error } => say(format!("the stream was interrupted: {error}")),
            Event::Resumed { node, .. } => say(format!("the stream goes on, on node {node}")),
            _ => {}
        }
    });
    let killing = async {
        let gone = |_| Failure::failed("the stream ended before its time");
        let at = *acked.wait_for(|acked| *acked >= total / 2).await.map_err(gone)?;
        let leader = wait::leader(client, nodes).await?;
        nodes.kill(leader)?;
        say(format!("node {leader}, the leader, was killed with SIGKILL after {at} acks"));
        acked.wait_for(|acked| *acked >= total - total / 4).await.map_err(gone)?;
        nodes.start(leader)?;
        say(format!("node {leader} was started again"));
        Ok((leader, at))
    };
    let both = tokio::try_join!(feeding, killing);
    bar.finish_and_clear();
    let (fed, killed) = both?;
    nodes.check()?;
    let Heard { acked, contradictions, pause, resumed_on, .. } = heard;
    Ok(Streamed { session: observer.session(), acked, contradictions, fed, pause, killed, resumed_on })
}
