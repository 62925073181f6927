//! `engram admin`: prove what the nodes hold.
//!
//! `verify DIR` reads a backup, or the data directory of a node that is stopped, whole, without a cluster. `verify` asks
//! every member to walk its graphs and to hash them anew. A graph that its node cannot prove, or two that were proved at the
//! same epoch and differ, end the command with exit code 1, as damage does.

use super::cluster::gather;
use super::exit::{Code, Failure};
use super::{Target, out};
use crate::env::OsDisk;
use crate::verify::Whole;
use clap::{Args, Subcommand};
use engram_client::{Error, VerifyResponse};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to look at.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Prove the graphs of every member: links, levels, reachability, digest; or, with a directory, all that is in it.
    Verify(VerifyArgs),
}

/// Whose graphs.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A backup, or the data directory of a node that is stopped: it is read and proved offline, in place of a cluster.
    #[arg(conflicts_with = "space")]
    dir: Option<PathBuf>,
    /// One space; all of them otherwise.
    #[arg(long, default_value = "")]
    space: String,
    /// Print the proofs as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub async fn run(command: AdminCommand) -> Result<(), Failure> {
    let AdminCommand::Verify(args) = command;
    if let Some(dir) = &args.dir {
        return offline(dir, args.json);
    }
    let client = args.target.client()?;
    let members = gather(&client, args.target.deadline()).await;
    let proved = members.iter().map(|member| async {
        let proof = match &member.answer {
            Ok(_) => client.on(&member.address).verify(&args.space).await,
            Err(error) => Err(error.clone()),
        };
        (member.address.clone(), proof)
    });
    let proved = join_all(proved).await;
    match args.json {
        true => out::json(&view(&proved)),
        false => out::line(render(&proved)),
    }
    match verdict(&proved) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Proves a directory.
fn offline(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let place = dir.display();
    if !dir.join("identity").exists() {
        let (log_index, rows) = super::backup::verify(dir)?;
        match as_json {
            true => out::json(&serde_json::json!({ "log_index": log_index, "rows": rows })),
            false => out::line(format_args!("{place} is whole: {rows} rows, up to log index {log_index}")),
        }
        return Ok(());
    }
    let whole = crate::verify::prove(Arc::new(OsDisk), dir).map_err(Failure::failed)?;
    let Whole { node, cluster, snapshot_index, rows, files, log } = whole;
    match as_json {
        true => out::json(&serde_json::json!({
            "node": node,
            "cluster": cluster,
            "snapshot_index": snapshot_index,
            "rows": rows,
            "record_files": files,
            "log_entries": log.entries,
            "log_first_index": log.first_index,
            "log_last_index": log.last_index,
            "torn_bytes": log.torn_bytes,
        })),
        false => {
            out::line(format_args!("{place} is whole: node {node} of cluster {cluster:?}"));
            out::line(format_args!(
                "snapshot: {rows} rows in it and {files} record files, up to log index {snapshot_index}"
            ));
            let entries = log.entries;
            match log.first_index.zip(log.last_index) {
                Some((first, last)) => out::line(format_args!("log: {entries} entries, {first} to {last}")),
                None => out::line(format_args!("log: no entries")),
            }
            if let Some((file, at)) = log.torn_at {
                let (bytes, file) = (log.torn_bytes, file.display());
                out::note(format_args!(
                    "{file} ends with an unfinished write of {bytes} bytes at {at}: a start cuts it"
                ));
            }
        }
    }
    Ok(())
}

/// A node's address and what it said.
type Proved = (String, Result<VerifyResponse, Error>);

fn render(proved: &[Proved]) -> String {
    let mut table = out::Table::new(&["space", "node", "epoch", "rows", "graph digest", "proof"]);
    for (address, answer) in proved {
        let Ok(answer) = answer else {
            table.row(["?".into(), address.clone()]);
            continue;
        };
        for graph in &answer.graphs {
            let proof = if graph.broken.is_empty() { "holds" } else { &graph.broken };
            let counts = [answer.node, graph.epoch, graph.epoch_rows].map(|count| count.to_string());
            let digest = format!("{:016x}", graph.graph_digest);
            table.row([graph.space.clone()].into_iter().chain(counts).chain([digest, proof.into()]));
        }
    }
    table.render()
}

fn view(proved: &[Proved]) -> serde_json::Value {
    let one = |(address, answer): &Proved| match answer {
        Err(error) => serde_json::json!({ "address": address, "error": error.to_string() }),
        Ok(answer) => {
            let graph = |graph: &engram_proto::wire::v1::GraphProof| {
                serde_json::json!({
                    "space": graph.space,
                    "id": graph.id,
                    "epoch": graph.epoch,
                    "epoch_rows": graph.epoch_rows,
                    "graph_digest": format!("{:016x}", graph.graph_digest),
                    "broken": (!graph.broken.is_empty()).then_some(&graph.broken),
                })
            };
            let graphs = answer.graphs.iter().map(graph).collect::<Vec<_>>();
            serde_json::json!({ "node": answer.node, "address": address, "graphs": graphs })
        }
    };
    serde_json::json!({ "nodes": proved.iter().map(one).collect::<Vec<_>>() })
}

/// The worst of it.
fn verdict(proved: &[Proved]) -> Option<Failure> {
    let mut digests = BTreeMap::new();
    for answer in proved.iter().filter_map(|(_, answer)| answer.as_ref().ok()) {
        for graph in &answer.graphs {
            let (node, space) = (answer.node, &graph.space);
            if !graph.broken.is_empty() {
                let text = format!("node {node}, space {space}: {}; restart the node to rebuild it", graph.broken);
                return Some(Failure::failed(text));
            }
            let (first, digest) = *digests.entry((graph.id, graph.epoch)).or_insert((node, graph.graph_digest));
            if digest != graph.graph_digest {
                return Some(Failure::failed(format!(
                    "same_log_same_graph broke: in epoch {} of {space} node {first} has digest {digest:016x}, node \
                     {node} {:016x}; keep both data directories and report it",
                    graph.epoch, graph.graph_digest
                )));
            }
        }
    }
    let error = proved.iter().find_map(|(address, answer)| Some((address, answer.as_ref().err()?)));
    error.map(|(address, error)| match Failure::from(error.clone()) {
        failure if failure.code == Code::Input => failure,
        failure => Failure::new(Code::NoAnswer, format!("{address}: {failure}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_proto::wire::v1::GraphProof;

    fn proof(node: u64, graph_digest: u64, broken: &str) -> Proved {
        let graph =
            GraphProof { space: "notes".into(), id: 3, epoch: 7, epoch_rows: 500, graph_digest, broken: broken.into() };
        (format!("host:{node}"), Ok(VerifyResponse { node, graphs: vec![graph] }))
    }

    #[test]
    fn equal_proofs_pass_and_anything_else_is_named() {
        assert!(verdict(&[proof(1, 5, ""), proof(2, 5, "")]).is_none());
        let differ = verdict(&[proof(1, 5, ""), proof(2, 6, "")]).expect("a conflict").to_string();
        assert!(differ.contains("node 1 has digest 0000000000000005, node 2 0000000000000006"), "{differ}");
        let broken = verdict(&[proof(1, 5, "layer 0, row 3: a link twice")]).expect("broken").to_string();
        assert!(broken.starts_with("node 1, space notes: layer 0, row 3: a link twice"), "{broken}");
        assert!(render(&[proof(1, 5, "")]).contains("holds"));
    }
}
