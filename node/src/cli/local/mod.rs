//! A cluster of this binary's own processes on this machine, for commands that show or measure one.

pub mod nodes;
pub mod wait;
