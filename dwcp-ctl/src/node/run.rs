//! The life of the daemon: serve, reload, hand over, drain.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dwcp_core::config::{Colour, Config};
use dwcp_tcp::succession::{Bequest, OldProcess};
use rustix::process::{Pid, kill_process};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Interval;
use tracing::{error, info, warn};

use super::command_server::Demand;
use super::drain::{Asker, Drain, Visitors, tick};
use super::handover::{HandOver, RestartAsker, Successor, refuse};
use super::notify::{Notifier, watchdog_interval};
use super::reload::{ReloadAsker, ReloadOutcome, Reloads};
use super::start::{forward_name, start};
use super::{Node, load, start_logs};
use crate::exit::DAEMON_CONFIG;

/// Why a reload is refused while another process is about to take over, or if that may have read the file before.
const RESTARTING: &str =
    "a restart is under way: the new process reads the file; reload again once it is over";

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The configuration.
    pub config: PathBuf,
    /// Where command sockets are.
    pub runtime_directory: PathBuf,
    /// Whether diagnostics are coloured.
    pub colour: Colour,
    /// Whether it follows the daemon that is the node now.
    pub is_taking_over: bool,
    /// Where that one's command socket is, if not where the configuration says.
    pub take_over_from: Option<PathBuf>,
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
    // The end is dropped last: what is said on the way out is written.
    let (logs, _log_end) = match start_logs(&loaded.config.logging) {
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
pub(super) struct Daemon {
    pub(super) node: Arc<Node>,
    /// What goes on until the end; dropped there.
    pub(super) _tasks: JoinSet<()>,
    /// The servers of people and programs on this machine: a successor has their sockets.
    pub(super) servers: JoinSet<()>,
    /// Whom they serve; dropped at the end.
    pub(super) visitors: Visitors,
    pub(super) demands: mpsc::Receiver<Demand>,
    pub(super) notifier: Notifier,
    pub(super) socket: PathBuf,
    /// Listening sockets, by name, for a successor; those of forwards come on top.
    pub(super) sockets: Vec<(String, OwnedFd)>,
    /// Whether the command socket's file is a successor's.
    pub(super) is_given_away: Arc<AtomicBool>,
    pub(super) hand_over: HandOver,
    pub(super) reloads: Reloads,
    /// The processes that this one followed, the newest first: a successor goes on with them.
    pub(super) older: Vec<OldProcess>,
    pub(super) signals: Signals,
}

/// Why the daemon stops serving.
enum End {
    /// It is to drain; somebody may want to know what comes of it.
    Drain(Option<Asker>),
    /// Another process is the node.
    Followed(Successor),
}

impl End {
    /// What has come of a reload that was put off.
    fn of_reload(&self) -> Option<ReloadOutcome> {
        match self {
            Self::Drain(_) => None,
            // It was asked for before that process began, which has read the file since.
            Self::Followed(successor) if successor.is_started => Some(Ok(())),
            // One that somebody else has started may have read the file long before it asked for the node.
            Self::Followed(_) => Some(Err(RESTARTING.to_owned())),
        }
    }
}

/// The signals it listens to.
pub(super) struct Signals {
    hangup: Signal,
    user: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn watch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits until the daemon is told to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Daemon {
    /// Serves until told to stop; returns the exit code.
    pub(super) async fn serve(mut self) -> u8 {
        let listen = self.node.endpoint.local_addresses();
        let (node, socket) = (self.node.endpoint.node_id(), self.socket.display());
        info!(node, ?listen, %socket, version = env!("CARGO_PKG_VERSION"), "dwcpd is ready");
        self.tell_ready();
        let mut watchdog = watchdog_interval().map(tokio::time::interval);
        let end = loop {
            tokio::select! {
                _ = self.signals.hangup.recv() => self.reload(None),
                _ = self.signals.user.recv() => self.restart(None, false).await,
                demand = self.demands.recv() => if let Some(end) = self.obey(demand).await {
                    break end;
                },
                outcome = self.reloads.outcome() => self.conclude_reload(&outcome),
                outcome = self.hand_over.outcome() => {
                    // Accepting another process takes a while, and is not broken off: it may be the node already.
                    let concluded = self.hand_over.conclude(outcome);
                    if let Some(successor) = fed(concluded, &mut watchdog, &self.notifier).await {
                        break End::Followed(successor);
                    }
                    self.begin_reload();
                }
                _ = self.signals.terminate.recv() => break End::Drain(None),
                _ = self.signals.interrupt.recv() => break End::Drain(None),
                () = tick(&mut watchdog) => self.notifier.watchdog(),
            }
        };
        // What drains begins nothing new.
        let is_reload_due = self.reloads.end(end.of_reload()).await;
        if let End::Followed(successor) = &end
            && is_reload_due
        {
            pass_on_hangup(successor.pid);
        }
        self.drain(end, watchdog).await
    }

    /// Drains, until that is over or somebody is in a hurry; returns the exit code.
    async fn drain(mut self, end: End, mut watchdog: Option<Interval>) -> u8 {
        let (askers, is_followed) = match end {
            End::Drain(asker) => {
                // A process that is about to take over would lose what this one is going to close.
                self.hand_over.end();
                (asker.into_iter().collect(), false)
            }
            End::Followed(successor) => {
                self.leave(successor).await;
                watchdog = None; // the successor feeds it
                (Vec::new(), true)
            }
        };
        let drain = Drain {
            node: &self.node,
            notifier: &self.notifier,
            demands: &mut self.demands,
            watchdog: &mut watchdog,
            askers,
            is_followed,
            visitors: &self.visitors,
        };
        let signals = &mut self.signals;
        let stopped = async {
            if is_followed {
                // It drains already: the first one asks for nothing more.
                signals.stop().await;
                info!("draining already; a second signal stops it at once");
            }
            signals.stop().await;
        };
        let exit = tokio::select! {
            exit = drain.run() => exit,
            () = stopped => hurried(),
        };
        self.node.evidence.end();
        self.node.logs.repeats().report_last();
        exit
    }

    /// Does what was asked for over the command socket; why the daemon stops serving, if it does.
    async fn obey(&mut self, demand: Option<Demand>) -> Option<End> {
        match demand {
            Some(Demand::Reload(answer)) if self.hand_over.is_under_way() => {
                let _ = answer.send(Err(RESTARTING.to_owned()));
            }
            Some(Demand::Reload(answer)) => self.reload(Some(answer)),
            Some(Demand::Restart(answer, is_forced)) => {
                self.restart(Some(answer), is_forced).await;
            }
            Some(Demand::HandOver(stream)) => self.give(stream).await,
            Some(Demand::Drain(asker)) => return Some(End::Drain(Some(asker))),
            None => return Some(End::Drain(None)),
        }
        None
    }

    /// Reloads, as soon as no other reload is under way, and no process about to take over; `asker` hears what comes of it.
    fn reload(&mut self, asker: Option<ReloadAsker>) {
        self.reloads.ask(asker);
        self.begin_reload();
    }

    /// Begins what is due, if it can begin now.
    fn begin_reload(&mut self) {
        if !self.hand_over.is_under_way() && self.reloads.begin(&self.node) {
            self.notifier.reloading();
        }
    }

    fn conclude_reload(&mut self, outcome: &ReloadOutcome) {
        self.reloads.conclude(outcome);
        self.tell_ready();
        self.begin_reload();
    }

    /// Puts off a reload that is under way: it may hang, and a process that takes over reads the file anyway. It begins anew if that
    /// one does not come to be the node.
    async fn put_off_reload(&mut self) {
        if self.reloads.is_under_way() {
            self.reloads.put_off().await;
            self.tell_ready();
        }
    }

    fn tell_ready(&self) {
        let listen = self.node.endpoint.local_addresses().join(", ");
        self.notifier.ready(&format!("ready, listening on {listen}"));
    }

    /// Has a new process take over, by force if a guess may be wrong; `asker` hears what comes of it. It and a reload would both open
    /// sockets: there is one of them at a time.
    async fn restart(&mut self, asker: Option<RestartAsker>, is_forced: bool) {
        // One that is refused puts nothing off: each time a reload begins anew, it leaves a thread behind.
        if self.hand_over.restart(asker, is_forced) {
            self.put_off_reload().await;
        }
    }

    /// Gives all it listens on to the process at the other end of `stream`.
    async fn give(&mut self, stream: UnixStream) {
        if let Err(why) = self.hand_over.admit(&stream) {
            return refuse(stream, why);
        }
        self.put_off_reload().await;
        match self.share() {
            Ok(sockets) => {
                let bequest = Bequest {
                    incarnation: self.node.endpoint.incarnation(),
                    claim: self.node.identity.share_claim(),
                    sockets,
                    older: self.older.clone(),
                };
                self.hand_over.give(stream, bequest);
            }
            Err(error) => refuse(stream, format!("cannot duplicate a listening socket: {error}")),
        }
        self.begin_reload();
    }

    fn share(&self) -> std::io::Result<Vec<(String, OwnedFd)>> {
        let mut sockets = Vec::new();
        for (name, socket) in &self.sockets {
            sockets.push((name.clone(), socket.as_fd().try_clone_to_owned()?));
        }
        for forward in &self.node.current().forwards {
            sockets.push((forward_name(forward.spec()), forward.share()?));
        }
        Ok(sockets)
    }

    /// Leaves the node to `successor`: what is open goes on here, all else is taken there.
    async fn leave(&mut self, successor: Successor) {
        let pid = successor.pid;
        info!(pid, "another process is the node from now on");
        self.is_given_away.store(true, Ordering::Relaxed);
        self.notifier.main_pid(pid);
        self.node.is_followed.store(true, Ordering::Relaxed);
        // They take nobody new; those who are served are answered.
        self.servers.shutdown().await;
        self.sockets.clear();
        self.node.endpoint.leave(Box::new(successor.announce()));
    }
}

impl Node {
    /// Begins nothing new from now on; returns how long what is under way may take. What peers ask for is still done if
    /// another process `is_followed` by: they may not know of it yet.
    pub(super) fn begin_drain(&self, is_followed: bool) -> Duration {
        if !is_followed {
            // Whoever still asks a process that is followed asks for the node's health, and the node serves.
            self.is_draining.store(true, Ordering::Relaxed);
            self.services.under_way.close();
        }
        self.keepers.set(&[]);
        let mut current = self.current();
        current.forwards.clear();
        current.config.session.drain_timeout.get()
    }
}

/// Has the process that is the node now reload: the signal came while it was not yet.
fn pass_on_hangup(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let passed_on = pid.map(|pid| kill_process(pid, rustix::process::Signal::HUP));
    if !matches!(passed_on, Some(Ok(()))) {
        warn!("a reload that was asked for during the restart was not passed on");
    }
}

/// Waits for `future`, and feeds the watchdog meanwhile.
async fn fed<T>(
    future: impl Future<Output = T>,
    watchdog: &mut Option<Interval>,
    notifier: &Notifier,
) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            value = &mut future => return value,
            () = tick(watchdog) => notifier.watchdog(),
        }
    }
}

fn hurried() -> u8 {
    warn!("stopped at once; messages on their way may be lost");
    1
}
