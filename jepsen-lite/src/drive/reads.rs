//! The readers: recalls from any node at every level, and questions that are asked again.
//!
//! Each answer goes into the histories with its level; the checkers decide what it may hold. A question about the past
//! (`at_index`) is put to every node in turn, and its answers must be equal to the byte.

use crate::drive::record::{Fresh, Recorder};
use crate::drive::workload::{stream, vector};
use engram_client::{Answer, Client, Level, ReadToken, Recall};
use rand::RngExt;
use std::time::Duration;
use tokio::time::sleep;

/// Hits of an answer.
const K: u32 = 10;
/// For an answer, all attempts included.
const DEADLINE: Duration = Duration::from_secs(3);

/// Asks once and records it; the answer, if there was one.
pub async fn ask(
    client: &Client,
    name: &str,
    recorder: &Recorder,
    space: &str,
    cue: &[f32],
    fresh: Fresh,
) -> Option<Answer> {
    let mut recall = Recall { deadline: DEADLINE, ..Recall::new(space, cue.to_vec(), K) };
    match fresh {
        Fresh::Level(level) => recall.level = level,
        Fresh::At(index) => (recall.level, recall.at_index) = (Level::Eventual, Some(index)),
    }
    let asked = recorder.recalls(name, space, cue, K, fresh, client.token().log_index);
    match client.recall(recall).await {
        Ok(answer) => {
            recorder.answered(asked, &answer);
            Some(answer)
        }
        Err(error) => {
            recorder.unanswered(asked, &error.to_string());
            None
        }
    }
}

/// Reads until `until`.
pub async fn read(
    client: Client,
    name: String,
    spaces: [&'static str; 2],
    seed: u64,
    recorder: Recorder,
    until: Duration,
) {
    let mut rng = stream(seed, &name);
    let mut seen = 0;
    while recorder.now() < until {
        let space = spaces[usize::from(rng.random_range(0..3) == 0)];
        let cue = vector(&mut rng);
        let fresh = match rng.random_range(0..6) {
            0 => Fresh::Level(Level::Eventual),
            1 => Fresh::Level(Level::Session),
            2 => Fresh::Level(Level::Bounded(Duration::from_millis(rng.random_range(0..500)))),
            3 => Fresh::Level(Level::AtLeast(ReadToken { log_index: seen, incarnation: 0 })),
            4 if seen > 0 => Fresh::At(seen),
            _ => Fresh::Level(Level::Linearizable),
        };
        if let Fresh::At(_) = fresh {
            for endpoint in client.endpoints().to_vec() {
                ask(&client.on(&endpoint), &name, &recorder, space, &cue, fresh).await;
            }
        } else if let Some(answer) = ask(&client, &name, &recorder, space, &cue, fresh).await {
            seen = seen.max(answer.snapshot.applied_index);
        }
        sleep(Duration::from_millis(rng.random_range(20..200))).await;
    }
}
