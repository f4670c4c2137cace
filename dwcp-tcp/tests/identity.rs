//! Identities: what is refused at the start, and what a reload may change.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{Ca, DAY, Pems, Wanted};
use dwcp_tcp::{Identity, IdentityError, IdentityFiles};
use rcgen::ExtendedKeyUsagePurpose;

fn files(room: &Path, pems: &Pems) -> IdentityFiles {
    let put = |name: &str, text: &str, mode: u32| -> PathBuf {
        let path = room.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    IdentityFiles {
        cert: put("node.crt", &pems.cert, 0o644),
        key: put("node.key", &pems.key, 0o600),
        ca: put("ca.crt", &pems.ca, 0o644),
    }
}

fn from_memory(pems: &Pems) -> Result<Identity, IdentityError> {
    Identity::from_pem(pems.cert.as_bytes(), pems.key.as_bytes(), pems.ca.as_bytes())
}

#[track_caller]
fn refused(result: Result<Identity, IdentityError>, parts: &[&str]) {
    let words = result.expect_err("refused").to_string();
    for part in parts {
        assert!(words.contains(part), "{words:?} says {part:?}");
    }
}

#[test]
fn an_identity_tells_its_node_and_its_end() {
    let room = tempfile::tempdir().unwrap();
    let wanted = Wanted::node("node-1");
    let identity = Identity::load(files(room.path(), &Ca::new("ca").issue(&wanted))).unwrap();
    assert_eq!(identity.node_id(), "node-1");
    let off =
        identity.not_after().duration_since(wanted.not_after).unwrap_or_else(|e| e.duration());
    assert!(off < Duration::from_secs(1));
    assert_eq!(format!("{identity:?}"), "Identity(node-1)", "no key in debug output");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
    let room = tempfile::tempdir().unwrap();
    let files = files(room.path(), &Ca::new("ca").issue(&Wanted::node("a")));
    for mode in [0o640, 0o604, 0o644, 0o660, 0o610] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let path = files.key.display();
        let words = format!(
            "{path}: mode {mode:04o} lets others read the private key; run: chmod 600 {path}"
        );
        assert_eq!(Identity::load(files.clone()).unwrap_err().to_string(), words);
    }
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Identity::load(files).is_ok());
}

#[test]
fn missing_empty_and_broken_files_are_named() {
    let room = tempfile::tempdir().unwrap();
    let pems = Ca::new("ca").issue(&Wanted::node("a"));
    let good = files(room.path(), &pems);
    type Part = fn(&mut IdentityFiles) -> &mut PathBuf;
    let parts: [(Part, &str); 3] = [
        (|files| &mut files.cert, "certificate"),
        (|files| &mut files.key, "private key"),
        (|files| &mut files.ca, "CA certificate"),
    ];
    for (part, what) in parts {
        let mut missing = good.clone();
        *part(&mut missing) = room.path().join("none");
        let words = ["none: cannot read the", what, "dwcp-ctl keys init"];
        refused(Identity::load(missing), &words);

        let mut bad = good.clone();
        let path = room.path().join("bad");
        *part(&mut bad) = path.clone();
        for (text, words) in [
            ("", ["bad: no", "-----BEGIN "]),
            ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", ["bad: ", what]),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            refused(Identity::load(bad.clone()), &words);
        }
    }
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    refused(
        from_memory(&Pems { ca: no_der.clone(), ..pems.clone() }),
        &["ca: cannot parse the CA"],
    );
    refused(from_memory(&Pems { cert: no_der, ..pems }), &["cert: it is no X.509 certificate"]);
}

#[test]
fn certificates_that_peers_would_refuse_are_refused_at_the_start() {
    let ca = Ca::new("ca");
    let now = SystemTime::now();
    let good = || Wanted::node("a");
    let would = "cert: peers would refuse this certificate: the certificate of node a, issued by";
    let expired = Wanted { not_before: now - 9 * DAY, not_after: now - DAY, ..good() };
    refused(from_memory(&ca.issue(&expired)), &[would, "expired on", "renew it"]);
    let early = Wanted { not_before: now + DAY, ..good() };
    refused(from_memory(&ca.issue(&early)), &[would, "is valid only from", "clocks"]);
    for usage in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let half = Wanted { usages: vec![usage], ..good() };
        refused(from_memory(&ca.issue(&half)), &[would, "serverAuth and clientAuth"]);
    }
    let stranger = Pems { ca: Ca::new("other").pem(), ..ca.issue(&good()) };
    refused(from_memory(&stranger), &[would, "is not signed by a CA in our keys.ca"]);
    let nameless = Wanted { uris: vec![], ..good() };
    refused(
        from_memory(&ca.issue(&nameless)),
        &["cert: it holds no SAN URI", "dwcp://node/<nodeId>"],
    );
    let mixed = Pems { key: ca.issue(&good()).key, ..ca.issue(&good()) };
    refused(from_memory(&mixed), &["key: not the private key of the certificate in cert"]);
}

