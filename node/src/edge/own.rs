//! Which log index has all the rows that a stream has sent so far: for recalls that must see them.
//!
//! Outcomes come in the order of the chunks, so a question is answered once as many have come as were awaited when it was
//! asked. Leaves out: waiting until that index is applied (`gate`).

use std::collections::VecDeque;
use tokio::sync::oneshot;

/// The state of one stream.
#[derive(Default)]
pub struct Own {
    /// The last log index that has a row of this session.
    log_index: u64,
    /// Chunks admitted whose outcome has not come.
    unsettled: usize,
    /// Questions, each with the outcomes that it waits for.
    asked: VecDeque<(usize, oneshot::Sender<u64>)>,
}

impl Own {
    /// Of a session whose last row is in `log_index`.
    pub fn new(log_index: u64) -> Self {
        Self { log_index, ..Self::default() }
    }

    /// A chunk was admitted.
    pub fn admitted(&mut self) {
        self.unsettled += 1;
    }

    /// Answers once the outcome of each chunk so far has come. An asker who is gone hears nothing.
    pub fn ask(&mut self, asker: oneshot::Sender<u64>) {
        self.asked.push_back((self.unsettled, asker));
        self.answer();
    }

    /// The outcome of the oldest chunk has come; `log_index` is its last row's, if it has any.
    pub fn settled(&mut self, log_index: Option<u64>) {
        self.log_index = self.log_index.max(log_index.unwrap_or(0));
        self.unsettled -= 1;
        self.asked.iter_mut().for_each(|(waits_for, _)| *waits_for -= 1);
        self.answer();
    }

    fn answer(&mut self) {
        while let Some((_, asker)) = self.asked.pop_front_if(|(waits_for, _)| *waits_for == 0) {
            // Nobody listens: nothing is lost.
            asker.send(self.log_index).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_waits_for_the_chunks_before_it_and_no_others() {
        let mut own = Own::new(5);
        let ask = |own: &mut Own| {
            let (asker, answer) = oneshot::channel();
            own.ask(asker);
            answer
        };
        assert_eq!(ask(&mut own).try_recv(), Ok(5), "nothing is under way");
        own.admitted();
        let mut first = ask(&mut own);
        own.admitted();
        let mut second = ask(&mut own);
        own.settled(Some(8));
        assert_eq!((first.try_recv(), second.try_recv().is_err()), (Ok(8), true));
        own.settled(None);
        assert_eq!(second.try_recv(), Ok(8), "a refused chunk has no rows");
    }
}
