//! One process of a node follows another: its sockets, its claim, and the connections that resume its sessions.

mod common;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use common::{Ca, options};
use dwcp_core::crypto::Secret;
use dwcp_core::link::{BoxFuture, Link, Predecessor, Relayed, SecuredConnection};
use dwcp_core::{
    Channel, ChannelOptions, Endpoint, EndpointBuilder, EndpointSettings, Peer, Peers, Rate,
    Session,
};
use dwcp_tcp::succession::{Bequest, OldProcess};
use dwcp_tcp::{Identity, IdentityFiles, TcpDialer, TcpListener, suites};
use tokio::net::UnixStream;

fn describe(identity: &Identity, peer: Peer) -> EndpointBuilder {
    Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options())))
        .suite(suites::aws_lc(true))
        .peers(Peers::only([peer]))
}

async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| panic!("no {what}"))
}

/// The old process of `b`, and `a`, which has a session with it.
struct Stage {
    a: Endpoint,
    old: Endpoint,
    listener: Option<std::os::fd::OwnedFd>,
    identity: Identity,
    session: Session,
    channels: (Channel, Channel),
}

impl Stage {
    async fn new() -> Self {
        let ca = Ca::new("test");
        let identity = ca.identity("b");
        let listener = TcpListener::bind("127.0.0.1:0", options(), identity.clone()).unwrap();
        let (socket, address) = (listener.share().unwrap(), listener.local_addr().to_string());
        // One dial of its peer is all that it would let in by itself.
        let mut settings = EndpointSettings::default();
        settings.handshake_rate = Some(Rate { per_second: 1, burst: 2 });
        let old = describe(&identity, Peer::new("a", [""; 0])).settings(settings);
        let old = old.listener(Box::new(listener));
        let old = old.build().unwrap();
        let a = describe(&ca.identity("a"), Peer::new("b", [address])).build().unwrap();
        let (session, far) = tokio::join!(a.connect("b"), old.accept());
        let (session, far) = (session.unwrap(), far.unwrap());
        let mut near = session.open("x", ChannelOptions::default()).unwrap();
        near.sender.send("first").await.unwrap();
        near.sender.flush();
        let mut far = far.accept().await.unwrap();
        assert_eq!(far.receiver.recv().await.unwrap().unwrap(), "first");
        Self { a, old, listener: Some(socket), identity, session, channels: (near, far) }
    }

    /// The two ends of the conversation after the bequest, and the new process's endpoint; the old one has left.
    async fn follow(&mut self) -> (Endpoint, OldProcess) {
        self.follow_after(&[]).await
    }

    /// As [`follow`](Self::follow), with processes between the two.
    async fn follow_after(&mut self, between: &[Arc<dyn Predecessor>]) -> (Endpoint, OldProcess) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bequest = Bequest {
            incarnation: self.old.incarnation(),
            claim: None,
            sockets: vec![("listen 0".into(), self.listener.take().unwrap())],
            older: Vec::new(),
        };
        let (given, taken) = tokio::join!(bequest.send(ours), Bequest::receive(theirs));
        let (given, (mut taken, process)) = (given.unwrap(), taken.unwrap());
        assert!(taken.take("listen 1").is_none());
        let socket = taken.take("listen 0").unwrap();
        let listener = TcpListener::inherit(socket, options(), self.identity.clone()).unwrap();
        let new = describe(&self.identity, Peer::new("a", [""; 0])).listener(Box::new(listener));
        let new = between.iter().cloned().fold(new, EndpointBuilder::predecessor);
        let new = new.predecessor(Arc::new(process.clone())).prepare().unwrap();
        assert_eq!(new.local_addresses(), self.old.local_addresses());
        let accepted = async {
            let candidate = given.ready().await.unwrap().unwrap();
            assert_eq!(candidate.pid(), std::process::id());
            candidate.accept().await.unwrap()
        };
        let (relay, succeeded) = tokio::join!(accepted, process.succeed());
        succeeded.unwrap();
        new.listen();
        self.old.leave(Box::new(relay));
        patiently("word that it leaves", self.session.left()).await;
        (new, process)
    }

    async fn exchange(&mut self, word: &'static str) {
        let (near, far) = &mut self.channels;
        near.sender.send(word).await.unwrap();
        near.sender.flush();
        let there = patiently("message", far.receiver.recv()).await;
        assert_eq!(there.unwrap().unwrap(), word);
        far.sender.send(word).await.unwrap();
        far.sender.flush();
        let back = patiently("answer", near.receiver.recv()).await;
        assert_eq!(back.unwrap().unwrap(), word);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_old_process_comes_back_through_the_new_one() {
    let mut stage = Stage::new().await;
    let (new, _process) = stage.follow().await;
    for _ in 0..5 {
        stage.session.cut(None);
        stage.exchange("after a cut").await;
    }
    assert_eq!(stage.session.stats().in_doubt_total, 0);
    assert!(stage.session.stats().reconnects_total >= 5);
    // New sessions are the new process's.
    let after = stage.a.connect("b").await.unwrap();
    assert_eq!(after.stats().peer_incarnation, new.incarnation());
    let drained = stage.old.drain(Duration::from_secs(20)).await;
    assert_eq!(drained.unacked_messages, 0);
    patiently("end", stage.session.closed()).await;
    assert!(!after.is_over());
}

/// A process that takes the question and never answers.
struct Mute;

impl Predecessor for Mute {
    fn incarnation(&self) -> u64 {
        7
    }
    fn greet<'a>(
        &'a self,
        _: &'a dyn SecuredConnection,
        _: &'a [u8],
    ) -> BoxFuture<'a, io::Result<Option<Box<dyn Relayed>>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_comes_back_to_its_process_although_a_newer_one_is_silent() {
    let mut stage = Stage::new().await;
    let (_new, _process) = stage.follow_after(&[Arc::new(Mute)]).await;
    stage.session.cut(None);
    stage.exchange("after a cut").await;
    assert_eq!(stage.session.stats().in_doubt_total, 0);
}

