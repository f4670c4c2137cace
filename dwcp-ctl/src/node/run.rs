//! The life of the daemon: serve, reload, hand over, drain.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dwcp_core::config::{Colour, Config};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::command_server::Demand;
use super::drain::{Asker, Drain, tick};
use super::handover::{HandOver, Successor};
use super::notify::{Notifier, watchdog_interval};
use super::start::{forward_name, start};
use super::{Node, load, start_logs};
use crate::exit::DAEMON_CONFIG;

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
    pub(super) demands: mpsc::Receiver<Demand>,
    pub(super) notifier: Notifier,
    pub(super) socket: PathBuf,
    /// Listening sockets, by name, for a successor; those of forwards come on top.
    pub(super) sockets: Vec<(String, OwnedFd)>,
    /// Whether the command socket's file is a successor's.
    pub(super) is_given_away: Arc<AtomicBool>,
    pub(super) hand_over: HandOver,
    pub(super) successors: mpsc::Receiver<Successor>,
}

/// Why the daemon stops serving.
enum End {
    /// It is to drain; somebody may want to know what comes of it.
    Drain(Option<Asker>),
    /// Another process is the node.
    Followed(Successor),
}

/// The signals it listens to.
struct Signals {
    hangup: Signal,
    user: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
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
        let Ok(mut signals) = Signals::watch() else {
            error!("cannot watch for signals");
            return 1;
        };
        let listen = self.node.endpoint.local_addresses();
        let (node, socket) = (self.node.endpoint.node_id(), self.socket.display());
        info!(node, ?listen, %socket, version = env!("CARGO_PKG_VERSION"), "dwcpd is ready");
        let status = format!("ready, listening on {}", listen.join(", "));
        self.notifier.ready(&status);
        let mut watchdog = watchdog_interval().map(tokio::time::interval);
        let end = loop {
            tokio::select! {
                _ = signals.hangup.recv() => {
                    self.reload(&status).await.ok();
                }
                _ = signals.user.recv() => self.hand_over.restart(None),
                demand = self.demands.recv() => match demand {
                    Some(Demand::Reload(answer)) => {
                        let _ = answer.send(self.reload(&status).await);
                    }
                    Some(Demand::Restart(answer)) => self.hand_over.restart(Some(answer)),
                    Some(Demand::HandOver(stream)) => self.give(stream),
                    Some(Demand::Drain(asker)) => break End::Drain(Some(asker)),
                    None => break End::Drain(None),
                },
                Some(successor) = self.successors.recv() => break End::Followed(successor),
                _ = signals.terminate.recv() => break End::Drain(None),
                _ = signals.interrupt.recv() => break End::Drain(None),
                () = tick(&mut watchdog) => self.notifier.watchdog(),
            }
        };
        let (askers, is_followed) = match end {
            End::Drain(asker) => (asker.into_iter().collect(), false),
            End::Followed(successor) => {
                self.leave(successor);
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
        };
        let exit = tokio::select! {
            exit = drain.run() => exit,
            () = signals.stop() => hurried(),
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

    /// Gives all it listens on to the process at the other end of `stream`.
    fn give(&mut self, stream: UnixStream) {
        match self.share() {
            Ok(sockets) => {
                let claim = self.node.identity.share_claim();
                self.hand_over.give(stream, claim, sockets);
            }
            Err(error) => warn!(%error, "the node was not handed over"),
        }
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
    fn leave(&mut self, successor: Successor) {
        let Successor { pid, relay } = successor;
        info!(pid, "another process is the node from now on");
        self.is_given_away.store(true, Ordering::Relaxed);
        self.notifier.main_pid(pid);
        self.servers.abort_all();
        self.sockets.clear();
        self.node.endpoint.leave(Box::new(relay));
    }
}

impl Node {
    /// Begins nothing new from now on; returns how long what is under way may take. What peers ask for is still done if
    /// another process `is_followed` by: they may not know of it yet.
    pub(super) fn begin_drain(&self, is_followed: bool) -> Duration {
        self.is_draining.store(true, Ordering::Relaxed);
        if !is_followed {
            self.services.under_way.close();
        }
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
