//! Two nodes over 127.0.0.1, driven by threads in poll(2), while their connection is cut.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Ca, listen, options};
use dwcp_core::{
    ChannelOptions, DriverKind, Endpoint, EndpointSettings, Peer, Peers, PollMode, PollSettings,
};
use dwcp_tcp::{Identity, TcpDialer, suites};

fn endpoint(node: &str, peer: Peer, identity: &Identity, mode: PollMode) -> Endpoint {
    let mut settings = EndpointSettings::default();
    let mut polls = PollSettings::default();
    polls.mode = mode;
    settings.driver = DriverKind::Poll(polls);
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
    let b =
        endpoint("b", Peer::new("a", Vec::<String>::new()), &ca.identity("b"), PollMode::Adaptive);
    let address = b.local_addresses()[0].clone();
    let a = endpoint("a", Peer::new("b", [address]), &ca.identity("a"), PollMode::Adaptive);
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

/// A link that took nothing takes more as soon as its peer reads, also where the thread never sleeps, and where it makes way for a
/// receiver that polls by itself: nothing else tells it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_link_goes_on_whatever_the_thread_does() {
    const BYTES: usize = 64 << 10;
    const COUNT: usize = 500;
    const PATIENCE: Duration = Duration::from_secs(60);
    for mode in [PollMode::BusySpin, PollMode::Adaptive] {
        let ca = Ca::new("ca");
        let b = endpoint("b", Peer::new("a", Vec::<String>::new()), &ca.identity("b"), mode);
        let address = b.local_addresses()[0].clone();
        let a = endpoint("a", Peer::new("b", [address]), &ca.identity("a"), mode);
        let (session, peer) = tokio::join!(a.connect("b"), b.accept());
        let (session, peer) = (session.unwrap(), peer.unwrap());
        // Round trips meanwhile: their receivers poll.
        let mut echo = session.open("echo", ChannelOptions::default()).unwrap();
        let mut bulk = session.open("bulk", ChannelOptions::bulk()).unwrap();
        let trips = tokio::spawn(async move {
            let mut trips = 0;
            while echo.sender.send_copy(b"there").await.is_ok() {
                echo.sender.flush();
                match echo.receiver.recv().await {
                    Ok(Some(_)) => trips += 1,
                    _ => break,
                }
            }
            trips
        });
        let (mut far_echo, mut far_bulk) =
            (peer.accept().await.unwrap(), peer.accept().await.unwrap());
        if far_echo.label() != "echo" {
            std::mem::swap(&mut far_echo, &mut far_bulk);
        }
        tokio::spawn(async move {
            while let Ok(Some(message)) = far_echo.receiver.recv().await {
                if far_echo.sender.send(message).await.is_err() {
                    break;
                }
                far_echo.sender.flush();
            }
        });
        let sends = tokio::spawn(async move {
            for _ in 0..COUNT {
                bulk.sender.send(vec![7; BYTES]).await.unwrap();
            }
            bulk.sender.acked().await.unwrap();
            bulk
        });
        let takes = async {
            // The link fills up meanwhile.
            tokio::time::sleep(Duration::from_millis(300)).await;
            for _ in 0..COUNT {
                assert_eq!(far_bulk.receiver.recv().await.unwrap().unwrap().len(), BYTES);
            }
        };
        let both = async { tokio::join!(sends, takes) };
        let (bulk, ()) = tokio::time::timeout(PATIENCE, both).await.expect("all of it");
        drop(bulk.unwrap());
        assert_eq!(session.stats().reconnects_total, 0, "{mode:?}: no path was lost over it");
        session.abort();
        assert!(trips.await.unwrap() > 0, "{mode:?}");
    }
}
