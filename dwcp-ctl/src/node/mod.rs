//! The daemon: `dwcpd`.

mod admin;
mod aside;
mod chatter;
mod command_server;
mod drain;
mod evidence;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod keeper;
mod ledger;
mod lines;
mod load;
mod logs;
mod notify;
mod operations;
mod places;
mod reload;
mod repeats;
mod routes;
mod run;
mod start;
mod supervisor;
mod takeover;
pub(crate) mod token;
mod watch;

pub mod commands;
pub mod health;
pub mod health_codes;
pub mod metrics;
pub mod plan;
pub mod runtime_directory;
pub mod status;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use dwcp_core::Endpoint;
use dwcp_core::config::Config;
use dwcp_tcp::Identity;

pub use drain::DrainReport;
pub use handover::RestartReport;
pub use load::{LoadFailure, load};
pub use logs::{LogControl, start_logs};
pub use operations::{OperationError, Outcome, run_operation};
pub use run::{DaemonOptions, run};

use crate::service::Services;
use crate::service::forward::ForwardListener;
use aside::Aside;
use evidence::EvidenceLog;
use keeper::Keepers;
pub use ledger::Doubt;
use ledger::Ledger;

/// What the parts of a running daemon share.
pub struct Node {
    /// Where the configuration lies.
    config_path: std::path::PathBuf,
    endpoint: Endpoint,
    identity: Identity,
    services: Arc<Services>,
    keepers: Keepers,
    ledger: Arc<Ledger>,
    evidence: Arc<EvidenceLog>,
    token: token::Token,
    /// Addresses of the admin HTTP server.
    admin: Vec<String>,
    logs: LogControl,
    /// What reads files for a reload.
    aside: Aside,
    began: Instant,
    /// What works worse than configured, since the start.
    degraded: Vec<String>,
    is_ready: AtomicBool,
    is_draining: AtomicBool,
    /// Whether another process is the node by now, and this one ends what it has.
    is_followed: AtomicBool,
    reloads_total: AtomicU64,
    current: Mutex<Current>,
}

/// What a reload replaces.
struct Current {
    config: Config,
    /// SHA-256 of the file's text, hexadecimal.
    config_sha: String,
    loaded_at: SystemTime,
    /// Why the last reload was refused, in one line.
    reload_failure: Option<String>,
    forwards: Vec<ForwardListener>,
}

/// The node of `config`: by its own word, or by its certificate. `None` if neither says; then there is no
/// endpoint to be made of it either.
pub(crate) fn node_of(config: &Config) -> Option<String> {
    match &config.node_id {
        Some(node) => Some(node.as_str().to_owned()),
        None => dwcp_tcp::node_id_of_certificate(config.keys.cert.as_path()).ok(),
    }
}

/// Serves every session of `endpoint` with `services` until the endpoint ends.
///
/// # Cancel safety
/// Dropping it takes no new sessions; those being served go on.
pub async fn serve_sessions(endpoint: Endpoint, services: Arc<Services>) {
    let events = endpoint.subscribe();
    tokio::join!(
        watch::accept(endpoint.clone()),
        watch::watch(endpoint, services, Arc::default(), events)
    );
}

impl Node {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
