//! The simulator's trace, read back: one line an event, `nanoseconds text`, where the text begins with who it is about.
//!
//! Invariant: any text is a line; what is not understood is an event without a meaning, never an error. A trace of
//! another build can be looked at.
//!
//! Leaves out: writing one (the simulator does), and the bytes on the wire beyond their number.

use std::collections::BTreeMap;
use std::io::BufRead;

/// Who a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The simulated world or the run.
    World,
    /// The clients.
    Client,
    /// A node.
    Node(u64),
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// When, in simulated time.
    pub at_ms: f64,
    /// Who.
    pub who: Who,
    /// What, without who.
    pub text: String,
}

/// What a line means, as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning<'l> {
    /// So many bytes were written to a connection.
    Bytes(u64),
    /// A connection to a host was made, or could not be.
    Connects(&'l str, bool),
    /// The node's state holds everything up to this log index.
    Applied(u64),
    /// Leader, follower or another role, in a term.
    Role(&'l str, u64),
    /// The node starts; so many lives it has had.
    Begins(u64),
    /// The node stops: killed, without power, or by itself.
    Ends,
    /// The plan's time begins.
    PlanBegins,
    /// Anything else.
    Other,
}

/// The text of the line that tells when the plan's time begins.
pub const PLAN_BEGINS: &str = "the plan begins";

impl Line {
    /// Reads a line; empty ones are none.
    pub fn parse(line: &str) -> Option<Line> {
        let line = line.trim();
        let (time, text) = line.split_once(' ').unwrap_or((line, ""));
        let (at_ms, text) = match time.parse::<u64>() {
            Ok(ns) => (ns as f64 / 1e6, text),
            Err(_) => (0.0, line),
        };
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let node = first.strip_prefix('n').and_then(|number| number.parse().ok()).filter(|node| *node > 0);
        let (who, text) = match (first, node) {
            (_, Some(node)) => (Who::Node(node), rest),
            ("client", None) => (Who::Client, rest),
            _ => (Who::World, text),
        };
        (!line.is_empty()).then(|| Line { at_ms, who, text: text.trim_end().to_string() })
    }

    /// The value of `name=value`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// What it means.
    pub fn meaning(&self) -> Meaning<'_> {
        let text = self.text.as_str();
        let number = |rest: &str| rest.split(' ').next().and_then(|word| word.parse().ok());
        if let Some(count) = text.strip_prefix("writes ").and_then(number) {
            return Meaning::Bytes(count);
        }
        if let Some(host) = text.strip_prefix("connects to ") {
            return Meaning::Connects(host, true);
        }
        if let Some(host) = text.strip_prefix("cannot connect to ") {
            return Meaning::Connects(host, false);
        }
        if let Some(life) = text.strip_prefix("begins life ").and_then(number) {
            return Meaning::Begins(life);
        }
        let event = text.split('=').next().and_then(|head| head.rsplit_once(' ')).map_or(text, |(event, _)| event);
        match (event, self.number("index").or(self.number("term"))) {
            ("applied" | "snapshot installed", Some(index)) => Meaning::Applied(index),
            ("role", Some(_)) => Meaning::Role(self.field("role").unwrap_or("?"), self.number("term").unwrap_or(0)),
            _ if text == PLAN_BEGINS => Meaning::PlanBegins,
            _ if ["crashes", "loses power"].contains(&text) || text.starts_with("stopped") => Meaning::Ends,
            _ => Meaning::Other,
        }
    }

    /// The node at the other end: of a connection, or of a question that was not answered.
    pub fn peer(&self) -> Option<u64> {
        match self.meaning() {
            Meaning::Connects(host, _) => host.split(':').next()?.strip_prefix('n')?.parse().ok(),
            Meaning::Other => self.number("to"),
            _ => None,
        }
    }

    /// The line with its numbers left out: lines that say the same of other times and nodes have the same.
    pub fn shape(&self) -> String {
        let word = |word: &str| word.split('=').next().unwrap_or("").chars().filter(|c| !c.is_ascii_digit()).collect();
        self.text.split(' ').map(word).collect::<Vec<String>>().join(" ")
    }
}

