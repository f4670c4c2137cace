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
use super::aside::Aside;
use super::command_server::{CommandSocket, Demand};
use super::drain::Visitors;
use super::evidence::EvidenceLog;
use super::handover::{CommandLine, HandOver};
use super::keeper::Keepers;
use super::ledger::Ledger;
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
    /// Where that of the process before this one is, if it is another.
    former_socket: Option<PathBuf>,
    token: token::Word,
    evidence: Arc<EvidenceLog>,
    command_line: CommandLine,
}

impl Got {
    /// Changes what a process before this one, if it `is_after` one, had a part in: not before this one is the node.
    fn own(&mut self, config: &Config, is_after: bool) {
        self.commands.own(&config.admin.group);
        // It leads to that process, which is about to leave.
        self.former_socket.take().map(std::fs::remove_file);
        if is_after {
            self.assembly.set_socket_options(config);
        }
    }
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
    let mut assembly = assembly.map_err(|error| not_assembled(&error, config, before.as_ref()))?;
    let forwards = bind_forwards(config, before).await?;
    let admin = bind_all_admin(config, before).await?;
    for (name, listener) in &admin {
        let shared = listener.share().map_err(|error| cannot_share(&error))?;
        assembly.sockets.push((name.clone(), shared));
    }
    let node = assembly.endpoint.node_id();
    let socket = plan::socket_path(config, node, &options.runtime_directory);
    let commands = bind_commands(&socket, config, before)?;
    let is_elsewhere = |before: &TakeOver| !before.commands_at(&socket);
    let former_socket = before.as_ref().filter(|before| is_elsewhere(before));
    let former_socket = former_socket.map(|before| before.socket.clone());
    let shared = commands.share().map_err(|error| cannot_share(&error))?;
    assembly.sockets.push((COMMANDS.to_owned(), shared));
    let refused = |message| StartFailure::new(DAEMON_CONFIG, message);
    let token = token::read(config).map_err(refused)?;
    let evidence = Arc::<EvidenceLog>::default();
    let file = config.byzantine.evidence_log.as_ref();
    let file = file.map(|path| evidence.open(path.as_path())).transpose();
    evidence.set(file.map_err(refused)?);
    let (config, directory) = (options.config.clone(), options.runtime_directory.clone());
    let command_line = CommandLine::new(config, directory, socket.clone());
    let command_line = command_line.map_err(|error| {
        StartFailure::new(1, format!("cannot find out where this program lies: {error}"))
    })?;
    Ok(Got {
        assembly,
        forwards,
        admin,
        socket,
        commands,
        former_socket,
        token,
        evidence,
        command_line,
    })
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
    if let Some(TakeOver { process, bequest, .. }) = before {
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
    mut got: Got,
    signals: Signals,
    older: Vec<OldProcess>,
) -> Daemon {
    got.own(&loaded.config, !older.is_empty());
    let Got { assembly, forwards, admin, socket, commands, .. } = got;
    let (token, evidence, command_line) = (got.token, got.evidence, got.command_line);
    let Assembly { endpoint, identity, degraded, sockets } = assembly;
    degraded.iter().for_each(|reason| warn!("degraded: {reason}"));
    let config = loaded.config;
    let services = services(&config);
    let ledger = Ledger::of(&endpoint);
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
        ledger,
        evidence: evidence.clone(),
        logs,
        aside: Aside::default(),
        began: Instant::now(),
        degraded,
        is_ready: AtomicBool::new(true),
        is_draining: AtomicBool::new(false),
        is_followed: AtomicBool::new(false),
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
    let is_given_away = commands.given_away();
    let (servers, visitors, demands) = serve_machine(&node, admin, commands);
    let name = node.endpoint.node_id().to_owned();
    Daemon {
        node,
        _tasks: tasks,
        servers,
        visitors,
        demands,
        notifier: Notifier::from_environment(),
        socket,
        sockets,
        is_given_away,
        hand_over: HandOver::new(command_line, name),
        reloads: Reloads::default(),
        older,
        signals,
    }
}

/// Begins to serve people and programs on this machine; the servers, whom they serve, and what is asked of the main loop.
fn serve_machine(
    node: &Arc<Node>,
    admin: Vec<(String, AdminListener)>,
    commands: CommandSocket,
) -> (JoinSet<()>, Visitors, mpsc::Receiver<Demand>) {
    let (demand, demands) = mpsc::channel(4);
    let visitors = Visitors {
        admin: admin.iter().map(|(_, listener)| listener.visitors()).collect(),
        commands: commands.clients(),
    };
    let mut servers = JoinSet::new();
    for (_, listener) in admin {
        servers.spawn(listener.serve(node.clone()));
    }
    servers.spawn(commands.serve(node.clone(), demand));
    (servers, visitors, demands)
}

/// What watches the endpoint and the log.
fn watchers(node: &Arc<Node>, services: Arc<Services>, evidence: Arc<EvidenceLog>) -> JoinSet<()> {
    let (endpoint, ledger) = (&node.endpoint, node.ledger.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(node.logs.repeats().clone().report());
    tasks.spawn(watch::accept(endpoint.clone()));
    tasks.spawn(watch::settle(endpoint.clone(), ledger.clone()));
    let events = endpoint.subscribe();
    tasks.spawn(watch::watch(endpoint.clone(), services, evidence, events));
    tasks
}

/// The name of the command socket among those that change hands.
const COMMANDS: &str = "commands";

/// The name of a forward's socket.
pub(super) fn forward_name(spec: &ForwardSpec) -> String {
    format!("forward {} {}", spec.name, spec.listen)
}

/// Whether `name` is that of a socket of any forward that listens on `listen`.
fn is_forward_on(name: &str, listen: &str) -> bool {
    let forward = name.strip_prefix("forward ").and_then(|rest| rest.rsplit_once(' '));
    forward.is_some_and(|(_, place)| place == listen)
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
    let socket = options.take_over_from.clone();
    let configured = || plan::socket_path(config, &node, &options.runtime_directory);
    let asked = TakeOver::ask(socket.unwrap_or_else(configured), &node).await;
    asked.map(Some).map_err(|words| StartFailure::new(1, words))
}

fn inherited(before: &mut Option<TakeOver>, name: &str) -> Option<OwnedFd> {
    before.as_mut()?.bequest.take(name)
}

/// Why `address` is in use, if that is the process before this one: what to say after `error`.
fn overlap(before: Option<&TakeOver>, error: &std::io::Error, ports: &[u16]) -> String {
    let before = before.filter(|_| error.kind() == ErrorKind::AddrInUse);
    let words = before.and_then(|before| ports.iter().find_map(|port| before.overlap(*port)));
    words.map(|words| format!("; {words}")).unwrap_or_default()
}

/// The port of `ip:port`.
fn port(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
}

fn not_assembled(
    error: &AssemblyError,
    config: &Config,
    before: Option<&TakeOver>,
) -> StartFailure {
    // What passes is no fault of the file: the unit may try again.
    let exit = match error {
        _ if error.is_unavailable() => DAEMON_UNAVAILABLE,
        _ if error.is_passing() => 1,
        _ => DAEMON_CONFIG,
    };
    let why = match error {
        AssemblyError::Listen { error, .. } => {
            let ports = config.listen_addresses();
            let ports: Vec<_> = ports.iter().map(|address| address.port()).collect();
            overlap(before, error, &ports)
        }
        _ => String::new(),
    };
    StartFailure::new(exit, chain(error) + &why)
}

async fn bind_forwards(
    config: &Config,
    before: &mut Option<TakeOver>,
) -> Result<Vec<BoundForward>, StartFailure> {
    let wanted = plan::forwards(config);
    // Of several on a port that the system chooses, the one of the same name; a renamed one has its place still.
    let of_name = |spec: &ForwardSpec| inherited(before, &forward_name(spec));
    let mut sockets: Vec<_> = wanted.iter().map(of_name).collect();
    for (spec, socket) in wanted.iter().zip(&mut sockets).filter(|(_, socket)| socket.is_none()) {
        let is_there = |name: &str| is_forward_on(name, &spec.listen);
        *socket = before.as_mut().and_then(|before| before.take(is_there));
    }
    let mut forwards = Vec::new();
    for (spec, socket) in wanted.into_iter().zip(sockets) {
        let (name, listen) = (spec.name.clone(), spec.listen.clone());
        let bound = match socket {
            Some(socket) => spec.inherit(socket),
            None => spec.bind().await,
        };
        let bound = bound.map_err(|error| {
            let why = overlap(before.as_ref(), &error, &[port(&listen)]);
            let words = format!("forward {name}: cannot listen on {listen}: {error}{why}");
            StartFailure::new(1, words)
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
                AdminListener::inherit(socket)
                    .map_err(|error| admin_in_use(&address, &error, None))?,
            ),
            None => bind_admin(&address, config, before.as_ref()).await?,
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
    let is_same = before.as_ref().is_some_and(|before| before.commands_at(socket));
    let bound = match is_same.then(|| inherited(before, COMMANDS)).flatten() {
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
            let swept = tokio::task::spawn_blocking(move || file::sweep(&swept, file::KEPT_FOR));
            let file::Swept { removed, is_cut_short } = swept.await.unwrap_or_default();
            let directory = directory.display();
            if removed > 0 {
                info!(removed, %directory, "old unfinished files removed");
            }
            if is_cut_short {
                warn!(%directory, "too many files to look for unfinished ones among all of them");
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

/// Binds one admin address. A machine without IPv6 does without `[::1]`.
async fn bind_admin(
    address: &str,
    config: &Config,
    before: Option<&TakeOver>,
) -> Result<Option<AdminListener>, StartFailure> {
    match AdminListener::bind(address).await {
        Ok(listener) => {
            info!(address = listener.address(), "admin HTTP");
            Ok(Some(listener))
        }
        Err(error) if address.starts_with("[::1]") && config.admin_addresses().len() > 1 => {
            match error.kind() {
                ErrorKind::AddrInUse => Err(admin_in_use(address, &error, before)),
                _ => {
                    info!(address, %error, "admin HTTP: no IPv6 on this machine");
                    Ok(None)
                }
            }
        }
        Err(error) => Err(admin_in_use(address, &error, before)),
    }
}

fn admin_in_use(address: &str, error: &std::io::Error, before: Option<&TakeOver>) -> StartFailure {
    let help =
        "`ss -ltnp` shows who has it; `admin.listen` or `monitoring.metricsPort` chooses another";
    let why = overlap(before, error, &[port(address)]);
    StartFailure::new(1, format!("admin HTTP: cannot listen on {address}: {error}; {help}{why}"))
}
