//! What an endpoint does about peers that break the protocol, and about those that ask too much.

use std::time::Duration;

use super::{ConnectError, Endpoint, EndpointSettings, Offence, ReputationRules};
use crate::machine::Violation;
use crate::rate::Rate;
use crate::session::{ChannelOptions, SessionEvent};

const OFFENCE: Offence = Offence::Violation(Violation::BadControl);

fn strict() -> EndpointSettings {
    EndpointSettings {
        reputation: Some(ReputationRules {
            reputation_min: 0.5,
            quarantine_below: 0.1,
            half_life: Duration::from_secs(3_600),
            quarantine: Duration::from_secs(600),
        }),
        reconnect_delay_max: Duration::from_millis(100),
        ..EndpointSettings::default()
    }
}

/// `b` finds fault with `a` so often that it is quarantined.
fn offend(b: &Endpoint) {
    for _ in 0..4 {
        b.inner().note_offence("a", None, OFFENCE, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_peer_loses_its_session_and_is_refused_both_ways_until_the_time_is_over() {
    let (a, b) = Endpoint::pair_with(&strict());
    let session = a.connect("b").await.unwrap();
    let far = b.accept().await.unwrap();
    let mut events = b.subscribe();
    offend(&b);
    far.closed().await;
    session.closed().await;
    let mut quarantines = 0;
    while let Some(event) = events.recv().await {
        match event.event {
            SessionEvent::Offended { quarantine, .. } => {
                quarantines += u32::from(quarantine.is_some());
            }
            SessionEvent::Closed(_) => break,
            _ => {}
        }
    }
    assert_eq!(quarantines, 1);
    let refused = a.connect("b").await.map(drop).unwrap_err();
    assert!(
        matches!(&refused, ConnectError::Refused { reason, .. } if reason.contains("quarantine")),
        "{refused}"
    );
    let refused = b.connect("a").await.map(drop).unwrap_err();
    assert!(matches!(refused, ConnectError::Quarantined { .. }), "{refused}");
    assert!(refused.to_string().contains("evidence log"), "{refused}");
    tokio::time::advance(Duration::from_secs(601)).await;
    a.connect("b").await.unwrap();
    let told = b.conduct().remove(0);
    assert!(told.is_reported && told.quarantined_for.is_none(), "on probation: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_is_lifted_by_hand_or_with_the_rules() {
    let (a, b) = Endpoint::pair_with(&strict());
    offend(&b);
    assert!(a.connect("b").await.is_err());
    let mut events = b.subscribe();
    assert!(b.lift_quarantine("a") && !b.lift_quarantine("a"));
    assert_eq!(events.recv().await.unwrap().event, SessionEvent::QuarantineLifted);
    let session = a.connect("b").await.unwrap();
    session.abort();
    session.closed().await;
    offend(&b);
    assert!(a.connect("b").await.is_err());
    b.set_reputation(None);
    a.connect("b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_rules_offences_are_told_and_nothing_follows() {
    let (a, b) = Endpoint::pair();
    offend(&b);
    a.connect("b").await.unwrap();
    assert_eq!(b.conduct()[0].offences_total, 4);
    assert!(a.conduct().is_empty());
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused_and_leave_no_record() {
    let (_, b) = Endpoint::pair_with(&strict());
    for _ in 0..9 {
        b.inner().note_false_hello("stranger", "anything");
    }
    assert!(b.conduct().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_too_much_is_read_more_slowly_and_loses_nothing() {
    const CHANNELS: usize = 60;
    let rate = Rate { per_second: 100, burst: 10 };
    let settings = EndpointSettings { request_rate: Some(rate), ..EndpointSettings::default() };
    let (a, b) = Endpoint::pair_with(&settings);
    let session = a.connect("b").await.unwrap();
    let far = b.accept().await.unwrap();
    let start = tokio::time::Instant::now();
    let mut channels = Vec::new();
    for number in 0..CHANNELS {
        let mut channel = session.open("x", ChannelOptions::default()).unwrap();
        channel.sender.send(number.to_string()).await.unwrap();
        channels.push(channel);
    }
    for number in 0..CHANNELS {
        let mut incoming = far.accept().await.unwrap();
        let message = incoming.receiver.recv().await.unwrap().unwrap();
        assert_eq!(&message[..], number.to_string().as_bytes());
    }
    // A record may hold several: what is over the rate by the last record need not be waited for.
    let least = Duration::from_millis(10 * (CHANNELS as u64 - 10 - 10));
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    assert!(far.stats().slowed_total > 0 && session.stats().slowed_total == 0);
    // The next session's peer may ask what it likes, and so may this one from now on.
    b.set_request_rate(None);
    let slowed = far.stats().slowed_total;
    for _ in 0..CHANNELS {
        channels.push(session.open("x", ChannelOptions::default()).unwrap());
    }
    for _ in 0..CHANNELS {
        far.accept().await.unwrap();
    }
    assert_eq!(far.stats().slowed_total, slowed);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_greets_anew_owes_what_it_owed() {
    const ROUNDS: usize = 12;
    const BURST: u32 = 10;
    let rate = Rate { per_second: 100, burst: BURST };
    let settings = EndpointSettings {
        request_rate: Some(rate),
        reconnect_delay_max: Duration::from_millis(1),
        ..EndpointSettings::default()
    };
    let (a, b) = Endpoint::pair_with(&settings);
    let (start, mut slowed) = (tokio::time::Instant::now(), 0);
    for _ in 0..ROUNDS {
        let session = a.connect("b").await.unwrap();
        let far = b.accept().await.unwrap();
        for number in 0..BURST {
            let mut channel = session.open("x", ChannelOptions::default()).unwrap();
            channel.sender.send(number.to_string()).await.unwrap();
            channel.sender.flush();
            far.accept().await.unwrap();
        }
        slowed += far.stats().slowed_total;
        session.abort();
        session.closed().await;
        far.abort();
        far.closed().await;
    }
    // The first burst is free, and so is what the last record had.
    let least = Duration::from_millis(10 * u64::from(BURST) * (ROUNDS as u64 - 2));
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    assert!(slowed > 0);
}
