//! How the daemon comes up: everything that can fail, in the order that leaves least behind; alone, or after another
//! process of the node.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use dwcp_core::config::Config;
use dwcp_hybrid::{Assembly, AssemblyError, Listen, assemble, assemble_after};
use dwcp_tcp::succession::OldProcess;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::admin::AdminListener;
use super::command_server::CommandSocket;
use super::evidence::EvidenceLog;
use super::handover::{CommandLine, HandOver};
use super::keeper::Keepers;
use super::load::LoadedConfig;
use super::notify::Notifier;
use super::reload::Reloads;
use super::run::{Daemon, DaemonOptions, Signals};
use super::takeover::TakeOver;
use super::{Current, LogControl, Node, plan, token, watch};
use crate::exit::{DAEMON_CONFIG, DAEMON_UNAVAILABLE, chain};
use crate::service::forward::{BoundForward, ForwardSpec};
use crate::service::{Services, file};

/// How often unfinished files are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Why the daemon did not start: what to say, and how to exit.
pub(super) struct StartFailure {
    pub(super) exit: u8,
    pub(super) message: String,
}

impl StartFailure {
    fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// All that can be refused to a daemon, got.
struct Got {
    assembly: Assembly,
    forwards: Vec<BoundForward>,
    admin: Vec<(String, AdminListener)>,
    /// Where the command socket is.
    socket: PathBuf,
    commands: CommandSocket,
    token: token::Word,
    evidence: Arc<EvidenceLog>,
    command_line: CommandLine,
}

/// Gets it, from `before` where that has it.
async fn get(
    options: &DaemonOptions,
    config: &Config,
    before: &mut Option<TakeOver>,
) -> Result<Got, StartFailure> {
    let assembly = match before {
        Some(before) => assemble_after(config, &mut before.bequest, &before.process),
        None => assemble(config, Listen::Configured),
    };
    let mut assembly = assembly.map_err(|error| not_assembled(&error))?;
    let forwards = bind_forwards(config, before).await?;
    let admin = bind_all_admin(config, before).await?;
    for (name, listener) in &admin {
        let shared = listener.share().map_err(|error| cannot_share(&error))?;
        assembly.sockets.push((name.clone(), shared));
    }
    let node = assembly.endpoint.node_id();
    let socket = plan::socket_path(config, node, &options.runtime_directory);
    let commands = bind_commands(&socket, config, before)?;
    let shared = commands.share().map_err(|error| cannot_share(&error))?;
    assembly.sockets.push((COMMANDS.to_owned(), shared));
    let refused = |message| StartFailure::new(DAEMON_CONFIG, message);
    let token = token::read(config).map_err(refused)?;
    let evidence = Arc::<EvidenceLog>::default();
    let file = config.byzantine.evidence_log.as_ref();
    let file = file.map(|path| evidence.open(path.as_path())).transpose();
    evidence.set(file.map_err(refused)?);
    let command_line = CommandLine::new(options.config.clone(), options.runtime_directory.clone());
    let command_line = command_line.map_err(|error| {
        StartFailure::new(1, format!("cannot find out where this program lies: {error}"))
    })?;
    Ok(Got { assembly, forwards, admin, socket, commands, token, evidence, command_line })
}

/// Brings the daemon up.
pub(super) async fn start(
    options: &DaemonOptions,
    loaded: LoadedConfig,
    logs: LogControl,
) -> Result<Daemon, StartFailure> {
    let mut before = take_over(options, &loaded.config).await?;
    let got = get(options, &loaded.config, &mut before).await?;
    // Before anybody can take this process for the daemon.
    let signals = Signals::watch();
    let signals = signals
        .map_err(|error| StartFailure::new(1, format!("cannot watch for signals: {error}")))?;
    let mut older = Vec::new();
    if let Some(TakeOver { process, bequest }) = before {
        process.succeed().await.map_err(|error| {
            StartFailure::new(1, format!("the process before this one does not make way: {error}"))
        })?;
        older.push(process);
        older.extend(bequest.older);
    }
    Ok(serve(options, loaded, logs, got, signals, older))
}

/// Begins to serve: from here on this process is the node. Nothing here can fail.
fn serve(
    options: &DaemonOptions,
    loaded: LoadedConfig,
    logs: LogControl,
    got: Got,
    signals: Signals,
    older: Vec<OldProcess>,
) -> Daemon {
    let Got { assembly, forwards, admin, socket, commands, token, evidence, command_line } = got;
    commands.own();
    let Assembly { endpoint, identity, degraded, sockets } = assembly;
    degraded.iter().for_each(|reason| warn!("degraded: {reason}"));
    let config = loaded.config;
    let services = services(&config);
    let keepers = Keepers::new(endpoint.clone());
    keepers.set(&plan::kept_peers(&config));
    let started = |bound: BoundForward| bound.start(endpoint.clone(), services.under_way.clone());
    let forwards = forwards.into_iter().map(started).collect();
    let node = Arc::new(Node {
        config_path: options.config.clone(),
        identity,
        services: services.clone(),
        admin: admin.iter().map(|(_, listener)| listener.address()).collect(),
        keepers,
        token: token::Token::new(token),
        ledger: Arc::default(),
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
    let tasks = watchers(&node, services, evidence);
    endpoint.listen();
    let (demand, demands) = mpsc::channel(4);
    let is_given_away = commands.given_away();
    let mut servers = JoinSet::new();
    for (_, listener) in admin {
        servers.spawn(listener.serve(node.clone()));
    }
    servers.spawn(commands.serve(node.clone(), demand));
    let notifier = Notifier::from_environment();
    Daemon {
        node,
        _tasks: tasks,
        servers,
        demands,
        notifier,
        socket,
        sockets,
        is_given_away,
        hand_over: HandOver::new(command_line),
        reloads: Reloads::default(),
        is_reload_due: false,
        restarts_due: Vec::new(),
        older,
        signals,
    }
}

/// What watches the endpoint and the log.
fn watchers(node: &Arc<Node>, services: Arc<Services>, evidence: Arc<EvidenceLog>) -> JoinSet<()> {
    let (endpoint, ledger) = (&node.endpoint, node.ledger.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(node.logs.repeats().clone().report());
    tasks.spawn(watch::accept(endpoint.clone()));
    tasks.spawn(watch::settle(endpoint.clone(), ledger.clone()));
    let events = endpoint.subscribe();
    tasks.spawn(watch::watch(endpoint.clone(), services, ledger, evidence, events));
    tasks
}

/// The name of the command socket among those that change hands.
const COMMANDS: &str = "commands";

/// The name of a forward's socket.
pub(super) fn forward_name(spec: &ForwardSpec) -> String {
    format!("forward {} {}", spec.name, spec.listen)
}

fn cannot_share(error: &std::io::Error) -> StartFailure {
    StartFailure::new(1, format!("cannot duplicate a listening socket: {error}"))
}

/// Asks the daemon that is the node for what it has, if that is wanted.
async fn take_over(
    options: &DaemonOptions,
    config: &Config,
) -> Result<Option<TakeOver>, StartFailure> {
    if !options.is_taking_over {
        return Ok(None);
    }
    let node = super::node_of(config).ok_or_else(|| {
        let words = "nothing says which node this is: set nodeId, or see to keys.cert";
        StartFailure::new(DAEMON_CONFIG, words)
    })?;
    let socket = plan::socket_path(config, &node, &options.runtime_directory);
    let asked = TakeOver::ask(&socket).await;
    asked.map(Some).map_err(|words| StartFailure::new(1, words))
}

fn inherited(before: &mut Option<TakeOver>, name: &str) -> Option<OwnedFd> {
    before.as_mut()?.bequest.take(name)
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

async fn bind_forwards(
    config: &Config,
    before: &mut Option<TakeOver>,
) -> Result<Vec<BoundForward>, StartFailure> {
    let mut forwards = Vec::new();
    for spec in plan::forwards(config) {
        let (name, listen) = (spec.name.clone(), spec.listen.clone());
        let bound = match inherited(before, &forward_name(&spec)) {
            Some(socket) => spec.inherit(socket),
            None => spec.bind().await,
        };
        let bound = bound.map_err(|error| {
            StartFailure::new(1, format!("forward {name}: cannot listen on {listen}: {error}"))
        })?;
        forwards.push(bound);
    }
    Ok(forwards)
}

async fn bind_all_admin(
    config: &Config,
    before: &mut Option<TakeOver>,
) -> Result<Vec<(String, AdminListener)>, StartFailure> {
    let mut all = Vec::new();
    for address in plan::admin_addresses(config) {
        let name = format!("admin {address}");
        let bound = match inherited(before, &name) {
            Some(socket) => Some(
                AdminListener::inherit(socket).map_err(|error| admin_in_use(&address, &error))?,
            ),
            None => bind_admin(&address, config).await?,
        };
        all.extend(bound.map(|listener| (name, listener)));
    }
    Ok(all)
}

fn bind_commands(
    socket: &Path,
    config: &Config,
    before: &mut Option<TakeOver>,
) -> Result<CommandSocket, StartFailure> {
    let bound = match inherited(before, COMMANDS) {
        Some(inherited) => CommandSocket::inherit(inherited, socket),
        None => CommandSocket::bind(socket, &config.admin.group),
    };
    bound.map_err(|error| {
        let help = command_socket_help(error.kind());
        StartFailure::new(1, format!("command socket {}: {error}; {help}", socket.display()))
    })
}

fn command_socket_help(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "there is no room for one more file: `df` and `df -i` on that directory show what is used; free some, or \
             --runtime-dir chooses another directory"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "dwcpd's user may not make files there; --runtime-dir chooses another directory"
        }
        _ => "is another dwcpd running? --runtime-dir chooses another directory",
    }
}

fn services(config: &Config) -> Arc<Services> {
    let services = Arc::new(Services::new(plan::offer(config)));
    tokio::spawn(sweep_daily(Arc::clone(&services)));
    services
}

/// Copies that nobody has gone on with leave unfinished files.
async fn sweep_daily(services: Arc<Services>) {
    loop {
        if let Some(directory) = services.receive_directory() {
            let swept = directory.clone();
            let removed = tokio::task::spawn_blocking(move || file::sweep(&swept, file::KEPT_FOR));
            let (removed, directory) = (removed.await.unwrap_or(0), directory.display());
            if removed > 0 {
                info!(removed, %directory, "old unfinished files removed");
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
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
                ErrorKind::AddrInUse => Err(admin_in_use(address, &error)),
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
