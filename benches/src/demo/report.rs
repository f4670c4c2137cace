//! The demo's report: facts that its stages noted, judged and printed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Facts by name: what one `key value` line of the facts file says.
pub type Facts = BTreeMap<String, f64>;

/// Counts that must be 0.
pub(super) const ZERO: [&str; 5] = ["lost", "duplicated", "reordered", "in_doubt", "redis_errors"];
const CUTS_MIN: f64 = 3.0;
const BYTES_MIN: f64 = 200e6;

/// Reads `key value` lines; the last one of a key counts.
///
/// # Errors
/// The first line that is not of that form.
pub fn parse(text: &str) -> Result<Facts, String> {
    let fact = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse::<f64>().ok().filter(|value| value.is_finite())?))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| fact(line).ok_or_else(|| format!("not a fact: '{line}'; write 'key number'")))
        .collect()
}

/// The number at `pointer` (RFC 6901) in the JSON `text`; true counts as 1, false as 0, a list as its length.
///
/// # Errors
/// Text that is no JSON, or has no number there.
pub fn pick(text: &str, pointer: &str) -> Result<f64, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let found = match value.pointer(pointer) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::Bool(flag)) => Some(f64::from(u8::from(*flag))),
        Some(Value::Array(items)) => Some(items.len() as f64),
        _ => None,
    };
    found.ok_or_else(|| format!("no number at {pointer} in {value}"))
}

pub(super) fn get(facts: &Facts, key: &str) -> Result<f64, String> {
    facts
        .get(key)
        .copied()
        .ok_or_else(|| format!("no stage noted '{key}': the demo is not complete"))
}

/// The report, schema `dwcp.demo/v1`: the facts, the timeline that [`super::load::run`] noted, and the cuts in it.
///
/// # Errors
/// A fact that no stage noted.
pub fn report(facts: &Facts, load: &Value, cuts: &[Value]) -> Result<Value, String> {
    let whole = |key| get(facts, key).map(|value| value as u64);
    let mut measured = BTreeMap::new();
    for (_, key) in rows(facts) {
        let fact = |what: &str| get(facts, &format!("{key}_{what}"));
        let figures = json!({
            "latency_us": { "p50": fact("p50_us")?, "p99": fact("p99_us")? },
            "throughput_bytes_per_s": fact("bytes_per_s")?,
        });
        measured.insert(*key, figures);
    }
    let ratios = ratios(facts)?.into_iter().map(|(name, ratio)| (name, round(ratio)));
    Ok(json!({
        "schema": "dwcp.demo/v1",
        "lost": whole("lost")?, "duplicated": whole("duplicated")?, "reordered": whole("reordered")?,
        "in_doubt": whole("in_doubt")?,
        "bytes": whole("bytes")?, "files": whole("files")?, "sha256_ok": get(facts, "sha256_ok")? == 1.0,
        "cuts": whole("cuts")?, "cut_events": cuts,
        "redis_errors": whole("redis_errors")?, "redis_requests": whole("redis_requests")?,
        "redis_increments": load["increments"],
        "latency_us": measured["dwcp"]["latency_us"],
        "throughput_bytes_per_s": measured["dwcp"]["throughput_bytes_per_s"],
        "measured": measured,
        "ratios": ratios.collect::<BTreeMap<_, _>>(),
        "reduced": is_reduced(facts),
        "timeline": {
            "step_ms": load["step_ms"], "bytes": load["bytes"],
            "redis_replies": load["replies"], "redis_worst_us": load["worst_us"],
        },
    }))
}

fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

/// Whether the run was a reduced one, which leaves out the peers and most of the data: for the demo's own tests.
pub(super) fn is_reduced(facts: &Facts) -> bool {
    facts.contains_key("reduced")
}

/// What was measured: its name, and how its facts begin.
pub(super) fn rows(facts: &Facts) -> &'static [(&'static str, &'static str)] {
    let all = &[
        ("DWCP, encrypted", "dwcp"),
        ("raw TCP, blocking", "raw-std"),
        ("tokio", "tokio"),
        ("tokio-rustls", "tokio-rustls"),
    ];
    if is_reduced(facts) { &all[..1] } else { all }
}

/// How DWCP did beside `peer`, latency and throughput. Above 1: DWCP is better.
pub(super) fn beside(facts: &Facts, peer: &str) -> Result<(f64, f64), String> {
    let latency = get(facts, &format!("{peer}_p50_us"))? / get(facts, "dwcp_p50_us")?;
    let rate = get(facts, "dwcp_bytes_per_s")? / get(facts, &format!("{peer}_bytes_per_s"))?;
    Ok((latency, rate))
}

fn ratios(facts: &Facts) -> Result<Vec<(String, f64)>, String> {
    let mut ratios = Vec::new();
    for (_, peer) in &rows(facts)[1..] {
        let (latency, throughput) = beside(facts, peer)?;
        ratios.push((format!("latency_vs_{peer}"), latency));
        ratios.push((format!("throughput_vs_{peer}"), throughput));
    }
    Ok(ratios)
}

