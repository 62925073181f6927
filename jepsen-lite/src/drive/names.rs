//! A client that gives its rows names and forgets some of them, in a space of its own.
//!
//! Each name is given once. It forgets only what it knows to be there or may be there: what a forget means must not
//! depend on what the client does not know. A session that ends is followed by another; what it left without an ack
//! stays unknown for ever.

use crate::drive::Broken;
use crate::drive::record::{From, Recorder, Sent};
use crate::drive::workload::{stream, vector};
use engram_client::{
    Client, ClientError, Event, Kind, Level, Observation, ObserveOptions, Observer, Which, observation,
};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The space of names.
pub const SPACE: &str = "names";
/// For the acks of a handful of rows.
const PATIENCE: Duration = Duration::from_secs(10);

struct Names {
    client: Client,
    recorder: Recorder,
    rng: StdRng,
    /// The session's.
    name: String,
    /// Names given so far.
    given: u64,
    /// Acked and not yet sent to be forgotten.
    there: Vec<String>,
    /// Forgotten for certain.
    gone: Vec<String>,
    open: BTreeMap<u64, Sent>,
}

/// What the client knows in the end.
pub struct Known {
    /// Rows that every node must show.
    pub there: Vec<String>,
    /// Rows that no node may show.
    pub gone: Vec<String>,
}

/// Works until `until`.
pub async fn run(client: Client, seed: u64, recorder: Recorder, until: Duration) -> Known {
    let rng = stream(seed, "names");
    let name = String::new();
    let mut names =
        Names { client, recorder, rng, name, given: 0, there: Vec::new(), gone: Vec::new(), open: BTreeMap::new() };
    let mut observer: Option<(Observer, u64)> = None;
    let mut sessions = 0;
    while names.recorder.now() < until {
        match &mut observer {
            None => {
                let opened = names.client.observe(SPACE, ObserveOptions::default()).await;
                observer = opened.ok().map(|observer| (observer, 0));
                sessions += 1;
                names.name = format!("names {sessions}");
            }
            Some((open, sent)) => {
                let going = match names.rng.random_range(0..3) {
                    0 => names.forget().await,
                    _ => names.write(open, sent).await,
                };
                if !going {
                    let left = std::mem::take(&mut names.open);
                    left.into_values().for_each(|sent| names.recorder.lost_sight(sent));
                    observer = None;
                }
            }
        }
        sleep(Duration::from_millis(names.rng.random_range(50..250))).await;
    }
    let left = std::mem::take(&mut names.open);
    left.into_values().for_each(|sent| names.recorder.lost_sight(sent));
    Known { there: names.there, gone: names.gone }
}

impl Names {
    /// Gives some names; whether the session still stands, and all is acked.
    async fn write(&mut self, observer: &Observer, sent: &mut u64) -> bool {
        let from = From { client: &self.name, session: observer.session(), space: SPACE };
        for _ in 0..self.rng.random_range(1..6) {
            self.given += 1;
            *sent += 1;
            let (id, embedding) = (format!("name {}", self.given), vector(&mut self.rng));
            self.open.insert(*sent, self.recorder.observes(&from, *sent, &id, &embedding));
            let row = Observation { id: id.clone(), ..observation(id, &embedding) };
            if observer.push(row).await.is_err() {
                return false;
            }
        }
        let flushed = matches!(timeout(PATIENCE, observer.flush()).await, Ok(Ok(_)));
        while let Some(event) = observer.try_event() {
            let Event::Acked { tickets, log_index, repeat, .. } = event else { continue };
            for ticket in tickets {
                if let Some(sent) = self.open.remove(&ticket) {
                    self.there.push(sent.text().to_string());
                    self.recorder.committed(sent, (!repeat && log_index > 0).then_some(log_index));
                }
            }
        }
        flushed
    }

    /// Forgets some of the names that are there.
    async fn forget(&mut self) -> bool {
        let mut ids = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            if self.there.len() > 4 {
                let at = self.rng.random_range(0..self.there.len());
                ids.push(self.there.swap_remove(at));
            }
        }
        if ids.is_empty() {
            return true;
        }
        let asked = self.recorder.forgets(&self.name, SPACE, &ids);
        match self.client.forget(SPACE, Which::Named(ids.clone().into())).await {
            Ok(forgotten) => {
                self.recorder.forgotten(asked, Ok(Some(forgotten.log_index)));
                self.gone.extend(ids);
            }
            Err(ClientError::Refused(error)) => {
                self.recorder.forgotten(asked, Err(error.to_string()));
                self.there.extend(ids);
            }
            Err(ClientError::Unknown(_)) => self.recorder.forgotten(asked, Ok(None)),
        }
        true
    }
}

impl Known {
    /// In the end every node shows every row that is there, and none that is gone.
    pub async fn check(&self, client: &Client, endpoints: &[String]) -> Result<(), Broken> {
        for endpoint in endpoints {
            for (ids, shown) in [(&self.there, true), (&self.gone, false)] {
                for some in ids.chunks(500) {
                    let got = client.on(endpoint).get(SPACE, some.to_vec(), Level::Linearizable, false).await;
                    let rows = match got {
                        Ok(listing) => listing.rows.len(),
                        Err(error) if error.kind() == Kind::NotFound => 0,
                        Err(error) => return Err(format!("liveness: no names from {endpoint}: {error}")),
                    };
                    let expected = if shown { some.len() } else { 0 };
                    if rows != expected {
                        let property = if shown { "no_acked_loss" } else { "forgotten_stays_gone" };
                        return Err(format!(
                            "{property}: {endpoint} shows {rows} rows of {} names where it must show {expected}",
                            some.len()
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
