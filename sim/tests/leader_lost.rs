//! Writes through a leader partition and a power loss: nothing lost, doubled or reordered, all replicas equal.

use engram_sim::run::{Script, run};

#[test]
fn a_cut_off_leader_and_a_power_loss_lose_double_and_reorder_nothing() {
    let report = run(1, 3, Script::LeaderLost, None).expect("the trace is in memory");
    assert_eq!(report.violation, None);
    assert!(report.acked > 300, "{} acked", report.acked);
    assert_eq!(report.rows, report.acked, "everything was acked in the end");
    assert!(report.recalls > 20, "{} recalls", report.recalls);
}
