//! Resumption against peers that answer in every way: one end is a real endpoint, the other is played.

use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::{Dialer, Listener, MemoryListener, MemoryNetwork, SecuredConnection};
use dwcp_core::wire::{
    Features, Hello, HelloReply, PathId, Refusal, Resumption, SessionId, VERSION,
};
use dwcp_core::{ChannelOptions, Closed, Endpoint, Peer, Peers, SessionEvent};

const SESSION: SessionId = SessionId([9; 16]);

fn node(network: &MemoryNetwork, name: &str, peer: &str) -> Endpoint {
    Endpoint::builder(name)
        .dialer(Arc::new(network.dialer(name)))
        .listener(Box::new(network.listener(name)))
        .suite(Arc::new(ChecksumSuite))
        .peers(Peers::only([Peer::new(peer, ["memory"])]))
        .build()
        .expect("complete")
}

/// The next connection that comes to the played node, and the hello on it.
async fn hello_of(listener: &MemoryListener) -> (Box<dyn SecuredConnection>, Hello) {
    let incoming = listener.accept().await.expect("the network works");
    let mut connection = incoming.secure().await.expect("there is no TLS");
    let hello = Hello::decode(&connection.receive().await.expect("a hello")).expect("a good one");
    (connection, hello)
}

fn welcome(incarnation: u64) -> HelloReply {
    HelloReply::Welcome {
        version: VERSION,
        features: Features::default(),
        node_id: "b".into(),
        incarnation,
        nonce: [4; 32],
        session: SESSION,
        max_message_bytes: 1 << 20,
        suite: "crc32".into(),
        trusted_suite: "crc32".into(),
    }
}

async fn answer(connection: &mut Box<dyn SecuredConnection>, reply: &HelloReply) {
    connection.send(&reply.encode()).await.expect("the dialer waits");
}

/// A session with a played peer loses its path with three messages un-acked; the peer gives `replies` to the
/// attempts to resume. Returns how it ended, what was in doubt, and the attempts.
async fn resumed_against(replies: Vec<HelloReply>) -> (Closed, (u64, u64), usize) {
    let network = MemoryNetwork::default();
    let a = node(&network, "a", "b");
    let mut events = a.subscribe();
    let listener = network.listener("b");
    let played = tokio::spawn(async move {
        let (mut first, hello) = hello_of(&listener).await;
        assert!(hello.resume.is_none());
        answer(&mut first, &welcome(7)).await;
        let link = first.into_link().expect("it stands");
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(link.split());
        let mut attempts = 0;
        for reply in &replies {
            let (mut connection, hello) = hello_of(&listener).await;
            assert_eq!(hello.resume.map(|resume| resume.session), Some(SESSION));
            answer(&mut connection, reply).await;
            attempts += 1;
        }
        attempts
    });
    let session = a.connect("b").await.expect("the played peer welcomes");
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    for _ in 0..3 {
        channel.sender.send("lost").await.expect("open");
    }
    let began = tokio::time::Instant::now();
    let closed = session.closed().await;
    assert!(began.elapsed() < Duration::from_secs(30), "long before its time to live");
    let mut doubt = (0, 0);
    while let Some(event) = events.recv().await {
        match event.event {
            SessionEvent::InDoubt { from, count, .. } => doubt = (from, count),
            SessionEvent::Closed(_) => break,
            _ => {}
        }
    }
    (closed, doubt, played.await.expect("the played peer got what it waited for"))
}

fn refused(refusal: Refusal) -> HelloReply {
    HelloReply::Refused { refusal, reason: "no".into() }
}

#[tokio::test(start_paused = true)]
async fn a_bad_proof_is_tried_again_and_another_life_of_the_peer_ends_the_session_at_once() {
    let replies = vec![
        refused(Refusal::BadProof),
        refused(Refusal::BadProof),
        refused(Refusal::OtherIncarnation),
    ];
    let ended = resumed_against(replies).await;
    assert_eq!(ended, (Closed::PeerRestarted, (1, 3), 3));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_session_is_over_at_once() {
    let ended = resumed_against(vec![refused(Refusal::UnknownSession)]).await;
    assert_eq!(ended, (Closed::PeerRestarted, (1, 3), 1));
}

#[tokio::test(start_paused = true)]
async fn a_welcome_of_another_life_is_no_resumption() {
    let ended = resumed_against(vec![welcome(8)]).await;
    assert_eq!(ended, (Closed::PeerRestarted, (1, 3), 1));
}

#[tokio::test]
async fn the_acceptor_tells_another_life_of_the_dialer_from_a_wrong_proof() {
    let network = MemoryNetwork::default();
    let (a, b) = (node(&network, "a", "b"), node(&network, "b", "a"));
    let session = a.connect("b").await.expect("b answers");
    for (change, expected) in [(0, Refusal::BadProof), (1, Refusal::OtherIncarnation)] {
        let mut connection = network.dialer("a").dial("b", &[]).await.expect("it listens");
        let hello = Hello {
            versions: (VERSION, VERSION),
            features: Features::default(),
            node_id: "a".into(),
            peer_id: "b".into(),
            incarnation: a.incarnation() ^ change,
            nonce: [1; 32],
            path: PathId(40),
            max_message_bytes: 1,
            suites: vec!["crc32".into()],
            trusted_suites: vec!["crc32".into()],
            resume: Some(Resumption { session: session.id(), proof: [0; 32], is_held: true }),
            predecessor: None,
        };
        connection.send(&hello.encode()).await.expect("it reads");
        let reply = connection.receive().await.expect("an answer");
        let Ok(HelloReply::Refused { refusal, .. }) = HelloReply::decode(&reply) else {
            panic!("it refuses");
        };
        assert_eq!(refusal, expected);
    }
    assert!(!session.is_over() && b.stats().refused_total == 2);
}
