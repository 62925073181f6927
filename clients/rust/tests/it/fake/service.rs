//! The fake nodes' gRPC services.

use super::{COMMITTED, Fake, SPACE};
use engram_proto::wire::v1::cluster_server::Cluster;
use engram_proto::wire::v1::memory_server::Memory;
use engram_proto::wire::v1::spaces_server::Spaces;
use engram_proto::wire::v1::*;
use engram_proto::{Error, Kind};
use futures_util::Stream;
use futures_util::stream::{iter, unfold};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Sender = mpsc::Sender<Result<ObserveResponse, Status>>;

#[derive(Clone)]
pub struct Node {
    pub fake: Fake,
    pub address: String,
}

impl Node {
    /// What every call goes through.
    async fn enter(&self, call: &'static str) -> Result<(), Status> {
        let faults = self.fake.with(|state| {
            state.calls.push((self.address.clone(), call));
            state.faults(&self.address)
        });
        if faults.mute {
            std::future::pending::<()>().await;
        }
        match faults.answer {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn open(&self, first: ObserveRequest) -> Result<SessionOpened, Error> {
        self.fake.with(|state| {
            let connection = state.next_index();
            let (session, last_sequence) = match first.message {
                Some(observe_request::Message::Open(open)) if open.space == SPACE => (connection, 0),
                Some(observe_request::Message::Open(open)) => {
                    return Err(Error::not_found(format!("no space {:?}", open.space)));
                }
                Some(observe_request::Message::Resume(resume)) => match state.sessions.get(&resume.session) {
                    Some((_, last)) => (resume.session, *last),
                    None => {
                        let last = state.tombstones.get(&resume.session).copied();
                        return Err(Error::session_lost("expired", last));
                    }
                },
                _ => return Err(Error::invalid("open or resume first")),
            };
            state.sessions.insert(session, (connection, last_sequence));
            let credit = Some(FlowControl {
                kind: FlowKind::Credit.into(),
                credit_rows: state.credit_rows,
                credit_bytes: 1 << 20,
                pressure_permille: 0,
            });
            let (space, leader_address) = (SPACE.into(), state.leader.clone());
            let last_log_index = state.index;
            let (node, incarnation, dim) = (connection, 7, 2);
            Ok(SessionOpened {
                session,
                incarnation,
                last_sequence,
                last_log_index,
                space,
                dim,
                credit,
                node,
                leader_address,
            })
        })
    }

    async fn serve(&self, mut inbound: Streaming<ObserveRequest>, answers: Sender) -> Result<(), Status> {
        let Some(first) = inbound.message().await? else { return Ok(()) };
        let resumes = matches!(first.message, Some(observe_request::Message::Resume(_)));
        let late = self.fake.with(|state| {
            let late = resumes && state.late_resumes > 0;
            state.late_resumes -= u32::from(late);
            late
        });
        if late {
            // Carried out when its client has long given up, by a proposal that nothing can cancel.
            let node = self.clone();
            #[expect(clippy::disallowed_methods, reason = "a test's world")]
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5200)).await;
                drop(node.open(first));
            });
            return std::future::pending().await;
        }
        let opened = self.open(first)?;
        let (session, connection) = (opened.session, opened.node);
        send(&answers, observe_response::Message::Opened(opened)).await;
        while let Some(request) = inbound.message().await? {
            match request.message {
                Some(observe_request::Message::Batch(batch)) => self.take(session, connection, batch, &answers).await?,
                Some(observe_request::Message::Flow(flow)) => self.fake.with(|state| state.flows.push(flow.kind())),
                _ => {}
            }
        }
        Ok(())
    }

    async fn take(&self, session: u64, connection: u64, batch: ObserveBatch, answers: &Sender) -> Result<(), Status> {
        let rows = batch.observations.len();
        self.fake.with(|state| {
            state.batch_rows_seen += rows;
            state.largest_batch = state.largest_batch.max(rows);
        });
        for (sequence, row) in (batch.first_sequence..).zip(batch.observations) {
            let applied = self.fake.with(|state| state.apply(session, connection, sequence, row));
            let count = self.fake.with(|state| state.log.len() as u64);
            let faults = self.fake.with(|state| state.faults(&self.address));
            if faults.break_after_rows.is_some_and(|after| count >= after) {
                self.fake.with(|state| state.faults.remove(&self.address));
                self.fake.cut(&self.address);
                return Ok(());
            }
            if faults.mute || faults.mute_after_rows.is_some_and(|after| count >= after) {
                self.fake.with(|state| state.faults.entry(self.address.clone()).or_default().mute = true);
                return std::future::pending().await;
            }
            let answer = match applied {
                Ok(super::Applied { log_index, repeat }) => observe_response::Message::Ack(Ack {
                    first_sequence: sequence,
                    last_sequence: sequence,
                    log_index,
                    stage: COMMITTED.into(),
                    repeat,
                }),
                Err(error) => {
                    let expected = self.fake.with(|state| state.sessions.get(&session).map_or(0, |known| known.1 + 1));
                    observe_response::Message::Refused(Refused { sequence, expected, error: Some(error.into()) })
                }
            };
            send(answers, answer).await;
        }
        Ok(())
    }
}

