//! Who has finished the first half of its handshake and says no more keeps no newcomer out.
#![cfg(feature = "tokio")]

mod nodes;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::{
    BoxFuture, DialError, Dialer, Incoming, Listener, MemoryListener, MemoryNetwork,
    SecuredConnection,
};
use dwcp_core::{Endpoint, EndpointSettings, Peer, Peers};
use tokio::sync::watch;

use nodes::{node, peer};

/// More than there are places.
const CONNECTIONS: usize = 300;

/// A listener to which the node `honest` comes from an address of its own, and takes a while to prove who it is.
struct Addressed {
    listener: MemoryListener,
    is_proven: watch::Receiver<bool>,
}

struct AddressedIncoming {
    connection: Box<dyn SecuredConnection>,
    is_proven: watch::Receiver<bool>,
}

impl Listener for Addressed {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(async {
            let incoming = self.listener.accept().await?;
            let connection = incoming.secure().await.map_err(io::Error::other)?;
            let is_proven = self.is_proven.clone();
            Ok(Box::new(AddressedIncoming { connection, is_proven }) as Box<dyn Incoming>)
        })
    }
    fn local_address(&self) -> String {
        self.listener.local_address()
    }
}

impl Incoming for AddressedIncoming {
    fn remote_address(&self) -> &str {
        if self.connection.peer_id() == "honest" { "10.0.0.2:1" } else { "10.0.0.1:1" }
    }
    fn secure(
        mut self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async move {
            if self.connection.peer_id() == "honest" {
                let _ = self.is_proven.wait_for(|is_proven| *is_proven).await;
            }
            Ok(self.connection)
        })
    }
}

/// All that is under way gets as far as it can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// While `honest` is in the first half of its handshake, `silent` ends that half again and again, and sends no hello. Returns
/// the node that they come to, soon after `honest` has its session.
async fn beside_a_silent(silent: &str) -> Endpoint {
    let network = MemoryNetwork::default();
    let (prove, is_proven) = watch::channel(false);
    let b = Endpoint::builder("b")
        .listener(Box::new(Addressed { listener: network.listener("b"), is_proven }))
        .suite(Arc::new(ChecksumSuite))
        .peers(Peers::only(["honest", "greedy"].map(|name| Peer::new(name, [""; 0]))))
        .build()
        .expect("complete");
    let honest = node(&network, "honest", peer("b"), &EndpointSettings::default());
    let dial = tokio::spawn(async move { (honest.connect("b").await, honest) });
    settle().await;
    let (dialer, mut held) = (network.dialer(silent), Vec::new());
    for _ in 0..CONNECTIONS {
        held.push(dialer.dial("b", &[]).await.expect("it listens"));
        settle().await;
    }
    prove.send_replace(true);
    let (session, _honest) = dial.await.expect("sound");
    session.expect("there is a place for it");
    // Far from the end of any handshake of a peer.
    tokio::time::sleep(Duration::from_secs(2)).await;
    b
}

#[tokio::test(start_paused = true)]
async fn a_node_of_the_ca_that_is_no_peer_keeps_the_place_of_a_stranger_and_not_for_long() {
    let stats = beside_a_silent("stranger").await.stats();
    assert_eq!(stats.handshakes_failed_total, CONNECTIONS as u64, "none is left");
    let of = |cause| stats.turned_away_total.iter().find(|(name, _)| *name == cause).map(|it| it.1);
    assert_eq!(of("timed_out"), Some(64), "an address's share");
    assert_eq!(of("dropped"), Some(CONNECTIONS as u64 - 64));
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_its_share_of_the_places_of_those_that_have_proven_themselves() {
    let stats = beside_a_silent("greedy").await.stats();
    assert_eq!(stats.handshakes_dropped_total, CONNECTIONS as u64 - 8);
}
