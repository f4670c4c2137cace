//! Files with mistakes: what is said of each, and that doing what is said mends it.
//!
//! A file of `broken/` ends in comments, which are not part of what is loaded:
//!
//! - `# expect: CODE line:column severity` is a diagnostic that the file must give; it gives no others.
//! - `# fix: …` is what a person does about it. Lines are counted in the file as it is; all fixes are made at once.
//!   - `# fix: 5 | text`: line 5 becomes `text`. It must be a line that a diagnostic is about.
//!   - `# fix: 5 + text`: `text` comes after line 5; after line 0 it is the first. Several come in their order.
//!   - `# fix: 5 -` and `# fix: 5-7 -`: the lines are deleted.
//!
//! What the fixes make of a file has no errors and no warnings. Each fix is needed for that, and they are what the
//! help of the diagnostics says: see [`advice`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use dwcp_core::config::{self, Diagnostic, Severity};

use super::{awkward, broken_machine, is_blessing, key, tests_dir, yaml_files};

/// What is done to a line.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    Becomes(String),
    Gains(String),
    Goes,
}

/// What is done to lines, counted from 1.
#[derive(Clone, Debug, PartialEq)]
struct Fix {
    lines: RangeInclusive<usize>,
    change: Change,
}

impl Fix {
    /// Reads what stands behind `# fix: `.
    fn parse(words: &str) -> Option<Self> {
        let (place, change) = words.split_once(' ')?;
        let (first, last) = place.split_once('-').unwrap_or((place, place));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let change = match change.split_once(' ').unwrap_or((change, "")) {
            ("-", "") => Change::Goes,
            ("|", text) if first == last => Change::Becomes(text.to_owned()),
            ("+", text) if first == last => Change::Gains(text.to_owned()),
            _ => return None,
        };
        Some(Self { lines: first..=last, change })
    }

    /// The text that is new.
    fn text(&self) -> &str {
        match &self.change {
            Change::Becomes(text) | Change::Gains(text) => text,
            Change::Goes => "",
        }
    }
}

/// One of the files.
pub(crate) struct Broken {
    pub(crate) path: PathBuf,
    /// What is loaded.
    pub(crate) body: Vec<u8>,
    expected: Vec<String>,
    fixes: Vec<Fix>,
}

impl Broken {
    fn read(path: PathBuf) -> Self {
        let bytes = fs::read(&path).unwrap();
        let mut broken = Self { path, body: Vec::new(), expected: Vec::new(), fixes: Vec::new() };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = str::from_utf8(line).unwrap_or_default().trim_end_matches(['\n', '\r']);
            if let Some(expected) = text.strip_prefix("# expect: ") {
                broken.expected.push(expected.to_owned());
            } else if let Some(words) = text.strip_prefix("# fix: ") {
                let fix = Fix::parse(words);
                broken.fixes.push(fix.unwrap_or_else(|| panic!("{broken}: what is {text:?}?")));
            } else {
                let is_body = broken.expected.is_empty() && broken.fixes.is_empty();
                assert!(is_body, "{broken}: {text:?} stands behind what is expected");
                broken.body.extend(line);
            }
        }
        broken
    }

    /// The text, where it is UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        str::from_utf8(&self.body).ok()
    }

    fn lines(&self) -> Vec<&[u8]> {
        self.body.split_inclusive(|byte| *byte == b'\n').collect()
    }

    /// What `fixes` make of it. Line ends stay as they are.
    fn fixed(&self, fixes: &[&Fix]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, line) in [&b""[..]].into_iter().chain(self.lines()).enumerate() {
            let end = if line.ends_with(b"\r\n") { "\r\n" } else { "\n" };
            let at = || fixes.iter().filter(|fix| fix.lines.contains(&number));
            match at().find(|fix| !matches!(fix.change, Change::Gains(_))) {
                Some(Fix { change: Change::Becomes(text), .. }) => {
                    out.extend(format!("{text}{end}").bytes());
                }
                Some(_) => {}
                None => out.extend(line),
            }
            for fix in at().filter(|fix| matches!(fix.change, Change::Gains(_))) {
                out.extend(format!("{}{end}", fix.text()).bytes());
            }
        }
        out
    }

    /// Writes the file anew with what it gives now.
    fn bless(&self, found: &[String]) {
        let mut out = self.body.clone();
        let bytes = fs::read(&self.path).unwrap();
        out.extend(found.iter().flat_map(|key| format!("# expect: {key}\n").into_bytes()));
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        out.extend(lines.filter(|line| line.starts_with(b"# fix: ")).flatten());
        fs::write(&self.path, out).unwrap();
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.file_name().unwrap_or_default().display())
    }
}

/// All of the files.
pub(crate) fn all() -> Vec<Broken> {
    yaml_files(&tests_dir().join("broken")).into_iter().map(Broken::read).collect()
}

