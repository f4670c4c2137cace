//! Senders that wait for memory.

use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::Duration;

use dwcp_core::mem::{CLASS_BYTES, Pool, SlotMut};
use dwcp_core::{Channel, ChannelOptions, PollDriver, PollSettings, Role, block_on, block_on_for};

use crate::by_hand::LONG;
use crate::link::{Pulls, pair};
use crate::setup;

/// A channel of a session that sends from `pool`, and what keeps it alive.
fn sending_from(pool: Pool) -> (Channel, impl Sized) {
    let driver = PollDriver::start(&PollSettings::default()).expect("threads");
    let (ours, theirs) = pair(&Pulls::Arrive);
    let session = driver.begin(Box::new(ours), setup(Role::Dialer, pool)).expect("trusted");
    let theirs_setup = setup(Role::Acceptor, Pool::new(16 << 20));
    let peer = driver.begin(Box::new(theirs), theirs_setup).expect("trusted");
    let channel = session.open("x", ChannelOptions::default()).expect("room");
    (channel, (driver, session, peer))
}

fn all_of(pool: &Pool) -> Vec<SlotMut> {
    let sizes = CLASS_BYTES.iter().rev();
    sizes.flat_map(|&bytes| std::iter::from_fn(move || pool.take(bytes))).collect()
}

/// What `work` comes to, in a thread of its own: it may be one that never comes back.
fn within_long<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = channel();
    spawn(move || tell.send(work()));
    told.recv_timeout(LONG).expect("it comes back")
}

#[test]
fn waiting_for_memory_can_be_given_up() {
    let pool = Pool::new(1 << 20);
    let is_given_up = within_long(move || {
        let _all = all_of(&pool);
        let (mut channel, _keep) = sending_from(pool.clone());
        block_on_for(Duration::from_millis(50), channel.sender.claim(200_000)).is_none()
    });
    assert!(is_given_up);
}

#[test]
fn memory_that_served_small_messages_serves_a_large_one() {
    let pool = Pool::new(1 << 20);
    drop(std::iter::from_fn(|| pool.take(1)).collect::<Vec<_>>());
    let is_sent = within_long(move || {
        let (mut channel, _keep) = sending_from(pool);
        let claim = block_on_for(LONG, channel.sender.claim(200_000)).expect("it is free");
        claim.expect("open").commit().is_ok()
    });
    assert!(is_sent);
}

#[test]
fn who_waits_for_memory_is_woken_when_others_free_some() {
    for bytes in [3_000, 1] {
        let pool = Pool::new(4 << 20);
        let all = all_of(&pool);
        spawn(move || {
            sleep(Duration::from_millis(100));
            drop(all);
        });
        within_long(move || {
            let (mut channel, _keep) = sending_from(pool);
            block_on(channel.sender.send_copy(&vec![1; bytes])).expect("open");
            block_on(channel.sender.claim(200_000)).expect("open").commit().expect("room");
        });
    }
}

#[test]
fn a_poll_thread_sleeps_while_the_link_takes_nothing() {
    let mut settings = PollSettings::default();
    settings.spin = Duration::from_millis(2);
    let driver = PollDriver::start(&settings).expect("threads");
    let (ours, _nobody_reads) = pair(&Pulls::Arrive);
    let session =
        driver.begin(Box::new(ours), setup(Role::Dialer, Pool::new(64 << 20))).expect("trusted");
    let mut channels = Vec::new();
    for _ in 0..16 {
        let mut channel = session.open("x", ChannelOptions::default()).expect("room");
        let _ = channel.sender.try_send(vec![1; 60 << 10]);
        channels.push(channel);
    }
    sleep(Duration::from_millis(300)); // until nothing more is taken
    let before = driver.stats().wakeups_total;
    // Its timers wake it, if it sleeps at all.
    while driver.stats().wakeups_total < before + 2 {
        assert!(!session.is_over(), "it never slept while the session lived");
        sleep(Duration::from_millis(5));
    }
}
