//! A client that gives rows names, replaces, forgets and erases them, and knows what each name may show.
//!
//! It is the only writer of its space, so a name is a register with one writer: every read at the session's level or a
//! linearizable one must show what was written last, or what was in doubt. A doubt never ends: what was sent may arrive late.
//! Invariants that it looks at: `one_row_a_name`, `forgotten_stays_gone`, read your writes, across all faults.

use crate::cluster::Cluster;
use crate::workload::{DIM, vector};
use engram_client::{
    Client, ClientError, Error, Level, Listing, Observation, ObserveOptions, Observer, Recall, SpaceConfig, SpaceInfo,
    Which, observation,
};
use engram_node::env::{Clock, Seed};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SPACE: &str = "names";
/// Few, so that each is replaced and forgotten often.
const NAMES: u32 = 12;

/// What a name may show.
#[derive(Default)]
struct Register {
    /// What was written last.
    last: Option<String>,
    /// What may show in its place.
    doubts: Vec<Option<String>>,
}

impl Register {
    fn allows(&self, shown: &Option<String>) -> bool {
        *shown == self.last || self.doubts.contains(shown)
    }
}

/// The client's knowledge.
pub struct Churn {
    names: BTreeMap<String, Register>,
    /// Of which name each text is a version.
    written: BTreeMap<String, String>,
    writes: u64,
}

impl Churn {
    /// Works until `until`.
    pub async fn run(client: Client, seed: Seed, clock: Arc<dyn Clock>, until: Duration) -> Result<Self, String> {
        let mut rng = seed.stream("names");
        let mut churn = Self { names: BTreeMap::new(), written: BTreeMap::new(), writes: 0 };
        let config = SpaceConfig { name: SPACE.into(), dim: DIM as u32, ..SpaceConfig::default() };
        let mut observer = None;
        while clock.monotonic() < until {
            if observer.is_none() {
                let made = client.create_space(config.clone()).await;
                drop(made); // there already, or the session is refused
                observer = client.observe(SPACE, ObserveOptions::default()).await.ok();
            }
            if let Some(open) = &observer {
                let going = match rng.random_range(0..5) {
                    0 | 1 => churn.write(open, &mut rng).await,
                    2 => churn.forget(&client, &mut rng).await,
                    _ => churn.look(&client, &mut rng).await?,
                };
                if !going {
                    observer = None;
                }
            }
            clock.sleep(Duration::from_millis(rng.random_range(10..150))).await;
        }
        Ok(churn)
    }

    fn draw(rng: &mut StdRng) -> String {
        format!("name {}", rng.random_range(0..NAMES))
    }

    /// Gives some names new rows; whether the session still stands.
    async fn write(&mut self, observer: &Observer, rng: &mut StdRng) -> bool {
        let mut sent = Vec::new();
        for _ in 0..rng.random_range(1..6) {
            self.writes += 1;
            let (id, text) = (Self::draw(rng), format!("version {}", self.writes));
            self.written.insert(text.clone(), id.clone());
            self.names.entry(id.clone()).or_default();
            let row = Observation { id: id.clone(), ..observation(text.clone(), &vector(rng)) };
            if observer.push(row).await.is_err() {
                // Not taken: a flush after it says nothing of it.
                break;
            }
            sent.push((id, text));
        }
        let acked = observer.flush().await.is_ok();
        for (id, text) in sent {
            let register = self.names.entry(id).or_default();
            match acked {
                true => register.last = Some(text),
                false => register.doubts.push(Some(text)),
            }
        }
        acked
    }

    /// Forgets or erases some names.
    async fn forget(&mut self, client: &Client, rng: &mut StdRng) -> bool {
        let ids: Vec<String> = (0..rng.random_range(1..4)).map(|_| Self::draw(rng)).collect();
        let which = Which::Named(ids.clone().into());
        let done = match rng.random_range(0..4) {
            0 => client.erase(SPACE, which).await,
            _ => client.forget(SPACE, which).await,
        };
        for id in ids {
            let register = self.names.entry(id).or_default();
            match &done {
                Ok(_) => register.last = None,
                Err(ClientError::Refused(_)) => {}
                Err(ClientError::Unknown(_)) => register.doubts.push(None),
            }
        }
        true
    }

