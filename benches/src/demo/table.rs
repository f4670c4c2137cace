//! The demo's closing table.

use std::fmt::Write as _;

use serde_json::Value;

use super::report::{Facts, ZERO, beside, get, rows};

/// What was done, what was lost, and how fast it was beside the peers.
///
/// # Errors
/// A fact that no stage noted.
pub fn table(facts: &Facts, report: &Value) -> Result<String, String> {
    let mut text = String::new();
    let mut row = |left: &str, right: String| {
        let _ = writeln!(text, "  {left:<19} {right}");
    };
    let (megabytes, files) = (get(facts, "bytes")? / 1e6, get(facts, "files")?);
    row("copied", format!("{megabytes:.0} MB in {files} files, each verified by SHA-256"));
    let increments = report["redis_increments"].as_u64().unwrap_or(0);
    let requests = get(facts, "redis_requests")?;
    row(
        "redis by a forward",
        format!("{requests} requests of redis-benchmark, and {increments} increments,"),
    );
    row("", "each answered by the one before plus one".into());
    row("cuts under load", format!("{}, all survived:", get(facts, "cuts")?));
    for cut in report["cut_events"].as_array().into_iter().flatten() {
        row("", cut_line(cut));
    }
    let count = |key: &&str| Ok(format!("{} {}", get(facts, key)?, key.replace('_', " ")));
    row("messages", ZERO.iter().map(count).collect::<Result<Vec<_>, String>>()?.join(", "));
    measured(&mut text, facts)?;
    Ok(text)
}

/// Why the session moved, in the words of its events.
fn cut_line(cut: &Value) -> String {
    let at = cut["at_ms"].as_f64().unwrap_or(0.0) / 1e3;
    let cause = cut["cause"].as_str().unwrap_or("?");
    match (cut["back_after_ms"].as_f64(), cut["reason"].as_str()) {
        (Some(back), Some(reason)) => {
            format!("at {at:4.1} s: {cause}; on a new path {back:.1} ms later ({reason})")
        }
        _ => format!("at {at:4.1} s: {cause}; not back before the end"),
    }
}

fn measured(text: &mut String, facts: &Facts) -> Result<(), String> {
    let _ = writeln!(
        text,
        "\n  {:<19} {:>10} {:>10} {:>11}   DWCP beside it",
        "", "64 B p50", "p99", "64 KiB"
    );
    for (name, key) in rows(facts) {
        let fact = |what: &str| get(facts, &format!("{key}_{what}"));
        let ratio = match *key {
            "dwcp" => String::new(),
            peer => {
                let (latency, rate) = beside(facts, peer)?;
                format!("   {latency:.1} x the speed, {rate:.2} x the rate")
            }
        };
        let (p50, p99, rate) = (fact("p50_us")?, fact("p99_us")?, fact("bytes_per_s")? / 1e9);
        let _ = writeln!(text, "  {name:<19} {p50:7.1} us {p99:7.1} us {rate:6.2} GB/s{ratio}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::{parse, tests::GOOD};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_tells_the_counts_the_reasons_and_the_ratios() {
        let report = json!({
            "redis_increments": 1234,
            "cut_events": [
                {"at_ms": 2000.0, "cause": "link-failed", "back_after_ms": 9.5, "reason": "path-failed"},
                {"at_ms": 4000.0, "cause": "silent"}
            ],
        });
        let table = table(&parse(GOOD).unwrap(), &report).unwrap();
        for told in [
            "210 MB in 68 files",
            "1234 increments",
            "at  2.0 s: link-failed; on a new path 9.5 ms later (path-failed)",
            "at  4.0 s: silent; not back",
            "0 lost, 0 duplicated, 0 reordered, 0 in doubt, 0 redis errors",
            "12.0 x the speed, 3.00 x the rate",
        ] {
            assert!(table.contains(told), "{told} in\n{table}");
        }
        assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    }
}
