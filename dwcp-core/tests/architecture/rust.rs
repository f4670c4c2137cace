//! What the Rust sources must keep to.

use crate::File;
use crate::source::{code_only, line_of, paths, words};

const FILE_LINES_MAX: usize = 800;
const FILE_LINES_P90_MAX: usize = 500;
const FILE_LINES_MEDIAN_MAX: usize = 200;
const FUNCTION_LINES_MAX: usize = 70;
/// How far above an `unsafe` its reason may begin.
const SAFETY_LINES_ABOVE: usize = 8;

const PURE_ROOMS: [&str; 3] =
    ["dwcp-core/src/machine", "dwcp-core/src/wire", "dwcp-core/src/crypto"];
const IMPURE: [&str; 14] = [
    "tokio",
    "rustix",
    "libc",
    "socket2",
    "getrandom",
    "rand",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "OsRng",
    "thread_rng",
];
/// What pure rooms may not name, nor anything in it. All of `std` at once, or by another name, hides what is used.
const IMPURE_PATHS: [&str; 11] = [
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
    "std::os",
    "std::self",
    "std::*",
    "core::self",
    "crate::self",
    "crate::*",
];
/// The parts of the crate that pure rooms may use.
const PURE_PARTS: [&str; 6] = ["machine", "wire", "crypto", "mem", "link", "sim"];
/// The others, as a path from within them may begin.
const IMPURE_PARTS: [&str; 5] = ["driver", "endpoint", "session", "config", "sync"];

/// The paths in the list of rooms: one a line, `#` begins a comment.
fn rooms(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|line| !line.is_empty())
}

fn is_in(path: &str, room: &str) -> bool {
    path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(crate) fn unsafe_outside(files: &[File], list: &str) -> Vec<String> {
    let outside = files.iter().filter(|file| !rooms(list).any(|room| is_in(&file.path, room)));
    let first_use = |file: &File| {
        let code = code_only(&file.text);
        let at = words(&code, "unsafe").next()?;
        Some(format!(
            "{}:{}: unsafe outside its rooms; use a safe wrapper (rustix, socket2), or move it into a room of \
             .ci/unsafe-rooms.txt",
            file.path,
            line_of(&code, at)
        ))
    };
    outside.filter_map(first_use).collect()
}

pub(crate) fn rooms_without_files(files: &[File], list: &str) -> Vec<String> {
    let is_empty = |room: &&str| !files.iter().any(|file| is_in(&file.path, room));
    rooms(list)
        .filter(is_empty)
        .map(|room| format!(".ci/unsafe-rooms.txt: {room} does not exist; take the line out"))
        .collect()
}

pub(crate) fn unsafe_without_safety(file: &File) -> Vec<String> {
    let code = code_only(&file.text);
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    // The functions of an unsafe trait have the trait's contract.
    let mut trait_end = 0;
    for at in words(&code, "unsafe") {
        let rest = code[at + "unsafe".len()..].trim_start();
        let line = line_of(&code, at);
        let above = &lines[line.saturating_sub(SAFETY_LINES_ABOVE + 1)..line];
        if rest.starts_with("impl") {
            trait_end = body_end(&code, at).unwrap_or(at);
        }
        let (mark, fix) = match rest {
            // A type, such as a function pointer's, does nothing.
            _ if rest.starts_with("fn(") || rest.starts_with("extern") => continue,
            _ if rest.starts_with("fn") && at < trait_end => continue,
            _ if rest.starts_with("fn") || rest.starts_with("trait") => {
                ("# Safety", "document what the caller must keep under `# Safety`")
            }
            _ => ("SAFETY:", "say above it why it is sound, after `// SAFETY:`"),
        };
        if !above.iter().any(|text| text.contains(mark)) {
            findings.push(format!("{}:{line}: unsafe without its reason; {fix}", file.path));
        }
    }
    findings
}

pub(crate) fn long_files(files: &[File]) -> Vec<String> {
    let mut sizes: Vec<(usize, &str)> =
        files.iter().map(|file| (file.text.lines().count(), file.path.as_str())).collect();
    sizes.sort_unstable();
    let mut findings: Vec<String> = sizes
        .iter()
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| {
            format!("{path}: {lines} lines; split it by what it owns, at most {FILE_LINES_MAX}")
        })
        .collect();
    for (percent, limit) in [(50, FILE_LINES_MEDIAN_MAX), (90, FILE_LINES_P90_MAX)] {
        let Some((lines, path)) = sizes.get(sizes.len() * percent / 100) else { continue };
        if *lines > limit {
            findings.push(format!(
                "{percent} % of the files have up to {lines} lines, more than {limit}; split the long ones, \
                 for example {path}"
            ));
        }
    }
    findings
}

