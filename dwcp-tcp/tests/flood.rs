//! Strangers that connect and say nothing do not keep peers out.

mod common;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::Ca;
use dwcp_core::{ChannelOptions, Endpoint, EndpointSettings, Peer, Peers, Rate, Session};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, TcpOptions, suites};
use socket2::{Domain, Socket, Type};

/// Longer than any of these tests: nothing gets better because a silent handshake timed out.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(600);
/// Far longer than a reconnect takes, far shorter than [`HANDSHAKE_TIMEOUT`].
const PATIENCE: Duration = Duration::from_secs(50);

fn end(identity: &Identity, peer: Peer, rate: Option<Rate>) -> Endpoint {
    let options = TcpOptions { handshake_timeout: HANDSHAKE_TIMEOUT, ..TcpOptions::default() };
    let mut settings = EndpointSettings::default();
    settings.handshake_timeout = HANDSHAKE_TIMEOUT;
    settings.handshake_rate = rate;
    let listener =
        TcpListener::bind("127.0.0.1:0", options.clone(), identity.clone()).expect("a free port");
    Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options)))
        .listener(Box::new(listener))
        .suite(suites::aws_lc(false))
        .peers(Peers::only([peer]))
        .settings(settings)
        .build()
        .expect("complete")
}

fn ends(rate: Option<Rate>) -> (Endpoint, Endpoint) {
    let ca = Ca::new("test");
    let b = end(&ca.identity("b"), Peer::new("a", [""; 0]), rate);
    let a = end(&ca.identity("a"), Peer::new("b", b.local_addresses().to_vec()), None);
    (a, b)
}

/// Connections from another address of this machine, on which nothing is ever said.
fn silent(to: &Endpoint, count: usize) -> Vec<TcpStream> {
    let to: SocketAddr = to.local_addresses()[0].parse().expect("an address");
    let from: SocketAddr = "127.0.0.9:0".parse().expect("good");
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&from.into()).expect("all of 127/8 is ours");
        socket.connect(&to.into()).expect("the backlog has room");
        socket.into()
    };
    (0..count).map(connect).collect()
}

async fn until(what: &str, is_true: impl Fn() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn echo(session: &Session, peer: &Session) {
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send("still here").await.expect("open");
    let incoming = async {
        let mut incoming = peer.accept().await.expect("a channel");
        let message = incoming.receiver.recv().await.expect("intact").expect("one");
        assert_eq!(message, "still here");
    };
    tokio::time::timeout(PATIENCE, incoming).await.expect("the session is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_comes_back_through_a_flood_of_silent_strangers() {
    let (a, b) = ends(None);
    let session = a.connect("b").await.expect("both are valid");
    let peer = b.accept().await.expect("it runs");
    let flood = silent(&b, 600);
    session.cut(None);
    until("the session comes back", || session.stats().reconnects_total > 0).await;
    echo(&session, &peer).await;
    assert_eq!(session.stats().in_doubt_total, 0);
    until("the oldest strangers were dropped", || b.stats().handshakes_dropped_total >= 300).await;
    assert_eq!(b.stats().handshakes_too_fast_total, 0);
    drop(flood);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_begins_handshakes_too_fast_is_turned_away_and_others_are_not() {
    let (a, b) = ends(Some(Rate { per_second: 1, burst: 8 }));
    let flood = silent(&b, 100);
    until("most are closed", || b.stats().handshakes_too_fast_total >= 30).await;
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("another address"), peer.expect("it runs"));
    echo(&session, &peer).await;
    drop(flood);
}
