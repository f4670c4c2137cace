//! Just enough of Rust's lexer to tell code from comments and literals.

/// The text with comments, strings and character literals blanked, line for line the same.
pub(crate) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).unwrap_or(at);
        if end > at {
            code.extend(
                bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        } else {
            code.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment or literal that begins at `at` ends, if one does.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    let follows_word = at > 0 && is_word(bytes[at - 1]);
    match rest[0] {
        b'"' => Some(quoted_end(bytes, at + 1, b'"')),
        b'r' if !follows_word || bytes[at - 1] == b'b' => raw_string_end(bytes, at),
        // A lifetime has no closing quote right after its first character.
        b'\'' if rest.get(1) == Some(&b'\\') => Some(quoted_end(bytes, at + 1, b'\'')),
        b'\'' => {
            let width = rest.get(1).map_or(1, |&byte| utf8_width(byte));
            (rest.get(1 + width) == Some(&b'\'')).then_some(at + width + 2)
        }
        _ => None,
    }
}

fn utf8_width(first: u8) -> usize {
    match first {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn quoted_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let length = bytes[open + 1..].windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Byte offsets at which `word` stands as a whole word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let end = at + word.len();
        let joins =
            |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|&byte| is_word(byte));
        !joins(at.checked_sub(1)) && !joins(Some(end))
    })
}

/// Every path in the code and where its last part begins, with the braces of a `use` written out. A root that gets
/// another name (`std as s`) counts as `std::self`.
pub(crate) fn paths(code: &str) -> Vec<(String, usize)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < code.len() {
        let begins = is_word(code.as_bytes()[at]) && (at == 0 || !is_word(code.as_bytes()[at - 1]));
        at = if begins { use_tree(code.as_bytes(), at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path that begins with a word at `at`, and what is in its braces. Returns where it ends.
fn use_tree(
    code: &[u8],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(String, usize)>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        let start = at;
        while code.get(at).is_some_and(|&byte| is_word(byte)) {
            at += 1;
        }
        path.push(String::from_utf8_lossy(&code[start..at]).into_owned());
        let next = after_spaces(code, at);
        if !code[next..].starts_with(b"::") {
            let is_renamed = path.len() == 1 && code[next..].starts_with(b"as ");
            path.extend(is_renamed.then(|| "self".to_owned()));
            found.push((path.join("::"), start));
            return at;
        }
        at = after_spaces(code, next + 2);
        match code.get(at) {
            Some(b'{') => return use_list(code, at + 1, &path, found),
            Some(b'*') => {
                found.push((path.join("::") + "::*", at));
                return at + 1;
            }
            Some(&byte) if is_word(byte) => {}
            // The arguments of a generic, or the end of what can be read.
            _ => {
                found.push((path.join("::"), start));
                return at;
            }
        }
    }
}

/// Reads what stands in braces behind `prefix`, from `at` on. Returns where it ends.
fn use_list(
    code: &[u8],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(String, usize)>,
) -> usize {
    while let Some(&byte) = code.get(at) {
        at = match byte {
            b'}' => return at + 1,
            b'*' => {
                found.push((prefix.join("::") + "::*", at));
                at + 1
            }
            _ if code[at..].starts_with(b"as ") => {
                // The new name is no path.
                let name = after_spaces(code, at + 3);
                name + code[name..].iter().take_while(|&&byte| is_word(byte)).count()
            }
            _ if is_word(byte) => use_tree(code, at, prefix, found),
            _ => at + 1,
        };
    }
    at
}

fn after_spaces(code: &[u8], at: usize) -> usize {
    at + code[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The number of the line that holds byte `at`, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[test]
fn code_is_told_from_words() {
    let text = "let a = \"x // \\\" y\"; // unsafe\n/* a /* b */ c */ let c: &'a str = r#\"q\"z\"#; '\\''; 'x' 'é' b";
    let code = code_only(text);
    assert_eq!(code.lines().count(), 2);
    for gone in ["unsafe", "x", "y", "q", "z", "é", "*"] {
        assert!(!code.contains(gone), "{gone} stayed in {code}");
    }
    assert!(code.contains("let c: &'a str =") && code.ends_with('b'), "{code}");
}

#[test]
fn words_are_whole() {
    assert_eq!(words("unsafe_code unsafe {", "unsafe").collect::<Vec<_>>(), [12]);
    assert_eq!(line_of("a\nb\nc", 4), 3);
}

#[test]
fn paths_are_written_out() {
    let all = |code: &str| paths(code).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(
        all("use std::{self as s, thread, env::{var, self}, x as y, z::*};"),
        [
            "use",
            "std::self",
            "std::thread",
            "std::env::var",
            "std::env::self",
            "std::x",
            "std::z::*"
        ]
    );
    assert_eq!(all("std as s; a :: b ::<c::D>(e)"), ["std::self", "as", "s", "a::b", "c::D", "e"]);
}
