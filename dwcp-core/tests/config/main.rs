//! The configuration loader against files: the guide's excerpts, the samples, and files with every mistake.
#![cfg(feature = "config")]

mod broken;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dwcp_core::config::{self, Diagnostic, Environment, Loaded, Mode, Severity, Source};
use dwcp_core::crypto::Protection;
use dwcp_core::wire::PathKind;

fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {}", directory.display());
    files
}

/// `CODE line:column severity`.
fn key(diagnostic: &Diagnostic) -> String {
    let Diagnostic { code, line, column, severity, .. } = diagnostic;
    format!("{code} {line}:{column} {}", severity.name())
}

/// Whether the file given is to be written instead of compared.
fn is_blessing() -> bool {
    std::env::var_os("DWCP_BLESS").is_some()
}

/// Compares `text` with the committed file, or writes it.
fn compare_or_write(path: &Path, text: &str) {
    if is_blessing() {
        fs::write(path, text).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let what = path.display();
    assert!(committed == text, "{what} is not what the types give; run the test with DWCP_BLESS=1");
}

#[test]
fn the_guides_excerpts_are_valid_as_printed() {
    for path in yaml_files(&tests_dir().join("guide")) {
        let loaded = config::load_file(&path);
        let worse: Vec<_> =
            loaded.diagnostics.iter().filter(|d| d.severity != Severity::Hint).collect();
        assert!(loaded.valid() && worse.is_empty(), "{}: {worse:#?}", path.display());
    }
}

#[test]
fn the_guides_values_arrive() {
    let load = |mode: &str| {
        let path = tests_dir().join(format!("guide/dwcp-v3-{mode}.yaml"));
        config::load_file(path).config.unwrap()
    };
    let datacenter = load("datacenter");
    assert_eq!(datacenter.mode, Mode::Datacenter);
    assert_eq!(datacenter.network.rdma_device.get().unwrap().as_str(), "mlx5_0");
    assert_eq!(datacenter.memory.hugepages.get(), Some(true));
    assert_eq!(datacenter.target_latency().unwrap().as_micros(), 5);
    assert_eq!(datacenter.target_throughput(), Some(200_000_000_000));
    assert_eq!(datacenter.protection(PathKind::Rdma), Protection::Checksum);
    assert_eq!(datacenter.protection(PathKind::Tcp), Protection::Aead);
    assert_eq!(datacenter.transports(), [config::Transport::Rdma, config::Transport::Tcp]);
    assert!(!datacenter.compresses());
    let internet = load("internet");
    assert_eq!(internet.network.port, 443);
    assert_eq!(internet.protocol.compression.level.get(), Some(3));
    assert!(internet.compresses() && internet.is_byzantine_tolerant());
    assert_eq!(internet.transports(), [config::Transport::Tcp]);
    let hybrid = load("hybrid");
    assert_eq!(hybrid.adaptive.datacenter_criteria.len(), 1);
    assert_eq!(hybrid.adaptive.datacenter_criteria[0].weight, 0.4);
    assert_eq!(hybrid.adaptive.switching.cooldown_period.get().as_secs(), 30);
    assert_eq!(hybrid.protection(PathKind::Rdma), Protection::Aead);
}

#[test]
fn the_samples_are_valid_and_hold_the_guides_keys() {
    for mode in Mode::ALL {
        let name = format!("dwcp-v3-{}.yaml", mode.name());
        let loaded = config::load_str(&name, config::sample(mode));
        let worse: Vec<_> =
            loaded.diagnostics.iter().filter(|d| d.severity != Severity::Hint).collect();
        assert!(loaded.valid() && worse.is_empty(), "{name}: {worse:#?}");
        let first = config::sample(mode).lines().next().unwrap();
        assert_eq!(first, "# yaml-language-server: $schema=./dwcp-v3.schema.json");
        let guide = config::load_file(tests_dir().join("guide").join(&name));
        for effective in guide.effective() {
            if guide.source_of(&effective.path) != Source::Default {
                assert_ne!(
                    loaded.source_of(&effective.path),
                    Source::Default,
                    "{name}: {}",
                    effective.path
                );
            }
        }
    }
}

/// The commented-out lines of the samples must be right, too.
#[test]
fn the_samples_are_valid_with_their_examples_switched_on() {
    for mode in Mode::ALL {
        let on: String = config::sample(mode).lines().map(|line| uncomment(line) + "\n").collect();
        let loaded = config::load_str("sample", &on);
        let errors: Vec<_> =
            loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{on}\n{errors:#?}");
    }
}

/// Takes the comment mark off a line that is YAML; prose stays a comment.
fn uncomment(line: &str) -> String {
    let Some((indent, rest)) = line.split_once("# ").filter(|(indent, _)| indent.trim().is_empty())
    else {
        return line.to_owned();
    };
    let is_item = rest.trim_start().starts_with("- ");
    let word = rest.trim_start().trim_start_matches("- ");
    let is_key = word.split_once(':').is_some_and(|(key, value)| {
        key.bytes().all(|b| b.is_ascii_alphanumeric())
            && (value.is_empty() || value.starts_with(' '))
    });
    if (is_key && !rest.starts_with("Health")) || is_item {
        format!("{indent}{rest}")
    } else {
        line.to_owned()
    }
}

/// The errors of `text`, each by code and place; `None` where the tree means nothing.
fn errors(text: &str) -> Option<Vec<String>> {
    let found = config::load_str("f.yaml", text).diagnostics;
    let is_fatal = |d: &Diagnostic| {
        // With DWCP-C017 there is a tree, and not all that is wrong with it is shown.
        ["DWCP-C001", "DWCP-C004", "DWCP-C005", "DWCP-C010", "DWCP-C011", "DWCP-C017"]
            .contains(&d.code)
    };
    if found.iter().any(is_fatal) {
        return None;
    }
    let errors = found.iter().filter(|d| d.severity == Severity::Error);
    Some(errors.map(key).collect())
}

/// A value that is required and wrong adds its own error to whatever else a file has, and neither hides nor makes
/// another.
#[test]
fn a_wrong_required_value_hides_no_other_error() {
    let (mut modes, mut forwards) = (0, 0);
    for broken in broken::all() {
        let Some(body) = broken.text() else { continue };
        let Some(mut before) = errors(body) else { continue };
        before.sort();
        let expect = |changed: &str, more: &[String]| {
            let mut expected = before.clone();
            expected.extend(more.iter().cloned());
            expected.sort();
            let mut found = errors(changed).expect("the tree is what it was");
            found.sort();
            assert_eq!(found, expected, "{broken}\n{changed}");
        };
        if let Some(mode) = ["internet", "hybrid", "datacenter"]
            .iter()
            .find(|mode| body.starts_with(&format!("mode: {mode}\n")))
        {
            // Letters swapped, so that nothing moves and it is clear what is meant.
            let slip = format!("{}{}{}", &mode[..2], &mode[3..4], &mode[2..3]) + &mode[4..];
            expect(&body.replacen(mode, &slip, 1), &["DWCP-C022 1:7 error".into()]);
            modes += 1;
        }
        if !body.contains("forwards:") && !body.contains("targets") && body.ends_with('\n') {
            let line = body.lines().count() + 1;
            let item = "forwards: [{name: f, listen: \"127.0.0.1:4\", peer: \"no peer\", target: nowhere}]\n";
            let places = ["\"no", "nowhere"].map(|word| item.find(word).unwrap() + 1);
            let more = [
                format!("DWCP-C028 {line}:{} error", places[0]),
                format!("DWCP-C027 {line}:{} error", places[1]),
            ];
            expect(&format!("{body}{item}"), &more);
            forwards += 1;
        }
    }
    assert!(modes > 20 && forwards > 20, "{modes} {forwards}");
}

/// Files that are too awkward to keep, and those about the machine.
fn awkward() -> Vec<Diagnostic> {
    let mut out = Vec::new();
    out.extend(config::load_bytes("f", b"mode: internet\nnodeId: \xff\n", None).diagnostics);
    out.extend(config::load_str("f", &"#".repeat(config::MAX_BYTES + 1)).diagnostics);
    out.extend(config::load_str("f", &format!("mode: {}", "[".repeat(200))).diagnostics);
    out.extend(config::load_file("/nowhere/dwcp.yaml").diagnostics);
    let values = format!("mode: internet\nlisten: [{}]\n", "1,".repeat(300_000));
    out.extend(config::load_str("f", &values).diagnostics);
    let many: String = (0..500).map(|n| format!("key{n}: 1\n")).collect();
    let many = config::load_str("f", &many);
    assert_eq!(many.diagnostics.len(), 101);
    out.extend(many.diagnostics);
    out.extend(config::load_str("f", "mode: internet\n").diagnostics);
    let long = format!("mode: internet\nlisten: [{}]\n", "\"a:1\",".repeat(20_000));
    out.extend(config::load_str("f", &long).diagnostics);
    out.extend(broken_machine());
    out
}

/// A machine that has nothing.
fn broken_machine() -> Vec<Diagnostic> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir_all(directory.path().join("proc/sys/net/ipv4")).unwrap();
    let available = directory.path().join("proc/sys/net/ipv4/tcp_available_congestion_control");
    fs::write(available, "reno cubic\n").unwrap();
    fs::create_dir_all(directory.path().join("sys/class/infiniband/rxe0")).unwrap();
    fs::write(directory.path().join("node.key"), "").unwrap();
    fs::set_permissions(directory.path().join("node.key"), fs::Permissions::from_mode(0o644))
        .unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "mode: datacenter\nlisten: [\"127.0.0.1:{}\"]\nadmin: {{listen: []}}\nnetwork:\n  rdmaDevice: mlx5_0\n  \
         tcp:\n    congestionControl: bbr\nkeys: {{cert: {}, key: {}, ca: {}}}\nmemory:\n  hugepages: true\n\
         files:\n  receiveDirectory: {}\n",
        taken.local_addr().unwrap().port(),
        path("no.crt"),
        path("node.key"),
        path("no.ca"),
        path("nowhere"),
    );
    let loaded = config::load_str("f", &text);
    assert!(loaded.valid(), "{}", loaded.render(config::Colour::Off));
    let environment = Environment { root: directory.path().into(), bind: true };
    let mut loaded = loaded;
    loaded.refuse_file("keys.cert", "it is another node's", "install this node's");
    let refused = loaded.diagnostics.iter().filter(|d| d.code == "DWCP-C097").cloned();
    environment.check(&loaded).into_iter().chain(refused).collect()
}

