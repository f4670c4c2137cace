//! Resumption against peers that answer in every way: one end is a real endpoint, the other is played.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use dwcp_core::crypto::{ChecksumSuite, Secret};
use dwcp_core::link::{
    BoxFuture, DialError, Dialer, Incoming, Link, Listener, MemoryListener, MemoryNetwork,
    SecuredConnection,
};
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

/// A listener whose first connection becomes a link when it is told to, after the welcome has gone out.
struct Slow {
    inner: MemoryListener,
    first: Mutex<Option<mpsc::Receiver<()>>>,
}

struct SlowIncoming(Box<dyn Incoming>, mpsc::Receiver<()>);
struct SlowConnection(Box<dyn SecuredConnection>, mpsc::Receiver<()>);

impl Listener for Slow {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(async {
            let incoming = self.inner.accept().await?;
            Ok(match self.first.lock().expect("sound").take() {
                Some(told) => Box::new(SlowIncoming(incoming, told)),
                None => incoming,
            })
        })
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }
}

impl Incoming for SlowIncoming {
    fn remote_address(&self) -> &str {
        self.0.remote_address()
    }

    fn secure(
        self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async {
            let secured = self.0.secure().await?;
            Ok(Box::new(SlowConnection(secured, self.1)) as Box<dyn SecuredConnection>)
        })
    }
}

impl SecuredConnection for SlowConnection {
    fn exporter(&self) -> &Secret {
        self.0.exporter()
    }

    fn peer_id(&self) -> &str {
        self.0.peer_id()
    }

    fn peer_not_after(&self) -> SystemTime {
        self.0.peer_not_after()
    }

    fn own_not_after(&self) -> SystemTime {
        self.0.own_not_after()
    }

    fn send<'a>(&'a mut self, message: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        self.0.send(message)
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        self.0.receive()
    }

    #[expect(clippy::disallowed_methods, reason = "a stalled worker is what is tested")]
    fn into_link(self: Box<Self>) -> io::Result<Box<dyn Link>> {
        let _ = tokio::task::block_in_place(|| self.1.recv());
        self.0.into_link()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_whose_first_path_breaks_before_the_acceptor_has_it_goes_on() {
    let network = MemoryNetwork::default();
    let a = node(&network, "a", "b");
    let (tell, told) = mpsc::channel();
    let b = Endpoint::builder("b")
        .listener(Box::new(Slow { inner: network.listener("b"), first: Mutex::new(Some(told)) }))
        .suite(Arc::new(ChecksumSuite))
        .peers(Peers::only([Peer::new("a", ["memory"])]))
        .build()
        .expect("complete");
    let session = a.connect("b").await.expect("it welcomes");
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send("once").await.expect("open");
    assert!(session.cut(None) && b.sessions().is_empty(), "b does not have it yet");
    // A resumption that waits is heard, one that is refused has been by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    tell.send(()).expect("it waits");
    let theirs = b.accept().await.expect("it comes");
    assert_eq!(theirs.id(), session.id());
    let mut channel = theirs.accept().await.expect("the channel");
    let message = channel.receiver.recv().await.expect("the session lives");
    assert_eq!(&*message.expect("the message"), b"once");
    assert!(!session.is_over());
}
