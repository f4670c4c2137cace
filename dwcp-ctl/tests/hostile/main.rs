//! A hostile peer against real daemons: what it sends, how that must end, and what must not happen meanwhile.
//! docs/testing.md has the table of all attacks; `DWCP_ATTACK=NAME` makes one of them.
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod attacks_channels;
mod attacks_compression;
mod attacks_copies;
mod attacks_dialled;
mod attacks_door;
mod attacks_frames;
mod attacks_hello;
mod attacks_records;
mod attacks_resume;
mod attacks_storms;
mod ground;
mod on_the_way;
mod peer;

use std::collections::BTreeSet;

use attacks::{ALL, Kind, table};
use common::Room;
use ground::{fight, fight_dialled};
use peer::hello::Hello;
use peer::session::Peer;
use peer::tls::Credentials;

/// The peer is made from the document alone: if this fails, one of both is wrong.
#[test]
fn the_peer_of_the_document_is_served() {
    for byzantine in [false, true] {
        let room = Room::new(&["b", "mallory"]);
        let more = format!("peers: [{{nodeId: mallory}}]\nbyzantine: {{enabled: {byzantine}}}\n");
        room.config("b", &more);
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

#[test]
fn before_and_in_tls() {
    fight(attacks_door::ATTACKS);
}

#[test]
fn hellos_and_downgrades() {
    fight(attacks_hello::ATTACKS);
}

#[test]
fn records() {
    fight(attacks_records::ATTACKS);
}

#[test]
fn frames_control_messages_and_epochs() {
    fight(attacks_frames::ATTACKS);
}

#[test]
fn channels_credit_and_acks() {
    fight(attacks_channels::ATTACKS);
}

#[test]
fn compression() {
    fight(attacks_compression::ATTACKS);
}

#[test]
fn resumption() {
    fight(attacks_resume::ATTACKS);
}

#[test]
fn storms() {
    fight(attacks_storms::ATTACKS);
}

#[test]
fn copies() {
    fight(attacks_copies::ATTACKS);
}

#[test]
fn the_daemon_dials() {
    fight_dialled(attacks_dialled::ATTACKS);
}

#[test]
fn the_document_has_the_table_of_attacks() {
    let all: Vec<_> = ALL.iter().flat_map(|(_, attacks)| *attacks).collect();
    let names: BTreeSet<_> = all.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), all.len(), "names are used once each");
    let of = |kind| all.iter().filter(|attack| attack.kind == kind).count();
    assert!(of(Kind::Outside) >= 40 && of(Kind::Authenticated) >= 40 && of(Kind::Allowed) >= 15);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let document = std::fs::read_to_string(path).unwrap();
    let table = table();
    assert!(
        document.contains(&table),
        "docs/testing.md has another table; put this there:\n{table}"
    );
}
