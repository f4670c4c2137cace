//! The life of the daemon: start, serve, reload, drain.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use dwcp_core::config::{Colour, Config};
use dwcp_hybrid::{Assembly, AssemblyError, Listen, assemble};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::admin::AdminListener;
use super::command_server::{CommandSocket, Demand};
use super::drain::{Drain, tick};
use super::evidence::{EvidenceFile, EvidenceLog};
use super::keeper::Keepers;
use super::ledger::Ledger;
use super::load::LoadedConfig;
use super::notify::{Notifier, watchdog_interval};
use super::{Current, LogControl, Node, load, plan, start_logs, token, watch};
use crate::exit::{DAEMON_CONFIG, DAEMON_UNAVAILABLE, chain};
use crate::service::Services;
use crate::service::forward::BoundForward;

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The configuration.
    pub config: PathBuf,
    /// Where command sockets are.
    pub runtime_directory: PathBuf,
    /// Whether diagnostics are coloured.
    pub colour: Colour,
}

/// Why the daemon did not start: what to say, and how to exit.
struct StartFailure {
    exit: u8,
    message: String,
}

impl StartFailure {
    fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// Runs the daemon until it is told to stop; returns its exit code.
pub fn run(options: &DaemonOptions) -> u8 {
    let loaded = match load(&options.config, options.colour) {
        Ok(loaded) => loaded,
        Err(failure) => {
            eprintln!("{}", failure.rendered);
            return DAEMON_CONFIG;
        }
    };
    if !loaded.warnings.is_empty() {
        eprintln!("{}", loaded.warnings);
    }
    let logs = match start_logs(&loaded.config.logging) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("dwcpd: cannot start the log: {error}");
            return 1;
        }
    };
    dwcp_hybrid::prepare_process(&loaded.config).iter().for_each(|problem| warn!("{problem}"));
    let runtime = match runtime(&loaded.config) {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start threads");
            return 1;
        }
    };
    let exit = runtime.block_on(async {
        match start(options, loaded, logs).await {
            Ok(daemon) => daemon.serve().await,
            Err(failure) => {
                error!("{}", failure.message);
                failure.exit
            }
        }
    });
    // Blocking threads of services that were cut short are not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    exit
}

fn runtime(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.limits.max_threads.get() {
        builder.worker_threads(threads as usize);
    }
    builder.enable_all().thread_name("dwcpd").build()
}

/// A daemon that has all it needs.
struct Daemon {
    node: Arc<Node>,
    /// Everything that serves; dropped at the end.
    _tasks: JoinSet<()>,
    demands: mpsc::Receiver<Demand>,
    notifier: Notifier,
    socket: PathBuf,
}

async fn start(
    options: &DaemonOptions,
    loaded: LoadedConfig,
    logs: LogControl,
) -> Result<Daemon, StartFailure> {
    let config = loaded.config;
    let Assembly { endpoint, identity, degraded } =
        assemble(&config, Listen::Configured).map_err(|error| not_assembled(&error))?;
    degraded.iter().for_each(|reason| warn!("degraded: {reason}"));
    let forwards = bind_forwards(&config).await?;
    let mut admin = Vec::new();
    for address in plan::admin_addresses(&config) {
        admin.push(bind_admin(&address, &config).await?);
    }
    let socket = plan::socket_path(&config, endpoint.node_id(), &options.runtime_directory);
    let commands = CommandSocket::bind(&socket, &config.admin.group).map_err(|error| {
        let help = "is another dwcpd running? --runtime-dir chooses another directory";
        StartFailure::new(1, format!("command socket {}: {error}; {help}", socket.display()))
    })?;
    let token = token::read(&config);
    let token = token.map_err(|message| StartFailure::new(DAEMON_CONFIG, message))?;
    let evidence = Arc::<EvidenceLog>::default();
    let file = config.byzantine.evidence_log.as_ref();
    let file = file.map(|path| EvidenceFile::open(path.as_path())).transpose();
    evidence.set(file.map_err(|message| StartFailure::new(DAEMON_CONFIG, message))?);
    let services = services(&config);
    let ledger = Arc::<Ledger>::default();
    let keepers = Keepers::new(endpoint.clone());
    keepers.set(&plan::kept_peers(&config));
    let forwards = forwards
        .into_iter()
        .map(|bound| bound.start(endpoint.clone(), services.under_way.clone()))
        .collect();
    let node = Arc::new(Node {
        config_path: options.config.clone(),
        identity,
        services: services.clone(),
        admin: admin.iter().flatten().map(AdminListener::address).collect(),
        keepers,
        token: token::Token::new(token),
        ledger: ledger.clone(),
        evidence: evidence.clone(),
        logs,
        began: Instant::now(),
        degraded,
        is_ready: AtomicBool::new(true),
        is_draining: AtomicBool::new(false),
        reloads_total: AtomicU64::new(0),
        current: Mutex::new(Current {
            config,
            config_sha: loaded.sha256,
            loaded_at: SystemTime::now(),
            reload_failure: None,
            forwards,
        }),
        endpoint: endpoint.clone(),
    });
    let (demand, demands) = mpsc::channel(4);
    let mut tasks = JoinSet::new();
    tasks.spawn(node.logs.repeats().clone().report());
    tasks.spawn(watch::accept(endpoint.clone()));
    tasks.spawn(watch::settle(endpoint.clone(), ledger.clone()));
    let events = endpoint.subscribe();
    tasks.spawn(watch::watch(endpoint.clone(), services, ledger, evidence, events));
    for listener in admin.into_iter().flatten() {
        tasks.spawn(listener.serve(node.clone()));
    }
    tasks.spawn(commands.serve(node.clone(), demand));
    Ok(Daemon { node, _tasks: tasks, demands, notifier: Notifier::from_environment(), socket })
}

