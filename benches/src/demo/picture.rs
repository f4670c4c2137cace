//! The report as a picture: what went over the session and how long redis waited, with the cuts marked.

use std::fmt::Write as _;

use serde_json::Value;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 740.0;
/// Top and bottom of the two panels.
const RATE: (f64, f64) = (76.0, 206.0);
const WAIT: (f64, f64) = (280.0, 380.0);
const HEIGHT: f64 = 416.0;

/// Colours that read on white and on black; the text follows the reader's scheme.
const STYLE: &str = "<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .faint { fill: #6e7781 }
  .axis { stroke: #8c959f; stroke-width: 1 }
  .grid { stroke: #8c959f; stroke-width: 1; opacity: .25 }
  .rate { fill: #2f81f7; opacity: .75 }
  .wait { fill: #bf8700 }
  .cut { stroke: #e5534b; stroke-width: 1.5; stroke-dasharray: 4 3 }
  .why { fill: #e5534b }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .faint { fill: #9198a1 } }
</style>";

/// The picture of `report`, as SVG.
///
/// # Errors
/// A report without a timeline.
pub fn svg(report: &Value) -> Result<String, String> {
    let timeline = &report["timeline"];
    let step_ms = timeline["step_ms"].as_f64().filter(|ms| *ms > 0.0);
    let step_s = step_ms.ok_or("the report has no timeline")? / 1e3;
    let rates: Vec<f64> =
        numbers(&timeline["bytes"])?.iter().map(|bytes| bytes / step_s / 1e9).collect();
    let waits: Vec<f64> = numbers(&timeline["redis_worst_us"])?.iter().map(|us| us / 1e3).collect();
    // The load runs a little longer than the bulk beside it.
    let bulk = rates.iter().copied().fold(0.0, f64::max) / 100.0;
    let shown = rates.iter().rposition(|rate| *rate > bulk).map_or(rates.len(), |last| last + 1);
    let (rates, waits) = (&rates[..shown], &waits[..shown.min(waits.len())]);
    let length_s = step_s * rates.len().max(waits.len()).max(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Throughput and redis round trips while the connection is cut\">\n{STYLE}\n"
    );
    header(&mut svg, report);
    panel(&mut svg, "rate", RATE, "one session, encrypted: GB/s in each 0.1 s", rates);
    panel(
        &mut svg,
        "wait",
        WAIT,
        "redis through a forward: longest round trip in each 0.1 s, ms",
        waits,
    );
    seconds(&mut svg, length_s);
    for cut in report["cut_events"].as_array().into_iter().flatten() {
        mark(&mut svg, cut, length_s);
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn numbers(list: &Value) -> Result<Vec<f64>, String> {
    let list = list.as_array().ok_or("the report has no timeline")?;
    Ok(list.iter().map(|value| value.as_f64().unwrap_or(0.0)).collect())
}

fn text(svg: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

fn header(svg: &mut String, report: &Value) {
    let count = |name: &str| report[name].as_u64().unwrap_or(0);
    let title = format!("The connection is cut {} times under load", count("cuts"));
    text(svg, "title", (LEFT, 24.0), "start", &title);
    let counts = format!(
        "{} lost, {} duplicated, {} reordered, {} in doubt; redis: {} requests, {} increments, {} errors",
        count("lost"),
        count("duplicated"),
        count("reordered"),
        count("in_doubt"),
        count("redis_requests"),
        count("redis_increments"),
        count("redis_errors"),
    );
    text(svg, "faint", (LEFT, 44.0), "start", &counts);
}

/// A round number that is not below `value`.
fn ceiling(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-6).log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(value)
}

fn panel(svg: &mut String, class: &str, (top, bottom): (f64, f64), title: &str, values: &[f64]) {
    let most = ceiling(values.iter().copied().fold(0.0, f64::max));
    text(svg, "faint", (LEFT, top - 8.0), "start", title);
    for part in [0.0, 0.5, 1.0] {
        let y = bottom - part * (bottom - top);
        let kind = if part == 0.0 { "axis" } else { "grid" };
        let _ = writeln!(
            svg,
            "<line class=\"{kind}\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        text(svg, "faint", (LEFT - 8.0, y + 4.0), "end", &format!("{}", part * most));
    }
    let width = (RIGHT - LEFT) / values.len().max(1) as f64;
    let mut bars = String::new();
    for (index, value) in values.iter().enumerate() {
        let (x, height) = (LEFT + width * index as f64, value / most * (bottom - top));
        let _ = write!(bars, "M{x:.1} {bottom}v-{height:.1}h{:.1}v{height:.1}z", width * 0.92);
    }
    let _ = writeln!(svg, "<path class=\"{class}\" d=\"{bars}\"/>");
}

fn seconds(svg: &mut String, length_s: f64) {
    let y = WAIT.1 + 18.0;
    let mut second = 0.0;
    while second <= length_s {
        text(svg, "faint", (at(second, length_s), y), "middle", &format!("{second} s"));
        second += ceiling(length_s / 10.0).round().max(1.0);
    }
}

fn at(second: f64, length_s: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * (second / length_s).clamp(0.0, 1.0)
}

fn mark(svg: &mut String, cut: &Value, length_s: f64) {
    let x = at(cut["at_ms"].as_f64().unwrap_or(0.0) / 1e3, length_s);
    let _ = writeln!(
        svg,
        "<line class=\"cut\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"/>",
        RATE.0, WAIT.1
    );
    let cause = cut["cause"].as_str().unwrap_or("cut");
    text(svg, "why", (x + 5.0, RATE.1 + 18.0), "start", cause);
    if let Some(ms) = cut["back_after_ms"].as_f64() {
        text(svg, "why", (x + 5.0, RATE.1 + 34.0), "start", &format!("back in {ms} ms"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_top_of_an_axis_is_round() {
        assert_eq!([0.9, 1.0, 1.1, 3.0, 7.0, 30.0].map(ceiling), [1.0, 1.0, 1.5, 3.0, 8.0, 30.0]);
        assert!(ceiling(0.0) > 0.0);
    }

    #[test]
    fn every_cut_and_count_is_in_the_picture() {
        let report = json!({
            "cuts": 2, "redis_increments": 77,
            "cut_events": [
                {"at_ms": 100.0, "cause": "link-failed", "back_after_ms": 9.5},
                {"at_ms": 150.0, "cause": "<odd>"}],
            "timeline": {"step_ms": 100, "bytes": [1e8, 2e8], "redis_worst_us": [500, 9000]},
        });
        let svg = svg(&report).unwrap();
        assert_eq!(svg.matches("class=\"cut\"").count(), 2);
        assert!(
            svg.contains(">link-failed<")
                && svg.contains(">back in 9.5 ms<")
                && svg.contains("&lt;odd>"),
            "{svg}"
        );
        assert!(svg.contains("77 increments") && svg.trim_end().ends_with("</svg>"));
        assert!(
            svg.contains(">2</text>") && svg.contains(">10</text>"),
            "the axes end at 2 GB/s and 10 ms"
        );
        assert!(super::svg(&json!({})).is_err());
    }
}