/// Every line of a trace.
pub fn read(file: impl BufRead) -> std::io::Result<Vec<Line>> {
    let lines = file.split(b'\n').map(|line| line.map(|bytes| Line::parse(&String::from_utf8_lossy(&bytes))));
    lines.filter_map(Result::transpose).collect()
}

/// What is known of a node at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeState {
    /// How many lives it has begun.
    pub life: u64,
    /// Whether it runs.
    pub up: bool,
    /// Its role and term, once it told.
    pub role: Option<(String, u64)>,
    /// The highest log index that it applied in this life.
    pub applied: u64,
}

/// Every node by number.
pub type Nodes = BTreeMap<u64, NodeState>;

/// Takes a line into account.
pub fn follow(nodes: &mut Nodes, line: &Line) {
    let Who::Node(node) = line.who else { return };
    let state = nodes.entry(node).or_default();
    match line.meaning() {
        Meaning::Begins(life) => *state = NodeState { life, up: true, ..NodeState::default() },
        Meaning::Ends => (state.up, state.role) = (false, None),
        Meaning::Role(role, term) => state.role = Some((role.to_string(), term)),
        Meaning::Applied(index) => state.applied = index,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(text).expect("a line")
    }

    #[test]
    fn lines_of_nodes_clients_and_the_world_are_told_apart() {
        let applied = line("     346000000 n3 applied digest=0a16 index=11 term=1\n");
        assert_eq!((applied.at_ms, applied.who, applied.meaning()), (346.0, Who::Node(3), Meaning::Applied(11)));
        assert_eq!(line("8000000 client connects to n1:7600").who, Who::Client);
        assert_eq!(line("8000000 client connects to n1:7600").peer(), Some(1));
        let checked = line("9 checked: 11428 acked, 11428 rows");
        assert_eq!((checked.who, checked.meaning()), (Who::World, Meaning::Other));
        assert_eq!(line("1000000 the plan begins").meaning(), Meaning::PlanBegins);
        assert_eq!(line("5 n1 role leader=1 role=Leader term=7").meaning(), Meaning::Role("Leader", 7));
        assert_eq!(line("5 n1 writes 24 bytes #fb94bad7").meaning(), Meaning::Bytes(24));
        assert_eq!(line("5 n1 peer did not answer reason=no answer from node 2 to=2 what=append").peer(), Some(2));
        assert_eq!(Line::parse("  \n"), None);
    }

    #[test]
    fn what_is_not_understood_is_an_event_all_the_same() {
        for text in ["hello", "12", "12 n", "12 n0 ?", "x y z", "99999999999999999999999 n1 applied index=1"] {
            assert_eq!(line(text).meaning(), Meaning::Other, "{text}");
        }
        assert_eq!(line("7 n1 snapshot built bytes=9 index=4").meaning(), Meaning::Other);
    }

    #[test]
    fn a_node_is_followed_through_its_lives() {
        let mut nodes = Nodes::new();
        let trace = "0 n1 begins life 1\n5 n1 role role=Leader term=2\n6 n1 applied index=9 term=2\n7 n1 crashes\n";
        read(trace.as_bytes()).expect("in memory").iter().for_each(|line| follow(&mut nodes, line));
        assert_eq!(nodes[&1], NodeState { life: 1, up: false, role: None, applied: 9 });
        follow(&mut nodes, &line("8 n1 begins life 2"));
        assert_eq!(nodes[&1], NodeState { life: 2, up: true, role: None, applied: 0 });
    }

    #[test]
    fn shapes_leave_numbers_out() {
        let shape = |text: &str| line(text).shape();
        assert_eq!(shape("1 n1 cannot connect to n2:7700"), shape("2 n3 cannot connect to n1:7600"));
        assert_ne!(shape("1 n1 role term=1"), shape("1 n1 applied index=1"));
    }
}
