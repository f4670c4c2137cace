//! Configurations made to cost time and memory, read by the real `dwcp-ctl config validate` and measured from outside:
//! each ends in its exit code, soon, in little memory and with few words.
#![allow(missing_docs)]

use std::fmt::Write as _;
use std::io::{ErrorKind, PipeReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// The largest file that is read, as documented under DWCP-C003.
const FILE_MAX: usize = 1 << 20;
/// The most processor time of a file, of user and system, in that of an honest one that is as long as a file may be: the
/// same program reads it beside, on the same machine.
const CPU_RATIO_MAX: f64 = 2.0;
/// How often a file is measured that seems to cost more.
const TRIES: u32 = 3;
/// Memory of one file, at its highest.
const RSS_MAX_KIB: u64 = 64 << 10;
/// Diagnostics that are shown, as documented under DWCP-C017: 100, and the one that says that there are more.
const DIAGNOSTICS_MAX: usize = 101;
/// Bytes that are printed. A diagnostic shows a part of its line only.
const PRINTED_MAX: usize = 128 << 10;
/// How long a process may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(240);
/// Ticks in a second of `/proc/PID/stat` on every Linux we support.
const TICKS: u64 = 100;

/// What a process came to.
#[derive(Debug)]
struct Measured {
    status: ExitStatus,
    printed: String,
    cpu: Duration,
    rss_kib: u64,
}

/// A pipe that takes nothing until it is read: who writes to it has done its work and waits, and can be looked at.
fn full_pipe() -> (PipeReader, Stdio, Stdio, usize) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut held = 0;
    // Page by page and then byte by byte, so that nothing is left.
    for size in [4096, 1] {
        let chunk = vec![b'.'; size];
        loop {
            match writer.write(&chunk) {
                Ok(written) => held += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    fcntl_setfl(&writer, flags).unwrap();
    let second = writer.try_clone().unwrap();
    (reader, writer.into(), second.into(), held)
}

fn proc(child: &Child, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default()
}

/// The state, and the ticks of processor time that all threads have used, in user and system.
fn state_and_ticks(child: &Child) -> (char, u64) {
    let text = proc(child, "stat");
    let fields: Vec<_> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    (fields[0].chars().next().unwrap(), ticks(11) + ticks(12))
}

/// The number behind `name` in the status; `None` once the process has given its memory back.
fn status(child: &Child, name: &str) -> Option<u64> {
    let text = proc(child, "status");
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs `command` and measures it. The kernel keeps the high-water mark of memory (`VmHWM`) for as long as the process
/// has memory; what `wait4` tells afterwards is also that of the process that it was forked from.
fn measure(mut command: Command) -> Measured {
    let (mut reader, stdout, stderr, held) = full_pipe();
    let mut child =
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("it starts");
    drop(command); // and with it our ends of the pipe
    let (start, mut rss_kib) = (Instant::now(), 0);
    let mut look = |child: &Child| {
        rss_kib = rss_kib.max(status(child, "VmHWM:").unwrap_or(0));
        assert!(start.elapsed() < PATIENCE, "it has not ended within {PATIENCE:?}");
        state_and_ticks(child).0
    };
    // It waits for its words to be taken when it sleeps and has not run since the last look.
    let mut runs = None;
    loop {
        let state = look(&child);
        let now = status(&child, "voluntary_ctxt_switches:");
        if state == 'Z' || (state == 'S' && now == runs) {
            break;
        }
        runs = now;
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut printed, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = reader.read(&mut chunk).unwrap();
        if read == 0 {
            break;
        }
        printed.extend(&chunk[..read]);
        look(&child);
    }
    while look(&child) != 'Z' {
        std::thread::sleep(Duration::from_millis(1));
    }
    let cpu = Duration::from_millis(state_and_ticks(&child).1 * 1000 / TICKS);
    let status = child.wait().unwrap();
    let printed = String::from_utf8(printed.split_off(held)).expect("words are UTF-8");
    Measured { status, printed, cpu, rss_kib }
}

/// Runs `dwcp-ctl config validate` on a file of these bytes.
fn validate(directory: &Path, bytes: &[u8]) -> Measured {
    let path = directory.join("hostile.yaml");
    std::fs::write(&path, bytes).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dwcp-ctl"));
    command.args(["config", "validate"]).arg(&path);
    measure(command)
}

/// A file, how it must end and a code that must be told.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    exit: i32,
    code: &'static str,
}

/// `head`, then `piece` as often as fits, then `tail`.
fn fill(head: &str, piece: &str, tail: &str) -> String {
    let times = (FILE_MAX - head.len() - tail.len()) / piece.len();
    format!("{head}{}{tail}", piece.repeat(times))
}

/// `head`, then what `line` gives for 0, 1, … as far as fits.
fn count(head: &str, line: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let line = line(number);
        if text.len() + line.len() > FILE_MAX {
            break;
        }
        text.push_str(&line);
    }
    text
}

const HEAD: &str = "mode: internet\n";

fn deep() -> Vec<Case> {
    let case = |name, text: String| Case { name, bytes: text.into(), exit: 1, code: "DWCP-C004" };
    let mut block = HEAD.to_owned();
    for depth in 0.. {
        let line = format!("{}a:\n", " ".repeat(depth));
        if block.len() + line.len() > FILE_MAX {
            break;
        }
        block.push_str(&line);
    }
    let half = |open: &str, close: &str| {
        let times = (FILE_MAX - 100) / (open.len() + close.len());
        format!("{HEAD}listen: {}{}\n", open.repeat(times), close.repeat(times))
    };
    vec![
        case("brackets that open", fill(&format!("{HEAD}listen: "), "[", "\n")),
        case("brackets that close again", half("[", "]")),
        case("braces that open", fill(&format!("{HEAD}keys: "), "{a: ", "\n")),
        case("braces that close again", half("{a: ", "}")),
        case("brackets and braces", fill(&format!("{HEAD}keys: "), "{a: [", "\n")),
        case("dashes on one line", fill(&format!("{HEAD}listen:\n  "), "- ", "a\n")),
        case("questions on one line", fill("", "? ", "a\n")),
        case("keys each deeper than the last", block),
    ]
}

/// "A billion laughs": each name stands for nine of the one before.
fn bomb() -> String {
    let mut text = format!("{HEAD}a0: &a0 [lol]\n");
    for level in 1..20 {
        let names = vec![format!("*a{}", level - 1); 9].join(", ");
        let _ = writeln!(text, "a{level}: &a{level} [{names}]");
    }
    text
}

fn marks() -> Vec<Case> {
    let case = |name, text: String| Case { name, bytes: text.into(), exit: 1, code: "DWCP-C006" };
    vec![
        case("a billion laughs", bomb()),
        case("a billion laughs, filled up", fill(&bomb(), "#", "\n")),
        case("aliases of one list", fill(&format!("{HEAD}a: &a [x, y]\nb: ["), "*a, ", "]\n")),
        case("anchors, each another", count(HEAD, |n| format!("k{n}: &a{n} 1\n"))),
        case("an alias within itself", format!("{HEAD}a: &a [*a, *a, *a]\n")),
        case("merged keys", fill(&format!("{HEAD}a: &a {{x: 1}}\n"), "? {<<: *a}\n", "")),
    ]
}

fn large() -> Vec<Case> {
    let case = |name, text: String, code| Case { name, bytes: text.into(), exit: 1, code };
    let valid = |name, text: String| Case { name, bytes: text.into(), exit: 0, code: "DWCP-C072" };
    let id = format!("{HEAD}nodeId: ");
    let repeated = |piece: &str, code, name| case(name, fill(HEAD, piece, ""), code);
    vec![
        case("one plain word", fill(&id, "x", "\n"), "DWCP-C028"),
        case("one text in quotes", fill(&format!("{id}\""), "é", "\"\n"), "DWCP-C028"),
        case("one text of escapes", fill(&format!("{id}\""), "\\u00e9", "\"\n"), "DWCP-C028"),
        case("one text of lines", fill(&format!("{id}|\n"), "  a line\n", ""), "DWCP-C028"),
        case("one number", fill(&format!("{HEAD}network:\n  port: "), "9", "\n"), "DWCP-C020"),
        case("one duration", fill(&format!("{HEAD}session: {{window: "), "9", "B}\n"), "DWCP-C024"),
        case("one key", fill(&format!("{HEAD}? "), "k", "\n: 1\n"), "DWCP-C012"),
        case("a text without its end", fill(&format!("{id}'"), "x ", ""), "DWCP-C001"),
        case("a list without its end", fill(&format!("{HEAD}listen: ["), "a, ", ""), "DWCP-C018"),
        case(
            "words without the end of their list",
            fill(&format!("{HEAD}listen: ["), "a word, ", ""),
            "DWCP-C001",
        ),
        valid("comment", fill(HEAD, "#", "\n")),
        valid("lines of comment", fill(HEAD, "#\n", "")),
        valid("empty lines", fill(HEAD, "\n", "")),
        repeated("--- a\n", "DWCP-C005", "documents"),
        repeated("\u{7}", "DWCP-C011", "control characters"),
        case(
            "spaces",
            fill(&format!("{HEAD}network:\n  port: 1\n"), " ", "prot: 1\n"),
            "DWCP-C001",
        ),
    ]
}

/// Files of as many mistakes as there is room for. The last ones stand far from the start of the file, or of the line.
fn mistakes() -> Vec<Case> {
    let case = |name, text: String, code| Case { name, bytes: text.into(), exit: 1, code };
    let tail = count("", |n| if n < 200 { format!("bad{n}: 1\n") } else { " ".repeat(FILE_MAX) });
    let braces = (0..200).fold(String::new(), |text, n| text + &format!("bad{n}: 1, "));
    let twice = count("", |n| format!("k{n}: 1\n"));
    let half = &twice[..=twice[..FILE_MAX / 2 - 100].rfind('\n').unwrap()];
    vec![
        case("keys that nobody knows", count(HEAD, |n| format!("k{n}: {n}\n")), "DWCP-C017"),
        case(
            "keys that nobody knows, in braces that close",
            count(&format!("{HEAD}keys: {{"), |n| format!("k{n},"))[..FILE_MAX - 10]
                .rsplit_once(',')
                .unwrap()
                .0
                .to_owned()
                + "}\n",
            "DWCP-C018",
        ),
        case("keys that are refused", fill(HEAD, "ml: {a: 1}\n", ""), "DWCP-C009"),
        case("one key again and again", fill(HEAD, "nodeId: a\n", ""), "DWCP-C009"),
        case("all keys twice", format!("{HEAD}{half}{half}"), "DWCP-C009"),
        case(
            "many keys, and the last again and again",
            {
                let last = half.lines().last().unwrap();
                let head = format!("{HEAD}{half}");
                fill(&head, &format!("{last}\n"), "")
            },
            "DWCP-C009",
        ),
        case("a million mistakes", fill(&format!("{HEAD}listen: ["), ",", "]\n"), "DWCP-C001"),
        case("items that are wrong", fill(&format!("{HEAD}listen: ["), "1,", "]\n"), "DWCP-C018"),
        case(
            "items that are wrong, fewer",
            format!("{HEAD}listen: [{}]\n", "1, ".repeat(190_000)),
            "DWCP-C032",
        ),
        case("empty lists", fill(&format!("{HEAD}listen: ["), "[],", "]\n"), "DWCP-C018"),
        case("empty mappings", fill(&format!("{HEAD}peers: ["), "{},", "]\n"), "DWCP-C018"),
        case(
            "mappings of little",
            fill(&format!("{HEAD}peers: ["), "{a: \"                \"},", "]\n"),
            "DWCP-C017",
        ),
        case("tags", fill(&format!("{HEAD}listen: ["), "!a b,", "]\n"), "DWCP-C007"),
        case("keys that are lists", fill(HEAD, "? []\n", ""), "DWCP-C015"),
        case("mistakes behind empty lines", fill(HEAD, "\n", &tail), "DWCP-C017"),
        case(
            "mistakes at the end of a long line",
            fill(&format!("{HEAD}session: {{ "), " ", &format!("{braces}}}\n")),
            "DWCP-C017",
        ),
    ]
}

/// Names that nobody knows beside names that are known: which one was meant is a guess that has a price for each pair.
fn guesses() -> Vec<Case> {
    let case = |name, text: String| Case { name, bytes: text.into(), exit: 1, code: "DWCP-C055" };
    // All alike but for their ends, so that the difference shows late.
    let names = |count: usize, length: usize, end: &str| -> String {
        let name = |n| format!("{}{end}{n:05}", "n".repeat(length - 5 - end.len()));
        (0..count).map(name).collect::<Vec<_>>().join(", ")
    };
    let file = |peers: (usize, usize), unknown: usize| {
        let listed = names(peers.0, peers.1, "").replace(", ", "}, {nodeId: ");
        let unknown = names(110, unknown, "zzzz");
        format!(
            "{HEAD}peers: [{{nodeId: {listed}}}]\nfiles: {{receiveDirectory: /r, from: [{unknown}]}}\n"
        )
    };
    vec![
        case("unknown names beside many peers", file((1_600, 48), 60)),
        case("unknown names beside peers as long", file((1_600, 60), 60)),
        case("unknown names beside as many peers as are compared", file((200, 64), 64)),
    ]
}

/// Bytes without any form, the same each time.
fn noise(alphabet: &[u8]) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let byte = (state >> 24) as u8;
        if alphabet.is_empty() { byte } else { alphabet[byte as usize % alphabet.len()] }
    };
    (0..FILE_MAX).map(byte).collect()
}

