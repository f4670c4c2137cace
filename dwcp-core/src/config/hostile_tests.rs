//! Any bytes at all, very large and very deep documents, and the tree against serde_yaml's.

use serde_yaml::Value;

use super::diagnostic::{Findings, Severity};
use super::parse::{MAX_BYTES, MAX_DEPTH, parse};
use super::spanned::{Node, Scalar, Tree};
use super::{Mode, codes, load_bytes, load_str, sample};

/// A small generator; the seed says which test to repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ (self.0 >> 29);
        x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// Our tree as serde_yaml's.
fn to_value(node: &Node) -> Value {
    match &node.tree {
        Tree::List(items) => Value::Sequence(items.iter().map(to_value).collect()),
        Tree::Map(entries) => {
            let pairs =
                entries.iter().map(|(key, value)| (key.text.clone().into(), to_value(value)));
            Value::Mapping(pairs.collect())
        }
        Tree::Refused => panic!("a refused node in a valid document"),
        Tree::Scalar { .. } => match node.scalar().unwrap() {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => value.into(),
            Scalar::Unsigned(value) => value.into(),
            Scalar::Negative(value) => value.into(),
            Scalar::Float(value) => value.into(),
            Scalar::Text(value) => value.into(),
        },
    }
}

/// Scalars as they may be written, plain and quoted.
const SCALARS: &[&str] = &[
    "null",
    "~",
    "true",
    "False",
    "yes",
    "on",
    "0",
    "-0",
    "7",
    "-12",
    "+3",
    "0777",
    "0x1F",
    "-0x1f",
    "0o17",
    "0b11",
    "1.5",
    "-2.5e3",
    "1e3",
    ".5",
    ".inf",
    "-.inf",
    "1_000",
    "12:30",
    "100us",
    "10Gbps",
    "a b",
    "a#b",
    "http://x/y:z",
    "'single ''quoted'''",
    "\"double \\\"quoted\\\" \\u00e9\\n\"",
    "'7'",
    "\"true\"",
    "é",
    "16MiB",
    "0.1%",
    "TLS1.3",
    "::1",
    "-x",
    "18446744073709551615",
    "-9223372036854775808",
    "\"\"",
    "''",
];
const KEYS: &[&str] =
    &["mode", "network", "tcp", "a", "b_c", "d-e", "'quoted key'", "\"x: y\"", "k1", "é"];

/// Writes a random value behind `- ` or `key:`; returns nothing, the text grows.
fn write_value(random: &mut Random, indent: usize, depth: usize, out: &mut String) {
    let kind = if depth == 0 { 0 } else { random.below(6) };
    match kind {
        1 => write_map(random, indent + 2, depth - 1, out),
        2 => write_list(random, indent + 2, depth - 1, out),
        3 => {
            let count = random.below(3);
            let items: Vec<_> = (0..count).map(|_| random.pick(&FLOW)).collect();
            out.push_str(&format!(" [{}]\n", items.join(", ")));
        }
        4 if random.below(3) == 0 => {
            let style = random.pick(&["|", ">", "|-", ">-", "|+"]);
            let pad = " ".repeat(indent + 2);
            out.push_str(&format!(" {style}\n{pad}one\n{pad}  two # no comment\n{pad}three\n"));
        }
        _ => {
            let comment = random.pick(&["", "", " # a comment"]);
            out.push_str(&format!(" {}{comment}\n", random.pick(SCALARS)));
        }
    }
}

/// Scalars that may stand in brackets.
const FLOW: [&str; 6] = ["1", "a", "'b, c'", "{x: 1}", "[]", "\"d]\""];

fn write_map(random: &mut Random, indent: usize, depth: usize, out: &mut String) {
    out.push('\n');
    let count = 1 + random.below(4);
    let start = random.below(KEYS.len());
    for step in 0..count {
        out.push_str(&" ".repeat(indent));
        out.push_str(KEYS[(start + step) % KEYS.len()]);
        out.push(':');
        write_value(random, indent, depth, out);
    }
}

fn write_list(random: &mut Random, indent: usize, depth: usize, out: &mut String) {
    out.push('\n');
    for _ in 0..1 + random.below(3) {
        out.push_str(&" ".repeat(indent));
        out.push('-');
        write_value(random, indent, depth.min(1), out);
    }
}

#[test]
fn valid_documents_give_the_tree_that_serde_yaml_gives() {
    let (mut compared, mut nodes) = (0, 0);
    for seed in 0..3000 {
        let mut text = String::new();
        write_map(&mut Random(seed), 0, 4, &mut text);
        let Ok(expected) = serde_yaml::from_str::<Value>(&text) else { continue };
        let mut found = Findings::default();
        let tree = parse("f", &text, &mut found);
        assert!(found.is_empty(), "seed {seed}: {found:?}\n{text}");
        let found = to_value(&tree.unwrap());
        assert_eq!(found, expected, "seed {seed}\n{text}");
        compared += 1;
        nodes += text.lines().count();
    }
    // The generator must not drift into documents that only one of the two reads.
    assert!(compared > 2900 && nodes > 20_000, "{compared} documents, {nodes} lines");
}

