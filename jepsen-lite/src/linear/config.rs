//! One configuration of the search: which operations are done, and what the register holds.
//!
//! Open and future operations stand in a doubly linked list of events (Lowe); doing an operation lifts its call and
//! its return out, undoing puts them back in reverse order. The first return in the list belongs to the operation
//! that must be done next at the latest; the calls before it are the operations that may be done now (`open`).
//!
//! A write that was open when the last write was done (its call is before `limit`) can still be put right before
//! that one: it **slips** in, and nobody notices.
//!
//! Invariants: `trail` holds what was done, in order, and undoing it restores every field; bit k of `bits` is set
//! exactly if the operation that holds slot k when event `passed` happens is done and has not returned by then.
//!
//! Leaves out: which operation to do ([`super::search`] decides).

use super::problem::{Act, Problem};

/// What the register holds when nobody will ever ask for it again: such values need not be told apart.
pub(crate) const DEAD: u32 = u32::MAX;

/// Something that was done.
#[derive(Debug, Clone, Copy)]
enum Done {
    Call(u32),
    /// A write before the last write.
    Slip(u32),
    Unknown(u32),
}

/// Where to come back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    trail: usize,
    state: u32,
    passed: u32,
    limit: u32,
}

/// A configuration that can be changed and taken back.
#[derive(Debug)]
pub(crate) struct Config<'p> {
    problem: &'p Problem,
    next: Vec<u32>,
    prev: Vec<u32>,
    /// What the register holds.
    pub state: u32,
    /// The first return that is still in the list; the number of events if there is none.
    pub passed: u32,
    /// `passed` when the last write was done: writes called before it can slip in before that write.
    pub limit: u32,
    /// Done operations among those open at `passed`, by slot.
    pub bits: Vec<u64>,
    /// How many operations of each unknown class are used up.
    pub used: Vec<u32>,
    /// Known operations still to be done that need the register to hold the value.
    consumers: Vec<u32>,
    /// Unknown swaps, not used up, that need the register to hold the value.
    swaps_from: Vec<u32>,
    /// Operations still to be done, known or not, that leave the value behind.
    producers: Vec<u32>,
    trail: Vec<Done>,
}

impl<'p> Config<'p> {
    /// Nothing done; the register holds value 0.
    pub fn new(problem: &'p Problem) -> Self {
        let events = problem.events.len();
        let head = events as u32;
        let next: Vec<u32> = (1..=head).chain([0]).collect();
        let prev: Vec<u32> = (0..=head).map(|event| event.checked_sub(1).unwrap_or(head)).collect();
        let values = problem.values as usize;
        let mut config = Config {
            problem,
            next,
            prev,
            state: 0,
            passed: 0,
            limit: 0,
            bits: vec![0; problem.slots.div_ceil(64).max(1) as usize],
            used: vec![0; problem.classes.len()],
            consumers: vec![0; values],
            swaps_from: vec![0; values],
            producers: vec![0; values],
            trail: Vec::new(),
        };
        problem.calls.iter().for_each(|call| config.count(call.act, 1));
        for class in &problem.classes {
            let size = class.calls.len() as u32;
            config.producers[class.to as usize] += size;
            if let Some(from) = class.from {
                config.swaps_from[from as usize] += size;
            }
        }
        config
    }

    fn count(&mut self, act: Act, by: i32) {
        let add = |counter: &mut u32| *counter = counter.wrapping_add_signed(by);
        match act {
            Act::Read(value) => add(&mut self.consumers[value as usize]),
            Act::Write(value) => add(&mut self.producers[value as usize]),
            Act::Swap(from, to) => {
                add(&mut self.consumers[from as usize]);
                add(&mut self.producers[to as usize]);
            }
            Act::Differs(_) => {}
        }
    }

    /// Whether every known operation is done.
    pub fn finished(&self) -> bool {
        self.passed as usize == self.problem.events.len()
    }

    /// Whether some operation may still need the register to hold `value`.
    pub fn wanted(&self, value: u32) -> bool {
        value != DEAD && (self.consumers[value as usize] > 0 || self.swaps_from[value as usize] > 0)
    }

    /// Whether somebody must still see `value`, and nobody can bring it back.
    pub fn lost(&self, value: u32) -> bool {
        value != DEAD && self.consumers[value as usize] > 0 && self.producers[value as usize] == 0
    }

    /// A write that nobody will see. With `Differs` about, any value may matter.
    pub fn inert(&self, act: Act) -> bool {
        !self.problem.has_differs && matches!(act, Act::Write(value) if !self.wanted(value))
    }

    /// Whether the operation is a write that can still be put before the last write.
    pub fn slips(&self, index: u32) -> bool {
        let call = &self.problem.calls[index as usize];
        matches!(call.act, Act::Write(_)) && call.call < self.limit
    }

