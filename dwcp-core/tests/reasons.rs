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

/// Whichever end notices the loss first: what both count is the same.
#[tokio::test]
async fn a_reconnection_is_one_at_both_ends() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    for round in 1..=8_u64 {
        // In turn: the dialer notices first, the acceptor does.
        let was_cut = if round % 2 == 0 { peer.cut(None) } else { session.cut(None) };
        assert!(was_cut);
        let are_back = || [&session, &peer].map(|end| end.stats().reconnects_total) == [round; 2];
        let wait = async {
            while !are_back() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
        let counts = [&session, &peer].map(|end| {
            let stats = end.stats();
            (stats.switches_total, stats.failovers_total, stats.reconnects_total)
        });
        assert!(waited.is_ok(), "round {round}: {counts:?}");
        assert_eq!(counts, [(0, 0, round); 2]);
    }
}
