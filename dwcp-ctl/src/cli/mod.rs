//! The command line: `dwcp-ctl`.

mod args;
mod bench;
mod bench_crowd;
mod client;
mod config;
mod config_init;
mod copy;
mod explain;
mod keys;
mod output;
mod peers;
mod responder;
mod route;
mod self_pair;
mod shell;
mod status;
mod status_text;
mod table;
mod version;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

pub use args::Cli;
use args::{Command, Global, PeersCommand};
use output::Output;

use crate::exit::{Exit, Failure};

/// Runs one command line and returns how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; the rest is a wrong command line. Nobody reads a closed pipe.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let output = Output::new(cli.global.output, cli.global.quiet);
    match dispatch(cli.command, &cli.global, &output) {
        Ok(exit) => exit,
        Err(failure) => {
            output.error(&failure.message);
            failure.exit
        }
    }
}

fn dispatch(command: Command, global: &Global, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::Config(command) => config::run(command, output),
        Command::Status => status::run(global, output),
        Command::Explain { code, markdown } => explain::run(code.as_deref(), markdown, output),
        Command::Version => version::run(output),
        Command::Ping(arguments) => peers::ping(&arguments, global, output),
        Command::Peers { command: None } => peers::list(global, output),
        Command::Peers { command: Some(PeersCommand::Lift { peer }) } => {
            peers::lift(&peer, global, output)
        }
        Command::Bench(command) => bench::run(command, global, output),
        Command::Copy(arguments) => copy::run(&arguments, global, output),
        Command::Rekey(arguments) => peers::rekey(&arguments, global, output),
        Command::Cut(arguments) => peers::cut(&arguments, global, output),
        Command::Keys(command) => keys::run(command, output),
        Command::Reload => peers::reload(global, output),
        Command::Restart { force } => peers::restart(force, global, output),
        Command::Drain => peers::drain(global, output),
        Command::Completions { shell } => shell::completions(shell, &mut Cli::command()),
        Command::Man { directory } => shell::man(directory.as_deref(), Cli::command()),
        Command::Respond { config } => responder::run(&config),
    }
}