/// There are more kinds of mistakes than this.
const FILES_MIN: usize = 100;

#[test]
fn there_are_files_of_many_mistakes() {
    assert!(all().len() >= FILES_MIN, "{} files", all().len());
}

fn load(body: &[u8]) -> Vec<Diagnostic> {
    config::load_bytes("f.yaml", body, None).diagnostics
}

#[test]
fn broken_files_give_exactly_the_expected_diagnostics() {
    for broken in all() {
        let loaded = config::load_bytes("f.yaml", &broken.body, None);
        // A file about something else need not list peers.
        let is_about_peers = broken.text().is_some_and(|text| text.contains("peers"));
        let is_shown = |d: &&Diagnostic| d.code != "DWCP-C072" || is_about_peers;
        let mut found: Vec<_> = loaded.diagnostics.iter().filter(is_shown).map(key).collect();
        if is_blessing() {
            broken.bless(&found);
            continue;
        }
        let mut expected = broken.expected.clone();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{broken}\n{}", loaded.render(config::Colour::Off));
        assert!(!found.is_empty(), "{broken} expects nothing");
        for diagnostic in &loaded.diagnostics {
            assert!(!diagnostic.render(&loaded.source).is_empty());
            assert!(diagnostic.help.is_some(), "{diagnostic:?}");
        }
    }
}

/// How much is wrong: what makes a file invalid or warned of, and the rest.
fn weight(body: &[u8]) -> (usize, usize) {
    let found = load(body);
    let hints = found.iter().filter(|found| found.severity == Severity::Hint).count();
    (found.len() - hints, hints)
}

