//! `dwcp-ctl`: checks, runs and explains DWCP nodes.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dwcp_ctl::cli::run(std::env::args_os()).into()
}