fn noises() -> Vec<Case> {
    let case = |name, bytes: Vec<u8>, code| Case { name, bytes, exit: 1, code };
    let marks = [HEAD.as_bytes(), &noise(b"ab:-?[]{},&*!|>'\"%@`#\n \n  ")[HEAD.len()..]].concat();
    vec![
        case("any bytes", noise(b""), "DWCP-C002"),
        case("any letters", noise(b"abcdefghijklmnopqrstuvwxyz \n"), "DWCP-C010"),
        case("any marks of YAML", marks, "DWCP-C001"),
        case("zeros", vec![0; FILE_MAX], "DWCP-C011"),
        case("a byte too many", vec![b'#'; FILE_MAX + 1], "DWCP-C003"),
        case("far too many bytes", vec![b'#'; FILE_MAX * 64], "DWCP-C003"),
    ]
}

/// A file that is as long as may be, and has nothing wrong with it: all of it is read, and kept.
fn honest() -> Vec<u8> {
    let head = format!("{HEAD}nodeId: a\nkeys: {{cert: c, key: k, ca: a}}\npeers:\n");
    let peer =
        |n| format!("  - nodeId: n{n:06}\n    addresses: [\"node{n:06}.example.org:443\"]\n");
    count(&head, peer).into_bytes()
}