#[test]
fn the_samples_give_the_tree_that_serde_yaml_gives() {
    for mode in Mode::ALL {
        let tree = parse("f", sample(mode), &mut Findings::default()).unwrap();
        assert_eq!(to_value(&tree), serde_yaml::from_str::<Value>(sample(mode)).unwrap());
    }
}

#[test]
fn no_bytes_make_the_loader_panic() {
    let alphabet = b":-?[]{},&*!|>'\"%@`#\n\r\t ~<=abc01\xc3\xa9\xff\x00\x07\xe2\x80\xa8";
    for seed in 0..4000 {
        let mut random = Random(seed);
        let length = random.below(200);
        let bytes: Vec<u8> = (0..length).map(|_| alphabet[random.below(alphabet.len())]).collect();
        check(&bytes);
    }
}

#[test]
fn no_change_of_a_sample_makes_the_loader_panic() {
    for seed in 0..1500 {
        let mut random = Random(seed);
        let mode = Mode::ALL[random.below(3)];
        let mut bytes = sample(mode).replace("\n# ", "\n").into_bytes();
        for _ in 0..1 + random.below(8) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.next() as u8,
                1 => drop(bytes.drain(at..(at + random.below(20)).min(bytes.len()))),
                2 => bytes.insert(at, b":-[]{}&*!'\"\n\t "[random.below(14)]),
                _ => {
                    let piece = bytes[at..(at + 30).min(bytes.len())].to_vec();
                    let to = random.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        check(&bytes);
    }
}

/// Loads and renders; places must lie in the file.
fn check(bytes: &[u8]) {
    let loaded = load_bytes("f", bytes, None);
    assert!(loaded.valid() || !loaded.diagnostics.is_empty());
    let lines = loaded.source.split(['\n', '\r']).count() as u32 + 1;
    for diagnostic in &loaded.diagnostics {
        assert!((1..=lines).contains(&diagnostic.line), "{diagnostic:?} {:?}", loaded.source);
        assert!(diagnostic.column >= 1);
        let _ = diagnostic.render(&loaded.source);
    }
}

/// Documents of the greatest length, each of one shape.
#[test]
fn documents_of_a_mebibyte_are_read_or_refused() {
    let fill = |piece: &str| piece.repeat(MAX_BYTES / piece.len());
    let keys: String = (0..60_000).map(|n| format!("key{n}: {n}\n")).collect();
    let shapes = [
        fill("- a\n"),
        fill("a: 1\n"),
        fill("#"),
        fill("x"),
        fill("? "),
        fill("- "),
        fill("[]\n"),
        fill("[1],"),
        fill("'"),
        fill("&a "),
        fill("!"),
        fill("\n"),
        fill("--- a\n"),
        format!("mode: internet\npeers: [{}", fill("x, ")),
        format!("mode: internet\nlisten: [{}]", "1, ".repeat(300_000)),
        format!("mode: \"{}\"", "é".repeat(500_000)),
        format!("mode: |\n{}", "  text\n".repeat(140_000)),
        format!("mode: internet\nunknown: {{{}}}", "a: {}, ".repeat(10_000)),
        keys,
    ];
    for shape in shapes {
        check(shape.as_bytes());
    }
}

/// Long lists that refer to each other: whoever compares each with each is not done in an hour.
#[test]
fn long_lists_are_checked_against_each_other() {
    let list = |count: usize, item: &dyn Fn(usize) -> String| -> String {
        (0..count).map(|number| format!("  - {}\n", item(number))).collect()
    };
    let peers = |name: &str| {
        list(12_000, &|number| format!("{{nodeId: {name}{number}, addresses: [\"h:1\"]}}"))
    };
    let forwards = |name: &str, target: &str| {
        let item =
            |_| format!("{{name: {name}, listen: \"1.1.1.1:5\", peer: b, target: {target}}}");
        list(9_000, &item)
    };
    let head = "mode: internet\npeers:\n";
    for shape in [
        format!("{head}{}forwards:\n{}", peers("-"), forwards("-", "no")),
        format!("{head}{}forwards:\n{}", peers("x"), forwards("n", "\"a:1\"")),
        format!("{head}{}files:\n  from: [{}]\n", peers("x"), "b, ".repeat(16_000)),
        format!(
            "mode: internet\nlisten:\n{}",
            list(16_000, &|n| format!("\"1.2.{}.{}:5\"", n / 250, n % 250))
        ),
        format!("mode: internet\nlisten:\n{}", list(16_000, &|_| "\"1.1.1.1:5\"".into())),
    ] {
        assert!(shape.len() <= MAX_BYTES);
        check(shape.as_bytes());
    }
}

#[test]
fn nesting_is_read_up_to_the_limit_and_refused_beyond() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let mut found = Findings::default();
        assert!(parse("f", &nested(MAX_DEPTH), &mut found).is_some());
        assert!(found.is_empty(), "{found:?}");
        for depth in [MAX_DEPTH + 1, 200, 100_000] {
            let loaded = load_str("f", &nested(depth));
            assert_eq!(loaded.diagnostics[0].code, codes::TOO_DEEP.0, "{depth}");
        }
    }
    let block: String = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(load_str("f", &block).diagnostics[0].code, codes::TOO_DEEP.0);
}