#[test]
fn a_reload_is_all_or_nothing() {
    let room = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let identity = Identity::load(files(room.path(), &ca.issue(&Wanted::node("a")))).unwrap();
    let (clone, first) = (identity.clone(), identity.not_after());

    let longer = Wanted { not_after: SystemTime::now() + 99 * DAY, ..Wanted::node("a") };
    files(room.path(), &ca.issue(&longer));
    identity.reload().unwrap();
    let second = clone.not_after();
    assert!(second > first + 60 * DAY, "clones see it");

    files(room.path(), &ca.issue(&Wanted::node("b")));
    let words = identity.reload().unwrap_err().to_string();
    assert!(words.contains("names node b, this is node a; restart"), "{words}");
    fs::write(room.path().join("ca.crt"), "").unwrap();
    assert!(identity.reload().is_err());
    assert_eq!((identity.not_after(), identity.node_id()), (second, "a"));
    assert!(matches!(ca.identity("a").reload(), Err(IdentityError::NotFromFiles)));
}

#[test]
fn what_was_read_changes_nothing_until_it_is_put_in_force() {
    let (room, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let old = files(room.path(), &ca.issue(&Wanted::node("a")));
    let identity = Identity::load(old.clone()).unwrap();
    identity.claim().unwrap();
    let first = identity.not_after();
    fs::rename(&old.key, room.path().join("old.key")).unwrap();
    let longer = Wanted { not_after: SystemTime::now() + 99 * DAY, ..Wanted::node("a") };
    let new = files(room.path(), &ca.issue(&longer));
    let is_free = |key: &str| fs::File::open(room.path().join(key)).unwrap().try_lock().is_ok();
    // One that comes too late is dropped, and another one is put in force.
    let late = identity.read_again().unwrap();
    assert_eq!(identity.not_after(), first);
    drop(late);
    assert!(!is_free("old.key") && is_free("node.key"));
    let renewal = identity.read_again().unwrap();
    assert_eq!(identity.not_after(), first);
    identity.renew(renewal);
    assert!(identity.not_after() > first);
    assert!(is_free("old.key") && Identity::load(new).unwrap().claim().is_err());
}

#[test]
fn one_process_at_a_time_is_a_node() {
    let (room, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let files = files(room.path(), &ca.issue(&Wanted::node("a")));
    let load = || Identity::load(files.clone()).unwrap();
    let first = load();
    let second = load();
    first.claim().unwrap();
    first.claim().expect("it has it already");
    let words = second.claim().unwrap_err().to_string();
    assert!(words.contains("node a runs already") && words.contains("node.key"), "{words}");
    second.reload().expect("who claims nothing may read");
    // A clone keeps the claim, the last one gives it back.
    let clone = first.clone();
    drop(first);
    assert!(matches!(second.claim(), Err(IdentityError::InUse { .. })));
    drop(clone);
    second.claim().unwrap();
    assert!(load().claim().is_err());
}

#[test]
fn a_claim_follows_the_key_when_it_is_replaced() {
    let (room, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let old = files(room.path(), &ca.issue(&Wanted::node("a")));
    let identity = Identity::load(old.clone()).unwrap();
    identity.claim().unwrap();
    // As `mv` does it: another file under the same name, while the old one lives.
    fs::rename(&old.key, room.path().join("old.key")).unwrap();
    let new = files(room.path(), &ca.issue(&Wanted::node("a")));
    let other = Identity::load(new.clone()).unwrap();
    other.claim().unwrap();
    let words = identity.reload().unwrap_err().to_string();
    assert!(words.contains("runs already"), "{words}");
    drop(other);
    identity.reload().unwrap();
    assert!(Identity::load(new).unwrap().claim().is_err(), "the new key is claimed");
    let held = fs::File::open(room.path().join("old.key")).unwrap();
    held.try_lock().expect("the old key is free");
}
