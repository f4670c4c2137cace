//! How a command reaches a peer: through the daemon of this machine, or by an endpoint of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dwcp_core::config::{Colour, Config};
use dwcp_hybrid::{AssemblyError, Listen, assemble};
use dwcp_tcp::IdentityError;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::args::{Global, Via};
use super::client::ask;
use super::output::Output;
use crate::exit::{Failure, chain};
use crate::node::commands::{Operation, Request};
use crate::node::plan::socket_path;
use crate::node::runtime_directory::{runtime_directory, sockets};
use crate::node::{load, node_of, run_operation};
use crate::service::file::CopyProgress;

/// How long an endpoint of our own may take to say goodbye.
const DRAIN: Duration = Duration::from_secs(3);

/// The way to a peer.
pub(super) enum Route {
    /// The command socket of a daemon.
    Daemon(PathBuf),
    /// A configuration to make an endpoint from.
    Own(Box<Config>),
}

impl Route {
    /// Finds the way: a daemon if one runs, else the configuration.
    pub(super) fn find(via: &Via, global: &Global, output: &Output) -> Result<Self, Failure> {
        let directory = runtime_directory(global.runtime_dir.as_deref());
        let Some(path) = &via.config else {
            return one_daemon(&directory, global.node.as_deref()).map(Self::Daemon);
        };
        let config = own_config(path)?;
        // Two processes with one node's name would push each other out at every peer. Where the daemon's socket
        // is in another place, the claim on the node's key refuses the second.
        if let Some(node) = node_of(&config) {
            let socket = socket_path(&config, &node, &directory);
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                output.note(&format!("through the daemon of {node}, which is running"));
                return Ok(Self::Daemon(socket));
            }
        }
        Ok(Self::Own(Box::new(config)))
    }

    /// Does `operation` and returns its result.
    pub(super) fn run(
        self,
        operation: Operation,
        timeout: Option<Duration>,
        progress: &mut (dyn FnMut(CopyProgress) + Send),
    ) -> Result<Value, Failure> {
        match self {
            Self::Daemon(socket) => {
                ask(&socket, &Request::Run(operation), timeout, &mut |state| progress(state))
            }
            Self::Own(config) => run_own(&config, operation, progress),
        }
    }
}

/// Does `operation` with an endpoint made for it.
pub(super) fn run_own(
    config: &Config,
    operation: Operation,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<Value, Failure> {
    runtime()?.block_on(async {
        let assembly = assemble(config, Listen::No);
        let endpoint = assembly.map_err(|error| not_own(&error))?.endpoint;
        let outcome = run_operation(&endpoint, operation, progress).await;
        endpoint.drain(DRAIN).await;
        match outcome {
            Ok(outcome) => Ok(outcome.result),
            Err(error) => Err(Failure { exit: error.exit(), message: error.to_string() }),
        }
    })
}

/// A runtime for the processors that this process may use: with one, threads would only hand work to each other.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let is_single = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
    let mut builder = match is_single {
        true => Builder::new_current_thread(),
        false => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build();
    runtime.map_err(|error| Failure::problem(format!("cannot start: {error}")))
}

/// Why there is no endpoint of our own, and what to do if another process is the node.
fn not_own(error: &AssemblyError) -> Failure {
    let words = chain(error);
    match error {
        AssemblyError::Identity(IdentityError::InUse { .. }) => Failure::problem(format!(
            "{words}: say --runtime-dir with the directory of its command socket, and leave out --config"
        )),
        _ => Failure::problem(words),
    }
}

/// Loads a configuration for a command of our own.
pub(super) fn own_config(path: &Path) -> Result<Config, Failure> {
    let loaded = load(path, Colour::Off);
    loaded.map(|loaded| loaded.config).map_err(|failure| Failure::problem(failure.rendered))
}

/// The socket of the one daemon here, or of `node`.
pub(super) fn one_daemon(directory: &Path, node: Option<&str>) -> Result<PathBuf, Failure> {
    let mut found = sockets(directory);
    if let Some(node) = node {
        found.retain(|(name, _)| name == node);
    }
    match (found.len(), node) {
        (1, _) => Ok(found.remove(0).1),
        (0, Some(node)) => Err(Failure::unreachable(format!(
            "no daemon of node {node}: {} has no {node}.sock",
            directory.display()
        ))),
        (0, None) => Err(Failure::unreachable(format!(
            "no daemon runs here (no socket in {}); start dwcpd, or see --runtime-dir and --config",
            directory.display()
        ))),
        _ => {
            let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
            Err(Failure::usage(format!(
                "several nodes run here: say --node with one of {}",
                names.join(", ")
            )))
        }
    }
}
