//! What the loader has to say about a file, and how it is shown.

use std::fmt::Write as _;

use serde::Serialize;

use super::codes::{self, Code};
use super::spanned::Place;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is not valid; the daemon does not start with it.
    Error,
    /// Valid, and probably not what was meant.
    Warning,
    /// Worth knowing.
    Hint,
}

impl Severity {
    /// `error`, `warning` or `hint`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

/// One finding. Serialises as an element of `dwcp.config-validate/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
    /// How much it matters.
    pub severity: Severity,
    /// Stable code, `DWCP-C…`; see [`codes`](super::codes()).
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Characters to underline.
    #[serde(skip)]
    pub width: u32,
}

/// Findings that are shown, as documented under DWCP-C017.
pub(crate) const SHOWN_MAX: usize = 100;

/// All that is found in a file, as far as it can be shown. Errors are kept apart from the rest: however many warnings
/// come first, they neither hide an error nor pass for one.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<Diagnostic>,
    /// Warnings and hints.
    others: Vec<Diagnostic>,
}

impl Findings {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.wants(diagnostic.severity) {
            self.of_mut(diagnostic.severity).push(diagnostic);
        }
    }

    /// Whether another of this severity is kept: one more than is shown, so that it is known that some were left out.
    pub(crate) fn wants(&self, severity: Severity) -> bool {
        let kept = if severity == Severity::Error { &self.errors } else { &self.others };
        kept.len() <= SHOWN_MAX
    }

    fn of_mut(&mut self, severity: Severity) -> &mut Vec<Diagnostic> {
        if severity == Severity::Error { &mut self.errors } else { &mut self.others }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.others.is_empty()
    }

    /// What makes the file invalid.
    pub(crate) fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// What is shown, by place, errors before others where there is not room for all. Behind it stands that some were
    /// cut, which is an error only if one of those was.
    pub(crate) fn into_shown(self, file: &str) -> Vec<Diagnostic> {
        let Self { mut errors, mut others } = self;
        let (all_errors, all_others) = (errors.len(), others.len());
        errors.truncate(SHOWN_MAX);
        others.truncate(SHOWN_MAX - errors.len());
        let cut = if all_errors > errors.len() {
            Some(Severity::Error)
        } else {
            (all_others > others.len()).then_some(Severity::Warning)
        };
        let mut shown = errors;
        shown.append(&mut others);
        let last =
            shown.last().map(|last| Place { line: last.line, column: last.column, width: 1 });
        shown.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        if let (Some(severity), Some(place)) = (cut, last) {
            let message = format!("more than {SHOWN_MAX} problems; the rest are not shown");
            let more = Diagnostic::new(file, place, codes::TOO_MANY, message)
                .help("mend the first ones and check again")
                .severity(severity);
            shown.push(more);
        }
        shown
    }
}

/// Whether the text carries terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Off,
    /// ANSI escapes.
    On,
}

/// Characters of a source line that are shown.
const SHOWN_COLUMNS: usize = 100;

impl Diagnostic {
    pub(crate) fn new(file: &str, at: Place, code: Code, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            severity: Severity::Error,
            code: code.0,
            message: message.into(),
            help: None,
            width: at.width.max(1),
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The diagnostic as text, with the line of `source` it is about and a caret under the place:
    ///
    /// ```text
    /// error[DWCP-C012]: unknown key `modee`
    ///  --> dwcp-v3.yaml:1:1
    ///   |
    /// 1 | modee: hybrid
    ///   | ^^^^^
    /// help: did you mean `mode`?
    /// ```
    pub fn render(&self, source: &str) -> String {
        self.render_in(source, Colour::Off)
    }

    /// As [`render`](Self::render), with colours if asked for.
    pub fn render_in(&self, source: &str, colour: Colour) -> String {
        self.render_line(Lines::new(source).at(self.line), colour)
    }

    /// As [`render_in`](Self::render_in), with the line that it is about, if there is one.
    pub(crate) fn render_line(&self, line: Option<&str>, colour: Colour) -> String {
        let paint = |code: &str, text: &str| match colour {
            Colour::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Off => text.to_owned(),
        };
        let hue = match self.severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
            Severity::Hint => "1;36",
        };
        let label = format!("{}[{}]", self.severity.name(), self.code);
        let mut out = format!("{}: {}\n", paint(hue, &label), self.message);
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let _ = writeln!(out, "{gutter}--> {}:{}:{}", self.file, self.line, self.column);
        if let Some((line, caret)) = line.map(|line| self.snippet(line)) {
            let bar = paint("34", "|");
            let _ = writeln!(out, "{gutter} {bar}");
            let _ = writeln!(out, "{} {bar} {line}", paint("34", &number));
            let _ = writeln!(out, "{gutter} {bar} {}", paint(hue, &caret).trim_end());
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{}: {help}", paint("1;32", "help"));
        }
        out
    }

