//! The window against a model server: whatever is lost, repeated, refused or resumed, every good row is in the log
//! exactly once and in order, and its owner hears of it once.

use super::event::Event;
use super::window::{Fault, Limits, Reaction, Window};
use crate::{AckStage, Error, Observation};
use engram_proto::wire::v1::{Ack, FlowControl, FlowKind, ObserveBatch, Refused, SessionOpened};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const LIMITS: Limits = Limits { rows: 8, bytes: 400, batch_rows: 3, batch_bytes: 200 };

#[derive(Clone, Debug)]
enum Step {
    Push {
        bad: bool,
    },
    /// The client sends a batch, the server handles one, the client handles an answer.
    Send,
    Serve,
    Hear,
    /// The connection breaks after the server got so many more batches, whose answers are lost.
    Break {
        served: usize,
    },
    /// The server refuses its next rows for want of room.
    Overload {
        times: u8,
    },
    Credit {
        rows: u32,
    },
    Pause(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::bool::weighted(0.2).prop_map(|bad| Step::Push { bad }),
        5 => Just(Step::Send),
        5 => Just(Step::Serve),
        5 => Just(Step::Hear),
        1 => (0..4usize).prop_map(|served| Step::Break { served }),
        1 => (1..3u8).prop_map(|times| Step::Overload { times }),
        1 => (0..6u32).prop_map(|rows| Step::Credit { rows }),
        1 => any::<bool>().prop_map(Step::Pause),
    ]
}

#[derive(Clone, Debug)]
enum Answer {
    Ack(Ack),
    Refused(Refused),
    Flow(FlowControl),
}

/// One session as the protocol describes it: repeats acked, gaps told or dropped, refusals without a number.
#[derive(Default)]
struct Server {
    log: Vec<String>,
    overload: u8,
    /// Whether rows after a refused one are answered with a refusal of their own.
    tells_gaps: bool,
}

impl Server {
    fn last(&self) -> u64 {
        self.log.len() as u64
    }

    fn serve(&mut self, batch: ObserveBatch) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (sequence, row) in (batch.first_sequence..).zip(batch.observations) {
            let expected = self.last() + 1;
            if sequence < expected {
                assert_eq!(self.log[sequence as usize - 1], row.text, "{sequence} came with another payload");
                answers.push(ack(sequence, true));
            } else if sequence > expected {
                let error = Error::invalid(format!("gap: {sequence}, expected {expected}"));
                let refused = Refused { sequence, expected, error: Some(error.into()) };
                answers.extend(self.tells_gaps.then_some(Answer::Refused(refused)));
            } else if self.overload > 0 {
                self.overload -= 1;
                answers.push(refuse(sequence, Error::overloaded("full", 10)));
            } else if row.text.starts_with("bad") {
                answers.push(refuse(sequence, Error::invalid("bad")));
            } else {
                self.log.push(row.text);
                answers.push(ack(sequence, false));
            }
        }
        answers
    }
}

fn ack(sequence: u64, repeat: bool) -> Answer {
    let stage = AckStage::Committed.into();
    Answer::Ack(Ack { first_sequence: sequence, last_sequence: sequence, log_index: sequence + 100, stage, repeat })
}

fn refuse(sequence: u64, error: Error) -> Answer {
    Answer::Refused(Refused { sequence, expected: sequence, error: Some(error.into()) })
}

struct World {
    window: Window,
    server: Server,
    up: VecDeque<ObserveBatch>,
    down: VecDeque<Answer>,
    /// What was pushed, and what its owner heard, by ticket.
    pushed: Vec<String>,
    heard: BTreeMap<u64, Vec<Event>>,
}

impl World {
    fn new(tells_gaps: bool) -> Self {
        let server = Server { tells_gaps, ..Server::default() };
        let (window, up, down) = (Window::new(LIMITS, AckStage::Committed), VecDeque::new(), VecDeque::new());
        Self { window, server, up, down, pushed: Vec::new(), heard: BTreeMap::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push { bad } if self.window.has_room() => {
                let kind = if bad { "bad" } else { "good" };
                let text = format!("{kind} {}", self.pushed.len());
                let ticket = self.window.push(Observation { text: text.clone(), ..Observation::default() });
                self.pushed.push(text);
                assert_eq!(ticket, self.pushed.len() as u64);
            }
            Step::Push { .. } => {}
            Step::Send => {
                let batch = self.window.next_batch();
                assert!(batch.iter().all(|batch| batch.observations.len() <= LIMITS.batch_rows));
                assert!(self.window.in_flight() <= LIMITS.rows);
                self.up.extend(batch);
            }
            Step::Serve => {
                let batch = self.up.pop_front();
                self.down.extend(batch.into_iter().flat_map(|batch| self.server.serve(batch)));
            }
            Step::Hear => self.hear(),
            Step::Break { served } => self.reconnect(served),
            Step::Overload { times } => self.server.overload = times,
            Step::Credit { rows } => self.flow(FlowKind::Credit, rows),
            Step::Pause(true) => self.flow(FlowKind::Pause, 0),
            Step::Pause(false) => self.flow(FlowKind::Resume, 0),
        }
    }

