//! A process that is a node leaves, and another one follows it: sessions of the old one go on beside those of the new one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::{
    BoxFuture, DialError, Incoming, Listener, MemoryNetwork, Predecessor, Relayed,
    SecuredConnection,
};
use dwcp_core::{
    Channel, ChannelOptions, Closed, Endpoint, EndpointBuilder, EndpointSettings, Peer, Peers,
    Session, SessionEvent,
};

/// The old process, as the new one knows it; it passes nothing on, because it is gone or does not answer.
struct Before {
    incarnation: u64,
    is_gone: Arc<AtomicBool>,
}

impl Before {
    fn gone(incarnation: u64) -> Arc<Self> {
        Arc::new(Self { incarnation, is_gone: Arc::new(AtomicBool::new(true)) })
    }
}

impl Predecessor for Before {
    fn incarnation(&self) -> u64 {
        self.incarnation
    }
    fn greet<'a>(
        &'a self,
        _: &'a dyn SecuredConnection,
        _: &'a [u8],
    ) -> BoxFuture<'a, io::Result<Option<Box<dyn Relayed>>>> {
        Box::pin(async {
            match self.is_gone.load(Ordering::SeqCst) {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }
}

/// Nothing ever comes.
struct Silence;

impl Listener for Silence {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(std::future::pending())
    }
    fn local_address(&self) -> String {
        "nowhere".into()
    }
}

fn node(network: &MemoryNetwork, name: &str, peer: &str) -> EndpointBuilder {
    Endpoint::builder(name)
        .dialer(Arc::new(network.dialer(name)))
        .listener(Box::new(network.listener(name)))
        .suite(Arc::new(ChecksumSuite))
        .peers(Peers::only([Peer::new(peer, [format!("memory:{peer}")])]))
}

async fn open(from: &Session, to: &Session) -> (Channel, Channel) {
    let mut near = from.open("x", ChannelOptions::default()).unwrap();
    near.sender.send("first").await.unwrap();
    near.sender.flush();
    let mut far = to.accept().await.unwrap();
    assert_eq!(&far.receiver.recv().await.unwrap().unwrap()[..], b"first");
    (near, far)
}

async fn still_works((near, far): &mut (Channel, Channel)) {
    for word in ["one", "two"] {
        near.sender.send(word).await.unwrap();
        near.sender.flush();
        assert_eq!(&far.receiver.recv().await.unwrap().unwrap()[..], word.as_bytes());
        far.sender.send(word).await.unwrap();
        far.sender.flush();
        assert_eq!(&near.receiver.recv().await.unwrap().unwrap()[..], word.as_bytes());
    }
}

/// `a` with a session and an open channel to the first life of `b`, whichever of them dialled.
struct Stage {
    network: MemoryNetwork,
    a: Endpoint,
    old: Endpoint,
    before: Session,
    channels: (Channel, Channel),
}

impl Stage {
    async fn new(old_dials: bool) -> Self {
        let network = MemoryNetwork::default();
        let a = node(&network, "a", "b").build().unwrap();
        let old = node(&network, "b", "a").build().unwrap();
        let (before, far) = if old_dials {
            let far = old.connect("a").await.unwrap();
            (a.accept().await.unwrap(), far)
        } else {
            let before = a.connect("b").await.unwrap();
            (before, old.accept().await.unwrap())
        };
        let channels = open(&before, &far).await;
        Self { network, a, old, before, channels }
    }