pub(crate) fn long_functions(file: &File) -> Vec<String> {
    let code = code_only(&file.text);
    let mut findings = Vec::new();
    for at in words(&code, "fn") {
        let Some(end) = body_end(&code, at) else { continue };
        let lines = line_of(&code, end) - line_of(&code, at) + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = code[at + 2..]
                .trim_start()
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next();
            findings.push(format!(
                "{}:{}: fn {} has {lines} lines; name its steps as functions, at most {FUNCTION_LINES_MAX}",
                file.path,
                line_of(&code, at),
                name.unwrap_or_default()
            ));
        }
    }
    findings
}

/// Where the body of the function at `at` ends; none for a declaration or a function type.
fn body_end(code: &str, at: usize) -> Option<usize> {
    let (mut round, mut curly) = (0, 0);
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' if curly == 0 => round += 1,
            b')' | b']' if curly == 0 => round -= 1,
            _ if round < 0 => return None,
            b';' if curly == 0 && round == 0 => return None,
            b'{' if round == 0 => curly += 1,
            b'}' if round == 0 => {
                curly -= 1;
                match curly {
                    0 => return Some(at + offset),
                    _ if curly < 0 => return None,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a path leads to where there is a clock, a socket, randomness or the environment.
fn is_impure(path: &str) -> bool {
    let is_within = |outer: &str| {
        path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if IMPURE_PATHS.into_iter().any(is_within) {
        return true;
    }
    let mut parts = path.split("::");
    if parts.clone().next() == Some("crate") {
        return parts.nth(1).is_some_and(|part| !PURE_PARTS.contains(&part));
    }
    let mut inner = parts.skip_while(|part| matches!(*part, "self" | "super"));
    let first = inner.next();
    let leads_up = path.starts_with("super::");
    first.is_some_and(|part| IMPURE_PARTS.contains(&part)) && (leads_up || inner.next().is_some())
}

pub(crate) fn impure_words(file: &File) -> Vec<String> {
    if !PURE_ROOMS.iter().any(|room| is_in(&file.path, room)) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let by_word = IMPURE.into_iter().flat_map(|word| {
        words(&code, word).take(1).map(move |at| (word.to_owned(), at)).collect::<Vec<_>>()
    });
    let by_path = paths(&code).into_iter().filter(|(path, _)| is_impure(path));
    by_word
        .chain(by_path)
        .map(|(word, at)| (word, line_of(&code, at)))
        .map(|(word, line)| {
            format!(
                "{}:{line}: {word} in a room without clock, socket and randomness; take the value as an argument",
                file.path
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_its_rooms_is_found() {
        let files = [
            File::new("a/mem/x.rs", "unsafe {}"),
            File::new("a/memory.rs", "fn f() {\n unsafe { g() } }"),
            File::new("a/b.rs", "#![forbid(unsafe_code)] // unsafe"),
        ];
        let findings = unsafe_outside(&files, "a/mem # slots\n");
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("a/memory.rs:2: "), "{findings:?}");
        assert_eq!(rooms_without_files(&files, "a/mem\na/gone\n").len(), 1);
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        let reasons = |text: &str| unsafe_without_safety(&File::new("a.rs", text)).len();
        assert_eq!(reasons("unsafe { f() }"), 1);
        assert_eq!(reasons("unsafe impl Send for A {}"), 1);
        assert_eq!(reasons("/// Does.\npub unsafe fn f() {}"), 1);
        assert_eq!(reasons("// SAFETY: f is pure.\nunsafe { f() }"), 0);
        assert_eq!(
            reasons("/// # Safety\n/// Call once.\nunsafe fn f() {}\nlet f: unsafe fn() = g;"),
            0
        );
        let of_trait = "// SAFETY: as the trait wants.\nunsafe impl A for B {\n unsafe fn a() {} }";
        assert_eq!(reasons(of_trait), 0);
        assert_eq!(reasons(&format!("{of_trait}{}unsafe fn b() {{}}", "\n".repeat(20))), 1);
        assert_eq!(reasons(&format!("// SAFETY: far\n{}unsafe {{ f() }}", "\n".repeat(20))), 1);
    }

    #[test]
    fn long_files_are_found() {
        let file = |lines: usize| File::new("a.rs", &"x\n".repeat(lines));
        let of = |sizes: &[usize]| {
            long_files(&sizes.iter().map(|&lines| file(lines)).collect::<Vec<_>>()).len()
        };
        assert_eq!(of(&[10; 20]), 0);
        assert_eq!(of(&[201; 20]), 1, "the median");
        assert_eq!(of(&[vec![10; 17], vec![501; 3]].concat()), 1, "the 90th percentile");
        assert_eq!(of(&[vec![10; 19], vec![801]].concat()), 1, "the stop");
    }

    #[test]
    fn long_functions_are_found() {
        let body = |lines: usize| {
            format!("fn f(a: [u8; 2]) -> u8\nwhere A: B<C = D>, E: F {{{}}}", "x;\n".repeat(lines))
        };
        let findings = |text: String| long_functions(&File::new("a.rs", &text));
        assert_eq!(findings(body(68)), [""; 0]);
        let found = findings(body(70));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("fn f has 72 lines"), "{found:?}");
        let declarations = "trait T { fn a(); }\nstruct S { call: fn(u8) -> u8, }\n";
        assert_eq!(findings(format!("{declarations}{}", "\n".repeat(90))), [""; 0]);
    }

    #[test]
    fn a_clock_in_the_machine_is_found() {
        let words = |path: &str, text| impure_words(&File::new(path, text)).len();
        assert_eq!(words("dwcp-core/src/machine/a.rs", "let now = std::time::Instant::now();"), 1);
        assert_eq!(words("dwcp-core/src/wire/a.rs", "use std::net::IpAddr;"), 1);
        assert_eq!(words("dwcp-core/src/machine/a.rs", "// no tokio\nuse std::time::Duration;"), 0);
        assert_eq!(words("dwcp-core/src/driver/a.rs", "use tokio::time;"), 0);
    }

    #[test]
    fn a_clock_in_the_machine_is_found_however_it_is_named() {
        let path = "dwcp-core/src/machine/a.rs";
        let findings = |text| impure_words(&File::new(path, text));
        let ways = [
            ("use std::{thread, sync::Arc};", 1),
            ("use std::{thread, env};", 2),
            ("use std::{\n    collections::{BTreeMap, HashMap},\n    env::{self, var},\n};", 2),
            ("use std :: thread;", 1),
            ("use std as s;", 1),
            ("use std::{self as s};", 1),
            ("use std::*;", 1),
            ("fn f() { ::std::process::abort() }", 1),
            ("use crate::driver::Clock;", 1),
            ("use crate::{mem::Pool, driver::{Clock, Turn}};", 2),
            ("use crate as c;", 1),
            ("use crate::Endpoint;", 1),
            ("use super::driver::Clock;", 1),
            ("use super::super::{endpoint, wire::Frame};", 1),
            ("fn f() -> u64 { driver::now() }", 1),
        ];
        for (text, count) in ways {
            assert_eq!(findings(text).len(), count, "{text}: {:?}", findings(text));
        }
        let right = "use std::{collections::{BTreeMap, HashMap}, sync::Arc, time::Duration};\n\
             use crate::{mem::Pool, wire::{Frame, PathId}};\nuse super::super::Ranges;\n\
             let session = self.session.endpoint; session::<u8>(env, thread);";
        assert_eq!(findings(right), [""; 0]);
        assert_eq!(
            impure_words(&File::new("dwcp-core/src/driver/a.rs", "use std::thread;")),
            [""; 0]
        );
    }
}