/// Measures the file, and how much time it takes in that of the honest one. What else the machine does can only add: what
/// seems too much is measured again.
fn compare(directory: &Path, bytes: &[u8], honest: &mut Duration) -> (Measured, f64) {
    let mut least: Option<(Measured, f64)> = None;
    for _ in 0..TRIES {
        let ran = validate(directory, bytes);
        let ratio = ran.cpu.as_secs_f64() / honest.as_secs_f64();
        if least.as_ref().is_none_or(|(_, before)| ratio < *before) {
            least = Some((ran, ratio));
        }
        if ratio <= CPU_RATIO_MAX {
            break;
        }
        *honest = validate(directory, &self::honest()).cpu;
    }
    least.expect("it was measured")
}

/// The measure itself: a process that does next to nothing stays far below the bounds, and one that takes memory and time
/// is seen to.
#[test]
fn the_measure_tells_much_from_little() {
    let mut little = Command::new(env!("CARGO_BIN_EXE_dwcp-ctl"));
    little.arg("version");
    let little = measure(little);
    println!("dwcp-ctl version: {:?}, {} KiB", little.cpu, little.rss_kib);
    assert!(little.status.success() && little.printed.contains("dwcp"), "{little:?}");
    assert!((1..RSS_MAX_KIB / 2).contains(&little.rss_kib), "{little:?}");
    // `dd` holds one block of that size, and compares of a shell take time.
    let mut much = Command::new("sh");
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    much.args(["-c", &format!("{busy}; exec dd if=/dev/zero bs=80M count=1 status=none")]);
    let much = measure(much);
    println!("a block of 80 MiB: {:?}, {} KiB", much.cpu, much.rss_kib);
    assert!(much.rss_kib > 80 << 10 && much.rss_kib < 100 << 10, "{} KiB", much.rss_kib);
    assert!(little.cpu < much.cpu, "{:?} and {:?}", little.cpu, much.cpu);
}

