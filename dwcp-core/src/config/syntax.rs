//! What most likely went wrong where a text is not YAML: the place to look at, and what to do there.

use super::spanned::Place;

/// The fix for a tab in the indentation.
pub(crate) const SPACES: &str = "indent with spaces, not tabs";

/// The place of the mistake and the help, for the scanner's words `info` about `at`. The scanner stops where it can go
/// on no longer, which is often behind the mistake.
pub(crate) fn mistake(text: &str, at: Place, info: &str) -> (Place, String) {
    // Of a line that is indented by a tab, the scanner may tell the end of the one above.
    let is_above = ["expected key", "plain scalar"].iter().any(|words| info.contains(words));
    let mut lines = at.line..=at.line + u32::from(is_above);
    let tab = lines.find_map(|line| Some((line, tab_column(text, line)?)));
    if let Some((line, column)) = tab {
        return (Place { line, column, ..at }, SPACES.into());
    }
    let known = [
        ("unknown escape", "use single quotes: between double ones `\\` begins an escape"),
        ("trailing content", "put a comma between items, or all of the text between the quotes"),
        ("unexpected character", "put the value in quotes, or delete the character"),
        ("anchor", "put it in quotes: `*` and `&` begin names of YAML's own, which are not read"),
        ("misplaced bracket", "delete the bracket, or open it before"),
    ];
    if let Some((_, help)) = known.iter().find(|(words, _)| info.contains(words)) {
        return (at, (*help).into());
    }
    // Of a text whose quote does not end, the scanner tells the beginning.
    let is_quote = info.contains("quoted scalar");
    let until = Place { column: at.column + u32::from(is_quote), ..at };
    if let Some((place, mark)) = left_open(text, until) {
        let help = match mark {
            '[' => "close the list with `]`",
            '{' => "close the mapping with `}`",
            _ => "close the text with the quote that it begins with",
        };
        return (place, help.into());
    }
    if line(text, at.line).matches(": ").count() > 1 {
        return (at, "put a value that contains `: ` in quotes".into());
    }
    if let Some(found) = no_key(text, at) {
        return found;
    }
    if info.contains("expected node content") {
        return (at, "write a value here, or delete the comma or bracket".into());
    }
    let is_indentation = ["mapping values", "expected key", "indentation"];
    let help = if is_indentation.iter().any(|words| info.contains(words)) {
        "indent the line as the keys beside it; one above that has keys below it has no value"
    } else {
        "look at the indentation, quotes and brackets here and on the line above"
    };
    (at, help.into())
}

fn line(text: &str, number: u32) -> &str {
    text.lines().nth((number as usize).saturating_sub(1)).unwrap_or("")
}

/// The column of a tab in the indentation of the line.
fn tab_column(text: &str, number: u32) -> Option<u32> {
    let indentation = line(text, number).chars().take_while(|c| c.is_whitespace());
    indentation.zip(1..).find(|(c, _)| *c == '\t').map(|(_, column)| column)
}

/// The last line at or before `at` that says something, if it has no `key: `.
fn no_key(text: &str, at: Place) -> Option<(Place, String)> {
    let lines = text.lines().zip(1..).take(at.line as usize);
    let mut before = lines.filter(|(line, _)| !is_blank(line)).collect::<Vec<_>>();
    // What follows a line that was not understood is understood no better.
    let is_keyless = |(line, _): &(&str, u32)| {
        let line = line.trim();
        !line.contains(": ") && !line.ends_with(':') && !line.starts_with('-')
    };
    let (line, number) = match before.pop() {
        Some(last) if is_keyless(&last) => last,
        _ => before.pop().filter(is_keyless)?,
    };
    let content = line.trim();
    let (column, width) = (line.len() - line.trim_start().len(), content.chars().count());
    let place = Place { line: number, column: column as u32 + 1, width: width as u32 };
    let help = if content.starts_with("//") {
        "begin a comment with `#`".into()
    } else {
        format!("write `{}`", with_colon(content)?)
    };
    Some((place, help))
}