#[test]
fn what_is_wrong_with_a_broken_file_can_be_mended() {
    let mut problems = Vec::new();
    for broken in all() {
        if broken.fixes.is_empty() {
            problems.push(format!("{broken} has no `# fix: `"));
            continue;
        }
        let all: Vec<_> = broken.fixes.iter().collect();
        let fixed = broken.fixed(&all);
        let loaded = config::load_bytes("f.yaml", &fixed, None);
        let mended = weight(&fixed);
        if mended.0 > 0 {
            problems.push(format!("{broken} mended:\n{}", loaded.render(config::Colour::Off)));
            continue;
        }
        for (index, fix) in all.iter().enumerate() {
            let others = [&all[..index], &all[index + 1..]].concat();
            if weight(&broken.fixed(&others)) <= mended {
                problems.push(format!("{broken}: {fix:?} mends nothing"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn fixes_are_about_lines_of_the_file_and_of_its_diagnostics() {
    let mut problems = Vec::new();
    for broken in all() {
        let told = broken.expected.iter().filter_map(|key| key.split([' ', ':']).nth(1));
        let told: Vec<usize> = told.filter_map(|line| line.parse().ok()).collect();
        let last = broken.lines().len();
        for fix in &broken.fixes {
            let (from, to) = (*fix.lines.start(), *fix.lines.end());
            let first = usize::from(!matches!(fix.change, Change::Gains(_)));
            if from < first || to < from || to > last {
                problems.push(format!("{broken}: {fix:?}: it has the lines 1 to {last}"));
            }
            if matches!(fix.change, Change::Becomes(_)) && !told.contains(&from) {
                problems.push(format!("{broken}: {fix:?}: nothing is said of this line"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Codes that no file of `broken/` shows, why not, and which test of this crate shows them instead.
const NOT_BY_A_FILE: &[(&str, &str, &str)] = &[
    ("DWCP-C003", "the file would have more than a mebibyte", "awkward"),
    ("DWCP-C016", "there would be no file, or one that cannot be read", "awkward"),
    ("DWCP-C018", "the file would have more than 200000 keys and values", "awkward"),
    ("DWCP-C032", "the list would have more than 16384 items", "awkward"),
    ("DWCP-C090", "about the machine: a file that is named is missing", "broken_machine"),
    ("DWCP-C091", "about the machine: the mode of a key", "broken_machine"),
    ("DWCP-C092", "about the machine: an RDMA device", "broken_machine"),
    ("DWCP-C093", "about the machine: the kernel's congestion control", "broken_machine"),
    ("DWCP-C094", "about the machine: hugepages", "broken_machine"),
    ("DWCP-C095", "about the machine: an address that is taken", "broken_machine"),
    ("DWCP-C096", "about the machine: a directory that is missing", "broken_machine"),
    ("DWCP-C097", "about the machine: what is in a file that is named", "broken_machine"),
];

#[test]
fn every_code_is_in_a_broken_file_or_named_with_the_reason() {
    let mut known: BTreeSet<&str> = config::codes().iter().map(|info| info.code).collect();
    let shown: BTreeSet<&str> =
        all().iter().flat_map(|broken| load(&broken.body)).map(|found| found.code).collect();
    let elsewhere: BTreeMap<&str, BTreeSet<&str>> =
        [("awkward", awkward()), ("broken_machine", broken_machine())]
            .into_iter()
            .map(|(name, found)| (name, found.iter().map(|found| found.code).collect()))
            .collect();
    for (code, why, place) in NOT_BY_A_FILE {
        assert!(!shown.contains(code), "{code} is in a file, although {why}");
        assert!(elsewhere[place].contains(code), "{place} does not give {code}");
        assert!(known.remove(code), "{code} is no code, or is listed twice");
    }
    assert_eq!(shown, known);
}

/// How the help of an error or a warning begins: it says what to do.
const DO: [&str; 21] = [
    "add ",
    "allowed: ",
    "begin ",
    "choose ",
    "close ",
    "delete ",
    "did you mean ",
    "enable ",
    "give ",
    "indent ",
    "keep ",
    "list ",
    "listen ",
    "mend ",
    "move ",
    "name ",
    "put ",
    "save ",
    "shorten ",
    "use ",
    "write ",
];

/// What the help says to write, of which one is enough; empty where that depends on what is wanted.
fn advice(help: &str) -> Vec<&str> {
    const OPEN: [&str; 6] = ["a ", "an ", "it ", "less ", "one ", "the "];
    let literal = ["add the unit: ", "did you mean the unit ", "did you mean ", "write "]
        .iter()
        .find_map(|start| help.strip_prefix(start))
        .filter(|words| !OPEN.iter().any(|start| words.starts_with(start)));
    let Some(words) = literal else {
        let key = help.strip_prefix("add `").and_then(|rest| rest.split('`').next());
        return key.into_iter().collect();
    };
    let quoted = words.split('`').skip(1).step_by(2);
    // `session.window: 1MB` may stand in a section; where more will do, only the key is certain.
    let quoted = quoted.map(|word| {
        let key = word.split(": ").next().unwrap_or(word);
        let word = key.rfind('.').map_or(word, |dot| &word[dot + 1..]);
        if help.contains("or more") {
            word.split_inclusive(": ").next().unwrap_or(word)
        } else {
            word
        }
    });
    let plain = words.split(['`', ';', ':']).next().unwrap_or(words);
    let plain = plain.split(" or ").flat_map(|words| words.split(", "));
    let plain = plain.map(|word| word.trim_matches([' ', ',']).trim_start_matches("or "));
    quoted.chain(plain).filter(|word| !word.is_empty() && *word != "or").collect()
}

#[test]
fn advice_is_what_the_help_says_to_write() {
    assert_eq!(advice("did you mean `mode`?"), ["mode"]);
    assert_eq!(advice("write zstd, or `enabled: false`"), ["enabled: false", "zstd"]);
    assert_eq!(advice("write `session.window: 1MB` or more"), ["window: "]);
    assert_eq!(advice("did you mean the unit `MB`?"), ["MB"]);
    assert_eq!(advice("write rdma, fabric or tcp"), ["rdma", "fabric", "tcp"]);
    assert_eq!(advice("add the unit: 60us, 60s"), ["60us", "60s"]);
    assert_eq!(advice("write true: the internet is no trusted medium"), ["true"]);
    assert_eq!(advice("write a whole number"), [""; 0]);
    assert_eq!(advice("add `peer:` with a node id"), ["peer:"]);
    assert_eq!(advice("delete the line"), [""; 0]);
}

/// Whether the fixes are what `help` says of line `number`. What leaves a choice is taken at its word only as far as
/// it goes: that something is deleted, or written.
fn is_followed(help: &str, number: usize, fixes: &[Fix]) -> bool {
    let writes = |word: &str| fixes.iter().any(|fix| fix.text().contains(word));
    let is_taken_away = fixes.iter().any(|fix| {
        fix.lines.contains(&number) && !matches!(fix.change, Change::Gains(_))
            || fix.change == Change::Goes
    });
    if help.contains("delete") && is_taken_away {
        return true;
    }
    if help.starts_with("add it to ") {
        return fixes.iter().any(|fix| matches!(fix.change, Change::Gains(_)));
    }
    match advice(help).as_slice() {
        [] => !help.starts_with("delete"),
        words => words.iter().any(|word| writes(word)),
    }
}

#[test]
fn fixes_are_what_the_diagnostics_say() {
    let mut problems = Vec::new();
    for broken in all() {
        for found in load(&broken.body).iter().filter(|found| found.severity != Severity::Hint) {
            let help = found.help.as_deref().unwrap_or_default();
            if !DO.iter().any(|start| help.starts_with(start)) {
                problems.push(format!("{broken}: {} does not say what to do: {help}", found.code));
            }
            if !is_followed(help, found.line as usize, &broken.fixes) {
                problems.push(format!("{broken}: {} says otherwise: {help}", key(found)));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
