//! YAML text to the spanned tree. What the tree cannot express - anchors, tags, merge keys, several
//! documents - is refused by name and place, and reading goes on behind it.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::codes::{self, Code};
use super::diagnostic::{Diagnostic, Findings, Lines, Severity};
use super::spanned::{Key, Node, Place, Tree};
use super::syntax;

/// The largest file that is read, bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 64;
/// Keys and values that are kept. All of a file of [`MAX_BYTES`] would take a hundred times its length.
pub(crate) const MAX_VALUES: usize = 200_000;

/// Parses `text`. The tree is `None` for an empty file and when nothing usable was left; everything wrong
/// is added to `found`.
pub(crate) fn parse(file: &str, text: &str, found: &mut Findings) -> Option<Node> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        let help = "name the configuration; no configuration is that long";
        found.push(Diagnostic::new(file, Place::START, codes::TOO_LARGE, message).help(help));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(diagnostic) = forbidden_character(file, text) {
        found.push(diagnostic);
        return None;
    }
    let (stack, lines) = (Vec::new(), Lines::new(text));
    Builder { file, found, stack, root: None, documents: 0, values: 0, lines }.run(text)
}

/// The first character that YAML does not allow. The scanner would take NUL for the end of the file.
fn forbidden_character(file: &str, text: &str) -> Option<Diagnostic> {
    let is_allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
            && c != '\u{feff}'
    };
    // YAML takes a carriage return alone for the end of a line, editors do not: no line number would be right.
    let is_alone = |at: usize| text.as_bytes().get(at + 1) != Some(&b'\n');
    let is_bad = |(at, c): &(usize, char)| !is_allowed(*c) || (*c == '\r' && is_alone(*at));
    let (offset, c) = text.char_indices().find(is_bad)?;
    let before = &text[..offset];
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
    let (message, help) = match c {
        '\r' => (
            "a carriage return without a line feed".into(),
            "delete it, or save the file with the line ends of Unix or Windows",
        ),
        _ => (
            format!("the character U+{:04X} is not allowed in YAML", u32::from(c)),
            "delete it, or write it as an escape between double quotes",
        ),
    };
    let place = Place { line, column, width: 1 };
    Some(Diagnostic::new(file, place, codes::CHARACTER, message).help(help))
}

/// A list or mapping whose end has not come yet.
enum Open {
    List {
        at: Place,
        items: Vec<Node>,
    },
    Map {
        at: Place,
        entries: Vec<(Key, Node)>,
        /// The line of each key: a scan of `entries` for every repeated key would take hours.
        seen: HashMap<String, u32>,
        key: Option<Pending>,
    },
    /// The content of a refused complex key; its nodes go nowhere.
    Nowhere,
}

/// A key whose value has not come yet.
enum Pending {
    Key(Key),
    /// The value is dropped: the key was refused.
    Refused,
}

struct Builder<'a> {
    file: &'a str,
    found: &'a mut Findings,
    stack: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    values: usize,
    lines: Lines<'a>,
}

/// Whether parsing goes on.
enum Next {
    Event,
    Stop,
}