#[test]
fn what_the_machine_lacks_is_found_at_its_key() {
    let found: Vec<_> = broken_machine().iter().map(key).collect();
    for expected in [
        "DWCP-C095 2:9 warning",
        "DWCP-C092 5:15 error",
        "DWCP-C093 7:24 warning",
        "DWCP-C094 10:14 warning",
        "DWCP-C096 12:21 error",
        "DWCP-C097 8:14 error",
    ] {
        assert!(found.contains(&expected.to_owned()), "{expected}: {found:#?}");
    }
    assert_eq!(found.iter().filter(|key| key.starts_with("DWCP-C090 8:")).count(), 2);
    assert_eq!(found.iter().filter(|key| key.starts_with("DWCP-C091 8:")).count(), 1);
}

#[test]
fn a_machine_that_has_everything_is_fine() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["c", "k", "a"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    fs::set_permissions(directory.path().join("k"), fs::Permissions::from_mode(0o600)).unwrap();
    let path = directory.path().join("node.yaml");
    let text = "mode: internet\nlisten: [\"127.0.0.1:0\"]\nadmin: {listen: []}\nkeys: {cert: c, key: k, ca: a}\n";
    fs::write(&path, text).unwrap();
    // Relative paths start at the directory of the file.
    let loaded = config::load_file(&path);
    let environment = Environment { root: directory.path().into(), bind: true };
    assert_eq!(environment.check(&loaded), []);
    assert_eq!(config::check_environment(loaded.config.as_ref().unwrap()), []);
}