#[test]
fn a_carriage_return_alone_ends_a_line_as_little_as_the_place_is_lost() {
    check(b"mode: x\r\nnetwork:\r\n  port: y\r\n");
    let loaded = load_bytes("f", b"mode: hybrid\r\nnetwork:\r\n  port: y\r\n", None);
    assert_eq!((loaded.diagnostics[1].line, loaded.diagnostics[1].column), (3, 9));
}

#[test]
fn a_byte_order_mark_does_not_move_the_place() {
    let loaded = load_str("f", "\u{feff}modee: hybrid\n");
    assert!(loaded.diagnostics.iter().any(|d| d.code == codes::UNKNOWN_KEY.0 && d.column == 1));
}

#[test]
fn a_wrong_peer_is_not_reported_again_where_it_is_named() {
    let text = "mode: hybrid\npeers:\n  - nodeId: b\n    addresses: [x]\n  - {nodeId: -c-}\nforwards:\n  - {name: f, listen: \"127.0.0.1:1\", peer: b, target: \"127.0.0.1:2\"}\n";
    let found: Vec<_> = load_str("f", text).diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(found, [codes::ADDRESS.0, codes::NODE_ID.0]);
}

/// A forward that whoever is on the network reaches: one warning each.
fn open_forwards(count: u32) -> String {
    let peers = "mode: internet\nnodeId: a\npeers: [{nodeId: b}]\nforwards:\n".to_owned();
    (0..count).fold(peers, |text, number| {
        text + &format!(
            "  - {{name: f{number}, listen: \"0.0.0.0:{}\", peer: b, target: \"127.0.0.1:2\"}}\n",
            20_000 + number
        )
    })
}

#[test]
fn warnings_are_no_errors_however_many_there_are() {
    for (count, shown) in [(50, 50), (100, 100), (101, 101), (5_000, 101)] {
        let loaded = load_str("f", &open_forwards(count));
        let of_forwards =
            |d: &&super::Diagnostic| [codes::OPEN_FORWARD.0, codes::TOO_MANY.0].contains(&d.code);
        let found: Vec<_> = loaded.diagnostics.iter().filter(of_forwards).collect();
        assert!(loaded.valid(), "{count}: {:?}", loaded.diagnostics.last());
        assert!(found.len() <= shown && found.len() + 2 >= shown, "{count}: {}", found.len());
        assert!(found.iter().all(|d| d.severity == Severity::Warning), "{count}");
        assert_eq!(count > 100, found.iter().any(|d| d.code == codes::TOO_MANY.0), "{count}");
    }
}

#[test]
fn errors_are_shown_before_warnings_and_all_that_is_cut_is_told_of() {
    let bad = |number: u32| {
        format!(
            "  - {{name: g{number}, listen: \"127.0.0.1:{number}\", peer: nobody, target: \"127.0.0.1:2\"}}\n"
        )
    };
    for (warnings, errors) in [(150, 3), (0, 100), (150, 100), (0, 101), (150, 200)] {
        let text = (1..=errors).fold(open_forwards(warnings), |text, number| text + &bad(number));
        let loaded = load_str("f", &text);
        assert!(!loaded.valid(), "{warnings} {errors}");
        let count = |code: &str| loaded.diagnostics.iter().filter(|d| d.code == code).count();
        assert_eq!(count(codes::UNKNOWN_PEER.0), errors.min(100) as usize, "{warnings} {errors}");
        assert!(loaded.diagnostics.len() <= 101, "{warnings} {errors}");
        let more = loaded.diagnostics.iter().find(|d| d.code == codes::TOO_MANY.0);
        let severity = more.map(|more| more.severity);
        let expected = match (warnings, errors) {
            (_, 101..) => Some(Severity::Error),
            (100.., _) => Some(Severity::Warning),
            _ => severity.filter(|severity| *severity == Severity::Warning),
        };
        assert_eq!(severity, expected, "{warnings} {errors}");
    }
}