/// `key:value` and `key = value` as they should be; `None` for anything else.
pub(crate) fn with_colon(content: &str) -> Option<String> {
    let (key, value) = content.split_once('=').or_else(|| content.split_once(':'))?;
    let (key, value) = (key.trim(), value.trim());
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric());
    let is_short = value.chars().count() <= 40 && !value.contains(char::is_control);
    (is_key && is_short && !value.is_empty() && !value.starts_with("//"))
        .then(|| format!("{key}: {value}"))
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The last quote or bracket before `at` that is not closed there, and its place.
fn left_open(text: &str, at: Place) -> Option<(Place, char)> {
    let mut open: Vec<(Place, char)> = Vec::new();
    // The quote of the text that we are in.
    let mut quote: Option<(Place, char)> = None;
    for (line, number) in text.lines().zip(1..).take(at.line as usize) {
        let until = if number == at.line { at.column as usize - 1 } else { usize::MAX };
        let (mut before, mut is_escaped) = (' ', false);
        for (c, column) in line.chars().zip(1..).take(until) {
            let place = Place { line: number, column, width: 1 };
            let may_begin = before.is_whitespace() || "[{,".contains(before);
            match (quote, c) {
                (Some((_, '"')), _) if is_escaped => is_escaped = false,
                (Some((_, '"')), '\\') => is_escaped = true,
                (Some((_, mark)), c) if mark == c => quote = None,
                (Some(_), _) => {}
                (None, '#') if before.is_whitespace() => break,
                (None, '"' | '\'') if may_begin => quote = Some((place, c)),
                (None, '[' | '{') if may_begin => open.push((place, c)),
                (None, ']' | '}') => drop(open.pop()),
                (None, _) => {}
            }
            before = c;
        }
    }
    quote.or_else(|| open.pop().filter(|(place, mark)| !is_closed_later(text, *place, *mark, at)))
}

/// Whether the bracket `mark` at `place` has an end behind `at`, on the same line.
fn is_closed_later(text: &str, place: Place, mark: char, at: Place) -> bool {
    let end = if mark == '[' { ']' } else { '}' };
    let mut behind = line(text, at.line).chars().skip(at.column as usize - 1);
    place.line == at.line && behind.any(|c| c == end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Place {
        Place { line, column, width: 1 }
    }

    #[test]
    fn what_is_left_open_is_found_where_it_begins() {
        let found = |text: &str, line, column| {
            left_open(text, at(line, column)).map(|(at, mark)| (at.line, at.column, mark))
        };
        assert_eq!(found("a: [x, {y: z}\nb: 1\n", 2, 2), Some((1, 4, '[')));
        assert_eq!(found("a: {x: [1], y: ']'\n", 2, 1), Some((1, 4, '{')));
        assert_eq!(found("a: \"x \\\" y\nb: 1\n", 2, 3), Some((1, 4, '"')));
        assert_eq!(found("a: 'it''s'\nb: 1 # [\nc: d'e\n", 3, 6), None);
        assert_eq!(found("a: [x]\nb: [y\n", 1, 7), None);
        assert_eq!(found("a: [x,, y]\n", 1, 7), None);
    }

    #[test]
    fn a_line_without_its_colon_is_written_as_it_should_be() {
        assert_eq!(with_colon("mode:internet").as_deref(), Some("mode: internet"));
        assert_eq!(with_colon("mode = internet").as_deref(), Some("mode: internet"));
        assert_eq!(with_colon("a text"), None);
        assert_eq!(with_colon("http://x"), None);
        assert_eq!(with_colon("key:"), None);
        let (place, help) = mistake("x: 1\n\nnode = a\n# end\ny: 2\n", at(5, 2), "mapping values");
        assert_eq!((place.line, place.column, help.as_str()), (3, 1, "write `node: a`"));
    }
}