async fn send(answers: &Sender, message: observe_response::Message) {
    // A reader that is gone needs no answer.
    drop(answers.send(Ok(ObserveResponse { message: Some(message) })).await);
}

#[tonic::async_trait]
impl Memory for Node {
    type ObserveStreamStream = Answers<ObserveResponse>;
    type RecallStreamStream = Answers<RecallResponse>;
    type MemoryStreamStream = Answers<MemoryResponse>;
    type ListStream = Answers<ListResponse>;
    type WatchStream = Answers<WatchResponse>;

    async fn observe_stream(
        &self,
        request: Request<Streaming<ObserveRequest>>,
    ) -> Result<Response<Self::ObserveStreamStream>, Status> {
        self.enter("observe").await?;
        let (answers, receiver) = mpsc::channel(16);
        let (node, inbound) = (self.clone(), request.into_inner());
        #[expect(clippy::disallowed_methods, reason = "a test's world")]
        tokio::spawn(async move {
            node.fake.with(|state| state.streams += 1);
            tokio::select! {
                biased;
                () = answers.closed() => {}
                done = node.serve(inbound, answers.clone()) => {
                    if let Err(status) = done {
                        drop(answers.send(Err(status)).await);
                    }
                }
            }
            node.fake.with(|state| state.streams -= 1);
        });
        let stream = unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn recall_stream(
        &self,
        request: Request<Streaming<RecallRequest>>,
    ) -> Result<Response<Self::RecallStreamStream>, Status> {
        self.enter("recall").await?;
        let asked = request.into_inner().message().await?.ok_or_else(|| Status::cancelled("no question"))?;
        let need = match asked.consistency {
            Some(recall_request::Consistency::AtLeast(token)) => token.log_index,
            _ => 0,
        };
        let have = self.fake.with(|state| {
            state.asked_index.push(need);
            state.index
        });
        let snapshot = Some(Snapshot { applied_index: have, incarnation: 7, ..Snapshot::default() });
        let page = |row, last| {
            let hits = vec![Hit { row, ..Hit::default() }];
            let result = RecallResult { snapshot, hits, last };
            let outcome = Some(recall_response::Outcome::Result(result));
            Ok(RecallResponse { request_id: asked.request_id, outcome })
        };
        Ok(Response::new(Box::pin(iter([page(1, false), page(2, true)]))))
    }

    async fn memory_stream(
        &self,
        _: Request<Streaming<MemoryRequest>>,
    ) -> Result<Response<Self::MemoryStreamStream>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        self.enter("list").await?;
        let broken = self.fake.with(|state| state.faults(&self.address).break_after_rows.is_some());
        let rows = self.fake.with(|state| state.log.clone());
        let pages = rows.chunks(2).map(|chunk| {
            let rows = chunk.iter().map(|logged| Row {
                session: logged.session,
                sequence: logged.sequence,
                observation: Some(logged.observation.clone()),
                ..Row::default()
            });
            Ok(ListResponse { snapshot: Some(Snapshot::default()), rows: rows.collect(), next_row: None })
        });
        let mut pages: Vec<_> = pages.collect();
        if broken {
            pages.truncate(1);
            pages.push(Err(Status::unavailable("the node went away")));
        }
        Ok(Response::new(Box::pin(iter(pages))))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }

