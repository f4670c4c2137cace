//! The old process: hands the node over to a new one, which it starts itself or which asks for it.
//!
//! There is one hand-over at a time. Until this process accepts the new one, which is ready then and has begun nothing,
//! nothing changes: one that fails, at whatever point, leaves the old one as it was.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dwcp_tcp::succession::{Bequest, Candidate, RelayListener};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::commands::Answer;
use super::notify::is_watched;
use super::supervisor::{hindrance, hindrance_for_all};
use crate::exit::Exit;

/// How long a new process may take from its start, or its request, to its readiness.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one that broke off may take to end: how it ended says more.
const END: Duration = Duration::from_secs(5);
/// Why a second hand-over is refused.
const UNDER_WAY: &str = "a restart is under way already";

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

/// A new process is the node.
pub(super) struct Successor {
    pub(super) pid: u32,
    pub(super) relay: RelayListener,
    /// Whether this process has started it.
    pub(super) is_started: bool,
    asker: Option<RestartAsker>,
}

impl Successor {
    /// Tells whoever asked for the restart; what passes on connections from now on.
    pub(super) fn announce(self) -> RelayListener {
        let report = RestartReport {
            schema: "dwcp.restart/v1".into(),
            pid: self.pid,
            former_pid: std::process::id(),
        };
        let _ = self.asker.map(|asker| asker.send(Ok(report)));
        self.relay
    }
}

/// How this daemon was started.
#[derive(Clone, Debug)]
pub(super) struct CommandLine {
    /// As it was at the start: an upgrade puts a new program there.
    executable: PathBuf,
    config: PathBuf,
    runtime_directory: PathBuf,
    /// The command socket of this process: the configuration may name another by now.
    socket: PathBuf,
}

impl CommandLine {
    /// That of this process.
    pub(super) fn new(
        config: PathBuf,
        runtime_directory: PathBuf,
        socket: PathBuf,
    ) -> io::Result<Self> {
        Ok(Self { executable: std::env::current_exe()?, config, runtime_directory, socket })
    }

    /// Starts a new daemon that takes over from this one.
    fn start(&self) -> Result<Started, String> {
        let mut command = Command::new(&self.executable);
        command
            .arg("--take-over")
            .arg("--config")
            .arg(&self.config)
            .arg("--runtime-dir")
            .arg(&self.runtime_directory)
            .arg("--take-over-from")
            .arg(&self.socket)
            .stdin(Stdio::null());
        if is_watched() {
            // It names this process, and the watchdog is to be fed by the new one.
            command.env_remove("WATCHDOG_PID");
        }
        let failed = |error| format!("cannot start {}: {error}", self.executable.display());
        let child = dwcp_hybrid::on_first_processors(|| command.spawn());
        Ok(Started { child: child.map_err(failed)?, is_accepted: false })
    }
}

/// A process that was started to take over. Dropping it ends it, unless it was accepted.
struct Started {
    child: Child,
    is_accepted: bool,
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.is_accepted {
            let _ = self.child.start_kill();
        }
    }
}

/// What a process that asks for the node gets, and where.
struct Offer {
    stream: UnixStream,
    /// Which node it is.
    node: String,
    bequest: Bequest,
}

impl Offer {
    /// Gives it, and waits until the process is ready; `None`: it ended before.
    async fn give(mut self) -> io::Result<Option<Candidate>> {
        let result = serde_json::json!({ "schema": "dwcp.hand-over/v1", "node": self.node });
        say(&mut self.stream, &Answer::Done { result }).await?;
        self.bequest.send(self.stream).await?.ready().await
    }
}

