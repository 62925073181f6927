//! Polls the nodes until something is so, with a deadline, while none of them may die.
#![expect(clippy::disallowed_methods, reason = "a command waits with the system's clock")]

use super::nodes::Nodes;
use crate::cli::cluster::{Asked, ask, equal_index};
use crate::cli::exit::{Code, Failure};
use engram_client::{Client, Timing};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(1);

async fn until<T>(
    client: &Client,
    nodes: &mut Nodes,
    what: &str,
    so: impl Fn(&[Asked]) -> Option<T>,
) -> Result<T, Failure> {
    let client = client.with_timing(Timing { deadline: ANSWER, ..Timing::default() });
    let until = Instant::now() + DEADLINE;
    loop {
        nodes.check()?;
        let addresses = nodes.addresses().into_iter().map(|address| (Some(address.node), address.client_address));
        let asked = ask(&client, addresses.collect()).await;
        if let Some(value) = so(&asked) {
            return Ok(value);
        }
        if Instant::now() >= until {
            let seen = crate::cli::cluster::render(&asked);
            return Err(Failure::new(Code::Failed, format!("{what}: not within {DEADLINE:?}; last seen:\n{seen}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Until every node answers.
pub async fn answering(client: &Client, nodes: &mut Nodes) -> Result<(), Failure> {
    until(client, nodes, "all nodes answer", |asked| asked.iter().all(|asked| asked.answer.is_ok()).then_some(())).await
}

/// Until every node is ready for traffic.
pub async fn ready(client: &Client, nodes: &mut Nodes) -> Result<(), Failure> {
    let ready = |asked: &Asked| asked.answer.as_ref().is_ok_and(|status| status.not_ready_reason.is_empty());
    until(client, nodes, "all nodes are ready", |asked| asked.iter().all(ready).then_some(())).await
}

/// Who leads, by its own account; the latest term counts.
pub async fn leader(client: &Client, nodes: &mut Nodes) -> Result<u64, Failure> {
    let own = |asked: &Asked| {
        let status = asked.answer.as_ref().ok()?;
        (status.leader == Some(status.node)).then_some((status.term, status.node))
    };
    until(client, nodes, "a node leads", |asked| asked.iter().filter_map(own).max().map(|(_, node)| node)).await
}

/// Until all nodes have applied `least` and are equal, their graphs finished. What they said.
pub async fn equal(
    client: &Client,
    nodes: &mut Nodes,
    least: u64,
) -> Result<Vec<engram_client::StatusResponse>, Failure> {
    let what = format!("all nodes are equal at one log index from {least} on");
    until(client, nodes, &what, |asked| {
        equal_index(asked).filter(|at| *at >= least)?;
        Some(asked.iter().filter_map(|asked| asked.answer.clone().ok()).collect())
    })
    .await
}
