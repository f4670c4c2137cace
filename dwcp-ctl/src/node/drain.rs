//! The end of a daemon in good order: nothing new, what runs runs to its end, then the sessions close.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, timeout, timeout_at};
use tracing::{error, info};

use super::Node;
use super::command_server::{Clients, Demand};
use super::handover::refuse;
use super::notify::Notifier;
use super::places::Places;
use crate::service::under_way::WorkCounts;

/// How long sessions may take to say goodbye when the deadline has passed already.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long services that lost their session may take to reset what they served.
const RESET: Duration = Duration::from_millis(500);
/// How long the command socket may take to pass on what came of it.
const ANSWER: Duration = Duration::from_secs(1);
/// Why a process that drains refuses what concerns the node as a whole.
const STOPPING: &str = "the node drains: it is going to stop";
/// The same, of one that only the clients from before it was followed still speak to.
const FOLLOWED: &str = "a restart has put another process in the node's place: ask again";

/// What came of a drain: `dwcp.drain/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// `dwcp.drain/v1`.
    pub schema: String,
    /// Whether it is over. If not, the node goes on draining.
    pub is_over: bool,
    /// What goes on still.
    pub under_way: WorkCounts,
    /// What had not ended at the deadline.
    pub cut_off: WorkCounts,
    /// Sessions that were closed.
    pub sessions: u64,
    /// Messages that the peers have not acked.
    pub unacked_messages: u64,
}

impl DrainReport {
    /// That of a drain that goes on, with `under_way` left.
    pub fn going_on(under_way: WorkCounts) -> Self {
        Self {
            schema: "dwcp.drain/v1".into(),
            is_over: false,
            under_way,
            cut_off: WorkCounts::default(),
            sessions: 0,
            unacked_messages: 0,
        }
    }

    /// Whether everything ended by itself and everything was acked.
    pub fn is_whole(&self) -> bool {
        self.cut_off.total() == 0 && self.unacked_messages == 0
    }
}

/// Who wants to know what came of it, or why it is not done. The second half is held until the answer is written.
pub(super) type Asker = oneshot::Sender<Result<(DrainReport, mpsc::Sender<()>), String>>;

/// The people and programs on this machine that are served.
pub(super) struct Visitors {
    pub(super) admin: Vec<Places>,
    pub(super) commands: Clients,
}

impl Visitors {
    /// Waits until all have what they came for.
    async fn idle(&self) {
        for visitors in &self.admin {
            visitors.idle().await;
        }
        self.commands.idle().await;
    }
}

/// A drain under way.
pub(super) struct Drain<'a> {
    pub(super) node: &'a Node,
    pub(super) notifier: &'a Notifier,
    pub(super) demands: &'a mut mpsc::Receiver<Demand>,
    pub(super) watchdog: &'a mut Option<Interval>,
    pub(super) askers: Vec<Asker>,
    /// Another process is the node already.
    pub(super) is_followed: bool,
    /// Those who were served when it became the node.
    pub(super) visitors: &'a Visitors,
}

impl Drain<'_> {
    /// Drains and returns the daemon's exit code.
    pub(super) async fn run(mut self) -> u8 {
        let node = self.node;
        if !self.is_followed {
            self.notifier.stopping();
        }
        let deadline = node.begin_drain(self.is_followed);
        let end = Instant::now() + deadline;
        let under_way = &node.services.under_way;
        info!(deadline_s = deadline.as_secs(), waits_for = under_way.counts().words(), "draining");
        // What has not ended by then is told, not an error of the wait.
        match self.is_followed {
            true => {
                let visitors = self.visitors;
                let all = async { tokio::join!(settled(node), visitors.idle()) };
                _ = self.meanwhile(timeout_at(end, all)).await;
            }
            false => _ = self.meanwhile(timeout_at(end, under_way.idle())).await,
        }
        under_way.close();
        let cut_off = under_way.counts();
        if cut_off.total() > 0 {
            // A session that takes nothing more ends its services: both their ends see a failure, not an end.
            node.endpoint.sessions().iter().for_each(|session| session.close(0, "going down"));
        }
        let left = end.saturating_duration_since(Instant::now()).max(GOODBYE);
        let drained = self.meanwhile(node.endpoint.drain(left)).await;
        let _ = timeout(RESET, under_way.idle()).await;
        let report = DrainReport {
            is_over: true,
            cut_off,
            sessions: drained.sessions as u64,
            unacked_messages: drained.unacked_messages,
            ..DrainReport::going_on(WorkCounts::default())
        };
        let exit = log(&report);
        self.answer(&report).await;
        exit
    }

    /// Waits for `future`, and serves the watchdog and the command socket meanwhile.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> T {
        let why = if self.is_followed { FOLLOWED } else { STOPPING };
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                value = &mut future => return value,
                Some(demand) = self.demands.recv() => match demand {
                    Demand::Drain(asker) if self.is_followed => _ = asker.send(Err(why.into())),
                    Demand::Drain(asker) => self.askers.push(asker),
                    Demand::Reload(answer) => _ = answer.send(Err(why.into())),
                    Demand::Restart(answer, _) => _ = answer.send(Err(why.into())),
                    Demand::HandOver(stream) => refuse(stream, why.into()),
                },
                () = tick(self.watchdog) => self.notifier.watchdog(),
            }
        }
    }

    /// Tells everybody who asked, and waits until they can have it.
    async fn answer(&mut self, report: &DrainReport) {
        let (held, mut written) = mpsc::channel(1);
        for asker in self.askers.drain(..) {
            let _ = asker.send(Ok((report.clone(), held.clone())));
        }
        drop(held);
        let _ = timeout(ANSWER, written.recv()).await;
    }
}

/// Waits until a node that has left has nothing to do any more: peers that had not heard of it yet may still have asked
/// for something meanwhile.
async fn settled(node: &Node) {
    /// Time for what is on its way.
    const CALM: Duration = Duration::from_secs(1);
    loop {
        node.services.under_way.idle().await;
        let is_told =
            || node.endpoint.sessions().iter().all(|session| session.stats().is_all_acked);
        let was_told = is_told();
        tokio::time::sleep(CALM).await;
        if was_told && is_told() && node.services.under_way.counts().total() == 0 {
            return;
        }
    }
}

fn log(report: &DrainReport) -> u8 {
    let (sessions, unacked) = (report.sessions, report.unacked_messages);
    if report.is_whole() {
        info!(sessions, "stopped; nothing was lost");
        return 0;
    }
    if report.cut_off.total() > 0 {
        let cut_off = report.cut_off.words();
        error!(sessions, unacked, cut_off, "stopped at the deadline; some work was cut off");
    } else {
        error!(sessions, unacked, "stopped; messages stayed un-acked and may be lost");
    }
    1
}

/// The next moment to feed the watchdog; never without one.
pub(super) async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
