//! `dwcp-ctl`.
fn main() {}
