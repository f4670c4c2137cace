//! Handshakes that meet other things on their way: another dial, a path that breaks, a shutdown.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use dwcp_core::crypto::{ChecksumSuite, Secret};
use dwcp_core::link::{
    BoxFuture, DialError, Incoming, Link, Listener, MemoryListener, MemoryNetwork,
    SecuredConnection,
};
use dwcp_core::{
    ChannelOptions, Closed, ConnectError, Endpoint, EndpointBuilder, EndpointSettings, Peer, Peers,
    Session, SessionEvent,
};

fn builder(name: &str, peer: &str) -> EndpointBuilder {
    Endpoint::builder(name)
        .suite(Arc::new(ChecksumSuite))
        .peers(Peers::only([Peer::new(peer, ["memory"])]))
}

fn node(network: &MemoryNetwork, name: &str, peer: &str) -> Endpoint {
    builder(name, peer)
        .dialer(Arc::new(network.dialer(name)))
        .listener(Box::new(network.listener(name)))
        .build()
        .expect("complete")
}

/// Node b, whose first connection becomes a link when it is told to.
fn slow_node(network: &MemoryNetwork, told: mpsc::Receiver<()>) -> Endpoint {
    let listener = Slow { inner: network.listener("b"), first: Mutex::new(Some(told)) };
    builder("b", "a").listener(Box::new(listener)).build().expect("complete")
}

/// Sends a message from `from` and takes it at `to`, over a channel of its own.
async fn exchange(from: &Session, to: &Session) {
    let mut channel = from.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send("once").await.expect("open");
    let mut channel = to.accept().await.expect("the channel");
    let message = channel.receiver.recv().await.expect("the session lives");
    assert_eq!(&*message.expect("the message"), b"once");
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

/// Everything that has happened settles: no dial is under way, and each end has the session of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_dial_at_once_and_have_one_session() {
    for _ in 0..200 {
        let network = MemoryNetwork::default();
        let (a, b) = (node(&network, "a", "b"), node(&network, "b", "a"));
        let (a, b) = (Arc::new(a), Arc::new(b));
        let (near, far) = (a.clone(), b.clone());
        let near = tokio::spawn(async move { near.connect("b").await });
        let far = tokio::spawn(async move { far.connect("a").await });
        let near = near.await.expect("sound").expect("b answers");
        let far = far.await.expect("sound").expect("a answers");
        assert_eq!(near.id(), far.id(), "both are told of the same one");
        exchange(&near, &far).await;
        exchange(&far, &near).await;
        for endpoint in [&a, &b] {
            let ids: Vec<_> = endpoint.sessions().iter().map(Session::id).collect();
            assert_eq!(ids, [near.id()]);
        }
    }
}

/// A shutdown finds the sessions there are; one that is on its way must not live on after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_comes_about_during_a_shutdown_ends() {
    let network = MemoryNetwork::default();
    let a = node(&network, "a", "b");
    let (tell, told) = mpsc::channel();
    let b = slow_node(&network, told);
    let session = a.connect("b").await.expect("it welcomes");
    assert!(b.sessions().is_empty(), "b does not have it yet");
    let mut events = b.subscribe();
    b.shut_down();
    tell.send(()).expect("it waits");
    assert!(b.accept().await.is_none(), "it is shut down");
    let mut ended = None;
    while ended.is_none() {
        let event = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        let event = event.expect("it is told in time").expect("the session ends before they do");
        assert_eq!(event.session, Some(session.id()));
        if let SessionEvent::Closed(closed) = event.event {
            ended = Some(closed);
        }
    }
    assert!(ended == Some(Closed::ByUs) && b.sessions().is_empty(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_whose_first_path_breaks_before_the_acceptor_has_it_goes_on() {
    let network = MemoryNetwork::default();
    let a = node(&network, "a", "b");
    let (tell, told) = mpsc::channel();
    let b = slow_node(&network, told);
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

/// Both kinds of sessions count, each comes back, and each leaves its place to another when it ends.
#[tokio::test(start_paused = true)]
async fn a_node_has_as_many_sessions_as_it_may_whoever_begins_them() {
    let network = MemoryNetwork::default();
    let names = ["n0", "n1", "n2", "n3"];
    let mut settings = EndpointSettings::default();
    settings.sessions_max = 2;
    let peers = Peers::only(names.map(|name| Peer::new(name, ["memory"])));
    let hub = builder("hub", "")
        .peers(peers)
        .dialer(Arc::new(network.dialer("hub")))
        .listener(Box::new(network.listener("hub")))
        .settings(settings)
        .build()
        .expect("complete");
    let nodes = names.map(|name| node(&network, name, "hub"));
    for round in 0..3 {
        let dialled = hub.connect("n0").await.expect("there is a place");
        let (far, near) = tokio::join!(nodes[1].connect("hub"), hub.accept());
        let (far, near) = (far.expect("there is a place"), near.expect("it runs"));
        let refused = hub.connect("n2").await.expect_err("there is no place");
        assert!(matches!(refused, ConnectError::TooManySessions { max: 2, .. }), "{refused}");
        assert!(refused.to_string().contains("performance.maxConnections"), "{refused}");
        assert!(nodes[2].sessions().is_empty() && nodes[2].stats().handshakes_ok_total == 0);
        let refused = nodes[3].connect("hub").await.expect_err("there is no place");
        assert!(matches!(refused, ConnectError::Refused { .. }), "{refused}");
        for session in [&dialled, &near] {
            session.cut(None);
            session.ping(Duration::from_secs(60)).await.expect("it comes back");
        }
        assert_eq!(hub.sessions().len(), 2, "round {round}");
        for session in [&dialled, &far] {
            session.close(0, "");
            session.closed().await;
        }
        while hub.stats().sessions > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // And its end is known to all.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
