//! A session ends with the certificates behind it, unless they are renewed.

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{Ca, Wanted};
use dwcp_core::{ChannelOptions, Closed, Endpoint, Peer, Peers, SessionEvent};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, TcpOptions, suites};

/// Valid for at least `seconds` more whole seconds.
fn wanted(node: &str, seconds: u64) -> Wanted {
    Wanted { not_after: SystemTime::now() + Duration::from_secs(seconds), ..Wanted::node(node) }
}

fn end(identity: &Identity, peer: Peer) -> Endpoint {
    let options = TcpOptions::default();
    let listener =
        TcpListener::bind("127.0.0.1:0", options.clone(), identity.clone()).expect("a free port");
    Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options)))
        .listener(Box::new(listener))
        .suite(suites::aws_lc(false))
        .peers(Peers::only([peer]))
        .build()
        .expect("complete")
}

fn identity(ca: &Ca, wanted: &Wanted) -> Identity {
    let pems = ca.issue(wanted);
    Identity::from_pem(pems.cert.as_bytes(), pems.key.as_bytes(), pems.ca.as_bytes()).expect("good")
}

#[tokio::test]
async fn a_session_ends_with_the_dialers_certificate_and_says_so_before() {
    let ca = Ca::new("test");
    let short = identity(&ca, &wanted("a", 5));
    let b = end(&identity(&ca, &Wanted::node("b")), Peer::new("a", [""; 0]));
    let a = end(&short, Peer::new("b", b.local_addresses().to_vec()));
    let mut events = a.subscribe();
    let session = a.connect("b").await.expect("both are valid");
    let peer = b.accept().await.expect("it runs");
    assert_eq!(session.closed().await, Closed::CertificateEnded);
    assert_eq!(peer.closed().await, Closed::CertificateEnded);
    assert!(SystemTime::now() + Duration::from_secs(6) >= short.not_after(), "not long before");
    let mut was_told = false;
    while let Some(event) = events.recv().await {
        match event.event {
            SessionEvent::CertificateEnds { within } => {
                assert!(within > Duration::ZERO && within <= Duration::from_secs(2), "{within:?}");
                was_told = true;
            }
            SessionEvent::Closed(_) => break,
            _ => {}
        }
    }
    assert!(was_told);
    // Certificates tell whole seconds: the last one counts in full.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(a.connect("b").await.is_err(), "the certificate has ended");
}

#[tokio::test]
async fn a_certificate_that_is_renewed_in_time_keeps_the_session() {
    let ca = Ca::new("test");
    let short = identity(&ca, &wanted("a", 12));
    let b = end(&identity(&ca, &Wanted::node("b")), Peer::new("a", [""; 0]));
    let a = end(&short, Peer::new("b", b.local_addresses().to_vec()));
    let session = a.connect("b").await.expect("both are valid");
    let peer = b.accept().await.expect("it runs");
    let ended = short.not_after();
    let renewed = ca.issue(&Wanted::node("a"));
    let (cert, key) = (renewed.cert.as_bytes(), renewed.key.as_bytes());
    short.replace(cert, key, renewed.ca.as_bytes()).expect("the same node");
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    let mut incoming = None;
    let mut number = 0_u64;
    while SystemTime::now() < ended + Duration::from_secs(2) {
        channel.sender.send(number.to_le_bytes().to_vec()).await.expect("the session lives on");
        let receiver = match &mut incoming {
            Some(receiver) => receiver,
            None => incoming.insert(peer.accept().await.expect("a channel")),
        };
        let message = receiver.receiver.recv().await.expect("intact").expect("more");
        assert_eq!(message[..], number.to_le_bytes());
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!session.is_over() && !peer.is_over());
    assert_eq!(session.stats().in_doubt_total + peer.stats().in_doubt_total, 0);
    assert_eq!(session.stats().paths.len(), 1, "the path of the old certificate is gone");
}