/// What is wrong with a run; empty when all that the demo promises was shown.
#[must_use]
pub fn faults(facts: &Facts) -> Vec<String> {
    let value = |key: &str| facts.get(key).copied().unwrap_or(f64::NAN);
    let mut faults: Vec<String> = ZERO
        .iter()
        .filter(|key| value(key) != 0.0)
        .map(|key| format!("{key} is {}, must be 0", value(key)))
        .collect();
    let bytes_min = if is_reduced(facts) { 1.0 } else { BYTES_MIN };
    for (key, least) in
        [("cuts", CUTS_MIN), ("bytes", bytes_min), ("sha256_ok", 1.0), ("redis_requests", 1.0)]
    {
        if value(key).is_nan() || value(key) < least {
            faults.push(format!("{key} is {}, must be at least {least}", value(key)));
        }
    }
    faults
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const GOOD: &str = "lost 0\nduplicated 0\nreordered 0\nin_doubt 0\nredis_errors 0\nredis_requests 100000\n\
        cuts 3\nbytes 210000000\nfiles 68\nsha256_ok 1\ndwcp_p50_us 7.5\ndwcp_p99_us 12\ndwcp_bytes_per_s 3e9\n\
        raw-std_p50_us 75\nraw-std_p99_us 100\nraw-std_bytes_per_s 3e9\ntokio_p50_us 75\ntokio_p99_us 100\n\
        tokio_bytes_per_s 2e9\ntokio-rustls_p50_us 90\ntokio-rustls_p99_us 100\ntokio-rustls_bytes_per_s 1e9\n";

    #[test]
    fn a_good_run_is_told_in_full() {
        let facts = parse(GOOD).unwrap();
        assert_eq!(faults(&facts), [""; 0]);
        let load =
            json!({"increments": 9, "step_ms": 100, "bytes": [1], "replies": [9], "worst_us": [8]});
        let report = report(&facts, &load, &[]).unwrap();
        assert_eq!(report["schema"], "dwcp.demo/v1");
        assert_eq!((&report["bytes"], &report["sha256_ok"]), (&json!(210_000_000), &json!(true)));
        assert_eq!(report["ratios"]["latency_vs_tokio-rustls"], 12.0);
        assert_eq!(report["ratios"]["throughput_vs_raw-std"], 1.0);
        assert_eq!(report["timeline"]["redis_replies"], json!([9]));
    }

    #[test]
    fn each_broken_promise_is_a_fault() {
        for (fact, named) in [
            ("lost 1", "lost is 1"),
            ("in_doubt 2", "in_doubt is 2"),
            ("redis_errors 1", "redis_errors is 1"),
            ("cuts 2", "cuts is 2"),
            ("bytes 1000", "bytes is 1000"),
            ("sha256_ok 0", "sha256_ok is 0"),
        ] {
            let faults = faults(&parse(&format!("{GOOD}{fact}\n")).unwrap());
            assert_eq!(faults.len(), 1, "{fact}: {faults:?}");
            assert!(faults[0].starts_with(named), "{faults:?}");
        }
        assert_eq!(faults(&Facts::new()).len(), 9, "nothing noted is nothing shown");
    }

    #[test]
    fn a_reduced_run_has_no_peers_but_the_same_promises() {
        let text: Vec<_> = GOOD
            .lines()
            .filter(|line| !line.starts_with(['t', '-']) && !line.starts_with("raw"))
            .collect();
        let facts = parse(&format!("{}\nreduced 1\nbytes 1000000\n", text.join("\n"))).unwrap();
        assert_eq!(faults(&facts), [""; 0]);
        let report = report(&facts, &Value::Null, &[]).unwrap();
        assert_eq!((&report["ratios"], &report["reduced"]), (&json!({}), &json!(true)));
        let lost = parse(&format!("{}\nreduced 1\nlost 1\n", text.join("\n"))).unwrap();
        assert_eq!(faults(&lost).len(), 1);
    }

    #[test]
    fn a_missing_fact_or_broken_line_is_an_error() {
        let mut facts = parse(GOOD).unwrap();
        facts.remove("cuts");
        assert!(report(&facts, &Value::Null, &[]).unwrap_err().contains("'cuts'"));
        assert!(
            parse("cuts").is_err() && parse("cuts three").is_err() && parse("cuts NaN").is_err()
        );
    }

    #[test]
    fn numbers_are_picked_from_json() {
        let text = r#"{"a":{"p50":7.5},"ok":true,"list":[1,2]}"#;
        assert_eq!(pick(text, "/a/p50"), Ok(7.5));
        assert_eq!(pick(text, "/ok"), Ok(1.0));
        assert_eq!(pick(text, "/list"), Ok(2.0));
        assert!(pick(text, "/gone").is_err() && pick("{", "/a").is_err());
    }
}
