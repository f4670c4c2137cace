//! What a node's log (JSON lines) says of cuts: when the path went, why, and when the session had another.

use serde_json::{Value, json};

/// Cuts after `began_us` (microseconds since 1970), in order: `at_ms`, `cause` of the path's end, `back_after_ms`, and the
/// `reason` of the move to the next path. A cut that nothing followed lacks the last two.
#[must_use]
pub fn cuts(log: &str, began_us: u64) -> Vec<Value> {
    let mut cuts: Vec<Value> = Vec::new();
    let mut down_us = None;
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(at_us) = line["timestamp"].as_str().and_then(unix_us).filter(|at| *at >= began_us)
        else {
            continue;
        };
        match line["message"].as_str() {
            Some("path down") => {
                down_us = Some(at_us);
                cuts.push(json!({ "at_ms": ms(at_us - began_us), "cause": line["cause"] }));
            }
            Some("switched") => {
                if let (Some(down), Some(cut)) = (down_us.take(), cuts.last_mut()) {
                    cut["back_after_ms"] = ms(at_us.saturating_sub(down)).into();
                    cut["reason"] = line["reason"].clone();
                }
            }
            _ => {}
        }
    }
    cuts
}

fn ms(us: u64) -> f64 {
    (us as f64 / 100.0).round() / 10.0
}

/// Microseconds since 1970 of `2026-11-25T00:01:06.498219Z`.
fn unix_us(time: &str) -> Option<u64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.split(':');
    let (hours, minutes) = (clock.next()?.parse::<u64>().ok()?, clock.next()?.parse::<u64>().ok()?);
    let (seconds, fraction) = clock.next()?.split_once('.')?;
    let fraction: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Years that begin in March, so that the leap day is the last: Hinnant, "chrono-compatible date algorithms".
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    let seconds = days * 86_400 + hours * 3_600 + minutes * 60 + seconds.parse::<u64>().ok()?;
    Some(seconds * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(unix_us("1970-01-01T00:00:00.000001Z"), Some(1));
        assert_eq!(unix_us("2024-02-29T12:00:00.5Z"), Some(1_709_208_000_500_000));
        assert_eq!(unix_us("2026-11-25T00:01:06.498219Z"), Some(1_795_564_866_498_219));
        for broken in
            ["", "2026-11-25", "2026-11-25T00:01Z", "x-1-1T0:0:0.0Z", "2026-13-01T00:00:00.0Z"]
        {
            assert_eq!(unix_us(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_cut_has_its_cause_and_the_way_back() {
        let line = |second: u32, rest: &str| {
            format!("{{\"timestamp\":\"2026-11-25T00:00:{second:02}.000000Z\",{rest}}}\n")
        };
        let log = [
            line(1, r#""message":"path down","cause":"closed""#),
            line(4, r#""message":"path down","cause":"link-failed""#),
            "not JSON\n".to_owned(),
            line(5, r#""message":"switched","reason":"path-failed""#),
            line(6, r#""message":"switched","reason":"followed-peer""#),
            line(7, r#""message":"path down","cause":"silent""#),
        ]
        .concat();
        let cuts = cuts(&log, unix_us("2026-11-25T00:00:02.0Z").unwrap());
        assert_eq!(
            cuts,
            [
                json!({"at_ms": 2000.0, "cause": "link-failed", "back_after_ms": 1000.0, "reason": "path-failed"}),
                json!({"at_ms": 5000.0, "cause": "silent"}),
            ]
        );
    }
}