#[test]
fn hostile_files_cost_little() {
    let directory = tempfile::tempdir().unwrap();
    let mut problems = Vec::new();
    let Measured { status, cpu: mut honest, .. } = validate(directory.path(), &honest());
    assert_eq!(status.code(), Some(0));
    println!("an honest file: {honest:?}");
    for case in [deep(), marks(), large(), mistakes(), guesses(), noises()].into_iter().flatten() {
        let Case { name, bytes, exit, code } = case;
        let (ran, ratio) = compare(directory.path(), &bytes, &mut honest);
        let shown = ran.printed.matches("[DWCP-C").count();
        let Measured { status, printed, cpu, rss_kib } = &ran;
        println!(
            "{name}: {} bytes; {status}, {shown} diagnostics, {} bytes printed, {cpu:?}, {ratio:.2} of the honest file's, {rss_kib} KiB",
            bytes.len(),
            printed.len()
        );
        let mut check = |holds: bool, what: &str| {
            if !holds {
                let start: String = printed.chars().take(300).collect();
                problems.push(format!("{name}: {what}\n{start}"));
            }
        };
        check(status.code() == Some(exit), &format!("{status}, not exit code {exit}"));
        check(printed.contains(&format!("[{code}]")), &format!("nothing of {code}"));
        check((1..=DIAGNOSTICS_MAX).contains(&shown), &format!("{shown} diagnostics"));
        check(printed.len() <= PRINTED_MAX, &format!("{} bytes printed", printed.len()));
        let words = format!("{cpu:?} of processor time, {ratio:.2} times the honest file's");
        check(ratio <= CPU_RATIO_MAX, &words);
        check((1..=RSS_MAX_KIB).contains(rss_kib), &format!("{rss_kib} KiB of memory"));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
