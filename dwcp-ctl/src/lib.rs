//! Shared parts of `dwcpd` and `dwcp-ctl`.
#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod exit;
pub mod node;
pub mod service;
pub mod units;
