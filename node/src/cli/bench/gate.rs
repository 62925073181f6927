//! A promise beside what was found, and the table of them.
//!
//! Invariant: a gate is `met` only by a figure of this run; where a figure is missing it is neither met nor not.

use crate::cli::out::Table;
use serde::Serialize;

/// One promise.
#[derive(Debug, PartialEq, Serialize)]
pub struct Gate {
    /// What of.
    pub gate: String,
    /// Bound with its sign, such as `≥ 8`.
    pub wanted: String,
    /// None where it was not measured.
    pub found: Option<f64>,
    /// None where it was not measured.
    pub met: Option<bool>,
}

/// What is enough.
pub enum Bound {
    /// As much, or more.
    Least(f64),
    /// As much, or less.
    Most(f64),
}

impl Gate {
    /// A promise beside what was found.
    pub fn new(name: &str, bound: Bound, found: Option<f64>) -> Self {
        let (wanted, met): (String, Option<bool>) = match bound {
            Bound::Least(least) => (format!("≥ {least}"), found.map(|found| found >= least)),
            Bound::Most(most) => (format!("≤ {most}"), found.map(|found| found <= most)),
        };
        Self { gate: name.to_string(), wanted, found, met }
    }
}

/// The gates as a table, figures below 100 with so many digits.
pub fn table(gates: &[Gate], digits: usize) -> String {
    let mut table = Table::new(&["gate", "wanted", "found", ""]);
    for gate in gates {
        let met = match gate.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not measured",
        };
        let digits = if gate.found.is_some_and(|found| found >= 100.0) { 0 } else { digits };
        table.row([gate.gate.clone(), gate.wanted.clone(), shown(gate.found, digits), met.to_string()]);
    }
    table.render()
}

/// A figure, or a dash.
pub fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "–".to_string(), |figure| format!("{figure:.digits$}"))
}
