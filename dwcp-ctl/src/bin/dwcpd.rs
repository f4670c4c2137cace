//! `dwcpd`.
fn main() {}
