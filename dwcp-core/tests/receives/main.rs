//! What arrives over links that take a record for each receive posted, and read and send memory by themselves.

mod bodies;
mod by_hand;
mod link;
mod memory;
mod pulls;
mod senders;

use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::{ChecksumSuite, Secret};
use dwcp_core::mem::Pool;
use dwcp_core::{
    ChannelOptions, DirectSetup, PollDriver, PollSettings, Role, SessionId, block_on, block_on_for,
};

use link::{Pulls, RECEIVES, pair};

fn setup(role: Role, pool: Pool) -> DirectSetup {
    DirectSetup {
        id: SessionId([7; 16]),
        peer: "peer".into(),
        role,
        exporter: Secret::new([3; 32]),
        suite: Arc::new(ChecksumSuite),
        pool,
        // For as long as that a receiver keeps the link to itself: nobody else can look what was posted.
        spin: Duration::from_secs(600),
    }
}

#[test]
fn receivers_that_poll_keep_the_peer_supplied_with_receives() {
    const ROUNDS: u32 = 20 * RECEIVES as u32;
    let driver = PollDriver::start(&PollSettings::default()).expect("threads");
    let (ours, theirs) = pair(&Pulls::Arrive);
    let session =
        driver.begin(Box::new(ours), setup(Role::Dialer, Pool::new(16 << 20))).expect("trusted");
    let peer = driver
        .begin(Box::new(theirs), setup(Role::Acceptor, Pool::new(16 << 20)))
        .expect("trusted");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut channel = block_on(peer.accept()).expect("a channel");
        for _ in 0..ROUNDS {
            let message = block_on(channel.receiver.recv()).expect("intact").expect("more");
            block_on(channel.sender.send(message)).expect("open");
        }
        block_on(channel.sender.acked()).expect("all arrives");
    });
    std::thread::spawn(move || {
        let mut channel = session.open("x", ChannelOptions::default()).expect("room");
        for round in 0..ROUNDS {
            block_on(channel.sender.send(round.to_le_bytes().to_vec())).expect("open");
            let back = block_on(channel.receiver.recv()).expect("intact").expect("more");
            assert!(back[..] == round.to_le_bytes());
        }
        tell.send(()).expect("the test waits");
        let _ = block_on_for(Duration::from_secs(60), session.closed());
    });
    let limit = Duration::from_secs(60);
    told.recv_timeout(limit).expect("neither end runs out of receives");
}
