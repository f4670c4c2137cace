//! `dwcpd`: the node daemon.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dwcp_core::config::Colour;
use dwcp_ctl::exit::DAEMON_CODES;
use dwcp_ctl::node::runtime_directory::runtime_directory;
use dwcp_ctl::node::{DaemonOptions, run};

/// The DWCP node: keeps sessions with its peers and serves them.
#[derive(Parser)]
#[command(name = "dwcpd", version, after_help = DAEMON_CODES)]
struct Arguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/dwcp/dwcp-v3.yaml")]
    config: PathBuf,
    /// Where the command socket goes [default: /run/dwcp, or $XDG_RUNTIME_DIR/dwcp]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Follow the running daemon of this node: take its sockets over, and let it drain.
    #[arg(long)]
    take_over: bool,
    /// Where that one's command socket is, if the configuration names another place by now.
    #[arg(long, value_name = "SOCKET", requires = "take_over")]
    take_over_from: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    ExitCode::from(run(&DaemonOptions {
        config: arguments.config,
        runtime_directory: runtime_directory(arguments.runtime_dir.as_deref()),
        is_taking_over: arguments.take_over,
        take_over_from: arguments.take_over_from,
        colour: if colours { Colour::On } else { Colour::Off },
    }))
}
