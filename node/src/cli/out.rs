//! Data to stdout, words to stderr. A closed pipe ends the output, never the program by panic.

use serde::Serialize;
use std::io::{Write, stderr, stdout};

/// A line of data.
pub fn line(text: impl std::fmt::Display) {
    drop(writeln!(stdout().lock(), "{text}"));
}

/// A line of an output that goes on until nobody reads it: false then.
pub fn still_read(text: impl std::fmt::Display) -> bool {
    let mut out = stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// A value as JSON, for `--json`.
pub fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("plain fields and string keys");
    line(text);
}

/// Words for the person at the terminal.
pub fn note(text: impl std::fmt::Display) {
    drop(writeln!(stderr().lock(), "{text}"));
}

/// Columns as wide as their widest cell; numbers go to the right.
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; one cell a column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, without a line break at the end.
    pub fn render(&self) -> String {
        let head: Vec<String> = self.head.iter().map(ToString::to_string).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let count = self.head.len();
        let wide = |at: usize| lines.iter().map(|line| line.get(at).map_or(0, |cell| cell.chars().count())).max();
        let widths: Vec<usize> = (0..count).map(|at| wide(at).unwrap_or(0)).collect();
        let number = |cell: &str| !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || ".-".contains(c));
        let cell = |at: usize, text: &str| {
            let pad = " ".repeat(widths[at].saturating_sub(text.chars().count()));
            match number(text) {
                true => format!("{pad}{text}"),
                false => format!("{text}{pad}"),
            }
        };
        let render = |line: &&Vec<String>| {
            let cells: Vec<String> = line.iter().enumerate().map(|(at, text)| cell(at, text)).collect();
            cells.join("  ").trim_end().to_string()
        };
        lines.iter().map(render).collect::<Vec<_>>().join("\n")
    }
}

/// At most `width` characters of a text, in one line.
pub fn short(text: &str, width: usize) -> String {
    let line = text.replace(['\n', '\r', '\t'], " ");
    match line.chars().count() > width {
        true => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["node", "role"]);
        table.row(["1".into(), "leader".into()]);
        table.row(["20".into(), "follower".into()]);
        assert_eq!(table.render(), "node  role\n   1  leader\n  20  follower");
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        assert_eq!(short("grün\nblau", 6), "grün …");
        assert_eq!(short("kurz", 6), "kurz");
    }
}
