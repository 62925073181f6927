//! Prometheus' text format, for declared families alone.

use super::families::{FAMILIES, Family, Kind};
use super::histogram::Histogram;
use std::fmt::{Display, Write};

/// A page of metrics in the making.
#[derive(Default)]
pub struct Text(String);

impl Text {
    /// The page.
    pub fn done(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kinds: &[Kind]) -> &'static Family {
        let family = FAMILIES.iter().find(|family| family.name == name);
        let family = family.unwrap_or_else(|| unreachable!("{name} is not declared in metrics::families"));
        debug_assert!(kinds.contains(&family.kind), "{name} is declared as {:?}", family.kind);
        let Family { name, kind, help, .. } = family;
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        family
    }

    /// A family without labels.
    pub fn one(&mut self, name: &str, value: impl Display) {
        self.many(name, [([""; 0], value)]);
    }

    /// A family, its labels' values in the order in which they are declared.
    pub fn many<const N: usize, L: Display, V: Display>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = ([L; N], V)>,
    ) {
        let family = self.head(name, &[Kind::Counter, Kind::Gauge]);
        debug_assert_eq!(family.labels.len(), N, "{name}");
        for (labels, value) in values {
            let labels = written(family.labels, &labels, None);
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    /// A family of histograms.
    pub fn histograms<'h, const N: usize>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = ([&'static str; N], &'h Histogram)>,
    ) {
        let family = self.head(name, &[Kind::Histogram]);
        for (labels, histogram) in values {
            let (buckets, count, sum) = histogram.read();
            for (bound, upto) in buckets {
                let labels = written(family.labels, &labels, Some(&bound.to_string()));
                let _ = writeln!(self.0, "{name}_bucket{labels} {upto}");
            }
            let all = written(family.labels, &labels, Some("+Inf"));
            let labels = written(family.labels, &labels, None);
            let _ =
                writeln!(self.0, "{name}_bucket{all} {count}\n{name}_sum{labels} {sum}\n{name}_count{labels} {count}");
        }
    }
}

/// Values hold no quote, no backslash and no line end: they are names that were checked, numbers, or our own words.
fn written(names: &[&str], values: &[impl Display], le: Option<&str>) -> String {
    let pairs = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{value}\""));
    let pairs: Vec<String> = pairs.chain(le.map(|le| format!("le=\"{le}\""))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}
