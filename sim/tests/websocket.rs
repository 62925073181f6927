//! WebSockets in the simulated cluster: exactly once through a power loss, and no dead client is kept.

use engram_sim::run::{Script, run};

#[test]
fn rows_over_a_websocket_survive_a_power_loss_exactly_once_and_a_mute_client_is_dropped() {
    let report = run(3, 3, Script::WebSocket, None).expect("the trace is in memory");
    assert_eq!(report.violation, None);
    assert_eq!((report.acked, report.rows), (200, 200));
}
