//! Each peer for a moment in each measurement that it has. By hand, for it takes half a minute and a release build:
//! `cargo test --release --manifest-path benches/peers/Cargo.toml --test smoke -- --ignored`.

use std::process::Command;

use serde_json::Value;

fn run(line: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_peer-bench"))
        .args(line.split_whitespace())
        .output()
        .expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("text"))
}

/// Every measurement and the peers that have it.
fn all() -> Vec<(String, String)> {
    let (is_good, list) = run("list");
    assert!(is_good, "{list}");
    let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
    list.lines()
        .map(words)
        .flat_map(|words| {
            let what = words[0].clone();
            words.into_iter().skip(1).map(move |peer| (what.clone(), peer))
        })
        .collect()
}

fn figures(what: &str) -> &'static [&'static str] {
    match what {
        "latency" => &["rtt_p50_us", "rtt_p99_us", "count", "cpu_us_per_message"],
        "throughput" => &["bytes", "bytes_per_s", "cpu_ns_per_byte"],
        "messages" => &["count", "messages_per_s", "bytes_per_s", "cpu_us_per_message"],
        "handshake" => &["in_flight", "count", "handshakes_per_s", "cpu_us_per_handshake"],
        "idle" => &["sessions", "bytes_per_session_client", "bytes_per_session_server"],
        _ => panic!("a measurement that this test does not know: {what}"),
    }
}

#[test]
#[ignore = "half a minute, and its figures say nothing in a debug build"]
fn each_peer_gives_figures_in_each_of_its_measurements() {
    for (what, peer) in all() {
        let (is_good, said) = run(&format!("{what} {peer} --seconds 0.2 --sessions 1000"));
        assert!(is_good, "{what} {peer}: {said}");
        let line: Value = serde_json::from_str(&said).expect(&said);
        assert_eq!(line["schema"], "dwcp.peer-bench/v2", "{said}");
        assert_eq!((&line["what"], &line["peer"]), (&what.clone().into(), &peer.into()), "{said}");
        assert!(line["security"] == "clear" || line["security"] == "tls13", "{said}");
        let always = ["seconds", "cpu_us_client", "cpu_us_server"];
        for figure in always.iter().chain(figures(&what)) {
            assert!(line[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {said}");
        }
    }
}

#[test]
fn a_wrong_word_is_a_usage_error() {
    let (is_good, said) = run("latency nobody");
    assert!(!is_good && said.contains("nobody") && said.contains("usage:"), "{said}");
}
