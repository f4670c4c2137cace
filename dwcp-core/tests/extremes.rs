//! Settings that no limit keeps from being the least or the most that there is.
#![cfg(feature = "tokio")]

use std::time::Duration;

use dwcp_core::{ChannelOptions, Endpoint, EndpointSettings, ReputationRules, Session};

const LIMIT: Duration = Duration::from_secs(60);

async fn sessions(a: &Endpoint, b: &Endpoint) -> (Session, Session) {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    (session.expect("b answers"), peer.expect("b runs"))
}

/// A message goes there, also after a cut.
async fn exchange(from: &Session, to: &Session) {
    let mut channel = from.open("x", ChannelOptions::default()).expect("room");
    for word in ["before", "after"] {
        channel.sender.send(word).await.expect("open");
        channel.sender.acked().await.expect("it arrives");
        from.cut(None);
    }
    let mut channel = to.accept().await.expect("the channel");
    for word in ["before", "after"] {
        let message = channel.receiver.recv().await.expect("the session lives");
        assert_eq!(&*message.expect("the message"), word.as_bytes());
    }
}

fn all(time: Duration) -> EndpointSettings {
    let mut settings = EndpointSettings::default();
    settings.handshake_timeout = time;
    settings.time_to_live = time;
    settings.heartbeat_interval = time;
    settings.switch_timeout = time;
    settings.reconnect_delay_max = time;
    settings.key_rotation_interval = Some(time);
    settings.reputation = Some(ReputationRules {
        reputation_min: 0.5,
        quarantine_below: 0.1,
        half_life: time,
        quarantine: time,
    });
    settings
}

#[tokio::test(start_paused = true)]
async fn times_may_be_as_long_as_they_can_be() {
    let (a, b) = Endpoint::pair_with(&all(Duration::MAX));
    let (session, peer) = sessions(&a, &b).await;
    tokio::time::timeout(LIMIT, exchange(&session, &peer)).await.expect("it works");
    let drained = tokio::time::timeout(LIMIT, a.drain(Duration::MAX)).await;
    assert_eq!(drained.expect("all is acked").sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_between_two_keys_is_no_rotation() {
    let mut settings = EndpointSettings::default();
    let zero = all(Duration::ZERO);
    settings.key_rotation_interval = zero.key_rotation_interval;
    settings.reconnect_delay_max = zero.reconnect_delay_max;
    let (a, b) = Endpoint::pair_with(&settings);
    let (session, peer) = sessions(&a, &b).await;
    exchange(&session, &peer).await;
    tokio::time::sleep(LIMIT).await;
    let mut channel = session.open("y", ChannelOptions::default()).expect("room");
    channel.sender.send("under the same keys").await.expect("open");
    channel.sender.acked().await.expect("it arrives");
    let paths = session.stats().paths;
    assert!(!paths.is_empty() && paths.iter().all(|path| path.rekeys_total == 0), "{paths:?}");
}