    /// The known operations that may be done now, in the order of their calls.
    pub fn open(&self) -> impl Iterator<Item = u32> + '_ {
        let head = self.problem.events.len() as u32;
        let mut event = self.next[head as usize];
        std::iter::from_fn(move || {
            let (call, returns) = *self.problem.events.get(event as usize)?;
            event = self.next[event as usize];
            (!returns).then_some(call)
        })
    }

    /// Whether an operation of the class may be done now.
    pub fn available(&self, class: u32) -> bool {
        let calls = &self.problem.classes[class as usize].calls;
        calls.get(self.used[class as usize] as usize).is_some_and(|before| *before <= self.passed)
    }

    /// A point to come back to. The caller keeps a copy of `bits` with it.
    pub fn mark(&self) -> Mark {
        Mark { trail: self.trail.len(), state: self.state, passed: self.passed, limit: self.limit }
    }

    /// Takes back everything done since `mark`, when `bits` was `bits`.
    pub fn undo(&mut self, mark: Mark, bits: &[u64]) {
        while self.trail.len() > mark.trail {
            match self.trail.pop() {
                Some(Done::Call(call) | Done::Slip(call)) => {
                    let (call, act) = (self.problem.calls[call as usize], self.problem.calls[call as usize].act);
                    self.link(call.call);
                    self.link(call.ret);
                    self.count(act, 1);
                }
                Some(Done::Unknown(class)) => self.use_up(class, -1),
                None => break,
            }
        }
        (self.state, self.passed, self.limit) = (mark.state, mark.passed, mark.limit);
        self.bits.copy_from_slice(bits);
    }

    /// Does a known operation.
    pub fn call(&mut self, index: u32) {
        let act = self.problem.calls[index as usize].act;
        self.lift(index, Done::Call(index));
        match act {
            Act::Write(to) => (self.state, self.limit) = (to, self.passed),
            Act::Swap(_, to) => self.state = to,
            Act::Read(_) | Act::Differs(_) => {}
        }
    }

    /// Does a write before the last write.
    pub fn slip(&mut self, index: u32) {
        self.lift(index, Done::Slip(index));
    }

    /// Does a known operation without a trace in the register.
    fn lift(&mut self, index: u32, done: Done) {
        let call = self.problem.calls[index as usize];
        self.unlink(call.ret);
        self.unlink(call.call);
        self.count(call.act, -1);
        self.trail.push(done);
    }

    /// Does an operation of an unknown class: the one that was invoked first.
    pub fn unknown(&mut self, class: u32) {
        self.use_up(class, 1);
        self.trail.push(Done::Unknown(class));
        let kind = &self.problem.classes[class as usize];
        self.state = kind.to;
        if kind.from.is_none() {
            self.limit = self.passed;
        }
    }

    fn use_up(&mut self, class: u32, by: i32) {
        let kind = &self.problem.classes[class as usize];
        let add = |counter: &mut u32, by: i32| *counter = counter.wrapping_add_signed(by);
        add(&mut self.used[class as usize], by);
        add(&mut self.producers[kind.to as usize], -by);
        if let Some(from) = kind.from {
            add(&mut self.swaps_from[from as usize], -by);
        }
    }

    /// Does everything that can be done without loss (see [`super::search`]), then finds the next return. `mark` is
    /// the point before the step that is being settled.
    pub fn settle(&mut self, mark: Mark) {
        let head = self.problem.events.len();
        loop {
            let done = self.trail.len();
            let mut event = self.next[head];
            while let Some((call, false)) = self.problem.events.get(event as usize).copied() {
                if self.absorbs(call) {
                    let slips = self.slips(call);
                    self.lift(call, if slips { Done::Slip(call) } else { Done::Call(call) });
                }
                event = self.next[event as usize];
            }
            self.passed = event;
            if self.trail.len() == done {
                break;
            }
        }
        if !self.problem.has_differs && !self.wanted(self.state) {
            self.state = DEAD;
        }
        self.move_bits(mark);
    }

    /// Whether doing the operation now loses nothing.
    fn absorbs(&self, index: u32) -> bool {
        match self.problem.calls[index as usize].act {
            Act::Read(value) => value == self.state,
            Act::Differs(value) => value != self.state,
            act @ Act::Write(_) => self.inert(act) && (self.slips(index) || !self.wanted(self.state)),
            Act::Swap(..) => false,
        }
    }

    /// Clears the slots of operations that returned on the way, then sets those of the newly done that have not.
    fn move_bits(&mut self, mark: Mark) {
        for event in mark.passed..self.passed {
            let (call, returns) = self.problem.events[event as usize];
            if returns {
                let slot = self.problem.calls[call as usize].slot;
                self.bits[slot as usize / 64] &= !(1 << (slot % 64));
            }
        }
        for done in &self.trail[mark.trail..] {
            if let Done::Call(index) | Done::Slip(index) = done {
                let call = self.problem.calls[*index as usize];
                if call.ret > self.passed {
                    self.bits[call.slot as usize / 64] |= 1 << (call.slot % 64);
                }
            }
        }
    }

    /// What was done, in an order in which each answer is right: indexes among the operations that the problem was made from.
    pub fn order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.trail.len());
        let mut used = vec![0; self.problem.classes.len()];
        let mut last_write = 0;
        for done in &self.trail {
            match *done {
                Done::Slip(index) => {
                    order.insert(last_write, self.problem.calls[index as usize].source);
                    last_write += 1;
                    continue;
                }
                Done::Call(index) => {
                    let call = self.problem.calls[index as usize];
                    if matches!(call.act, Act::Write(_)) {
                        last_write = order.len();
                    }
                    order.push(call.source);
                }
                Done::Unknown(class) => {
                    let kind = &self.problem.classes[class as usize];
                    if kind.from.is_none() {
                        last_write = order.len();
                    }
                    order.push(kind.sources[used[class as usize]]);
                    used[class as usize] += 1;
                }
            }
        }
        order
    }

    fn unlink(&mut self, event: u32) {
        let (prev, next) = (self.prev[event as usize], self.next[event as usize]);
        self.next[prev as usize] = next;
        self.prev[next as usize] = prev;
    }

    fn link(&mut self, event: u32) {
        let (prev, next) = (self.prev[event as usize], self.next[event as usize]);
        self.next[prev as usize] = event;
        self.prev[next as usize] = event;
    }
}
