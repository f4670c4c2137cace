//! The old process: hands the node over to a new one, which it starts itself or which asks for it.
//!
//! Until the new process says that it serves, nothing changes: one that fails to start leaves the old one as it was.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dwcp_tcp::succession::{Bequest, RelayListener};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// How long a new process may take from its request to its readiness.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a restart: `dwcp.restart/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartReport {
    /// `dwcp.restart/v1`.
    pub schema: String,
    /// The process that serves from now on.
    pub pid: u32,
    /// The one before, which drains.
    pub former_pid: u32,
}

/// Who waits to hear what came of a restart.
pub(super) type RestartAsker = oneshot::Sender<Result<RestartReport, String>>;

/// A new process serves.
pub(super) struct Successor {
    pub(super) pid: u32,
    pub(super) relay: RelayListener,
}

/// How this daemon was started.
#[derive(Clone, Debug)]
pub(super) struct CommandLine {
    /// As it was at the start: an upgrade puts a new program there.
    executable: PathBuf,
    config: PathBuf,
    runtime_directory: PathBuf,
}

impl CommandLine {
    /// That of this process.
    pub(super) fn new(config: PathBuf, runtime_directory: PathBuf) -> io::Result<Self> {
        Ok(Self { executable: std::env::current_exe()?, config, runtime_directory })
    }

    /// Starts a new daemon that takes over from this one. Returns how it ended, if it did before it served.
    async fn run(&self, served: &mut oneshot::Receiver<u32>) -> Result<u32, String> {
        let place = self.executable.display();
        let child = Command::new(&self.executable)
            .arg("--take-over")
            .arg("--config")
            .arg(&self.config)
            .arg("--runtime-dir")
            .arg(&self.runtime_directory)
            .stdin(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| format!("cannot start {place}: {error}"))?;
        let failed = |how: String| format!("the new process {how}; its log says why");
        tokio::select! {
            pid = served => match pid {
                Ok(pid) => Ok(pid),
                Err(_) => {
                    // It asked, and then gave up: its end says more.
                    let end = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
                    Err(failed(match end {
                        Ok(Ok(status)) => format!("ended with {status}"),
                        _ => "broke off".into(),
                    }))
                }
            },
            end = child.wait() => match end {
                Ok(status) => Err(failed(format!("ended with {status}"))),
                Err(error) => Err(failed(format!("cannot be waited for: {error}"))),
            },
            () = tokio::time::sleep(PATIENCE) => {
                let _ = child.start_kill();
                Err(failed(format!("did not serve within {} s", PATIENCE.as_secs())))
            }
        }
    }
}

/// The part of the daemon that hands over.
pub(super) struct HandOver {
    command_line: CommandLine,
    incarnation: u64,
    /// Where a successor is told of.
    successors: mpsc::Sender<Successor>,
    /// Who waits for the process that was started.
    waiting: Option<oneshot::Sender<u32>>,
}

impl HandOver {
    pub(super) fn new(
        command_line: CommandLine,
        incarnation: u64,
    ) -> (Self, mpsc::Receiver<Successor>) {
        let (successors, receiver) = mpsc::channel(1);
        let waiting = None;
        (Self { command_line, incarnation, successors, waiting }, receiver)
    }

    /// Starts a new process; `asker` hears what came of it.
    pub(super) fn restart(&mut self, asker: Option<RestartAsker>) {
        if self.waiting.as_ref().is_some_and(|waiting| !waiting.is_closed()) {
            let under_way = Err("a restart is under way already".to_owned());
            let _ = asker.map(|asker| asker.send(under_way));
            return;
        }
        let (waiting, mut served) = oneshot::channel();
        self.waiting = Some(waiting);
        let command_line = self.command_line.clone();
        tokio::spawn(async move {
            let result = command_line.run(&mut served).await;
            drop(served);
            if let Err(why) = &result {
                warn!(why, "the restart failed; this process goes on");
            }
            let report = result.map(|pid| RestartReport {
                schema: "dwcp.restart/v1".into(),
                pid,
                former_pid: std::process::id(),
            });
            let _ = asker.map(|asker| asker.send(report));
        });
    }

    /// Gives `sockets` and `claim` to the process at the other end of `stream`, and waits, in the background, until it
    /// serves.
    pub(super) fn give(
        &mut self,
        stream: UnixStream,
        claim: Option<OwnedFd>,
        sockets: Vec<(String, OwnedFd)>,
    ) {
        let bequest = Bequest { incarnation: self.incarnation, claim, sockets };
        let (successors, waiting) = (self.successors.clone(), self.waiting.take());
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, hand_over(bequest, stream)).await {
                Ok(Ok(Some(successor))) => {
                    let _ = waiting.map(|waiting| waiting.send(successor.pid));
                    let _ = successors.send(successor).await;
                }
                Ok(Ok(None)) => info!("the process that asked for the node ended without serving"),
                Ok(Err(error)) => warn!(%error, "the node was not handed over"),
                Err(_) => warn!("the process that asked for the node does not serve"),
            }
        });
    }
}

async fn hand_over(bequest: Bequest, stream: UnixStream) -> io::Result<Option<Successor>> {
    let ready = bequest.send(stream).await?.ready().await?;
    Ok(ready.map(|(pid, relay)| Successor { pid, relay }))
}
