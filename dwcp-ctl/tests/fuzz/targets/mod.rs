//! What is fuzzed: each target takes any bytes, and panics if something is wrong with what they led to.

pub(crate) mod cli;
pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod frames;
pub(crate) mod hello;
pub(crate) mod http;
pub(crate) mod input;
pub(crate) mod records;
pub(crate) mod resume;
pub(crate) mod session;
pub(crate) mod zstd;

/// Takes any bytes.
type Target = fn(&[u8]);

/// A target by its name: that of its corpus, too.
pub(crate) const TARGETS: [(&str, Target); 11] = [
    ("cli", cli::target),
    ("command", command::target),
    ("config", config::target),
    ("control", control::target),
    ("frames", frames::target),
    ("hello", hello::target),
    ("http", http::target),
    ("records", records::target),
    ("resume", resume::target),
    ("session", session::target),
    ("zstd", zstd::target),
];
