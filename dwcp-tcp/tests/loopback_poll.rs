//! Two nodes over 127.0.0.1, driven by threads in poll(2), while their connection is cut.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Ca, listen, options};
use dwcp_core::{
    ChannelOptions, DriverKind, Endpoint, EndpointSettings, Peer, Peers, PollSettings,
};
use dwcp_tcp::{Identity, TcpDialer, suites};

fn endpoint(node: &str, peer: Peer, identity: &Identity) -> Endpoint {
    let mut settings = EndpointSettings::default();
    settings.driver = DriverKind::Poll(PollSettings::default());
    Endpoint::builder(node)
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options())))
        .listener(Box::new(listen(identity)))
        .suite(suites::aws_lc(true))
        .peers(Peers::only([peer]))
        .settings(settings)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_survive_cuts_of_the_socket() {
    const COUNT: usize = 6_000;
    const CUTS: usize = 3;
    let size = |number: usize| [8, 100, 4_000, 70_000][number % 4];
    let ca = Ca::new("ca");
    let b = endpoint("b", Peer::new("a", Vec::<String>::new()), &ca.identity("b"));
    let address = b.local_addresses()[0].clone();
    let a = endpoint("a", Peer::new("b", [address]), &ca.identity("a"));
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.unwrap(), peer.unwrap());
    let sends = tokio::spawn(async move {
        let mut channel = session.open("numbers", ChannelOptions::default()).unwrap();
        for number in 0..COUNT {
            let mut message = vec![number as u8; size(number)];
            message[..8].copy_from_slice(&(number as u64).to_le_bytes());
            channel.sender.send(message).await.unwrap();
            if number % (COUNT / CUTS) == COUNT / CUTS / 2 {
                session.cut(None);
            }
        }
        channel.sender.acked().await.unwrap();
        (session, channel)
    });
    let mut channel = peer.accept().await.unwrap();
    for number in 0..COUNT {
        let message = channel.receiver.recv().await.unwrap().unwrap();
        assert_eq!(message.len(), size(number), "message {number}");
        assert_eq!(message[..8], (number as u64).to_le_bytes());
        assert!(message[8..].iter().all(|&byte| byte == number as u8), "message {number}");
    }
    let (session, _channel) = sends.await.unwrap();
    let stats = session.stats();
    assert!(stats.reconnects_total >= 1, "{stats:?}");
    assert_eq!((stats.unacked_messages, stats.in_doubt_total), (0, 0));
    assert!(session.ping(Duration::from_secs(20)).await.is_ok());
    assert_eq!((a.stats().polls.sessions, b.stats().polls.sessions), (1, 1));
}