async fn say(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Tells the process at the other end of `stream` that it does not get the node.
pub(super) fn refuse(mut stream: UnixStream, message: String) {
    tokio::spawn(async move {
        let answer = Answer::Failed { exit: Exit::Problem.code(), message };
        let _ = timeout(END, say(&mut stream, &answer)).await;
    });
}

/// A process that is ready to take over.
pub(super) struct Ready {
    candidate: Candidate,
    /// If this process has started it.
    started: Option<Started>,
}

/// What came of a hand-over so far: the process, or why there is none.
pub(super) type Outcome = Result<Ready, String>;

/// A hand-over under way. Dropping it ends it, and a process that was started for it.
struct UnderWay {
    asker: Option<RestartAsker>,
    /// The process that was started, and where it gets what it asks for. Once it has asked: nothing.
    awaited: Option<(i32, oneshot::Sender<Offer>)>,
    task: JoinHandle<Outcome>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The part of the daemon that hands over.
pub(super) struct HandOver {
    command_line: CommandLine,
    node: String,
    under_way: Option<UnderWay>,
}

impl HandOver {
    /// For the node called `node`.
    pub(super) fn new(command_line: CommandLine, node: String) -> Self {
        Self { command_line, node, under_way: None }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Starts a new process, by force if a guess may be wrong; `asker` hears what came of it. Whether it was started.
    pub(super) fn restart(&mut self, asker: Option<RestartAsker>, is_forced: bool) -> bool {
        match self.start(is_forced) {
            Err(why) => {
                tell(asker, why);
                false
            }
            Ok(started) => {
                let (place, offer) = oneshot::channel();
                // One that has ended already asks for nothing.
                let pid = started.child.id().and_then(|pid| i32::try_from(pid).ok());
                let awaited = pid.map(|pid| (pid, place));
                let task = tokio::spawn(attend(started, offer));
                self.under_way = Some(UnderWay { asker, awaited, task });
                true
            }
        }
    }

    fn start(&self, is_forced: bool) -> Result<Started, String> {
        match hindrance(is_forced) {
            Some(why) => Err(why.into()),
            None if self.is_under_way() => Err(UNDER_WAY.into()),
            None => self.command_line.start(),
        }
    }

    /// Whether the process at the other end of `stream` may have the node: it outlives this process, nobody else is about to, and while a process
    /// that was started has not asked, it is that one.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn admit(&self, stream: &UnixStream) -> Result<(), String> {
        if let Some(why) = hindrance_for_all() {
            return Err(why.into());
        }
        let Some(under_way) = &self.under_way else { return Ok(()) };
        let pid = stream.peer_cred().ok().and_then(|client| client.pid());
        match &under_way.awaited {
            Some((awaited, _)) if pid == Some(*awaited) => Ok(()),
            _ => Err(UNDER_WAY.into()),
        }
    }

    /// Gives `bequest` to the process at the other end of `stream`, which was [admitted](Self::admit).
    pub(super) fn give(&mut self, stream: UnixStream, bequest: Bequest) {
        let offer = Offer { stream, node: self.node.clone(), bequest };
        if let Some(under_way) = &mut self.under_way {
            // If nobody takes it, the process has ended.
            if let Some((_, place)) = under_way.awaited.take() {
                let _ = place.send(offer);
            }
            return;
        }
        let task = tokio::spawn(async move {
            match timeout(PATIENCE, offer.give()).await {
                Ok(Ok(Some(candidate))) => Ok(Ready { candidate, started: None }),
                Ok(Ok(None)) => Err("the process that asked for the node ended".into()),
                Ok(Err(error)) => Err(format!("the node was not handed over: {error}")),
                Err(_) => Err("the process that asked for the node is not ready".into()),
            }
        });
        self.under_way = Some(UnderWay { asker: None, awaited: None, task });
    }

    /// Waits until the process of the hand-over under way is ready, or there is none. [`conclude`](Self::conclude) is to
    /// follow.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match &mut self.under_way {
            Some(under_way) => {
                (&mut under_way.task).await.unwrap_or_else(|_| Err("it broke off".into()))
            }
            None => std::future::pending().await,
        }
    }

    /// Ends the hand-over: accepts the process that is ready. `None`: this one goes on.
    pub(super) async fn conclude(&mut self, outcome: Outcome) -> Option<Successor> {
        let asker = self.under_way.take().and_then(|mut under_way| under_way.asker.take());
        let accepted = match outcome {
            Ok(Ready { candidate, started }) => {
                let pid = candidate.pid();
                let relay = candidate.accept().await;
                relay.map(|relay| (pid, relay, started)).map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        match accepted {
            Ok((pid, relay, mut started)) => {
                if let Some(started) = &mut started {
                    started.is_accepted = true;
                }
                Some(Successor { pid, relay, is_started: started.is_some(), asker })
            }
            Err(why) => {
                tell(asker, why);
                None
            }
        }
    }

    /// Ends the hand-over under way, if there is one: the process gets nothing, and this one goes on.
    pub(super) fn end(&mut self) {
        if let Some(mut under_way) = self.under_way.take() {
            tell(under_way.asker.take(), "the node drains: it is going to stop".into());
        }
    }
}

/// Says why a hand-over came to nothing.
fn tell(asker: Option<RestartAsker>, why: String) {
    warn!(why, "the node was not handed over; this process goes on");
    let _ = asker.map(|asker| asker.send(Err(why)));
}

/// Waits until the process that was `started` is ready. On every failure it ends.
async fn attend(mut started: Started, offer: oneshot::Receiver<Offer>) -> Outcome {
    let given = async {
        match offer.await {
            Ok(offer) => offer.give().await,
            Err(_) => std::future::pending().await,
        }
    };
    let how = tokio::select! {
        given = given => match given {
            Ok(Some(candidate)) => return Ok(Ready { candidate, started: Some(started) }),
            // It asked, and then gave up: its end says more.
            Ok(None) | Err(_) => match timeout(END, started.child.wait()).await {
                Ok(Ok(status)) => format!("ended with {status}"),
                _ => "broke off".into(),
            },
        },
        end = started.child.wait() => match end {
            Ok(status) => format!("ended with {status}"),
            Err(error) => format!("cannot be waited for: {error}"),
        },
        () = sleep(PATIENCE) => format!("was not ready within {} s", PATIENCE.as_secs()),
    };
    Err(format!("the new process {how}; its log says why"))
}