    /// The source line, cut to a window around the place, and the carets below it.
    fn snippet(&self, line: &str) -> (String, String) {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        let start = (self.column as usize).saturating_sub(1);
        let wanted = if start + 20 > SHOWN_COLUMNS { start.saturating_sub(30) } else { 0 };
        // Only the window is taken apart: a hundred diagnostics may be about one line of a mebibyte.
        let (from, rest) = skip(line, wanted);
        let mut rest = rest.chars();
        let window: Vec<char> = rest.by_ref().take(SHOWN_COLUMNS).collect();
        let to = from + window.len();
        let start = start.min(to);
        let mut shown = String::from(if from > 0 { "…" } else { "" });
        // A tab or control character takes one column, so that the carets stand where they should.
        shown.extend(window.iter().map(|c| if c.is_control() { ' ' } else { *c }));
        if rest.next().is_some() {
            shown.push('…');
        }
        let indent = start - from + usize::from(from > 0);
        let carets = (self.width as usize).min(to.saturating_sub(start)).max(1);
        (shown, format!("{}{}", " ".repeat(indent), "^".repeat(carets)))
    }
}

/// What is left of `line` behind `count` characters, and how many there were.
fn skip(line: &str, count: usize) -> (usize, &str) {
    // Where bytes are characters there is nothing to count.
    if let Some((head, rest)) = line.split_at_checked(count)
        && head.is_ascii()
    {
        return (count, rest);
    }
    let mut skipped = 0;
    let mut rest = line.chars();
    while skipped < count && rest.next().is_some() {
        skipped += 1;
    }
    (skipped, rest.as_str())
}

/// The lines of a source, for places that come in order: each line is looked for from the one before.
pub(crate) struct Lines<'a> {
    source: &'a str,
    rest: std::str::Lines<'a>,
    /// The number of the line that was found last, and the line.
    last: (u32, Option<&'a str>),
}

impl<'a> Lines<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        Self { source, rest: source.lines(), last: (0, None) }
    }

    /// The line `number`, from 1; `None` outside the source.
    pub(crate) fn at(&mut self, number: u32) -> Option<&'a str> {
        if number < self.last.0 {
            *self = Self::new(self.source);
        }
        let ahead = number - self.last.0;
        if ahead > 0 {
            self.last = (number, self.rest.nth(ahead as usize - 1));
        }
        self.last.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, width: u32) -> Diagnostic {
        let place = Place { line, column, width };
        Diagnostic::new("f.yaml", place, codes::UNKNOWN_KEY, "unknown key `b`")
            .help("did you mean `a`?")
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(
            at(2, 3, 4).render("x: 1\n  bbbb: 2\n"),
            "error[DWCP-C012]: unknown key `b`\n --> f.yaml:2:3\n  |\n2 |   bbbb: 2\n  |   ^^^^\nhelp: did you mean `a`?\n"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("{}TARGET{}", "x".repeat(500), "y".repeat(500));
        let text = at(1, 501, 6).render(&line);
        let lines: Vec<_> = text.lines().collect();
        let caret = lines[4].find('^').unwrap();
        let target: String = lines[3].chars().collect::<String>();
        let index = target.chars().position(|c| c == 'T').unwrap();
        assert_eq!(index, caret);
        assert!(target.chars().count() < 120);
    }

    #[test]
    fn a_place_far_to_the_right_is_counted_in_characters() {
        for letter in ["x", "é"] {
            let text =
                at(1, 501, 1).render(&format!("{}T{}", letter.repeat(500), letter.repeat(9)));
            let lines: Vec<_> = text.lines().collect();
            let caret = lines[4].chars().position(|c| c == '^');
            assert_eq!(lines[3].chars().position(|c| c == 'T'), caret, "{text}");
        }
    }

    #[test]
    fn lines_are_found_in_any_order() {
        let mut lines = Lines::new("a\nb\r\nc");
        let found: Vec<_> = [2, 2, 3, 1, 4, 0, 3].map(|number| lines.at(number)).into();
        let expected = [Some("b"), Some("b"), Some("c"), Some("a"), None, None, Some("c")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_place_outside_the_source_is_shown_without_a_line() {
        assert!(!at(9, 9, 1).render("x").contains('^'));
        assert!(at(1, 9, 1).render_in("x", Colour::On).contains("\x1b[1;31m"));
    }
}
