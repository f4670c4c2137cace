//! Describing an endpoint.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, watch as signal};

use super::conduct::{Conduct, ReputationRules};
use super::gate::Gate;
use super::registry::Registry;
use super::strangers::Strangers;
use super::{Counters, Endpoint, Handle, Inner, Peers, random, rotate_keys};
use crate::crypto::{Secret, Suite};
use crate::driver::{Clock, Last, PollDriver, PollSettings};
use crate::link::{Dialer, Listener, PathProvider, Predecessor};
use crate::machine::{ReceiveBudget, SharedBudget};
use crate::mem::Pool;
use crate::rate::{Rate, SharedRate};
use crate::session::EventHub;
use crate::wire::{Compression, MAX_SUITES, valid_node_id};

/// Limits and times of an endpoint and its sessions.
#[derive(Clone)]
#[non_exhaustive]
pub struct EndpointSettings {
    /// How long a session outlives its last path.
    pub time_to_live: Duration,
    /// Receive window of a session, beyond 64 KiB a channel, bytes.
    pub window_bytes: u64,
    /// The largest message received whole, bytes.
    pub max_message_bytes: u64,
    /// Memory for messages of all sessions, sent and received, bytes.
    pub memory_budget_bytes: usize,
    /// What the receive windows of all sessions may promise together, beyond 64 KiB a channel, bytes. No
    /// session holds more of it than it leaves to the others.
    pub receive_budget_bytes: u64,
    /// Pause after which a quiet path is probed.
    pub heartbeat_interval: Duration,
    /// Probes without an answer after which a path is dead.
    pub timeout_multiplier: u32,
    /// How long a switch may prepare or drain.
    pub switch_timeout: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How many handshakes one address (IPv4, or the /64 of IPv6) may begin; `None`: any number.
    pub handshake_rate: Option<Rate>,
    /// The longest pause between attempts to reconnect.
    pub reconnect_delay_max: Duration,
    /// Mixed into every session secret if the nodes share one.
    pub cluster_key: Option<Secret>,
    /// How long a receiver polls the link before it sleeps; zero: never.
    pub spin: Duration,
    /// Sessions at once, whichever end begins them. A session that comes back, or takes the place of another one with the
    /// same peer, is none more.
    pub sessions_max: usize,
    /// Records of `Aead` paths carry an HMAC beside the tag. One end that wants it is enough.
    pub hmac: bool,
    /// What the peer of a session may ask for that costs it no credit: channels, control messages, probes. Beyond it
    /// the session's paths are read more slowly; nothing is lost. `None`: any number.
    pub request_rate: Option<Rate>,
    /// How peers are judged that break the protocol; `None`: their sessions end, and nothing else follows.
    pub reputation: Option<ReputationRules>,
    /// Every session gets new keys after so long, besides what their use demands; `None` or zero: only that.
    pub key_rotation_interval: Option<Duration>,
    /// What moves the records of sessions.
    pub driver: DriverKind,
}

/// What moves the records of an endpoint's sessions. The handles are the same with each, and so is what they
/// need: dialling, accepting and time-outs always run on tokio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverKind {
    /// A task a session on the runtime that the endpoint was built in. Obeys paused time.
    #[default]
    Tokio,
    /// Threads of the endpoint's own, which the runtime's other tasks cannot hold up. They live by the
    /// system's clock, also where tokio's is paused.
    Poll(PollSettings),
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            time_to_live: Duration::from_secs(60),
            window_bytes: 64 << 20,
            max_message_bytes: 64 << 20,
            memory_budget_bytes: 1 << 30,
            receive_budget_bytes: 256 << 20,
            heartbeat_interval: Duration::from_secs(1),
            timeout_multiplier: 5,
            switch_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            handshake_rate: None,
            reconnect_delay_max: Duration::from_secs(5),
            cluster_key: None,
            spin: Duration::from_micros(60),
            sessions_max: 20_000,
            hmac: false,
            request_rate: None,
            reputation: None,
            key_rotation_interval: Some(Duration::from_secs(86_400)),
            driver: DriverKind::Tokio,
        }
    }
}

/// Why an endpoint was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The id may not name a node.
    #[error(
        "{node_id:?} is no node id: 1 to 64 letters, digits, `.`, `_`, `-`, with a letter or digit at both ends"
    )]
    NodeId {
        /// The id.
        node_id: String,
    },
    /// No suite: `dwcp_tcp::suites` has the ones for untrusted networks.
    #[error("no suite was given: sessions cannot be protected")]
    NoSuite,
    /// More suites than a hello names.
    #[error("{given} suites for one kind of medium; a hello names {MAX_SUITES} at most")]
    TooManySuites {
        /// Suites given.
        given: usize,
    },
    /// The poll driver did not start.
    #[error("the poll driver did not start: {reason}")]
    Driver {
        /// What failed.
        reason: String,
    },
}

/// Describes an [`Endpoint`].
pub struct EndpointBuilder {
    node_id: String,
    settings: EndpointSettings,
    suites: Vec<Arc<dyn Suite>>,
    trusted_suites: Vec<Arc<dyn Suite>>,
    compression: Option<Arc<dyn Compression>>,
    dialer: Option<Arc<dyn Dialer>>,
    listeners: Vec<Box<dyn Listener>>,
    providers: Vec<Arc<dyn PathProvider>>,
    peers: Peers,
    predecessors: Vec<Arc<dyn Predecessor>>,
}

