//! Bodies that a link sends from where they lie.

use std::time::Duration;

use dwcp_core::mem::Pool;
use dwcp_core::{ChannelOptions, PollDriver, PollSettings, Role, block_on, block_on_for};

use crate::by_hand::LONG;
use crate::link::{Pulls, pair};
use crate::setup;

#[test]
fn large_bodies_lie_where_the_application_put_them_and_arrive_in_order_among_the_rest() {
    let driver = PollDriver::start(&PollSettings::default()).expect("threads");
    let (ours, theirs) = pair(&Pulls::Arrive);
    let bodies = ours.bodies.clone();
    let with = |role| {
        let mut with = setup(role, Pool::new(64 << 20));
        with.spin = Duration::ZERO;
        with
    };
    let session = driver.begin(Box::new(ours), with(Role::Dialer)).expect("trusted");
    let peer = driver.begin(Box::new(theirs), with(Role::Acceptor)).expect("trusted");
    let sizes = [10, 20_000, 200, 60_000, 60_000, 1, 130_000, 12_000];
    let messages: Vec<Vec<u8>> =
        (0u8..).zip(sizes).map(|(number, bytes)| vec![number; bytes]).collect();
    let addresses: Vec<_> = messages.iter().map(|message| message.as_ptr()).collect();
    let sent = messages.clone();
    let sending = std::thread::spawn(move || {
        let channel = session.open("x", ChannelOptions::default()).expect("room");
        let mut sender = channel.sender;
        for message in messages {
            block_on(sender.send(message)).expect("open");
        }
        assert!(block_on_for(LONG, sender.acked()).is_some_and(|acked| acked.is_ok()));
        session
    });
    let mut channel = block_on_for(LONG, peer.accept()).expect("it opens").expect("a channel");
    for message in &sent {
        let arrived = block_on_for(LONG, channel.receiver.recv()).expect("it is here");
        assert!(arrived.expect("intact").expect("more")[..] == message[..]);
    }
    let _session = sending.join().expect("no panic");
    let bodies = bodies.lock().expect("no panic");
    for (message, address) in
        sent.iter().zip(addresses).filter(|(message, _)| message.len() > 8_192)
    {
        let is_it = |body: &&dwcp_core::mem::Payload| body.as_ptr() == address;
        let body = bodies.iter().find(is_it);
        assert!(body.is_some(), "the one of {} bytes was not copied", message.len());
    }
}