    fn flow(&mut self, kind: FlowKind, credit_rows: u32) {
        let flow = FlowControl { kind: kind.into(), credit_rows, credit_bytes: 1000, pressure_permille: 0 };
        self.down.push_back(Answer::Flow(flow));
    }

    fn hear(&mut self) {
        let events = match self.down.pop_front() {
            None => return,
            Some(Answer::Ack(ack)) => self.window.ack(&ack).expect("the server acks what was sent"),
            Some(Answer::Flow(flow)) => {
                self.window.flow(&flow);
                return;
            }
            Some(Answer::Refused(refused)) => match self.window.refused(&refused).expect("a refusal in order") {
                Reaction::Tell(event) => vec![event],
                Reaction::Wait(_) | Reaction::Nothing => return,
            },
        };
        self.note(events);
    }

    fn note(&mut self, events: Vec<Event>) {
        for event in events {
            let tickets = match &event {
                Event::Acked { tickets, .. } => tickets.clone(),
                Event::Refused { ticket, .. } => *ticket..=*ticket,
                other => panic!("unexpected: {other:?}"),
            };
            tickets.for_each(|ticket| self.heard.entry(ticket).or_default().push(event.clone()));
        }
    }

    fn reconnect(&mut self, served: usize) {
        for batch in self.up.drain(..).take(served) {
            self.server.serve(batch);
        }
        self.up.clear();
        self.down.clear();
        let credit = FlowControl { credit_rows: 5, credit_bytes: 300, ..FlowControl::default() };
        let (last_sequence, last_log_index) = (self.server.last(), self.server.last() + 100);
        let opened = SessionOpened { last_sequence, last_log_index, credit: Some(credit), ..SessionOpened::default() };
        let events = self.window.opened(&opened).expect("the server has what was sent");
        self.note(events);
    }

    /// No more faults: everything must come to rest.
    fn settle(&mut self) {
        self.server.overload = 0;
        self.reconnect(usize::MAX);
        for _ in 0..1000 {
            [Step::Send, Step::Serve, Step::Hear].into_iter().for_each(|step| self.step(step));
            if self.window.is_empty() {
                return;
            }
        }
        panic!("the window never empties: {:?}", self.window);
    }

