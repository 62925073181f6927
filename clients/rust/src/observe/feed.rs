//! The outgoing half of a stream: a bounded hand-over from the driver to gRPC. futures' own channel would do, at
//! the price of one more capacity a sender; this one holds exactly what it says.

use crate::pool::hold;
use engram_proto::wire::v1::ObserveRequest;
use futures_util::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Messages that gRPC has not asked for yet.
const MESSAGES_MAX: usize = 2;

#[derive(Default)]
struct State {
    queue: VecDeque<ObserveRequest>,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The driver's end; dropping it ends the stream after what is queued.
pub(crate) struct Feed(Arc<Mutex<State>>);

/// gRPC's end.
pub(crate) struct Outgoing(Arc<Mutex<State>>);

impl Feed {
    /// A hand-over that begins with `first`.
    pub fn new(first: ObserveRequest) -> (Self, Outgoing) {
        let state = Arc::new(Mutex::new(State { queue: [first].into(), ..State::default() }));
        (Self(state.clone()), Outgoing(state))
    }

    /// Ready when there is room for a message.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = hold(&self.0);
        if state.queue.len() < MESSAGES_MAX {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Hands a message over; the caller has seen room.
    pub fn send(&self, message: ObserveRequest) {
        let reader = {
            let mut state = hold(&self.0);
            state.queue.push_back(message);
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let reader = {
            let mut state = hold(&self.0);
            state.closed = true;
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Stream for Outgoing {
    type Item = ObserveRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ObserveRequest>> {
        let (next, writer) = {
            let mut state = hold(&self.0);
            match state.queue.pop_front() {
                Some(message) => (Poll::Ready(Some(message)), state.writer.take()),
                None if state.closed => (Poll::Ready(None), None),
                None => {
                    state.reader = Some(cx.waker().clone());
                    (Poll::Pending, None)
                }
            }
        };
        writer.into_iter().for_each(Waker::wake);
        next
    }
}
