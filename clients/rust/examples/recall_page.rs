//! A recall whose results come in pages, best first, with a filter and a score threshold:
//! `cargo run -p engram-client --example recall_page -- 127.0.0.1:7600`
#![allow(clippy::print_stdout, reason = "an example's output")]

use engram_client::{
    Client, ClientError, FieldValues, Filter, Kind, ObserveOptions, Recall, SpaceConfig, Value, filter, observation,
    value,
};

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Observes 600 memories of two topics, then recalls those of one; the lines say what came.
pub async fn run(endpoint: &str) -> Result<Vec<String>, Anything> {
    let client = Client::connect([endpoint])?;
    let space = SpaceConfig { name: "example-pages".into(), dim: 2, ..SpaceConfig::default() };
    match client.create_space(space).await {
        Err(ClientError::Refused(error)) if error.kind() == Kind::Exists => {} // made by an earlier run
        made => drop(made?),
    }
    let text = |text: &str| Value { kind: Some(value::Kind::Text(text.into())) };
    let observer = client.observe("example-pages", ObserveOptions::default()).await?;
    for number in 0..600u16 {
        let (sin, cos) = (f32::from(number) / 400.0).sin_cos();
        let mut memory = observation(format!("memory {number}"), &[cos, sin]);
        let topic = if number % 2 == 0 { "fish" } else { "bird" };
        memory.metadata.insert("topic".into(), text(topic));
        observer.push(memory).await?;
    }
    observer.finish().await?;

    // The cue lies at memory 0, the score is a cosine. `where topic = fish`, and nothing over 60 degrees away.
    let only_fish = filter::Kind::OneOf(FieldValues { key: "topic".into(), values: vec![text("fish")] });
    let recall = Recall {
        filter: Some(Filter { kind: Some(only_fish) }),
        score_min: Some(0.5),
        ..Recall::new("example-pages", vec![1.0, 0.0], 1000)
    };
    let mut lines = Vec::new();
    // Session level: what this client observed above is in the answer, from whichever node it comes.
    let mut pages = client.recall_pages(recall).await?;
    let snapshot = *pages.snapshot();
    lines.push(format!("node {} answers at log index {}", snapshot.node, snapshot.applied_index));
    while let Some(hits) = pages.next_page().await? {
        let (best, worst) = (&hits[0], &hits[hits.len() - 1]);
        let (from, to) = (&best.text, &worst.text);
        lines.push(format!("a page of {}: {from} ({:.3}) to {to} ({:.3})", hits.len(), best.score, worst.score));
    }
    Ok(lines)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Anything> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7600".into());
    run(&endpoint).await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