fn not_assembled(error: &AssemblyError) -> StartFailure {
    // What passes is no fault of the file: the unit may try again.
    let exit = match error {
        _ if error.is_unavailable() => DAEMON_UNAVAILABLE,
        _ if error.is_passing() => 1,
        _ => DAEMON_CONFIG,
    };
    StartFailure::new(exit, chain(error))
}

async fn bind_forwards(config: &Config) -> Result<Vec<BoundForward>, StartFailure> {
    let mut forwards = Vec::new();
    for spec in plan::forwards(config) {
        let (name, listen) = (spec.name.clone(), spec.listen.clone());
        let bound = spec.bind().await.map_err(|error| {
            StartFailure::new(1, format!("forward {name}: cannot listen on {listen}: {error}"))
        })?;
        forwards.push(bound);
    }
    Ok(forwards)
}

fn services(config: &Config) -> Arc<Services> {
    let offer = plan::offer(config);
    if let Some(reception) = &offer.reception {
        let directory = reception.directory.clone();
        tokio::task::spawn_blocking(move || sweep(&directory));
    }
    Arc::new(Services::new(offer))
}

/// A receiver that was killed leaves unfinished files; the next one removes them.
fn sweep(directory: &std::path::Path) {
    let removed = crate::service::file::sweep(directory);
    if removed > 0 {
        info!(removed, directory = %directory.display(), "unfinished files of an earlier run removed");
    }
}

/// Binds one admin address. A machine without IPv6 does without `[::1]`.
async fn bind_admin(address: &str, config: &Config) -> Result<Option<AdminListener>, StartFailure> {
    match AdminListener::bind(address).await {
        Ok(listener) => {
            info!(address = listener.address(), "admin HTTP");
            Ok(Some(listener))
        }
        Err(error) if address.starts_with("[::1]") && config.admin_addresses().len() > 1 => {
            match error.kind() {
                std::io::ErrorKind::AddrInUse => Err(admin_in_use(address, &error)),
                _ => {
                    info!(address, %error, "admin HTTP: no IPv6 on this machine");
                    Ok(None)
                }
            }
        }
        Err(error) => Err(admin_in_use(address, &error)),
    }
}

fn admin_in_use(address: &str, error: &std::io::Error) -> StartFailure {
    let help =
        "`ss -ltnp` shows who has it; `admin.listen` or `monitoring.metricsPort` chooses another";
    StartFailure::new(1, format!("admin HTTP: cannot listen on {address}: {error}; {help}"))
}

impl Daemon {
    /// Serves until told to stop; returns the exit code.
    async fn serve(mut self) -> u8 {
        let kinds = (SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt());
        let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) =
            (signal(kinds.0), signal(kinds.1), signal(kinds.2))
        else {
            error!("cannot watch for signals");
            return 1;
        };
        let listen = self.node.endpoint.local_addresses();
        let (node, socket) = (self.node.endpoint.node_id(), self.socket.display());
        info!(node, ?listen, %socket, version = env!("CARGO_PKG_VERSION"), "dwcpd is ready");
        let status = format!("ready, listening on {}", listen.join(", "));
        self.notifier.ready(&status);
        let mut watchdog = watchdog_interval().map(tokio::time::interval);
        let asker = loop {
            tokio::select! {
                _ = hangup.recv() => {
                    self.reload(&status).await.ok();
                }
                demand = self.demands.recv() => match demand {
                    Some(Demand::Reload(answer)) => {
                        let _ = answer.send(self.reload(&status).await);
                    }
                    Some(Demand::Drain(asker)) => break Some(asker),
                    None => break None,
                },
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                () = tick(&mut watchdog) => self.notifier.watchdog(),
            }
        };
        let drain = Drain {
            node: &self.node,
            notifier: &self.notifier,
            demands: &mut self.demands,
            watchdog: &mut watchdog,
            askers: asker.into_iter().collect(),
        };
        let exit = tokio::select! {
            exit = drain.run() => exit,
            _ = terminate.recv() => hurried(),
            _ = interrupt.recv() => hurried(),
        };
        self.node.logs.repeats().report_last();
        exit
    }

    async fn reload(&self, status: &str) -> Result<(), String> {
        self.notifier.reloading();
        let result = self.node.reload().await;
        self.notifier.ready(status);
        result
    }
}

impl Node {
    /// Takes nothing new from now on; returns how long what is under way may take.
    pub(super) fn begin_drain(&self) -> Duration {
        self.is_draining.store(true, Ordering::Relaxed);
        self.services.under_way.close();
        self.keepers.set(&[]);
        let mut current = self.current();
        current.forwards.clear();
        current.config.session.drain_timeout.get()
    }
}

fn hurried() -> u8 {
    warn!("stopped at once; messages on their way may be lost");
    1
}