#[test]
fn the_effective_configuration_loads_to_itself() {
    let mut texts: Vec<String> = Mode::ALL.map(|mode| format!("mode: {}\n", mode.name())).to_vec();
    let guide = yaml_files(&tests_dir().join("guide"));
    texts.extend(guide.iter().map(|path| fs::read_to_string(path).unwrap()));
    texts.push("mode: hybrid\nlisten: [\"[::1]:0\"]\nadmin: {listen: []}\npeers: any\nmemory: {hugepages: true}\n".into());
    texts.push(
        "mode: datacenter\nlisten: []\nnetwork: {port: 9, fallback: {enabled: true}}\n".into(),
    );
    texts.push("mode: datacenter\nnetwork: {bindAddress: \"::1\", tcp: {enabled: false}}\n".into());
    texts.push("mode: hybrid\nnetwork: {transport: fabric}\nforwardTargets: [\"a:1\", {target: \"b:2\", from: []}]\n".into());
    for text in texts {
        let first = config::load_str("first", &text);
        assert!(first.valid(), "{text}\n{}", first.render(config::Colour::Off));
        let printed = first.config.as_ref().unwrap().effective_yaml();
        let second = config::load_str("second", &printed);
        assert!(second.valid(), "{text}\n{}", second.render(config::Colour::Off));
        assert_eq!(first.config, second.config, "{text}");
    }
}

#[test]
fn each_value_knows_where_it_comes_from() {
    let loaded = config::load_str("n.yaml", "mode: internet\n\nsession:\n  window: 1MB\n");
    assert_eq!(loaded.source_of("session.window"), Source::File { file: "n.yaml".into(), line: 4 });
    assert_eq!(loaded.source_of("session.timeToLive"), Source::Default);
    let effective = loaded.effective();
    let window = effective.iter().find(|e| e.path == "session.window").unwrap();
    assert_eq!(window.value, "1MB");
}