    fn check(&self) {
        let good: Vec<_> = self.pushed.iter().filter(|text| text.starts_with("good")).cloned().collect();
        assert_eq!(self.server.log, good, "each good row once, in order");
        for (ticket, text) in (1..).zip(&self.pushed) {
            let heard = self.heard.get(&ticket).map_or(&[][..], |events| events);
            assert_eq!(heard.len(), 1, "ticket {ticket} heard {heard:?}");
            match &heard[0] {
                Event::Acked { tickets, sequences, .. } => {
                    let sequence = sequences.start() + (ticket - tickets.start());
                    assert_eq!(&self.server.log[sequence as usize - 1], text, "the ack names the row's sequence");
                }
                Event::Refused { .. } => assert!(text.starts_with("bad"), "{text} was refused"),
                other => panic!("unexpected: {other:?}"),
            }
        }
        assert_eq!(self.window.settled(), good.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_good_row_is_in_the_log_once_and_in_order(
        steps in prop::collection::vec(step(), 0..120),
        tells_gaps in any::<bool>(),
    ) {
        let mut world = World::new(tells_gaps);
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        world.check();
    }
}

fn pushed(rows: usize, stage: AckStage) -> Window {
    let mut window = Window::new(LIMITS, stage);
    for row in 0..rows {
        window.push(Observation { text: format!("{row}"), ..Observation::default() });
    }
    window
}

fn at(last_sequence: u64) -> SessionOpened {
    SessionOpened { last_sequence, ..SessionOpened::default() }
}

fn stage_ack(last_sequence: u64, stage: AckStage) -> Ack {
    Ack { first_sequence: 1, last_sequence, log_index: 50, stage: stage.into(), repeat: false }
}

#[test]
fn rows_acked_as_received_and_gone_are_told_as_lost_and_their_numbers_used_again() {
    let mut window = pushed(3, AckStage::Received);
    window.next_batch().expect("three rows");
    window.ack(&stage_ack(2, AckStage::Received)).expect("in order");
    assert_eq!(window.opened(&at(1)), Ok(vec![Event::Lost { sequences: 2..=2 }]));
    assert_eq!(window.next_batch().map(|batch| batch.first_sequence), Some(2));
    assert_eq!(window.settled(), 1);
}

#[test]
fn a_resume_acks_what_the_server_has_and_sends_only_the_rest() {
    let mut window = pushed(3, AckStage::Committed);
    window.next_batch().expect("three rows");
    let events = window.opened(&SessionOpened { last_log_index: 40, ..at(2) }).expect("sent before");
    let (tickets, sequences, stage) = (1..=2, 1..=2, AckStage::Committed);
    assert_eq!(events, [Event::Acked { tickets, sequences, log_index: 40, stage, repeat: true }]);
    let rest = window.next_batch().expect("the third row");
    assert_eq!((rest.first_sequence, rest.observations.len()), (3, 1));
}

#[test]
fn rows_acked_as_committed_and_gone_stop_the_stream() {
    let mut window = pushed(2, AckStage::Committed);
    window.next_batch().expect("two rows");
    window.ack(&stage_ack(2, AckStage::Committed)).expect("in order");
    assert!(matches!(window.opened(&at(1)), Err(Fault::Stop(_))));
}

#[test]
fn a_session_ahead_of_its_only_writer_stops_the_stream() {
    assert!(matches!(pushed(2, AckStage::Committed).opened(&at(1)), Err(Fault::Stop(_))));
}

#[test]
fn an_ack_below_the_stage_is_told_and_settles_nothing() {
    let mut window = pushed(2, AckStage::Searchable);
    window.next_batch().expect("two rows");
    assert_eq!(window.ack(&stage_ack(2, AckStage::Committed)).expect("in order").len(), 1);
    assert_eq!((window.acked(), window.in_flight()), (0, 2));
    assert_eq!(window.ack(&stage_ack(2, AckStage::Searchable)).expect("in order").len(), 1);
    assert!(window.is_empty());
}

#[test]
fn an_ack_for_what_was_not_sent_breaks_the_stream() {
    let mut window = pushed(2, AckStage::Committed);
    assert!(matches!(window.ack(&stage_ack(1, AckStage::Committed)), Err(Fault::Broken(_))));
    window.next_batch().expect("two rows");
    let gap = Ack { first_sequence: 2, ..stage_ack(2, AckStage::Committed) };
    assert!(matches!(window.ack(&gap), Err(Fault::Broken(_))));
    assert!(matches!(window.ack(&stage_ack(u64::MAX, AckStage::Committed)), Err(Fault::Broken(_))));
}

#[test]
fn a_second_refusal_of_one_attempt_does_not_drop_the_next_row() {
    let mut window = pushed(3, AckStage::Committed);
    window.next_batch().expect("three rows");
    let Answer::Refused(refusal) = refuse(1, Error::invalid("bad")) else { panic!("a refusal") };
    assert!(matches!(window.refused(&refusal), Ok(Reaction::Tell(Event::Refused { ticket: 1, .. }))));
    assert!(matches!(window.refused(&refusal), Err(Fault::Broken(_))));
    assert_eq!(window.unsent(), 2);
}

#[test]
fn a_refusal_in_doubt_drops_nothing() {
    let mut window = pushed(2, AckStage::Committed);
    window.next_batch().expect("two rows");
    let Answer::Refused(refusal) = refuse(1, Error::in_doubt("a proposal went missing")) else { panic!("a refusal") };
    assert!(matches!(window.refused(&refusal), Err(Fault::Broken(_))));
    assert_eq!(window.outstanding(), (Some(1..=2), None));
}

#[test]
fn a_lost_session_parts_what_is_in_doubt_from_what_was_never_sent() {
    let mut window = pushed(5, AckStage::Committed);
    window.next_batch().expect("three rows");
    assert_eq!(window.lost(Some(1)).len(), 1);
    assert_eq!(window.outstanding(), (Some(2..=3), Some(4..=5)));
}

#[test]
fn without_credit_nothing_goes_and_with_a_little_one_large_row_goes() {
    let mut window = pushed(2, AckStage::Committed);
    let credit = |rows, bytes| FlowControl {
        kind: FlowKind::Credit.into(),
        credit_rows: rows,
        credit_bytes: bytes,
        pressure_permille: 900,
    };
    window.flow(&credit(0, 1000));
    assert_eq!(window.next_batch(), None);
    window.flow(&credit(10, 1));
    assert_eq!(window.next_batch().map(|batch| batch.observations.len()), Some(1));
    assert_eq!(window.next_batch(), None);
}

#[test]
fn slower_halves_what_is_in_flight_and_faster_gives_it_back() {
    let mut window = pushed(8, AckStage::Committed);
    let hint = |kind: FlowKind| FlowControl { kind: kind.into(), ..FlowControl::default() };
    let send = |window: &mut Window| {
        while window.next_batch().is_some() {}
        window.in_flight()
    };
    window.flow(&hint(FlowKind::Slower));
    assert_eq!(send(&mut window), 1, "nothing was in flight: the least");
    window.flow(&hint(FlowKind::Faster));
    assert_eq!(send(&mut window), 2);
    window.flow(&hint(FlowKind::Faster));
    assert_eq!(send(&mut window), 4);
    window.flow(&hint(FlowKind::Slower));
    assert_eq!(send(&mut window), 4, "what is in flight stays there");
    window.ack(&stage_ack(4, AckStage::Committed)).expect("in order");
    assert!(send(&mut window) > 0, "acks let the rest go");
}