impl Builder<'_> {
    fn run(mut self, text: &str) -> Option<Node> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => {
                    if matches!(self.event(event, span), Next::Stop) {
                        break;
                    }
                }
                Err(error) => {
                    self.syntax_error(text, &error);
                    return None;
                }
            }
        }
        self.root
    }

    fn syntax_error(&mut self, text: &str, error: &ScanError) {
        let at = place(Span::empty(*error.marker()));
        // The scanner has a limit of its own for brackets, which it may meet before we see any.
        if error.info().contains("recursion limit") {
            self.too_deep(at);
            return;
        }
        let (at, help) = syntax::mistake(text, at, error.info());
        let message = format!("this is not YAML: {}", error.info());
        self.report(at, codes::SYNTAX, message, help);
    }

    fn too_deep(&mut self, at: Place) {
        let message = format!("lists and mappings are nested deeper than {MAX_DEPTH}");
        let help = "delete brackets, or close them earlier: no DWCP key lies deeper than 6";
        self.report(at, codes::TOO_DEEP, message, help);
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Next {
        let at = place(span);
        let is_end = matches!(event, Event::SequenceEnd | Event::MappingEnd);
        self.values += usize::from(!is_end);
        if self.values > MAX_VALUES {
            let message = format!("the file holds more than {MAX_VALUES} keys and values");
            let help = "name the configuration; no configuration holds that many";
            self.report(at, codes::TOO_MANY_VALUES, message, help);
            self.root = None;
            return Next::Stop;
        }
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let help = "keep one document; delete the `---` and what follows";
                    self.report(at, codes::DOCUMENTS, "the file holds several documents", help);
                    return Next::Stop;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_marks(at, anchor, tag.is_some());
                self.scalar(text.into_owned(), style, at);
            }
            Event::Alias(_) => {
                let help = "write the value out in both places";
                self.report(at, codes::ANCHOR, "aliases (`*name`) are not read", help);
                if self.is_key_next() {
                    self.set_key(Pending::Refused);
                } else {
                    self.add(Node { at, tree: Tree::Refused });
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_marks(at, anchor, tag.is_some());
                return self.open(at, Open::List { at, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_marks(at, anchor, tag.is_some());
                let seen = HashMap::new();
                return self.open(at, Open::Map { at, entries: Vec::new(), seen, key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => {}
        }
        Next::Event
    }

    fn report(
        &mut self,
        at: Place,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.found.wants(Severity::Error) {
            self.found.push(Diagnostic::new(self.file, at, code, message).help(help));
        }
    }

    fn refuse_marks(&mut self, at: Place, anchor: usize, is_tagged: bool) {
        if anchor > 0 {
            let help = "write the value out in both places";
            self.report(at, codes::ANCHOR, "anchors (`&name`) are not read", help);
        }
        if is_tagged {
            let help = "delete the tag; quotes make a text of a number";
            self.report(at, codes::TAG, "tags (`!name`, `!!str`) are not read", help);
        }
    }

    /// Whether the next node is a key of the innermost mapping.
    fn is_key_next(&self) -> bool {
        matches!(self.stack.last(), Some(Open::Map { key: None, .. }))
    }

    /// Refuses tabs before a key of a block: the scanner takes one behind spaces for a column, and eyes for eight.
    fn refuse_tab(&mut self, at: Place) {
        let Some(Open::Map { at: map, .. }) = self.stack.last() else { return };
        if map.column != at.column {
            return; // a mapping in braces
        }
        let before = self.lines.at(at.line).unwrap_or("").chars().take(at.column as usize - 1);
        let tab = before.take_while(|c| c.is_whitespace()).position(|c| c == '\t');
        if let Some(column) = tab {
            let place = Place { column: column as u32 + 1, width: 1, ..at };
            let message = "this is not YAML: a tab in the indentation";
            self.report(place, codes::SYNTAX, message, syntax::SPACES);
        }
    }

    fn set_key(&mut self, pending: Pending) {
        if let Some(Open::Map { key, .. }) = self.stack.last_mut() {
            *key = Some(pending);
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, at: Place) {
        let plain = style == ScalarStyle::Plain;
        if !self.is_key_next() {
            return self.add(Node { at, tree: Tree::Scalar { text, plain } });
        }
        self.refuse_tab(at);
        let pending = self.key(text, plain, at);
        self.set_key(pending);
    }

    /// Checks a key: merge keys and duplicates are refused.
    fn key(&mut self, text: String, plain: bool, at: Place) -> Pending {
        if plain && text == "<<" {
            let help = "delete it, and write the merged keys out";
            self.report(at, codes::MERGE_KEY, "merge keys (`<<`) are not read", help);
            return Pending::Refused;
        }
        let Some(Open::Map { seen, .. }) = self.stack.last_mut() else {
            return Pending::Refused;
        };
        let Some(line) = seen.get(&text).copied() else {
            seen.insert(text.clone(), at.line);
            return Pending::Key(Key { text, at });
        };
        let message = format!("the key `{}` is given twice", super::spanned::short(&text));
        let help = format!("delete one; the first is on line {line}");
        self.report(at, codes::DUPLICATE_KEY, message, help);
        Pending::Refused
    }

    /// Starts a list or mapping.
    fn open(&mut self, at: Place, open: Open) -> Next {
        if self.stack.len() >= MAX_DEPTH {
            self.too_deep(at);
            self.root = None;
            return Next::Stop;
        }
        if self.is_key_next() {
            let help = "write a plain word; for several, a line each";
            self.report(at, codes::COMPLEX_KEY, "a list or mapping cannot be a key", help);
            self.set_key(Pending::Refused);
            self.stack.push(Open::Nowhere);
        } else if matches!(self.stack.last(), Some(Open::Nowhere)) {
            self.stack.push(Open::Nowhere);
        } else {
            self.stack.push(open);
        }
        Next::Event
    }

    fn close(&mut self) {
        match self.stack.pop() {
            Some(Open::List { at, items }) => self.add(Node { at, tree: Tree::List(items) }),
            Some(Open::Map { at, entries, .. }) => self.add(Node { at, tree: Tree::Map(entries) }),
            Some(Open::Nowhere) | None => {}
        }
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node) {
        match self.stack.last_mut() {
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                if let Some(Pending::Key(key)) = key.take() {
                    entries.push((key, node));
                }
            }
            Some(Open::Nowhere) => {}
            None => self.root = Some(node),
        }
    }
}

fn place(span: Span) -> Place {
    let width = if span.start.line() == span.end.line() {
        span.end.col().saturating_sub(span.start.col())
    } else {
        1
    };
    Place {
        line: (span.start.line() as u32).max(1),
        column: span.start.col() as u32 + 1,
        width: (width as u32).max(1),
    }
}
