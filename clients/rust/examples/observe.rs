//! Streams a thousand observations into a space, each exactly once, and tells what became of them:
//! `cargo run -p engram-client --example observe -- 127.0.0.1:7600 127.0.0.1:7601`
#![allow(clippy::print_stdout, reason = "an example's output")]

use engram_client::{Client, ClientError, Event, Kind, ObserveOptions, SpaceConfig, observation};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut endpoints: Vec<String> = std::env::args().skip(1).collect();
    if endpoints.is_empty() {
        endpoints.push("127.0.0.1:7600".into());
    }
    let client = Client::connect(endpoints)?;
    let config = SpaceConfig { name: "example".into(), dim: 4, ..SpaceConfig::default() };
    match client.create_space(config).await {
        Ok(space) => println!("made space {}", space.id),
        // Made by an earlier run.
        Err(ClientError::Refused(error)) if error.kind() == Kind::Exists => {}
        Err(error) => return Err(error.into()),
    }

    let observer = client.observe("example", ObserveOptions::default()).await?;
    println!("session {}", observer.session());
    for number in 0..1000u16 {
        let angle = f32::from(number) / 100.0;
        let embedding = [angle.cos(), angle.sin(), (2.0 * angle).cos(), (2.0 * angle).sin()];
        observer.push(observation(format!("memory {number}"), &embedding)).await?;
        while let Some(event) = observer.try_event() {
            tell(event);
        }
    }
    observer.flush().await?;
    while let Some(event) = observer.try_event() {
        tell(event);
    }
    let token = observer.token();
    let summary = observer.finish().await?;
    println!("{} pushed, {} acked, {} refused", summary.pushed, summary.acked, summary.refused);
    println!("readable from log index {} on", token.log_index);
    Ok(())
}

fn tell(event: Event) {
    match event {
        Event::Acked { .. } => {}
        Event::Refused { ticket, error, .. } => println!("observation {ticket} refused: {error}"),
        Event::Interrupted { error } => println!("interrupted: {error}"),
        Event::Resumed { endpoint, last_sequence, .. } => println!("resumed at {endpoint} after {last_sequence}"),
        other => println!("{other:?}"),
    }
}
