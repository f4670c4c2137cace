//! What two endpoints agree on in their hellos, with the suites that real nodes have.

use std::sync::Arc;

use dwcp_core::crypto::{ChecksumSuite, Suite};
use dwcp_core::link::MemoryNetwork;
use dwcp_core::{ChannelOptions, Endpoint, EndpointSettings, Peer, Peers, Session};
use dwcp_tcp::suites::{aws_lc, hmac_sha256, rust_crypto};

/// The links of the network are a trusted medium: `trusted` is what protects them.
fn end(
    network: &MemoryNetwork,
    names: [&str; 2],
    trusted: &[Arc<dyn Suite>],
    hmac: bool,
) -> Endpoint {
    let [node, peer] = names;
    let mut settings = EndpointSettings::default();
    settings.hmac = hmac;
    let builder = Endpoint::builder(node)
        .dialer(Arc::new(network.dialer(node)))
        .listener(Box::new(network.listener(node)))
        .suite(aws_lc(false))
        .peers(Peers::only([Peer::new(peer, ["memory"])]))
        .settings(settings);
    let builder = trusted.iter().fold(builder, |it, suite| it.trusted_suite(suite.clone()));
    builder.build().expect("complete")
}

async fn joined(a: &Endpoint, b: &Endpoint) -> [Session; 2] {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    [session.expect("b answers"), peer.expect("b runs")]
}

/// The suite that both ends use, after a message has passed under it.
async fn suite_of(sessions: &[Session; 2]) -> String {
    let mut channel = sessions[0].open("x", ChannelOptions::default()).expect("room");
    channel.sender.send("hello").await.expect("open");
    let mut incoming = sessions[1].accept().await.expect("a channel");
    assert!(incoming.receiver.recv().await.expect("intact").expect("one") == "hello");
    let active = |session: &Session| {
        let stats = session.stats();
        let path = stats.paths.iter().find(|path| Some(path.id) == stats.active);
        path.expect("a message has passed").suite
    };
    let [ours, theirs] = sessions.each_ref().map(active);
    let base = |name: &str| name.split(' ').next().expect("a name").to_owned();
    assert_eq!(base(ours), base(theirs));
    base(ours)
}

#[tokio::test]
async fn one_end_that_wants_the_hmac_gets_it_whatever_library_the_other_uses() {
    for (dials, accepts) in [(false, false), (true, false), (false, true)] {
        let network = MemoryNetwork::default();
        let a = end(&network, ["a", "b"], &[aws_lc(false)], dials);
        let b = end(&network, ["b", "a"], &[rust_crypto(false)], accepts);
        let wanted = if dials || accepts { "aes-256-gcm+hmac-sha256" } else { "aes-256-gcm" };
        assert_eq!(suite_of(&joined(&a, &b).await).await, wanted, "{dials} {accepts}");
    }
}

#[tokio::test]
async fn trusted_media_get_the_stronger_protection_of_the_two_configured() {
    let checksum = || Arc::new(ChecksumSuite) as Arc<dyn Suite>;
    let all = [checksum(), hmac_sha256(), aws_lc(false)];
    for (ours, theirs, agreed) in [(0, 0, "crc32"), (0, 1, "hmac-sha256"), (2, 0, "aes-256-gcm")] {
        let network = MemoryNetwork::default();
        let a = end(&network, ["a", "b"], &all[ours..], false);
        let b = end(&network, ["b", "a"], &all[theirs..], false);
        assert_eq!(suite_of(&joined(&a, &b).await).await, agreed);
    }
}

#[tokio::test]
async fn without_a_common_suite_the_refusal_names_both_lists() {
    let network = MemoryNetwork::default();
    let a = end(&network, ["a", "b"], &[hmac_sha256(), aws_lc(false)], false);
    let b = end(&network, ["b", "a"], &[Arc::new(ChecksumSuite)], false);
    let refused = a.connect("b").await.expect_err("nothing in common").to_string();
    let words = "no suite in common for trusted media: you offer hmac-sha256, aes-256-gcm; \
                 this node has crc32";
    assert!(refused.contains(words), "{refused}");
    assert_eq!(b.stats().refused_total, 1);
}

#[tokio::test]
async fn a_resumed_session_keeps_what_was_agreed_on() {
    let network = MemoryNetwork::default();
    let a = end(&network, ["a", "b"], &[aws_lc(false)], false);
    let b = end(&network, ["b", "a"], &[aws_lc(false)], true);
    let sessions = joined(&a, &b).await;
    assert_eq!(suite_of(&sessions).await, "aes-256-gcm+hmac-sha256");
    assert!(sessions[0].cut(None));
    // The acceptor may see the new path before it notices that the old one is gone.
    for _ in 0..6_000 {
        if sessions[0].stats().reconnects_total > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(sessions[0].stats().reconnects_total, 1);
    assert_eq!(suite_of(&sessions).await, "aes-256-gcm+hmac-sha256");
}
