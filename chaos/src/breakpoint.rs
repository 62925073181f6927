//! A breakpoint in a run that is over: what the nodes did last before a log index or a time, and how they stood then.
//!
//! A run repeats to the byte, so looking back at its trace is as good as stopping it.
//!
//! Invariant: the line that reaches a log index is shown; nothing after it is.

use crate::trace::{self, Line, Meaning, NodeState, Nodes, Who};

/// Where to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakpoint {
    /// When the first node has applied this log index.
    Index(u64),
    /// At this simulated time.
    Ms(u64),
}

/// What is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopped {
    /// The last events of nodes up to there, without the bytes that they wrote.
    pub lines: Vec<Line>,
    /// How the nodes stood.
    pub nodes: Nodes,
}

/// The last `count` events up to the breakpoint. The error says how far the run got.
pub fn stop(lines: &[Line], breakpoint: Breakpoint, count: usize) -> Result<Stopped, String> {
    let applied = |line: &Line| match (line.who, line.meaning()) {
        (Who::Node(_), Meaning::Applied(index)) => index,
        _ => 0,
    };
    let end = match breakpoint {
        Breakpoint::Index(wanted) => match lines.iter().position(|line| applied(line) >= wanted) {
            Some(at) => at + 1,
            None => {
                let highest = lines.iter().map(applied).max().unwrap_or(0);
                return Err(format!("no node applied log index {wanted}; the highest was {highest}"));
            }
        },
        Breakpoint::Ms(ms) => {
            let last = lines.last().map_or(0.0, |line| line.at_ms);
            if last < ms as f64 {
                return Err(format!("the run ended at {last:.0} ms, before {ms}"));
            }
            lines.partition_point(|line| line.at_ms <= ms as f64)
        }
    };
    let mut nodes = Nodes::new();
    lines[..end].iter().for_each(|line| trace::follow(&mut nodes, line));
    let event = |line: &&Line| matches!(line.who, Who::Node(_)) && !matches!(line.meaning(), Meaning::Bytes(_));
    let mut shown: Vec<Line> = lines[..end].iter().rev().filter(event).take(count).cloned().collect();
    shown.reverse();
    Ok(Stopped { lines: shown, nodes })
}

/// An event as a line to print.
pub fn event_line(line: &Line) -> String {
    let node = if let Who::Node(node) = line.who { format!("n{node}") } else { "-".into() };
    format!("{:>12.3} ms  {node}  {}", line.at_ms, line.text)
}

/// A node in one line.
pub fn node_line(node: u64, state: &NodeState) -> String {
    let NodeState { life, up, role, applied } = state;
    let stands = match (up, role) {
        (false, _) => "down".into(),
        (true, None) => "up, no role yet".into(),
        (true, Some((role, term))) => format!("{} in term {term}", role.to_lowercase()),
    };
    format!("node {node}: {stands}, life {life}, applied {applied}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let trace = "0 n1 begins life 1\n1000000 client connects to n1:7600\n2000000 n1 applied index=1 term=1\n\
                     2000000 n1 writes 9 bytes #ff\n3000000 n2 begins life 1\n4000000 n1 applied index=3 term=1\n\
                     5000000 n1 crashes\n";
        trace::read(trace.as_bytes()).expect("in memory")
    }

    #[test]
    fn a_log_index_stops_at_the_first_node_that_has_it() {
        let stopped = stop(&lines(), Breakpoint::Index(2), 2).expect("reached");
        let shown: Vec<String> = stopped.lines.iter().map(event_line).collect();
        assert_eq!(shown, ["       3.000 ms  n2  begins life 1", "       4.000 ms  n1  applied index=3 term=1"]);
        assert_eq!(node_line(1, &stopped.nodes[&1]), "node 1: up, no role yet, life 1, applied 3");
        let never = stop(&lines(), Breakpoint::Index(4), 2).expect_err("not reached");
        assert_eq!(never, "no node applied log index 4; the highest was 3");
    }

    #[test]
    fn a_time_stops_after_everything_of_that_millisecond() {
        let stopped = stop(&lines(), Breakpoint::Ms(2), 9).expect("reached");
        assert_eq!(stopped.lines.len(), 2, "neither clients nor bytes");
        assert!(!stop(&lines(), Breakpoint::Ms(5), 9).expect("reached").nodes[&1].up);
        assert_eq!(stop(&lines(), Breakpoint::Ms(6), 9), Err("the run ended at 5 ms, before 6".into()));
    }
}
