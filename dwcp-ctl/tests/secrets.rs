//! What a daemon says, to whom and wherever, holds no key: not at the most talkative level, and not when it dies.
#![allow(missing_docs)]

mod common;

use common::{Daemon, Room, noise, wait_for, write};
use rustix::process::Signal;

/// Bytes that must be nowhere, in every form that they could be printed in.
struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn new(name: &'static str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let listed = bytes[..8].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let forms = vec![
            bytes[..16].to_vec(),
            hex.as_bytes()[..16].to_vec(),
            hex[..16].to_uppercase().into_bytes(),
            base64(bytes).into_bytes()[..16].to_vec(),
            listed.into_bytes(),
        ];
        Self { name, forms }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.forms.iter().any(|form| text.windows(form.len()).any(|window| window == form))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for part in bytes.chunks_exact(3) {
        let all = u32::from_be_bytes([0, part[0], part[1], part[2]]);
        for shift in [18, 12, 6, 0] {
            out.push(char::from(ALPHABET[(all >> shift) as usize & 63]));
        }
    }
    out
}

fn unbase64(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| ALPHABET.iter().position(|known| *known == byte));
    let digits: Vec<_> = digits.collect();
    let mut out = Vec::new();
    for part in digits.chunks_exact(4) {
        let all = part.iter().fold(0_u32, |all, digit| (all << 6) | *digit as u32);
        out.extend_from_slice(&all.to_be_bytes()[1..]);
    }
    out
}

/// The private part of a PKCS #8 key for P-256: 32 bytes behind `04 20` (RFC 5915).
fn private_bytes(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = unbase64(&body);
    let at = der.windows(2).position(|pair| pair == [4, 32]).expect("a P-256 key");
    der[at + 2..at + 34].to_vec()
}

fn secrets(room: &Room) -> Vec<Secret> {
    let read = |path: &str| std::fs::read_to_string(room.path(path)).unwrap();
    vec![
        Secret::new("private key of a", &private_bytes(&read("keys/a/node.key"))),
        Secret::new("private key of b", &private_bytes(&read("keys/b/node.key"))),
        Secret::new("cluster key", &noise(32, 5)),
        Secret::new("token", read("token").trim().as_bytes()),
    ]
}

/// A cluster key and a token.
fn write_secrets(room: &Room) {
    let hex: String = noise(32, 5).iter().map(|byte| format!("{byte:02x}")).collect();
    for (name, text) in
        [("cluster.key", hex), ("token", "a-token-that-nobody-guesses-easily".into())]
    {
        write(&room.path(name), text.as_bytes());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(room.path(name), mode).unwrap();
    }
}

/// The configuration of `node`, with the names of those.
fn config_text(room: &Room, node: &str, more: &str) -> String {
    let text = room.config_text(node, more);
    let text = text.replace("ca.crt}", "ca.crt, clusterKey: cluster.key}");
    text.replace("admin: {listen", "admin: {tokenFile: token, listen")
}

fn nodes() -> (Room, Daemon, Daemon) {
    let room = Room::new(&["a", "b"]);
    write_secrets(&room);
    std::fs::create_dir(room.path("inbox")).unwrap();
    let config = |node: &str, more: &str| {
        let more = format!(
            "{more}logging: {{level: trace}}\nfiles: {{receiveDirectory: inbox, keepFree: 0B}}\n\
             byzantine: {{enabled: true, evidenceLog: evidence.log}}\n"
        );
        let text = config_text(&room, node, &more);
        write(&room.path(&format!("{node}.yaml")), text.as_bytes());
    };
    config("b", "peers: [{nodeId: a}]\n");
    let b = room.start("b");
    let address = room.address("b");
    config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    let a = room.start("a");
    (room, a, b)
}

