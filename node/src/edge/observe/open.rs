//! The beginning of an observe stream: its first message says on what terms, and opens a session or takes one up.

use super::acks::{APPLY_TIMEOUT, Acks, until_searchable};
use super::credit::{Amount, Credit};
use super::{Incoming, Out, Session, response};
use crate::edge::own::Own;
use crate::edge::{FIRST_MESSAGE_TIMEOUT, unreadable};
use crate::node::Node;
use crate::session::Door;
use crate::spans::Context;
use engram_proto::error::{Error, Result, WriteClass};
use engram_proto::observation::Shape;
use engram_proto::transport::timeout;
use engram_proto::wire::log::{Outcome, SessionOutcome, command, outcome};
use engram_proto::wire::v1::{
    AckStage, FlowKind, ObserveRequest, Priority, SessionOpened, observe_request, observe_response,
};
use futures_util::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a resume may take until what the session has is searchable on the nodes asked for: shorter than a client's
/// patience, so that it hears why.
const RESUME_TIMEOUT: Duration = Duration::from_secs(4);

/// What the client asked for, for the stream's whole life.
#[derive(Clone, Copy)]
pub struct Terms {
    /// What is acked when.
    pub stage: AckStage,
    /// With `Searchable`: on how many nodes, this one among them; 0 and 1: on this one.
    pub nodes: u32,
    /// The admission lane.
    pub priority: Priority,
}

impl Terms {
    fn new(node: &Node, stage: AckStage, nodes: u32, priority: Priority) -> Result<Self> {
        let stage = if stage == AckStage::Unspecified { AckStage::Committed } else { stage };
        if nodes > 0 && stage != AckStage::Searchable {
            return Err(Error::invalid("searchable_nodes goes with the ack stage SEARCHABLE; leave it 0 with another"));
        }
        let members = node.leadership.members().len();
        // A node in no cluster has an error of its own.
        if nodes as usize > members && members > 0 {
            let text = format!("rows cannot be searchable on {nodes} nodes: the cluster has {members}");
            return Err(Error::invalid(format!("{text}; ask for {members} at most")));
        }
        Ok(Self { stage, nodes, priority })
    }
}

/// Opens the session; `None` when the client is gone. Rows before a resume are as the terms say when it is answered.
pub(super) async fn open<S>(
    node: &Arc<Node>,
    mut caller: Option<Context>,
    incoming: &mut S,
    out: &Out,
) -> Result<Option<Session>>
where
    S: Stream<Item = Incoming> + Send + Unpin,
{
    let first = timeout(&*node.world, FIRST_MESSAGE_TIMEOUT, incoming.next()).await;
    let first = first.ok_or_else(|| Error::invalid("no first message within 10 s; send open or resume"))?;
    let (command, terms) = match first {
        Some(Incoming::Message(Ok(first))) => {
            caller = node.spans.of_message(traceparent(&first), caller);
            read(node, first)?
        }
        Some(Incoming::Message(Err(status))) => return unreadable(&status).map_or(Ok(None), Err),
        Some(Incoming::Mark(_)) | None => return Ok(None),
    };
    let (index, outcome) = node.proposer.command(command).await?;
    let opened = session_outcome(outcome)?;
    let shape = shape(node, index, &opened.space).await?;
    if terms.nodes > 1 {
        until_searchable(node, opened.last_log_index, terms.nodes, RESUME_TIMEOUT).await?;
    }
    let session = Session::new(node, caller, out, terms, &opened, shape);
    let answer = SessionOpened {
        session: opened.session,
        incarnation: node.incarnation(),
        last_sequence: opened.last_sequence,
        last_log_index: opened.last_log_index,
        space: opened.space.clone(),
        dim: shape.dim as u32,
        credit: Some(session.flow(FlowKind::Credit)),
        node: node.id,
        leader_address: node.leadership.hint(),
    };
    if out.send(Ok(response(observe_response::Message::Opened(answer)))).await.is_err() {
        return Ok(None);
    }
    Ok(Some(session))
}

/// The trace that the first message names, if it does.
fn traceparent(first: &ObserveRequest) -> &str {
    match &first.message {
        Some(observe_request::Message::Open(open)) => &open.traceparent,
        Some(observe_request::Message::Resume(resume)) => &resume.traceparent,
        _ => "",
    }
}

/// What the first message asks of the log, and on what terms.
fn read(node: &Node, first: ObserveRequest) -> Result<(command::Kind, Terms)> {
    match first.message {
        Some(observe_request::Message::Open(open)) => {
            let terms = Terms::new(node, open.ack_stage(), open.searchable_nodes, open.priority())?;
            let command = engram_proto::wire::log::OpenSession { space: open.space };
            Ok((command::Kind::Open(command), terms))
        }
        Some(observe_request::Message::Resume(resume)) => {
            let mine = node.incarnation();
            if mine == 0 {
                return Err(node.leadership.in_no_cluster());
            }
            if resume.incarnation != mine {
                let text = format!("session {} is of incarnation {}", resume.session, resume.incarnation);
                return Err(Error::session_lost(format!("{text}, the cluster is in {mine}: it was restored"), None));
            }
            let terms = Terms::new(node, resume.ack_stage(), resume.searchable_nodes, resume.priority())?;
            let command = engram_proto::wire::log::ResumeSession { session: resume.session };
            Ok((command::Kind::Resume(command), terms))
        }
        _ => Err(Error::invalid("the first message of a stream is open or resume")),
    }
}

fn session_outcome(outcome: Outcome) -> Result<SessionOutcome> {
    match outcome.kind {
        Some(outcome::Kind::Session(session)) => Ok(session),
        _ => Err(Error::in_doubt("the outcome is not of a session; open or resume again")),
    }
}

/// The space's shape, once this node has applied the session's command.
async fn shape(node: &Node, index: u64, space: &str) -> Result<Shape> {
    if timeout(&*node.world, APPLY_TIMEOUT, node.state.watermark().wait_applied(index)).await.is_none() {
        let text = format!("node {} has not applied log index {index}; resume elsewhere", node.id);
        return Err(Error::in_doubt(text).with_class(WriteClass::Unknown));
    }
    Ok(node.state.read().space(space)?.shape)
}

impl Session {
    fn new(
        node: &Arc<Node>,
        caller: Option<Context>,
        out: &Out,
        terms: Terms,
        opened: &SessionOutcome,
        shape: Shape,
    ) -> Self {
        // A chunk has a row at least, so chunks in flight never outnumber the credit.
        let full =
            Amount { rows: node.config.stream.credit_rows as usize, bytes: node.config.stream.credit_bytes as usize };
        let (reply, settled) = mpsc::channel(full.rows + 1);
        Self {
            node: node.clone(),
            out: out.clone(),
            door: Door::new(opened.session, opened.connection, opened.last_sequence, shape, reply),
            settled,
            acks: Acks::new(node.clone(), terms),
            terms,
            feed: node.admission.feed(terms.priority),
            own: Own::new(opened.last_log_index),
            credit: Credit::new(full),
            caller,
            paused: false,
            slowed: false,
            _live: node.live.enter(opened.session),
        }
    }
}