/// A connection that has proven who `a` is, and says what it is told.
struct Proven(Secret);

impl SecuredConnection for Proven {
    fn exporter(&self) -> &Secret {
        &self.0
    }
    fn peer_id(&self) -> &str {
        "a"
    }
    fn peer_not_after(&self) -> SystemTime {
        SystemTime::now() + common::DAY
    }
    fn own_not_after(&self) -> SystemTime {
        SystemTime::now() + common::DAY
    }
    fn send<'a>(&'a mut self, _: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(std::future::pending())
    }
    fn into_link(self: Box<Self>) -> io::Result<Box<dyn Link>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_breaks_off_harms_no_other() {
    let mut stage = Stage::new().await;
    let (_new, process) = stage.follow().await;
    let connection = Proven(Secret::new([7; 32]));
    for polls in 1..30 {
        // Wherever it is by then, it ends there.
        let mut left = polls;
        let mut greeting = process.greet(&connection, b"no hello at all");
        std::future::poll_fn(|context| {
            left -= 1;
            match greeting.as_mut().poll(context) {
                Poll::Pending if left > 0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        drop(greeting);
    }
    let pending = process.greet(&connection, b"no hello at all");
    let failed = patiently("end of what is no hello", pending).await;
    assert!(failed.is_err(), "it is closed without an answer");
    stage.session.cut(None);
    stage.exchange("after all that").await;
    assert_eq!(stage.session.stats().in_doubt_total, 0);
}

#[tokio::test]
async fn a_bequest_has_any_number_of_sockets() {
    let socket = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets: Vec<_> = (0..150).map(|at| (format!("{at}"), socket())).collect();
    let addresses: Vec<_> = sockets.iter().map(|(_, one)| one.local_addr().unwrap()).collect();
    let sockets = sockets.into_iter().map(|(name, socket)| (name, socket.into())).collect();
    let bequest = Bequest { incarnation: 1, sockets, ..Bequest::default() };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (given, taken) = tokio::join!(bequest.send(ours), Bequest::receive(theirs));
    let (_given, (mut taken, _process)) = (given.unwrap(), taken.unwrap());
    for (at, address) in addresses.into_iter().enumerate() {
        let socket = std::net::TcpListener::from(taken.take(&at.to_string()).unwrap());
        assert_eq!(socket.local_addr().unwrap(), address);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_old_process_is_gone_its_sessions_end_at_once() {
    let mut stage = Stage::new().await;
    let (_new, _process) = stage.follow().await;
    // As if it were killed: nothing is said.
    stage.old.shut_down();
    let Stage { session, .. } = stage;
    patiently("end", session.closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_ends_early_leaves_everything_as_it_was() {
    let mut stage = Stage::new().await;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let bequest = Bequest { incarnation: 1, ..Bequest::default() };
    let (given, taken) = tokio::join!(bequest.send(ours), Bequest::receive(theirs));
    drop(taken.unwrap());
    assert!(given.unwrap().ready().await.unwrap().is_none());
    // One that ends when it was ready is not the node, either.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (given, taken) = tokio::join!(bequest.send(ours), Bequest::receive(theirs));
    let (given, (_, process)) = (given.unwrap(), taken.unwrap());
    let asking = tokio::spawn(async move { process.succeed().await });
    let candidate = given.ready().await.unwrap().unwrap();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert!(candidate.accept().await.is_err());
    // And one that is not accepted learns of it.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (given, taken) = tokio::join!(bequest.send(ours), Bequest::receive(theirs));
    let (given, (_, process)) = (given.unwrap(), taken.unwrap());
    let (succeeded, ()) = tokio::join!(process.succeed(), async {
        drop(given.ready().await.unwrap().unwrap());
    });
    assert!(succeeded.is_err());
    stage.session.cut(None);
    stage.exchange("as before").await;
    assert!(!stage.session.is_leaving());
}

#[tokio::test]
async fn what_is_no_listening_socket_is_refused() {
    let ca = Ca::new("test");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let refused = TcpListener::inherit(socket.into(), options(), ca.identity("b"));
    assert!(refused.is_err());
}

#[test]
fn the_claim_on_a_key_is_shared_and_outlives_its_first_holder() {
    let room = tempfile::tempdir().unwrap();
    let pems = Ca::new("test").issue(&common::Wanted::node("b"));
    let path = |name: &str| room.path().join(name);
    let files = IdentityFiles { cert: path("crt"), key: path("key"), ca: path("ca") };
    for (file, pem) in [(&files.cert, &pems.cert), (&files.key, &pems.key), (&files.ca, &pems.ca)] {
        std::fs::write(file, pem).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let load = || Identity::load(files.clone()).unwrap();
    let (old, new, other) = (load(), load(), load());
    old.claim().unwrap();
    assert!(other.claim().is_err());
    new.claim_after(old.share_claim()).unwrap();
    drop(old);
    assert!(other.claim().is_err(), "the new one has it");
    drop(new);
    other.claim().unwrap();
    // A claim on another file is none on this one.
    let stray = std::fs::File::open(path("crt")).unwrap();
    assert!(load().claim_after(Some(stray.into())).is_err(), "it is in use");
}