    /// Reads some names from any node; an error of the moment is none of the promises.
    async fn look(&mut self, client: &Client, rng: &mut StdRng) -> Result<bool, String> {
        let level = if rng.random_range(0..2) == 0 { Level::Session } else { Level::Linearizable };
        let ids: Vec<String> = (0..NAMES).map(|name| format!("name {name}")).collect();
        if let Ok(listing) = client.get(SPACE, ids, level, false).await {
            self.judge(&listing, "during the faults")?;
        }
        let recall = Recall { level: Level::Linearizable, ..Recall::new(SPACE, vector(rng), 100) };
        if let Ok(answer) = client.recall(recall).await {
            for hit in &answer.hits {
                let name = self.written.get(&hit.text).ok_or("named_as_written: a hit that nobody wrote")?;
                let register = &self.names[name];
                if !register.allows(&Some(hit.text.clone())) {
                    let Register { last, doubts } = register;
                    let (text, snapshot) = (&hit.text, &answer.snapshot);
                    return Err(format!(
                        "forgotten_stays_gone: a recall shows {text:?} of {name:?}, written {last:?}, in doubt {doubts:?}; \
                         answered by node {} at {}",
                        snapshot.node, snapshot.applied_index
                    ));
                }
            }
        }
        Ok(true)
    }

    fn judge(&self, listing: &Listing, place: &str) -> Result<(), String> {
        let mut shown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in &listing.rows {
            let observation = row.observation.as_ref().ok_or("one_row_a_name: a row without its observation")?;
            shown.entry(&observation.id).or_default().push(&observation.text);
        }
        for (name, register) in &self.names {
            let rows = shown.remove(name.as_str()).unwrap_or_default();
            if rows.len() > 1 {
                return Err(format!("one_row_a_name: {place} {name:?} shows {rows:?}"));
            }
            let row = rows.first().map(|text| (*text).to_string());
            if !register.allows(&row) {
                let Register { last, doubts } = register;
                return Err(format!(
                    "named_as_written: {place} {name:?} shows {row:?}, written {last:?}, in doubt {doubts:?}"
                ));
            }
        }
        Ok(())
    }

    /// Every node answers alike of the beginning of the past, which reindexes have to keep.
    async fn past(&self, cluster: &Cluster, client: &Client) -> Result<(), String> {
        let failed = |e: Error| format!("liveness: no past of names: {e}");
        let spaces = client.list_spaces().await.map_err(failed)?;
        let names = |space: &&SpaceInfo| space.config.as_ref().is_some_and(|config| config.name == SPACE);
        let at_index = Some(spaces.iter().find(names).ok_or("liveness: the space of names is gone")?.floor);
        let mut first = None;
        for endpoint in cluster.endpoints() {
            let recall = Recall { level: Level::Eventual, at_index, ..Recall::new(SPACE, vec![1.0; DIM], 100) };
            let hits = client.on(&endpoint).recall(recall).await.map_err(failed)?.hits;
            let seen: Vec<_> = hits.into_iter().map(|hit| (hit.row, hit.score.to_bits(), hit.text)).collect();
            if *first.get_or_insert_with(|| seen.clone()) != seen {
                return Err(format!("one_past: {endpoint} answers of names otherwise at {at_index:?}: {seen:?}"));
            }
        }
        Ok(())
    }

    /// Every node shows every name as it was written.
    pub async fn check(&self, cluster: &Cluster, client: &Client) -> Result<(), String> {
        if self.names.is_empty() {
            return Ok(());
        }
        for endpoint in cluster.endpoints() {
            let ids: Vec<String> = self.names.keys().cloned().collect();
            let listing = client.on(&endpoint).get(SPACE, ids, Level::Linearizable, false).await;
            let listing = listing.map_err(|e| format!("liveness: no get of names from {endpoint}: {e}"))?;
            self.judge(&listing, &format!("in the end, from {endpoint},"))?;
        }
        self.past(cluster, client).await
    }
}
