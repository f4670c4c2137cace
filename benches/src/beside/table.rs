//! The report as a table.

use super::rows::{Row, median};

/// Where a document has the table.
const BEGIN: &str = "<!-- bench-peers: begin -->";
const END: &str = "<!-- bench-peers: end -->";

/// The rows, in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| scenario | peer | metric | DWCP | peer | ratio | ± | pass | aim |\n|---|---|---|--:|--:|--:|--:|---|---|\n",
    );
    for row in rows {
        let (pass, aim) = match row.target() {
            None => (String::new(), String::new()),
            Some(target) => {
                let mark = |limit: f64| {
                    let word = if row.reaches(limit) { "yes" } else { "**no**" };
                    format!("{word} ({limit})")
                };
                (mark(target.pass), mark(target.aim))
            }
        };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {:.2} | {:.0} % | {pass} | {aim} |\n",
            row.scenario,
            row.peer,
            row.metric.name,
            short(median(&row.ours)),
            short(median(&row.theirs)),
            row.ratio(),
            row.spread() * 100.0,
        ));
    }
    text
}

/// A figure in few characters.
fn short(value: f64) -> String {
    let scaled = [(1e9, " G"), (1e6, " M"), (1e4, " k")];
    match scaled.iter().find(|(scale, _)| value >= *scale) {
        Some((1e4, word)) => format!("{:.1}{word}", value / 1e3),
        Some((scale, word)) => format!("{:.2}{word}", value / scale),
        None if value >= 100.0 => format!("{value:.0}"),
        None => format!("{value:.3}"),
    }
}

/// `document` with `table` where it has one.
///
/// # Errors
/// The document has no place for it.
pub fn replace(document: &str, table: &str) -> Result<String, String> {
    let missing = || format!("no '{BEGIN}' and '{END}' in it, each on a line of its own");
    let (before, rest) = document.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::super::scenario::BYTES;
    use super::*;

    #[test]
    fn the_table_tells_what_is_reached() {
        let row = Row {
            scenario: "bulk-64k".into(),
            peer: "tokio-rustls".into(),
            metric: BYTES,
            ours: vec![3.9e9],
            theirs: vec![3.0e9],
        };
        let text = markdown(&[row]);
        assert!(
            text.contains("| 3.90 G | 3.00 G | 1.30 | 0 % | yes (1.2) | **no** (1.4) |"),
            "{text}"
        );
    }

    #[test]
    fn a_document_keeps_what_is_around_the_table() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let changed = replace(&document, "new\n").expect("there is a place");
        assert_eq!(changed, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace(&changed, "new").as_ref(), Ok(&changed));
        assert!(replace("nothing", "new").is_err());
    }
}