impl EndpointBuilder {
    pub(super) fn new(node_id: &str) -> Self {
        Self {
            node_id: node_id.to_owned(),
            settings: EndpointSettings::default(),
            suites: Vec::new(),
            trusted_suites: Vec::new(),
            compression: None,
            dialer: None,
            listeners: Vec::new(),
            providers: Vec::new(),
            peers: Peers::default(),
            predecessors: Vec::new(),
        }
    }

    /// How peers are reached. Without it the endpoint only listens.
    #[must_use]
    pub fn dialer(mut self, dialer: Arc<dyn Dialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }

    /// Where peers come in; any number.
    #[must_use]
    pub fn listener(mut self, listener: Box<dyn Listener>) -> Self {
        self.listeners.push(listener);
        self
    }

    /// How records may be protected; called again, a further suite that is good enough. A session uses the
    /// first of its dialer's that the acceptor was given, too.
    #[must_use]
    pub fn suite(mut self, suite: Arc<dyn Suite>) -> Self {
        self.suites.push(suite);
        self
    }

    /// How records may be protected on trusted media, in the same way; without any, as everywhere.
    #[must_use]
    pub fn trusted_suite(mut self, suite: Arc<dyn Suite>) -> Self {
        self.trusted_suites.push(suite);
        self
    }

    /// Compression, for sessions whose other end has it, too.
    #[must_use]
    pub fn compression(mut self, compression: Arc<dyn Compression>) -> Self {
        self.compression = Some(compression);
        self
    }

    /// A further kind of path, offered to every peer. Paths that come first in order are preferred.
    #[must_use]
    pub fn path_provider(mut self, provider: Arc<dyn PathProvider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// Whom the node talks to.
    #[must_use]
    pub fn peers(mut self, peers: Peers) -> Self {
        self.peers = peers;
        self
    }

    /// The process that was the node before and still has sessions: peers keep those beside new ones, and what resumes
    /// one of them is passed on to it; called again, the one before that.
    #[must_use]
    pub fn predecessor(mut self, predecessor: Arc<dyn Predecessor>) -> Self {
        self.predecessors.push(predecessor);
        self
    }

    /// Limits and times.
    #[must_use]
    pub fn settings(mut self, settings: EndpointSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Makes the endpoint; it listens from now on.
    ///
    /// # Errors
    /// [`BuildError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Result<Endpoint, BuildError> {
        let endpoint = self.prepare()?;
        endpoint.listen();
        Ok(endpoint)
    }

    /// Makes the endpoint, which takes no connection before [`Endpoint::listen`]: those that come in wait.
    ///
    /// # Errors
    /// [`BuildError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn prepare(self) -> Result<Endpoint, BuildError> {
        if !valid_node_id(&self.node_id) {
            return Err(BuildError::NodeId { node_id: self.node_id });
        }
        let suites = self.suites;
        let trusted_suites =
            if self.trusted_suites.is_empty() { suites.clone() } else { self.trusted_suites };
        match suites.len().max(trusted_suites.len()) {
            _ if suites.is_empty() => return Err(BuildError::NoSuite),
            0..=MAX_SUITES => {}
            given => return Err(BuildError::TooManySuites { given }),
        }
        let (clock, polls) = match &self.settings.driver {
            DriverKind::Tokio => (Clock::tokio(), None),
            DriverKind::Poll(settings) => {
                let failed =
                    |error: std::io::Error| BuildError::Driver { reason: error.to_string() };
                (Clock::system(), Some(PollDriver::start(settings).map_err(failed)?))
            }
        };
        let inner = Arc::new(Inner {
            runtime: tokio::runtime::Handle::current(),
            polls,
            node_id: self.node_id,
            incarnation: u64::from_le_bytes(random()),
            pool: Pool::new(self.settings.memory_budget_bytes),
            receive_budget: ReceiveBudget::new(self.settings.receive_budget_bytes),
            send_budget: SharedBudget::new(self.settings.memory_budget_bytes as u64),
            gather_budget: SharedBudget::new(self.settings.memory_budget_bytes as u64),
            gate: Mutex::new(Gate::new(self.settings.handshake_rate)),
            strangers: Mutex::new(Strangers::default()),
            conduct: Mutex::new(Conduct::new(self.settings.reputation)),
            request_rate: Arc::new(SharedRate::new(self.settings.request_rate)),
            asked: Mutex::default(),
            wants_hmac: AtomicBool::new(self.settings.hmac),
            registry: Mutex::new(Registry::new(self.settings.sessions_max)),
            settings: self.settings,
            session_settings: Last::none(),
            suites,
            trusted_suites: Mutex::new(trusted_suites),
            compression: self.compression,
            is_compressing: AtomicBool::new(true),
            dialer: self.dialer,
            providers: self.providers,
            local_addresses: self.listeners.iter().map(|one| one.local_address()).collect(),
            peers: Mutex::new(self.peers),
            predecessors: self.predecessors,
            listeners: Mutex::new(self.listeners),
            is_listening: signal::channel(true).0,
            accepted: Mutex::default(),
            changed: Notify::new(),
            hub: EventHub::new(),
            observer: OnceLock::new(),
            clock,
            is_draining: AtomicBool::new(false),
            is_over: signal::channel(false).0,
            counters: Counters::default(),
            not_accepted: Mutex::default(),
        });
        // Zero would be new keys without a pause.
        let interval = inner.settings.key_rotation_interval.filter(|interval| !interval.is_zero());
        if let Some(interval) = interval {
            rotate_keys(&inner, interval);
        }
        Ok(Endpoint { handle: Arc::new(Handle { inner }) })
    }
}
