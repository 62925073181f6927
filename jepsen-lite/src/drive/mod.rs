//! The driver: real `engram serve` processes, their faults, their clients, and what came of it.
//!
//! `run` enters namespaces of its own (`alone`), starts a cluster in namespaces (`wires`) or on loopback, behind proxies that
//! the driver carries (`proxy`, `link`, `who`), plays a plan on processes, links and disks (`faults`, `nodes`), streams and
//! recalls meanwhile (`workload`, `reads`, `names`, `web`), heals everything, and checks what clients heard (`record`) and what
//! the nodes hold (`settle`).
//!
//! Invariants: plan and workload are functions of the seed alone (`schedule`, `workload`); the machine's time is not,
//! so two runs of a seed send the same rows and suffer the same faults, and interleave differently. No process
//! outlives the driver, however it ends (`child`), nor any mount or interface (`alone`).
//!
//! Leaves out: faults that need the inside of a node (flipped memory, failed syncs, lost writes); the simulators have
//! those. A run names each fault that it did not inject.

pub mod child;
pub mod compare;
pub mod run;

mod alone;
mod backups;
mod clock;
mod faults;
mod link;
mod measure;
mod names;
mod nodes;
mod page;
mod play;
mod proxy;
mod reads;
mod record;
mod report;
mod restart;
mod schedule;
mod settle;
mod web;
mod who;
mod wires;
mod workload;

/// What broke a promise: `property: what happened`.
pub type Broken = String;
