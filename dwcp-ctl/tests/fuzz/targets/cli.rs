//! Any words as a command line: understood, or refused in words with the exit code of a wrong usage.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::Parser;
use dwcp_ctl::cli::Cli;

pub(crate) fn target(data: &[u8]) {
    let words = data.split(|byte| *byte == 0 || *byte == b'\n').take(64);
    let words = words.map(|word| OsString::from_vec(word.to_vec()));
    let all = std::iter::once(OsString::from("dwcp-ctl")).chain(words);
    if let Err(error) = Cli::try_parse_from(all) {
        assert!(matches!(error.exit_code(), 0 | 2), "{error}");
        assert!(!error.to_string().is_empty());
    }
}
