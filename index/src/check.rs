//! The proof of a graph: its invariants, one by one, and its digest.
//!
//! Place: after every test and behind `engram admin verify`. Proved of each layer: members are those whose level says
//! so; lists have no hole, no double, no link to itself or beyond the epoch; `tree_spans`: every slot but 0 has one parent,
//! before it, that links to it, so every slot is reached from slot 0. Of the whole: the hashes of rows and forgets sum to
//! what the digest was made of. Leaves out: whether links are good; that is recall, and is measured.

use crate::{build::children_max, epoch::State, graph::Graph, layer::Layer, level::level};
use std::sync::atomic::Ordering;
use thiserror::Error;

/// What is wrong with a graph. Remedy: rebuild it from the rows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// A layer has other members than the levels say.
    #[error("layer {layer}: row {row} is a member and should not be, or the other way round")]
    Member {
        /// The layer, 0 the base.
        layer: usize,
        /// The row.
        row: u32,
    },
    /// A list of links breaks a rule.
    #[error("layer {layer}, row {row}: {what}")]
    Links {
        /// The layer, 0 the base.
        layer: usize,
        /// The row whose list it is.
        row: u32,
        /// The rule that is broken.
        what: &'static str,
    },
    /// The hashes are not those of the digest: codes, links or forgets changed since.
    #[error("the hashes of rows and forgets sum to {found:016x}, the digest was made of {stated:016x}")]
    Digest {
        /// Sum of the hashes now.
        found: u64,
        /// Sum when the epoch was published.
        stated: u64,
    },
}

/// No build may run meanwhile.
pub(crate) fn check(graph: &Graph) -> Result<(), Broken> {
    let state = graph.epochs.now();
    for layer in &graph.layers {
        members(graph, layer, &state)?;
        links(layer, state.slots[layer.level])?;
    }
    let rows = (0..state.epoch.rows).map(|row| graph.row_hash(row));
    let forgets = (0..state.epoch.forgets).map(|at| graph.forgets.hash(at, graph.options.salt));
    let found = rows.chain(forgets).fold(0u64, u64::wrapping_add);
    match found == state.sum {
        true => Ok(()),
        false => Err(Broken::Digest { found, stated: state.sum }),
    }
}

fn members(graph: &Graph, layer: &Layer, state: &State) -> Result<(), Broken> {
    let mut should = (0..state.epoch.rows).filter(|&row| level(row, graph.options.salt) >= layer.level);
    for slot in 0..state.slots[layer.level] {
        let row = layer.row(slot);
        if should.next() != Some(row) {
            return Err(Broken::Member { layer: layer.level, row });
        }
    }
    should.next().map_or(Ok(()), |row| Err(Broken::Member { layer: layer.level, row }))
}

/// Slots rise from parent to child, so a parent's list has been read when a child's is.
fn links(layer: &Layer, slots: u32) -> Result<(), Broken> {
    // Of each slot: the last list that named it, and the last one that named it as a child; both plus one, 0 for none.
    let mut named = vec![0; slots as usize];
    let mut adopted = vec![0; slots as usize];
    for slot in 0..slots {
        let (mut listed, mut children, mut parents, mut adopted_by_parent) = (0, 0, 0, false);
        let broken = |what| Err(Broken::Links { layer: layer.level, row: layer.row(slot), what });
        for link in layer.links(slot) {
            listed += 1;
            let Some(named) = named.get_mut(link.slot as usize) else {
                return broken("a link to a row beyond the epoch");
            };
            if link.slot == slot {
                return broken("a link to itself");
            }
            if std::mem::replace(named, slot + 1) == slot + 1 {
                return broken("a link twice");
            }
            match link.tree {
                true if link.slot > slot => {
                    children += 1;
                    adopted[link.slot as usize] = slot + 1;
                }
                true => {
                    parents += 1;
                    adopted_by_parent = adopted[slot as usize] == link.slot + 1;
                }
                false => {}
            }
        }
        if layer.stored(slot)[listed..].iter().any(|link| link.load(Ordering::Relaxed) != 0) {
            return broken("a hole in the list");
        }
        if children > usize::from(children_max(layer.degree)) {
            return broken("too many children");
        }
        if parents != usize::from(slot > 0) {
            return broken("not one parent");
        }
        if slot > 0 && !adopted_by_parent {
            return broken("its parent does not link to it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        build::{Builder, batch_after},
        kernel::Kernels,
        layer::Link,
        options::{Metric, Options},
        workers::Inline,
    };

    fn graph() -> Graph {
        let graph = Graph::new(Options::new(8, Metric::L2, 3), Kernels::detect());
        let mut builder = Builder::new();
        for row in 0..1000u64 {
            let x: Vec<f32> = (0..8).map(|i| crate::hash::mix(row << 8 | i) as i32 as f32 / 1e9).collect();
            graph.codes.push(&x).expect("a good vector");
        }
        while graph.epochs.now().epoch.rows < 900 {
            builder.build(&graph, batch_after(graph.epochs.now().epoch.rows), &Inline);
        }
        graph
    }

    fn damaged(change: impl Fn(&mut Vec<Link>)) -> Result<(), Broken> {
        damaged_at(500, change)
    }

    fn damaged_at(slot: u32, change: impl Fn(&mut Vec<Link>)) -> Result<(), Broken> {
        let graph = graph();
        assert_eq!(check(&graph), Ok(()));
        let mut links: Vec<Link> = graph.layers[0].links(slot).collect();
        change(&mut links);
        graph.layers[0].set_links(slot, &links);
        check(&graph)
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let what = |result: Result<(), Broken>| match result {
            Err(Broken::Links { layer: 0, what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(what(damaged(|links| links[0].slot = 500)), "a link to itself");
        assert_eq!(what(damaged(|links| links[0].slot = 999)), "a link to a row beyond the epoch");
        assert_eq!(what(damaged(|links| links[0] = links[1])), "a link twice");
        assert_eq!(what(damaged(|links| links.retain(|link| !link.tree || link.slot > 500))), "not one parent");
        assert_eq!(what(damaged(|links| links.clear())), "not one parent");
        let disowned = damaged_at(0, |links| links.retain(|link| !link.tree));
        assert_eq!(what(disowned), "its parent does not link to it");
    }

    #[test]
    fn a_link_that_is_merely_another_moves_the_digest() {
        let swapped = damaged(|links| {
            let plain: Vec<usize> = (0..links.len()).filter(|&at| !links[at].tree).collect();
            links.swap(plain[0], plain[1]);
        });
        assert!(matches!(swapped, Err(Broken::Digest { .. })), "{swapped:?}");
    }

    #[test]
    fn a_layer_with_a_wrong_member_is_named() {
        let graph = graph();
        let mut state = graph.epochs.now();
        state.slots[1] -= 1;
        graph.epochs.publish(&state);
        assert!(matches!(check(&graph), Err(Broken::Member { layer: 1, .. })));
    }
}