#[test]
fn the_json_result_has_its_fixed_shape() {
    let loaded = config::load_str("n.yaml", "mode: internet\nmdoe: x\n");
    let json = loaded.to_json();
    assert_eq!(json["schema"], "dwcp.config-validate/v1");
    assert_eq!(json["valid"], false);
    let unknown = &json["diagnostics"][1];
    let expected = serde_json::json!({
        "file": "n.yaml", "line": 2, "column": 1, "severity": "error", "code": "DWCP-C012",
        "message": "unknown key `mdoe`", "help": "did you mean `mode`? It is on line 1, too: delete one",
    });
    assert_eq!(*unknown, expected);
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let path = root().join("infra/config/dwcp-v3.schema.json");
    if is_blessing() {
        fs::write(&path, serde_json::to_string_pretty(&config::schema()).unwrap() + "\n").unwrap();
    }
    // As values: the order of keys depends on serde_json's features.
    let committed: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(
        committed == config::schema(),
        "the schema is out of date; run the test with DWCP_BLESS=1"
    );
}

#[test]
fn the_committed_reference_is_that_of_the_types() {
    compare_or_write(&root().join("docs/config.md"), &config::markdown());
}

#[test]
fn every_key_has_a_description() {
    for doc in config::keys() {
        assert!(!doc.text.is_empty(), "{}", doc.path);
    }
}

/// Keys of similar configurations are obeyed or refused with a reason; none is merely unknown.
#[test]
fn every_known_key_is_obeyed_or_refused_by_name() {
    let text = fs::read_to_string(tests_dir().join("known-keys.txt")).unwrap();
    let (mut obeyed, mut refused) = (0, 0);
    for key in text.lines() {
        let path = key.trim_end_matches("[]");
        if config::keys().iter().any(|doc| doc.path == path) {
            obeyed += 1;
            continue;
        }
        let parts: Vec<_> = path.split('.').collect();
        let nested: String = parts
            .iter()
            .enumerate()
            .map(|(depth, part)| format!("{}{part}:\n", "  ".repeat(depth)))
            .collect();
        let loaded = config::load_str(
            "f",
            &format!("mode: hybrid\n{}: 1\n", nested.trim_end_matches(":\n")),
        );
        let codes: Vec<_> = loaded.diagnostics.iter().map(|d| d.code).collect();
        assert!(codes.contains(&"DWCP-C013"), "{key}: {codes:?}");
        refused += 1;
    }
    assert!(obeyed > 60 && refused > 120, "{obeyed} obeyed, {refused} refused");
}

/// The commands of `dwcp-ctl`, from the list that its arguments are read by.
fn commands() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("dwcp-ctl/src/cli/args.rs")).unwrap();
    let (_, text) = text.split_once("enum Command {").unwrap();
    let (text, _) = text.split_once("\n}").unwrap();
    let variants = text.lines().filter_map(|line| line.strip_prefix("    "));
    let names = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let word =
        |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).next().map(str::to_lowercase);
    names.filter_map(word).collect()
}

fn sources(directory: &Path, out: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn no_words_name_a_command_that_does_not_exist() {
    let commands = commands();
    assert!(commands.contains("config") && commands.contains("status"), "{commands:?}");
    let mut text = fs::read_to_string(root().join("docs/config.md")).unwrap();
    for directory in ["dwcp-core/src", "dwcp-tcp/src", "dwcp-rdma/src", "dwcp-hybrid/src"] {
        sources(&root().join(directory), &mut text);
    }
    for rest in text.split("dwcp-ctl ").skip(1) {
        let word = rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap();
        assert!(word.is_empty() || commands.contains(word), "`dwcp-ctl {word}` is no command");
    }
}

#[test]
fn the_help_is_about_the_mistake() {
    let cases = [
        ("nodeId: b c\n", "no spaces"),
        ("nodeId: café\n", "`é` is not allowed"),
        ("nodeId: a-\n", "begin and end with"),
        ("peers: all\n", "write `peers: any`"),
        ("network: {tcp: {enabled: false}}\n", "delete the line: internet mode has tcp only"),
        ("listen: \"0.0.0.0:443\"\n", "[\"0.0.0.0:443\"]"),
        ("forwards: redis\n", "`- `"),
        ("keys:\n  - cert\n", "without the dashes"),
    ];
    for (text, help) in cases {
        let loaded = config::load_str("f", &format!("mode: internet\n{text}"));
        let helps: Vec<_> = loaded.diagnostics.iter().filter_map(|d| d.help.as_deref()).collect();
        assert!(helps.iter().any(|found| found.contains(help)), "{text}{helps:?}");
    }
    let operator = "mode: hybrid\nadaptive:\n  datacenterCriteria:\n  - {metric: latency, operator: lt, value: 1ms}\n";
    let loaded = config::load_str("f", operator);
    assert!(loaded.diagnostics.iter().any(|d| d.message.contains("the word is less_than")));
}

#[test]
fn warnings_and_hints_leave_a_file_valid() {
    let loaded: Loaded = config::load_str("f", "mode: internet\npeers: any\n");
    assert!(loaded.valid());
    assert_eq!(loaded.diagnostics[0].severity, Severity::Warning);
}
