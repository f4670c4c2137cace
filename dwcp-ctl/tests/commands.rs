//! Commands that need no daemon: results, words and exit codes.
#![allow(missing_docs)]

mod common;

use common::{Room, ctl, ctl_with};

#[test]
fn a_config_error_stands_under_its_caret_and_exits_1() {
    let ran = ctl_with(&["config", "validate", "-"], "mode: internet\nnetwrok:\n  port: 1\n");
    assert_eq!(ran.code, 1, "{ran:#?}");
    for words in ["<stdin>:2:1", "netwrok", "^^^^^^^", "did you mean `network`?", "not valid"] {
        assert!(ran.stdout.contains(words), "{words} in {}", ran.stdout);
    }
    let ran = ctl_with(&["config", "validate", "-", "-o", "json"], "mode: internet\nnetwrok: 1\n");
    let json = ran.json();
    assert_eq!(json["schema"], "dwcp.config-validate/v1");
    assert_eq!(json["valid"], false);
    let mut errors = json["diagnostics"].as_array().unwrap().iter();
    let error = errors.find(|found| found["severity"] == "error").unwrap();
    assert_eq!(error["line"], 2);
    assert!(error["code"].as_str().unwrap().starts_with("DWCP-C"));
    assert_eq!(ran.code, 1);
}

#[test]
fn every_sample_is_valid_and_shown() {
    for mode in ["datacenter", "internet", "hybrid"] {
        let sample = ctl(&["config", "init", "--mode", mode]).ok().stdout;
        let ran = ctl_with(&["config", "validate", "-"], &sample);
        assert_eq!(ran.code, 0, "{ran:#?}");
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("x.yaml");
        let path = path.to_str().unwrap();
        ctl(&["config", "init", "--mode", mode, "--file", path]).ok();
        let again = ctl(&["config", "init", "--mode", mode, "--file", path]);
        assert!(again.code == 1 && again.stderr.contains("--force"), "{again:#?}");
        assert!(room.path().join("dwcp-v3.schema.json").exists());
        let shown = ctl(&["config", "show", path]).ok().stdout;
        assert!(shown.contains(&format!("mode: {mode}")), "{shown}");
        let strict = ctl_with(&["config", "validate", "--strict", "-"], &shown);
        assert_eq!(strict.code, 0, "{strict:#?}");
        let effective = ctl(&["config", "show", path, "--effective"]).ok().stdout;
        assert!(effective.contains("# default") && effective.contains("x.yaml:"), "{effective}");
    }
    let schema = ctl(&["config", "schema"]).ok().json();
    assert!(schema["properties"]["mode"].is_object());
}

/// Every name in a JSON result is in snake_case.
fn snake(value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            assert!(!name.contains(|c: char| c.is_ascii_uppercase()), "{name}");
            snake(value);
        }),
        serde_json::Value::Array(values) => values.iter().for_each(snake),
        _ => {}
    }
}

#[test]
fn json_results_have_one_style_and_a_schema() {
    let room = Room::new(&["a"]);
    let (keys, file) = (room.text("keys"), room.text("x.yaml"));
    let sample = ["config", "init", "--mode", "internet", "-o", "json"];
    for line in [
        &["version", "-o", "json"][..],
        &["keys", "init", "--dir", &keys, "b", "-o", "json"],
        &["bench", "latency", "--self", "--duration", "100ms", "-o", "json"],
        &sample,
        &[&sample[..], &["--file", &file]].concat(),
    ] {
        let json = ctl(line).ok().json();
        assert!(json["schema"].as_str().unwrap().starts_with("dwcp."), "{json}");
        snake(&json);
    }
    assert!(std::fs::read_to_string(file).unwrap().contains("mode: internet"));
    let json = ctl(&sample).ok().json();
    assert!(json["text"].as_str().unwrap().contains("mode: internet"), "{json}");
}

#[test]
fn benches_with_many_sessions_tell_what_they_found() {
    for (line, schema, figure) in [
        (
            &["bench", "handshakes", "--sessions", "3", "--duration", "300ms"][..],
            "handshakes",
            "per_second",
        ),
        (&["bench", "resumes", "--sessions", "5", "--duration", "100ms"], "resumes", "per_second"),
        (&["bench", "sessions", "--sessions", "20"], "sessions", "bytes_per_session"),
    ] {
        let json = ctl(&[line, &["-o", "json"]].concat()).ok().json();
        assert_eq!(json["schema"], format!("dwcp.bench-{schema}/v1"), "{json}");
        assert!(json[figure].as_f64().is_some_and(|figure| figure > 0.0), "{json}");
        snake(&json);
    }
    let many = ctl(&["bench", "handshakes", "--sessions", "65"]);
    assert!(many.code == 2 && many.stderr.contains("64 at most"), "{many:#?}");
    let real = ctl(&["bench", "latency", "b", "--polling"]);
    assert!(real.code == 2 && real.stderr.contains("--self"), "{real:#?}");
}

