//! A stream whose connection is cut again and again: the session resumes, and each row is in once.
//! `cargo run -p engram-client --example resumed_stream -- 127.0.0.1:7600`
#![allow(clippy::print_stdout, reason = "an example's output")]
#![allow(clippy::disallowed_methods, reason = "the proxy is a task of its own")]

use engram_client::{Client, ClientError, Event, Kind, List, ObserveOptions, SpaceConfig, observation};
use tokio::io::{AsyncReadExt, copy};
use tokio::net::{TcpListener, TcpStream};

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Passes bytes on to the node, and cuts a connection after 8 KiB, then after 16, and so on.
async fn cutting_proxy(listener: TcpListener, node: String) {
    let mut bytes = 8 << 10;
    while let (Ok((mut client, _)), Ok(mut server)) = (listener.accept().await, TcpStream::connect(&node).await) {
        let ((from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
        let mut requests = from_client.take(bytes);
        tokio::select! {
            biased; // the end of either direction is the end of both; acks on their way are lost
            _ = copy(&mut requests, &mut to_server) => {}
            _ = copy(&mut from_server, &mut to_client) => {}
        }
        bytes *= 2;
    }
}

/// Streams 2,000 rows through the proxy, then lists what is there; the lines say what happened.
pub async fn run(node: &str) -> Result<Vec<String>, Anything> {
    let direct = Client::connect([node])?;
    let space = SpaceConfig { name: "example-resumed".into(), dim: 2, ..SpaceConfig::default() };
    match direct.create_space(space).await {
        Err(ClientError::Refused(error)) if error.kind() == Kind::Exists => {} // made by an earlier run
        made => drop(made?),
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = listener.local_addr()?.to_string();
    let cutting = tokio::spawn(cutting_proxy(listener, node.to_string()));

    // Pinned to the proxy: otherwise the client would follow the hint to the leader, around the proxy.
    let client = Client::connect([proxy.as_str()])?.on(&proxy);
    let options = ObserveOptions { batch_rows: 50, ..ObserveOptions::default() };
    let observer = client.observe("example-resumed", options).await?;
    let session = observer.session();
    for number in 0..2000 {
        observer.push(observation(format!("row {number}"), &[0.6, 0.8])).await?;
    }
    observer.flush().await?;
    let mut lines = Vec::new();
    while let Some(event) = observer.try_event() {
        if let Event::Resumed { last_sequence, .. } = event {
            lines.push(format!("cut, and resumed after row {last_sequence}"));
        }
    }
    let summary = observer.finish().await?;
    let rows = direct.list_all(List::new("example-resumed")).await?.rows;
    let texts = rows.iter().filter(|row| row.session == session).flat_map(|row| &row.observation).map(|row| &row.text);
    let once = texts.eq((0..2000).map(|number| format!("row {number}")).collect::<Vec<_>>().iter());
    let verdict = if once { "each row once, in order" } else { "a promise is broken" };
    lines.push(format!("{} rows acked over {} resumes: {verdict}", summary.acked, summary.resumes));
    cutting.abort();
    Ok(lines)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Anything> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7600".into());
    run(&endpoint).await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
