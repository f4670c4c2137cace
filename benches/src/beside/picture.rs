//! The report as a picture: a bar for each row, how many times as good as the peer.

use std::fmt::Write;

use super::rows::Row;
use super::scenario::Better;

const WIDTH: f64 = 920.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 40.0;
const LINE: f64 = 20.0;

/// The rows as SVG. Bars to the right of the line at 1: DWCP is better.
pub fn svg(title: &str, rows: &[Row]) -> String {
    let gain = |row: &Row| match row.metric.better {
        Better::Higher => row.ratio(),
        Better::Lower => 1.0 / row.ratio(),
    };
    let rows: Vec<(&Row, f64)> =
        rows.iter().map(|row| (row, gain(row))).filter(|(_, gain)| gain.is_finite()).collect();
    let reach = rows.iter().map(|(_, gain)| gain.log2().abs()).fold(1.0, f64::max).ceil();
    let space = WIDTH - LEFT - RIGHT;
    let at = |gain: f64| LEFT + space * (gain.log2() + 1.0).max(0.0) / (reach + 1.0);
    let height = TOP + LINE * rows.len() as f64 + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\">{}</text>\n",
        escape(title)
    );
    let bottom = TOP + LINE * rows.len() as f64;
    for step in -1..=(reach as i32) {
        let gain = 2f64.powi(step);
        let (x, colour) = (at(gain), if step == 0 { "#000" } else { "#ddd" });
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{gain}x</text>",
            bottom + 16.0
        );
    }
    for (number, (row, gain)) in rows.iter().enumerate() {
        let y = TOP + LINE * number as f64;
        let (from, to) = (at(1.0).min(at(*gain)), at(1.0).max(at(*gain)));
        let colour = if *gain >= 1.0 { "#2a7f62" } else { "#b5523b" };
        let label = format!("{} · {} · {}", row.scenario, row.peer, row.metric.name);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{gain:.2}x</text>",
            LEFT - 8.0,
            y + 14.0,
            escape(&label),
            y + 3.0,
            (to - from).max(1.0),
            LINE - 6.0,
            to + 5.0,
            y + 14.0,
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{BYTES, RTT};
    use super::*;

    #[test]
    fn what_is_better_goes_to_the_right_whatever_the_metric() {
        let row = |metric, ours| Row {
            scenario: "s".into(),
            peer: "a<b".into(),
            metric,
            ours: vec![ours],
            theirs: vec![2.0],
        };
        let text = svg("t", &[row(BYTES, 4.0), row(RTT, 1.0), row(RTT, 8.0)]);
        assert_eq!(text.matches("2.00x</text>").count(), 2, "{text}");
        assert!(text.contains("0.25x</text>") && text.contains("#b5523b"), "{text}");
        assert!(text.contains("a&lt;b") && !text.contains("a<b"));
    }
}