#[test]
fn a_missing_file_names_the_command_that_makes_one() {
    let ran = ctl(&["config", "validate", "/nonexistent/x.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("config init"), "{ran:#?}");
}

#[test]
fn wrong_command_lines_exit_2_and_help_lists_the_codes() {
    for line in [
        &["frobnicate"][..],
        &["ping"],
        &["bench", "latency"],
        &["bench", "latency", "b", "--rate", "-1"],
        &["bench", "throughput", "--self", "--size", "1"],
        &["bench", "throughput", "--self", "--size", "17MiB"],
        &["bench", "throughput", "--self", "--duration", "0s"],
        &["bench", "throughput", "b", "--direction", "receive", "--duration", "700s"],
        &["bench", "latency", "--self", "--duration", "0s"],
        &["bench", "latency", "--self", "--duration", "500us"],
        &["bench", "latency", "--self", "--size", "0"],
        &["bench", "latency", "--self", "--rate", "0.1", "--duration", "1s"],
        &["ping", "b", "--count", "0"],
        &["keys", "init", "--days", "0"],
        &["copy", "a", "b"],
        &["status", "--timeout", "soon"],
    ] {
        let ran = ctl(line);
        assert_eq!(ran.code, 2, "{line:?} {ran:#?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{line:?}");
    }
    let far = ["bench", "throughput", "b", "--direction", "receive", "--duration", "601s"];
    assert!(ctl(&far).stderr.contains("--duration must be 600s at most"), "the limit is named");
    let help = ctl(&["--help"]).ok().stdout;
    for code in
        ["0  all is well", "1  a problem", "2  the command line", "3  it works", "4  the daemon"]
    {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn without_a_daemon_commands_exit_4_and_say_what_to_do() {
    let room = tempfile::tempdir().unwrap();
    let run = room.path().to_str().unwrap();
    for line in
        [&["status"][..], &["peers"], &["ping", "b"], &["reload"], &["drain"], &["cut", "b"]]
    {
        let ran = ctl(&[&["--runtime-dir", run], line].concat());
        assert_eq!(ran.code, 4, "{line:?} {ran:#?}");
        assert!(ran.stderr.contains("start dwcpd"), "{line:?} {ran:#?}");
    }
    let json = ctl(&["--runtime-dir", run, "status", "-o", "json"]);
    assert_eq!(json.json()["schema"], "dwcp.status/v1");
    // A socket whose daemon is gone.
    drop(std::os::unix::net::UnixListener::bind(room.path().join("dead.sock")).unwrap());
    let ran = ctl(&["--runtime-dir", run, "status"]);
    assert!(ran.code == 4 && ran.stderr.contains("nobody listens"), "{ran:#?}");
}

#[test]
fn a_daemon_that_hangs_is_an_answer() {
    let room = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(room.path().join("hung.sock")).unwrap();
    let run = room.path().to_str().unwrap();
    let ran = ctl(&["--runtime-dir", run, "status", "--timeout", "200ms"]);
    assert!(ran.code == 4 && ran.stderr.contains("no answer in time"), "{ran:#?}");
}

#[test]
fn version_tells_what_is_built_in() {
    let text = ctl(&["version"]).ok().stdout;
    assert!(text.contains("3.0.0") && text.contains("not built in"), "{text}");
    let json = ctl(&["version", "-o", "json"]).ok().json();
    assert_eq!(json["schema"], "dwcp.version/v1");
    assert_eq!(json["paths"][0]["kind"], "tcp");
    assert_eq!(json["paths"][1]["built_in"], false);
}

#[test]
fn keys_are_made_once_and_the_ca_stays() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new(&["a"]);
    let ca = std::fs::read(room.path("keys/ca.crt")).unwrap();
    let keys = room.text("keys");
    let again = ctl(&["keys", "init", "--dir", &keys, "a"]);
    assert!(again.code == 1 && again.stderr.contains("exists already"), "{again:#?}");
    let json = ctl(&["keys", "init", "--dir", &keys, "b", "-o", "json"]).ok().json();
    assert_eq!(json["schema"], "dwcp.keys-init/v1");
    assert_eq!(json["ca_is_new"], false);
    assert_eq!(std::fs::read(room.path("keys/ca.crt")).unwrap(), ca);
    for key in ["keys/ca.key", "keys/a/node.key", "keys/b/node.key"] {
        let mode = std::fs::metadata(room.path(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    for node in ["no/node", &"x".repeat(65)] {
        let ran = ctl(&["keys", "init", "--dir", &keys, "c", node]);
        assert!(ran.code == 1 && ran.stderr.contains("1 to 64"), "{ran:#?}");
        assert!(!room.path("keys/c").exists(), "all or nothing");
    }
}

#[test]
fn directories_around_keys_are_their_owners_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let room = tempfile::tempdir().unwrap();
    let path = |name: &str| room.path().join(name);
    let init = |umask: &str, nodes: &[&str]| {
        let script = format!("umask {umask} && exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_dwcp-ctl"), "keys", "init", "--dir"]);
        let output = command.arg(path("etc/dwcp/keys")).args(nodes).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let mode = |name: &str| path(name).metadata().unwrap().permissions().mode() & 0o7777;
    init("000", &["a", "b"]);
    for (name, wanted) in [
        ("etc", 0o755),
        ("etc/dwcp", 0o755),
        ("etc/dwcp/keys", 0o700),
        ("etc/dwcp/keys/a", 0o700),
        ("etc/dwcp/keys/b", 0o700),
        ("etc/dwcp/keys/ca.key", 0o600),
        ("etc/dwcp/keys/ca.crt", 0o644),
        ("etc/dwcp/keys/b/node.key", 0o600),
    ] {
        assert_eq!(mode(name), wanted, "{name}: {:o}", mode(name));
    }
    // What an operator chose for a directory that is there, stays.
    std::fs::set_permissions(path("etc/dwcp/keys"), PermissionsExt::from_mode(0o750)).unwrap();
    init("022", &["c"]);
    assert_eq!((mode("etc/dwcp/keys"), mode("etc/dwcp/keys/c")), (0o750, 0o700));
}

#[test]
fn shells_and_manual_pages_are_served() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(ctl(&["completions", shell]).ok().stdout.contains("dwcp-ctl"));
    }
    assert!(ctl(&["man"]).ok().stdout.contains(".TH"));
    let room = tempfile::tempdir().unwrap();
    ctl(&["man", "--dir", room.path().to_str().unwrap()]).ok();
    assert!(room.path().join("dwcp-ctl-bench-latency.1").is_file());
}

/// Files that no key or token may be, and one that a cluster key may be.
fn odd_files(room: &Room) {
    use std::os::unix::fs::PermissionsExt;
    for (name, text, mode) in [
        ("text", "no pem\n", 0o600),
        ("short", "abcd\n", 0o600),
        ("secret", &*"ab".repeat(32), 0o600),
        ("blank", "\n", 0o600),
        ("open", "word\n", 0o644),
    ] {
        std::fs::write(room.path(name), text).unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(room.path(name), mode).unwrap();
    }
}

/// Every file behind `keys` and the token, in each state that the daemon does not start with.
#[test]
fn the_machine_is_looked_at_with_the_daemons_own_eyes() {
    let room = Room::new(&["a", "b"]);
    let old = room.text("old");
    ctl(&["keys", "init", "--dir", &old, "--days", "1", "a"]).ok();
    odd_files(&room);
    let good = ["keys/a/node.crt", "keys/a/node.key", "keys/a/ca.crt", "secret", "short"];
    let validate = |files: [&str; 5]| {
        let [cert, key, ca, cluster, token] = files;
        let text = format!(
            "mode: internet\nnodeId: a\nlisten: []\nadmin:\n  listen: []\n  tokenFile: {token}\nkeys:\n  \
             cert: {cert}\n  key: {key}\n  ca: {ca}\n  clusterKey: {cluster}\n"
        );
        let file = room.path("x.yaml");
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let ran = ctl(&["config", "validate", "--environment", "-o", "json", file]);
        let found: Vec<_> = ran.json()["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|found| found["severity"] == "error")
            .map(|found| {
                assert!(found["help"].is_string() && found["column"].as_u64() > Some(1), "{found}");
                let message = found["message"].as_str().unwrap().to_owned();
                (found["line"].as_u64().unwrap(), message)
            })
            .collect();
        assert_eq!(ran.code, i32::from(!found.is_empty()), "{ran:#?}");
        found
    };
    assert_eq!(validate(good), []);
    let lines = [8, 9, 10, 11, 6];
    for (at, file, words) in [
        (0, "text", "no certificate in it"),
        (0, "keys/b/node.crt", "names b"),
        (0, "old/a/node.crt", "peers would refuse this certificate"),
        (0, "nowhere", "cannot read"),
        (1, "text", "no private key in it"),
        (1, "old/a/node.key", "not the private key of the certificate"),
        (1, "open", "mode 0644"),
        (2, "text", "no CA certificate in it"),
        (2, "old/a/ca.crt", "peers would refuse this certificate"),
        (3, "short", "64 hexadecimal digits"),
        (3, "open", "mode 0644"),
        (4, "blank", "is empty"),
        (4, "open", "mode 0644"),
    ] {
        let mut files = good;
        files[at] = file;
        let found = validate(files);
        // That the CA does not fit is said of the certificate; another's certificate fits no key either.
        let line = if file.ends_with("ca.crt") { 8 } else { lines[at] };
        let is_told = found.iter().any(|(at, message)| *at == line && message.contains(words));
        assert!(is_told, "{file} in place of {}: {found:#?}", good[at]);
        let places: std::collections::BTreeSet<_> = found.iter().map(|(line, _)| line).collect();
        assert!(found.len() == places.len() || file.starts_with("keys/b"), "twice: {found:#?}");
    }
    // All at once.
    let found = validate(["text", "text", "nowhere", "short", "blank"]);
    let found: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(found, [6, 8, 9, 10, 11]);
}