    fn successor(&self) -> Endpoint {
        let before = Before::gone(self.old.incarnation());
        node(&self.network, "b", "a").predecessor(before).build().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_open_goes_on_and_what_is_new_goes_to_the_successor() {
    for old_dials in [false, true] {
        let mut stage = Stage::new(old_dials).await;
        let mut events = stage.a.subscribe();
        let new = stage.successor();
        let own = stage.old.sessions().remove(0);
        let left = tokio::spawn(async move { own.left().await });
        tokio::task::yield_now().await;
        stage.old.leave(Box::new(Silence));
        stage.before.left().await;
        left.await.unwrap();
        while events.recv().await.unwrap().event != SessionEvent::PeerLeaves {}
        assert!(stage.before.is_leaving() && !stage.before.is_over());
        let after = stage.a.connect("b").await.unwrap();
        assert_ne!(after.id(), stage.before.id());
        assert_eq!(after.stats().peer_incarnation, new.incarnation());
        let far = new.accept().await.unwrap();
        still_works(&mut open(&after, &far).await).await;
        still_works(&mut stage.channels).await;
        assert_eq!(stage.a.sessions().len(), 2);
        // The old one goes when nothing is left to do; nothing is in doubt.
        let drained = stage.old.drain(Duration::from_secs(5)).await;
        assert_eq!((drained.sessions, drained.unacked_messages), (1, 0));
        assert!(matches!(stage.before.closed().await, Closed::ByPeer { .. }));
        assert_eq!(stage.before.stats().in_doubt_total, 0);
        assert_eq!(stage.a.connect("b").await.unwrap().id(), after.id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_dials_first_ends_no_session_of_its_predecessor() {
    for old_dials in [false, true] {
        let mut stage = Stage::new(old_dials).await;
        let new = stage.successor();
        // Before anybody has heard that the old one leaves.
        let far = new.connect("a").await.unwrap();
        let after = loop {
            let session = stage.a.accept().await.unwrap();
            if session.id() == far.id() {
                break session;
            }
        };
        still_works(&mut stage.channels).await;
        still_works(&mut open(&after, &far).await).await;
        assert_eq!(stage.a.connect("b").await.unwrap().id(), after.id(), "the newer one");
        stage.old.leave(Box::new(Silence));
        still_works(&mut stage.channels).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_leaves_takes_no_new_session_and_serves_what_it_has() {
    let mut stage = Stage::new(false).await;
    stage.old.leave(Box::new(Silence));
    stage.before.left().await;
    still_works(&mut stage.channels).await;
    // A channel that the peer opened before it knew.
    let far = stage.old.sessions().remove(0);
    still_works(&mut open(&stage.before, &far).await).await;
    // With nobody to follow, there is nowhere to connect to: the old one no longer listens.
    let connecting = stage.a.connect("b");
    assert!(
        tokio::time::timeout(Duration::from_secs(60), connecting)
            .await
            .map_or(true, |r| r.is_err())
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_an_address_goes_on_with_the_old_process_until_the_new_one_dials() {
    let mut stage = Stage::new(true).await;
    stage.a.set_peers(Peers::only([Peer::new("b", Vec::<String>::new())]));
    let new = stage.successor();
    stage.old.leave(Box::new(Silence));
    stage.before.left().await;
    let meanwhile = stage.a.connect("b").await.unwrap();
    assert_eq!(meanwhile.id(), stage.before.id());
    new.connect("a").await.unwrap();
    let after = stage.a.connect("b").await.unwrap();
    assert_eq!(after.stats().peer_incarnation, new.incarnation());
    still_works(&mut stage.channels).await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_go_on_beside_another_count_among_those_a_node_may_have() {
    let network = MemoryNetwork::default();
    let mut settings = EndpointSettings::default();
    settings.sessions_max = 2;
    let a = node(&network, "a", "b").settings(settings).build().unwrap();
    let mut lives = vec![node(&network, "b", "a").build().unwrap()];
    let first = lives[0].connect("a").await.unwrap();
    for expected in [true, false, false] {
        let before = Before::gone(lives.last().unwrap().incarnation());
        let next = node(&network, "b", "a").predecessor(before).build().unwrap();
        let connected = tokio::time::timeout(Duration::from_secs(5), next.connect("a")).await;
        assert_eq!(matches!(connected, Ok(Ok(_))), expected, "{connected:?}");
        assert_eq!(a.sessions().len(), 2);
        if expected {
            lives.push(next);
        }
    }
    assert!(!first.is_over(), "what it could have no session for ended none");
}

#[tokio::test(start_paused = true)]
async fn a_predecessor_that_does_not_answer_costs_no_session() {
    let stage = Stage::new(false).await;
    let before = Before::gone(stage.old.incarnation());
    let is_gone = before.is_gone.clone();
    is_gone.store(false, Ordering::SeqCst);
    let new = node(&stage.network, "b", "a").predecessor(before).build().unwrap();
    stage.old.leave(Box::new(Silence));
    stage.before.left().await;
    stage.before.cut(None);
    // It may have the session: nobody says that it has not.
    let ended = tokio::time::timeout(Duration::from_secs(20), stage.before.closed()).await;
    assert!(ended.is_err(), "{ended:?}");
    assert!(new.stats().handshakes_failed_total > 1, "the dialer comes again");
    is_gone.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(Duration::from_secs(20), stage.before.closed()).await;
    assert!(ended.is_ok(), "now it is known to nobody");
}

#[tokio::test(start_paused = true)]
async fn a_successor_takes_nothing_before_it_listens() {
    let stage = Stage::new(false).await;
    let before = Before::gone(stage.old.incarnation());
    let new = node(&stage.network, "b", "a").predecessor(before).prepare().unwrap();
    stage.old.leave(Box::new(Silence));
    stage.before.left().await;
    // The successor would refuse it, as long as nothing is passed on: it waits.
    stage.before.cut(None);
    let ended = tokio::time::timeout(Duration::from_secs(5), stage.before.closed()).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_eq!(new.stats().refused_total, 0);
    new.listen();
    stage.before.closed().await;
    let after = stage.a.connect("b").await.unwrap();
    assert_eq!(after.stats().peer_incarnation, new.incarnation());
}

/// A listener whose connections say nothing until they may.
struct Slow {
    listener: Box<dyn Listener>,
    is_open: tokio::sync::watch::Receiver<bool>,
    taken: tokio::sync::mpsc::UnboundedSender<()>,
}

struct SlowIncoming {
    incoming: Box<dyn Incoming>,
    is_open: tokio::sync::watch::Receiver<bool>,
}

impl Listener for Slow {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(async {
            let incoming = self.listener.accept().await?;
            let _ = self.taken.send(());
            let is_open = self.is_open.clone();
            Ok(Box::new(SlowIncoming { incoming, is_open }) as Box<dyn Incoming>)
        })
    }
    fn local_address(&self) -> String {
        self.listener.local_address()
    }
}

impl Incoming for SlowIncoming {
    fn remote_address(&self) -> &str {
        self.incoming.remote_address()
    }
    fn secure(
        mut self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async move {
            let _ = self.is_open.wait_for(|is_open| *is_open).await;
            self.incoming.secure().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_the_old_process_took_just_before_it_left_is_not_refused() {
    let network = MemoryNetwork::default();
    let a = node(&network, "a", "b").build().unwrap();
    let (open, is_open) = tokio::sync::watch::channel(false);
    let (taken, mut takes) = tokio::sync::mpsc::unbounded_channel();
    let slow = Slow { listener: Box::new(network.listener("b")), is_open, taken };
    let old = Endpoint::builder("b")
        .listener(Box::new(slow))
        .suite(Arc::new(ChecksumSuite))
        .peers(Peers::only([Peer::new("a", [""; 0])]));
    let old = old.build().unwrap();
    let dialling = tokio::spawn({
        let a = a.clone();
        async move { a.connect("b").await }
    });
    takes.recv().await.unwrap();
    let before = Before::gone(old.incarnation());
    let new = node(&network, "b", "a").predecessor(before).build().unwrap();
    old.leave(Box::new(Silence));
    open.send_replace(true);
    let session = dialling.await.unwrap().unwrap();
    assert_eq!(session.stats().peer_incarnation, new.incarnation());
    assert_eq!(old.stats().refused_total, 1);
}