    async fn count(&self, _: Request<CountRequest>) -> Result<Response<CountResponse>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Result<Response<ForgetResponse>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }

    async fn session_status(
        &self,
        _: Request<SessionStatusRequest>,
    ) -> Result<Response<SessionStatusResponse>, Status> {
        Err(Status::unimplemented("not in the fake"))
    }
}

#[tonic::async_trait]
impl Spaces for Node {
    async fn create_space(
        &self,
        request: Request<CreateSpaceRequest>,
    ) -> Result<Response<CreateSpaceResponse>, Status> {
        self.enter("create").await?;
        let config = request.into_inner().config.unwrap_or_default();
        let log_index = self.fake.with(|state| {
            if state.spaces.contains(&config) {
                return Err(Error::new(Kind::Exists, "the space exists"));
            }
            state.spaces.push(config.clone());
            Ok(state.next_index())
        })?;
        let space = Some(SpaceInfo { config: Some(config), id: log_index, ..SpaceInfo::default() });
        Ok(Response::new(CreateSpaceResponse { space, log_index }))
    }

    async fn list_spaces(&self, _: Request<ListSpacesRequest>) -> Result<Response<ListSpacesResponse>, Status> {
        self.enter("spaces").await?;
        let info = |config: &SpaceConfig| SpaceInfo { config: Some(config.clone()), ..SpaceInfo::default() };
        let spaces = self.fake.with(|state| state.spaces.iter().map(info).collect());
        Ok(Response::new(ListSpacesResponse { spaces, applied_index: 0 }))
    }

    async fn drop_space(&self, _: Request<DropSpaceRequest>) -> Result<Response<DropSpaceResponse>, Status> {
        self.enter("drop").await?;
        Ok(Response::new(DropSpaceResponse { log_index: self.fake.with(|state| state.next_index()) }))
    }
}

#[tonic::async_trait]
impl Cluster for Node {
    type BackupStream = Answers<BackupChunk>;

    async fn backup(&self, _: Request<BackupRequest>) -> Result<Response<Answers<BackupChunk>>, Status> {
        self.enter("backup").await?;
        let head = BackupChunk { head: Some(BackupHead::default()), ..BackupChunk::default() };
        Ok(Response::new(Box::pin(iter([Ok(head)]))))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.enter("status").await?;
        Ok(Response::new(StatusResponse { version: self.address.clone(), ..StatusResponse::default() }))
    }

    async fn init(&self, _: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        self.enter("init").await?;
        Ok(Response::new(InitResponse::default()))
    }

    async fn add_node(&self, _: Request<AddNodeRequest>) -> Result<Response<AddNodeResponse>, Status> {
        self.enter("add").await?;
        Ok(Response::new(AddNodeResponse { log_index: 5 }))
    }

    async fn update_node(&self, _: Request<UpdateNodeRequest>) -> Result<Response<UpdateNodeResponse>, Status> {
        self.enter("update").await?;
        Ok(Response::new(UpdateNodeResponse { log_index: 7 }))
    }

    async fn remove_node(&self, _: Request<RemoveNodeRequest>) -> Result<Response<RemoveNodeResponse>, Status> {
        self.enter("remove").await?;
        Ok(Response::new(RemoveNodeResponse { log_index: 6 }))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        self.enter("transfer").await?;
        Ok(Response::new(TransferLeaderResponse { leader: request.into_inner().node }))
    }

    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        self.enter("verify").await?;
        Ok(Response::new(VerifyResponse::default()))
    }
}
