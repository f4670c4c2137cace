//! A hostile peer against real daemons: what it sends, how that must end, and what must not happen meanwhile.
//! docs/testing.md has the table.
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod peer;

use common::Room;
use peer::hello::Hello;
use peer::session::Peer;
use peer::tls::Credentials;

/// The peer is made from the document alone: if this fails, one of both is wrong.
#[test]
fn the_peer_of_the_document_is_served() {
    for byzantine in [false, true] {
        let room = Room::new(&["b", "mallory"]);
        room.config("b", &format!("peers: [{{nodeId: mallory}}]\nbyzantine: {{enabled: {byzantine}}}\n"));
        let _b = room.start("b");
        let credentials = Credentials::load(&room.path("keys/mallory"));
        let hello = Hello::new("mallory", "b");
        let mut peer = Peer::begin(&room.address("b"), &credentials, &hello);
        assert_eq!(peer.seal.has_hmac, byzantine);
        assert!(peer.is_alive());
        assert!(peer.has_service());
        peer.seal.rekey();
        assert!(peer.is_alive() && peer.has_service());
        let mut second = peer.resume(&room.address("b"), &credentials, 2);
        assert!(second.is_alive());
        assert!(peer.has_service());
    }
}
