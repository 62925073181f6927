//! `engram cluster`: make one, look at it, add and remove nodes, say who leads.

mod status;

pub use status::{Asked, ask, equal_index, gather, render};

use super::exit::{Code, Failure};
use super::{Target, out};
use clap::{Args, Subcommand};
use engram_client::NodeAddress;

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Ask every member for its state, and compare.
    Status(StatusArgs),
    /// Make a cluster of blank nodes; ask one of them.
    Init(InitArgs),
    /// Add a blank node.
    Add(AddArgs),
    /// Give a learner a vote, once it has caught up.
    Promote(MemberArgs),
    /// Say where a member is now, after it was started at other addresses.
    Update(UpdateArgs),
    /// Remove a node; its id is never used again.
    Remove(MemberArgs),
    /// Let another voter lead, before the machine of the leader is worked on, say.
    Transfer(TransferArgs),
}

/// Whom to ask.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print all states as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Who is in it.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// ID=CLIENT,PEER: a node's id and its two addresses, as host:port; once for each node.
    #[arg(long = "node", value_name = "ID=CLIENT,PEER", required = true, value_parser = node)]
    nodes: Vec<NodeAddress>,
    /// Print the cluster's id as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Who comes.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// ID=CLIENT,PEER: the node's id and its two addresses, as host:port.
    #[arg(long = "node", value_name = "ID=CLIENT,PEER", value_parser = node)]
    node: NodeAddress,
    /// Let it follow and answer, without a vote.
    #[arg(long)]
    learner: bool,
    /// Print the log index as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Where it is.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// ID=CLIENT,PEER: the member's id and its two addresses from now on, as host:port.
    #[arg(long = "node", value_name = "ID=CLIENT,PEER", value_parser = node)]
    node: NodeAddress,
    /// Print the log index as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Which member.
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// Its id.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// Print the log index as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Who leads next.
#[derive(Debug, Args)]
pub struct TransferArgs {
    /// Its id; otherwise the voter whose log is furthest.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    id: Option<u64>,
    /// Print the leader's id as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn node(text: &str) -> Result<NodeAddress, String> {
    let form = || format!("{text:?}: write ID=CLIENT,PEER, as 1=10.0.0.1:7600,10.0.0.1:7700");
    let (id, addresses) = text.split_once('=').ok_or_else(form)?;
    let (client, peer) = addresses.split_once(',').ok_or_else(form)?;
    let node = id.parse().ok().filter(|id| *id > 0).ok_or_else(form)?;
    let address = |text: &str| match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_string()),
        _ => Err(form()),
    };
    Ok(NodeAddress { node, client_address: address(client)?, peer_address: address(peer)? })
}

/// Does it.
pub async fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status(args) => show(args).await,
        ClusterCommand::Init(args) => init(args).await,
        ClusterCommand::Add(args) => {
            let id = args.node.node;
            let log_index = args.target.client()?.add_node(args.node, args.learner).await?;
            changed(args.json, "added", id, log_index);
            Ok(())
        }
        ClusterCommand::Promote(args) => {
            let client = args.target.client()?;
            let members = client.status().await?.members;
            let learner = members.into_iter().filter_map(|member| member.address).find(|known| known.node == args.id);
            let learner = learner.ok_or_else(|| Failure::input(format!("node {} is no member", args.id)))?;
            let log_index = client.add_node(learner, false).await?;
            changed(args.json, "promoted", args.id, log_index);
            Ok(())
        }
        ClusterCommand::Update(args) => {
            let id = args.node.node;
            let log_index = args.target.client()?.update_node(args.node).await?;
            changed(args.json, "updated", id, log_index);
            Ok(())
        }
        ClusterCommand::Remove(args) => {
            let log_index = args.target.client()?.remove_node(args.id).await?;
            changed(args.json, "removed", args.id, log_index);
            Ok(())
        }
        ClusterCommand::Transfer(args) => {
            let leader = args.target.client()?.transfer_leader(args.id).await?;
            match args.json {
                true => out::json(&serde_json::json!({ "leader": leader })),
                false => out::line(format_args!("node {leader} leads")),
            }
            Ok(())
        }
    }
}

async fn show(args: StatusArgs) -> Result<(), Failure> {
    let client = args.target.client()?;
    let asked = gather(&client, args.target.deadline()).await;
    match args.json {
        true => out::json(&status::view(&asked)),
        false => out::line(render(&asked)),
    }
    if let Some(conflict) = status::conflict(&asked) {
        return Err(Failure::failed(conflict));
    }
    let silent: Vec<String> = asked.iter().filter_map(Asked::silent).collect();
    match silent.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Code::NoAnswer, format!("no answer: {}", silent.join("; ")))),
    }
}

async fn init(args: InitArgs) -> Result<(), Failure> {
    // Any of the blank nodes will do, and these are their addresses.
    let client = args.target.client_of(args.nodes.iter().map(|node| node.client_address.clone()).take(1))?;
    let cluster_id = client.init(args.nodes).await?;
    let id: String = cluster_id.iter().map(|byte| format!("{byte:02x}")).collect();
    match args.json {
        true => out::json(&serde_json::json!({ "cluster_id": id })),
        false => out::line(format_args!("cluster {id}")),
    }
    Ok(())
}

fn changed(json: bool, what: &str, node: u64, log_index: u64) {
    match json {
        true => out::json(&serde_json::json!({ what: node, "log_index": log_index })),
        false => out::line(format_args!("{what} node {node} at log index {log_index}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_and_bad_ones_explained() {
        let good = node("2=a:1,b:2").expect("valid");
        assert_eq!((good.node, &*good.client_address, &*good.peer_address), (2, "a:1", "b:2"));
        for bad in ["", "2", "2=a:1", "0=a:1,b:2", "x=a:1,b:2", "2=a,b:2", "2=a:1,b:99999"] {
            assert!(node(bad).expect_err("refused").contains("ID=CLIENT,PEER"), "{bad}");
        }
    }
}
