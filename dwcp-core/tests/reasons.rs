//! Every move of a session tells why.

use dwcp_core::{Endpoint, SessionEvent, SwitchReason};

#[tokio::test]
async fn the_first_path_is_no_failure_and_a_cut_is_one() {
    let (a, b) = Endpoint::pair();
    let mut events = a.subscribe();
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, _peer) = (session.expect("b answers"), peer.expect("b runs"));
    let mut reasons = Vec::new();
    while reasons.len() < 2 {
        let event = events.recv().await.expect("the endpoint runs").event;
        if let SessionEvent::Switched(switch) = event {
            reasons.push(switch.reason);
            if reasons.len() == 1 {
                assert!(session.stats().last_switch.is_some());
                session.cut(None);
            }
        }
    }
    assert_eq!(reasons, [SwitchReason::FirstPath, SwitchReason::PathFailed]);
    let stats = session.stats();
    let totals = (stats.switches_total, stats.failovers_total, stats.reconnects_total);
    assert_eq!(totals, (0, 0, 1), "{stats:?}");
}