#[test]
fn whatever_a_daemon_says_holds_no_key() {
    let (room, a, b) = nodes();
    let secrets = secrets(&room);
    let file = room.path("data");
    write(&file, &noise(3_000_000, 1));
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    room.ctl(&["--node", "a", "copy", file.to_str().unwrap(), "b:"]).ok();
    room.ctl(&["--node", "a", "rekey", "b"]).ok();
    room.ctl(&["--node", "a", "cut", "b"]).ok();
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    for words in [
        &["--node", "a", "status"][..],
        &["--node", "b", "status", "-o", "json"],
        &["--node", "a", "peers"],
        &["--node", "a", "reload"],
        &["config", "show", &room.text("a.yaml")],
        &["config", "show", "--effective", &room.text("a.yaml")],
        &["config", "validate", "--environment", &room.text("a.yaml")],
        &["version"],
    ] {
        let ran = room.ctl(words);
        said.push((words.join(" "), [ran.stdout.as_bytes(), ran.stderr.as_bytes()].concat()));
    }
    for path in ["/", "/status", "/metrics", "/health", "/nothing"] {
        said.push((path.to_owned(), room.http("a", path).1.into_bytes()));
    }
    // What goes wrong with key files is told without what is in them.
    let key = std::fs::read(room.path("keys/a/node.key")).unwrap();
    for spoiled in [&key[..key.len() / 2], &key[40..]] {
        write(&room.path("keys/a/node.key"), spoiled);
        let ran = room.ctl(&["--node", "a", "reload"]);
        assert_eq!(ran.code, 1, "{ran:#?}");
        said.push((
            "a spoiled key".into(),
            [ran.stdout.as_bytes(), ran.stderr.as_bytes()].concat(),
        ));
    }
    write(&room.path("cluster.key"), b"short");
    let ran = room.ctl(&["config", "validate", "--environment", &room.text("a.yaml")]);
    said.push((
        "a spoiled cluster key".into(),
        [ran.stdout.as_bytes(), ran.stderr.as_bytes()].concat(),
    ));
    for daemon in [&a, &b] {
        let log = daemon.log();
        assert!(log.len() > 1_000, "it is at its most talkative: {log}");
        said.push(("log".into(), log.into_bytes()));
    }
    for (place, text) in &said {
        assert!(!text.is_empty(), "{place}");
        for secret in &secrets {
            assert!(!secret.is_in(text), "{place} holds the {}", secret.name);
        }
    }
    // The search finds what is there.
    let config = std::fs::read(room.path("token")).unwrap();
    assert!(secrets[3].is_in(&config) && secrets[0].is_in(&private_bytes_of(&key)));
}

fn private_bytes_of(pem: &[u8]) -> Vec<u8> {
    private_bytes(std::str::from_utf8(pem).unwrap())
}

#[test]
fn a_secret_that_another_user_owns_is_refused() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return common::skip("secrets of another user", "only root can give files away");
    }
    let room = Room::new(&["a"]);
    write_secrets(&room);
    write(&room.path("a.yaml"), config_text(&room, "a", "").as_bytes());
    let validate = || room.ctl(&["config", "validate", "--environment", &room.text("a.yaml")]);
    for name in ["keys/a/node.key", "cluster.key", "token"] {
        let path = room.path(name);
        std::os::unix::fs::chown(&path, Some(NOBODY), None).unwrap();
        let words = format!("chown 0 {}", path.display());
        let mut daemon = room.spawn("a");
        assert_ne!(daemon.wait(), 0, "{name}");
        assert!(daemon.log().contains(&words), "{name}: {}", daemon.log());
        std::fs::remove_file(room.path("a.log")).unwrap();
        let told = validate();
        assert!(told.code == 1 && told.stdout.contains(&words), "{name}: {told:#?}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    validate().ok();
    let _daemon = room.start("a");
}

#[test]
fn a_daemon_that_dies_leaves_no_core_file() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let mut daemon = room.start("a");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let fields: Vec<_> = line.split_whitespace().collect();
    assert_eq!(fields[4..6], ["1", "1"], "{line}");
    daemon.signal(Signal::ABORT);
    daemon.wait();
    let cores = || {
        let here = std::fs::read_dir(".").unwrap().map(|entry| entry.unwrap().file_name());
        here.filter(|name| name.to_string_lossy().starts_with("core")).collect::<Vec<_>>()
    };
    wait_for("no core file", || cores().is_empty().then_some(()));
}
