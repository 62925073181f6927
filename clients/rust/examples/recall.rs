//! Asks each node for the memories nearest to a cue, after the `observe` example has run:
//! `cargo run -p engram-client --example recall -- 127.0.0.1:7600 127.0.0.1:7601`
#![allow(clippy::print_stdout, reason = "an example's output")]

use engram_client::{Client, Level, Recall};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut endpoints: Vec<String> = std::env::args().skip(1).collect();
    if endpoints.is_empty() {
        endpoints.push("127.0.0.1:7600".into());
    }
    let client = Client::connect(endpoints)?;
    let cue = vec![1.0, 0.1, 0.9, 0.2];

    // Linearizable: whatever anybody's observer was acked before now. Any node may answer.
    let recall = Recall { level: Level::Linearizable, ..Recall::new("example", cue.clone(), 5) };
    let answer = client.recall(recall).await?;
    println!("node {} answers at log index {}:", answer.snapshot.node, answer.snapshot.applied_index);
    for hit in &answer.hits {
        println!("  {:.4}  {}", hit.score, hit.text);
    }

    // Each node by itself, never older than the answer above: the client carries the token.
    for node in client.endpoints() {
        let recall = Recall { node: Some(node.clone()), ..Recall::new("example", cue.clone(), 5) };
        match client.recall(recall).await {
            Ok(same) => println!("{node}: {} hits at {}", same.hits.len(), same.snapshot.applied_index),
            Err(error) => println!("{node}: {error}"),
        }
    }
    Ok(())
}
