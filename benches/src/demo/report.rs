//! The demo's report: facts that its stages noted, judged and printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// Facts by name: what one `key value` line of the facts file says.
pub type Facts = BTreeMap<String, f64>;

/// Counts that must be 0.
const ZERO: [&str; 5] = ["lost", "duplicated", "reordered", "in_doubt", "redis_errors"];
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

fn get(facts: &Facts, key: &str) -> Result<f64, String> {
    facts
        .get(key)
        .copied()
        .ok_or_else(|| format!("no stage noted '{key}': the demo is not complete"))
}

/// The report, schema `dwcp.demo/v1`.
///
/// # Errors
/// A fact that no stage noted.
pub fn report(facts: &Facts) -> Result<Value, String> {
    let whole = |key| get(facts, key).map(|value| value as u64);
    let ratios = ratios(facts)?;
    Ok(json!({
        "schema": "dwcp.demo/v1",
        "lost": whole("lost")?, "duplicated": whole("duplicated")?, "reordered": whole("reordered")?,
        "in_doubt": whole("in_doubt")?,
        "bytes": whole("bytes")?, "sha256_ok": get(facts, "sha256_ok")? == 1.0,
        "cuts": whole("cuts")?, "redis_errors": whole("redis_errors")?,
        "latency_us": { "p50": get(facts, "dwcp_p50_us")?, "p99": get(facts, "dwcp_p99_us")? },
        "throughput_bytes_per_s": get(facts, "dwcp_bytes_per_s")?,
        "ratios": ratios.into_iter().map(|(name, ratio)| (name, round(ratio))).collect::<BTreeMap<_, _>>(),
    }))
}

fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

/// Above 1: DWCP is better.
fn ratios(facts: &Facts) -> Result<Vec<(String, f64)>, String> {
    let mut ratios = Vec::new();
    for peer in ["tokio", "tokio-rustls"] {
        let latency = get(facts, &format!("{peer}_p50_us"))? / get(facts, "dwcp_p50_us")?;
        let throughput =
            get(facts, "dwcp_bytes_per_s")? / get(facts, &format!("{peer}_bytes_per_s"))?;
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
    for (key, least) in [("cuts", CUTS_MIN), ("bytes", BYTES_MIN), ("sha256_ok", 1.0)] {
        if value(key).is_nan() || value(key) < least {
            faults.push(format!("{key} is {}, must be at least {least}", value(key)));
        }
    }
    faults
}

/// The closing table.
///
/// # Errors
/// A fact that no stage noted.
pub fn table(facts: &Facts) -> Result<String, String> {
    let mut text = String::new();
    let mut row = |left: &str, right: String| {
        let _ = writeln!(text, "  {left:<34} {right}");
    };
    row("copied and verified by SHA-256", format!("{:.0} MB", get(facts, "bytes")? / 1e6));
    row("redis requests through the forward", format!("{}", get(facts, "redis_requests")?));
    row("cuts survived under load", format!("{}", get(facts, "cuts")?));
    let counts: Vec<String> = ZERO
        .iter()
        .map(|key| Ok(format!("{} {key}", get(facts, key)?)))
        .collect::<Result<_, String>>()?;
    row("messages", counts.join(", "));
    row("", String::new());
    row("64 B round trip, 64 KiB stream", "p50          p99   throughput".into());
    for (name, key) in [
        ("DWCP, encrypted", "dwcp"),
        ("raw TCP, blocking", "std"),
        ("tokio", "tokio"),
        ("tokio-rustls", "tokio-rustls"),
    ] {
        let fact = |what: &str| get(facts, &format!("{key}_{what}"));
        let (p50, p99) = (fact("p50_us")?, fact("p99_us")?);
        row(name, format!("{p50:6.1} us {p99:9.1} us {:7.2} GB/s", fact("bytes_per_s")? / 1e9));
    }
    for (name, ratio) in ratios(facts)? {
        row(&name.replace('_', " "), format!("{ratio:.2} x"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "lost 0\nduplicated 0\nreordered 0\nin_doubt 0\nredis_errors 0\nredis_requests 100000\n\
        cuts 3\nbytes 210000000\nsha256_ok 1\ndwcp_p50_us 7.5\ndwcp_p99_us 12\ndwcp_bytes_per_s 3e9\n\
        std_p50_us 75\nstd_p99_us 100\nstd_bytes_per_s 3e9\ntokio_p50_us 75\ntokio_p99_us 100\n\
        tokio_bytes_per_s 2e9\ntokio-rustls_p50_us 90\ntokio-rustls_p99_us 100\ntokio-rustls_bytes_per_s 1e9\n";

    #[test]
    fn a_good_run_is_told_in_full() {
        let facts = parse(GOOD).unwrap();
        assert_eq!(faults(&facts), [""; 0]);
        let report = report(&facts).unwrap();
        assert_eq!(report["schema"], "dwcp.demo/v1");
        assert_eq!((&report["bytes"], &report["sha256_ok"]), (&json!(210_000_000), &json!(true)));
        assert_eq!(report["ratios"]["latency_vs_tokio-rustls"], 12.0);
        let table = table(&facts).unwrap();
        assert!(table.contains("210 MB") && table.contains("0 lost, 0 duplicated"), "{table}");
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
        assert_eq!(faults(&Facts::new()).len(), 8, "nothing noted is nothing shown");
    }

    #[test]
    fn a_missing_fact_or_broken_line_is_an_error() {
        let mut facts = parse(GOOD).unwrap();
        facts.remove("cuts");
        assert!(report(&facts).unwrap_err().contains("'cuts'"));
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
