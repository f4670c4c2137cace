//! What was said in an earlier version of the wire protocol is understood by this one.
//!
//! `version-N.txt` holds a conversation between two machines of version N: hellos, and every record of both ends as it
//! went over the link, with the time at which it did. Each end is then played from the recording to a machine of today,
//! which does on its own side what the other end did then. The recording is never made anew: `DWCP_RECORD=N` writes it,
//! once, with the last code that speaks N by itself.
#![allow(missing_docs)]

mod conversation;

use std::fs;
use std::path::PathBuf;

use conversation::{Conversation, End, Said, replay};
use dwcp_core::wire::{Features, Hello, HelloReply, PathId, Resumption, SessionId};

fn recording(version: u16) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/versions/version-{version}.txt"))
}

fn hello(version: u16, resume: Option<Resumption>) -> Hello {
    Hello {
        versions: (version, version),
        features: Features::ZSTD.with(Features::HMAC),
        node_id: "west".into(),
        peer_id: "east".into(),
        incarnation: 7,
        nonce: [1; 32],
        path: PathId(if resume.is_some() { 2 } else { 0 }),
        max_message_bytes: 1 << 20,
        suites: vec!["aes-256-gcm".into()],
        trusted_suites: vec!["crc32".into(), "aes-256-gcm".into()],
        predecessor: None,
        resume,
    }
}

fn hellos(version: u16) -> [Hello; 2] {
    let resume = Resumption { session: SessionId([9; 16]), proof: [8; 32], is_held: true };
    [hello(version, None), hello(version, Some(resume))]
}

fn welcome(version: u16) -> HelloReply {
    HelloReply::Welcome {
        version,
        features: Features::ZSTD,
        node_id: "east".into(),
        incarnation: 5,
        nonce: [2; 32],
        session: SessionId([9; 16]),
        max_message_bytes: 1 << 20,
        suite: "aes-256-gcm".into(),
        trusted_suite: "crc32".into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn record(version: u16) -> String {
    let mut text = String::new();
    for hello in hellos(version) {
        text.push_str(&format!("hello {}\n", hex(&hello.encode())));
    }
    text.push_str(&format!("reply {}\n", hex(&welcome(version).encode())));
    let mut conversation = Conversation::new(version);
    conversation.run();
    assert_eq!(conversation.heard(), conversation::expected(), "it is worth recording");
    for said in conversation.said() {
        let Said { at_us, end, path, bytes } = said;
        text.push_str(&format!("{} {at_us} {path} {}\n", end.name(), hex(bytes)));
    }
    text
}

fn lines(version: u16) -> Vec<String> {
    let path = recording(version);
    if std::env::var("DWCP_RECORD").is_ok_and(|asked| asked == version.to_string()) {
        fs::write(&path, record(version)).expect("the recording can be written");
    }
    let text = fs::read_to_string(&path).expect("the recording is there");
    text.lines().map(str::to_owned).collect()
}

fn of(version: u16, what: &str) -> Vec<Vec<u8>> {
    let of_it = |line: &String| line.strip_prefix(what).map(|rest| bytes(rest.trim()));
    lines(version).iter().filter_map(of_it).collect()
}

fn said(version: u16, end: End) -> Vec<Said> {
    let mut all = Vec::new();
    for line in lines(version) {
        let words: Vec<_> = line.split(' ').collect();
        if words[0] == end.name() {
            let (at_us, path) = (words[1].parse().unwrap(), words[2].parse().unwrap());
            all.push(Said { at_us, end, path, bytes: bytes(words[3]) });
        }
    }
    assert!(all.len() > 10, "{} records", all.len());
    all
}

#[test]
fn hellos_of_version_3_are_understood() {
    let decoded: Vec<_> =
        of(3, "hello").iter().map(|bytes| Hello::decode(bytes).unwrap()).collect();
    assert_eq!(decoded, hellos(3));
    let decoded: Vec<_> =
        of(3, "reply").iter().map(|bytes| HelloReply::decode(bytes).unwrap()).collect();
    assert_eq!(decoded, [welcome(3)]);
}

#[test]
fn a_recorded_dialer_of_version_3_is_understood() {
    let heard = replay(3, &said(3, End::Dialer));
    assert_eq!(heard, conversation::expected()[1]);
}

#[test]
fn a_recorded_acceptor_of_version_3_is_understood() {
    let heard = replay(3, &said(3, End::Acceptor));
    assert_eq!(heard, conversation::expected()[0]);
}
