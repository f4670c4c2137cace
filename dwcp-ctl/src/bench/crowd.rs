//! Many sessions at once: how fast they begin and come back, and what they hold.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dwcp_core::{Channel, ChannelOptions, Endpoint};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::report::{kernel, round};
use super::sequence::stamp;
use crate::service::bench::Start;
use crate::service::{ServiceError, json, labels};

/// Sessions that begin or come back at the same time. An endpoint lets one address have as many handshakes under way.
const AT_ONCE: usize = 32;
/// A path that lives for less is one that fails, and is brought back with pauses that grow.
const LIFE_MIN: Duration = Duration::from_millis(1_100);
/// How long one session may take for a round trip, cut or not.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a message.
const MESSAGE_BYTES: usize = 64;

/// How fast sessions begin (`dwcp.bench-handshakes/v1`) or come back (`dwcp.bench-resumes/v1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateReport {
    /// Which of both.
    pub schema: String,
    /// Nodes that take part.
    pub sessions: usize,
    /// How many are under way at once.
    pub at_once: usize,
    /// Time that counts.
    pub seconds: f64,
    /// Sessions that have begun, or come back, and have carried a message there and back.
    pub count: u64,
    /// `count / seconds`.
    pub per_second: f64,
    /// The kernel's release.
    pub kernel: String,
    /// Whether this is a build without optimisation.
    pub debug_build: bool,
}

/// What idle sessions hold: `dwcp.bench-sessions/v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionsReport {
    /// `dwcp.bench-sessions/v1`.
    pub schema: String,
    /// Sessions.
    pub sessions: usize,
    /// Growth of the answering process's resident memory with each, without the kernel's.
    pub bytes_per_session: f64,
    /// The same of this process, which has an endpoint for each session as well.
    pub bytes_per_session_and_endpoint: f64,
    /// The kernel's release.
    pub kernel: String,
    /// Whether this is a build without optimisation.
    pub debug_build: bool,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrowdError {
    /// No session.
    #[error("a session does not begin: {}", crate::exit::chain(.0))]
    Connect(#[from] dwcp_core::ConnectError),
    /// The service failed.
    #[error("a session failed: {0}")]
    Service(#[from] ServiceError),
    /// /proc does not tell what a process holds: it has ended, or there is no /proc.
    #[error("/proc/{0}/status does not tell what process {0} holds: has it ended?")]
    Unknown(u32),
    /// It took too long.
    #[error("a session did not carry a message there and back within {} s", PATIENCE.as_secs())]
    Late,
}

/// A session that has carried a message there and back.
struct Member {
    channel: Channel,
    /// Messages so far.
    sent: u64,
    /// Without it the session ends.
    _endpoint: Endpoint,
}

impl Member {
    async fn begin(endpoint: &Endpoint, peer: &str) -> Result<Self, CrowdError> {
        let mut member = Self::open(endpoint, peer).await?;
        member.round_trip().await?;
        Ok(member)
    }

    /// A session for one question: the channel ends with it.
    async fn ask_once(endpoint: &Endpoint, peer: &str) -> Result<Self, CrowdError> {
        let mut member = Self::open(endpoint, peer).await?;
        let sender = &mut member.channel.sender;
        sender.send_last(vec![7; MESSAGE_BYTES]).await.map_err(ServiceError::from)?;
        member.answer().await?;
        Ok(member)
    }

    async fn open(endpoint: &Endpoint, peer: &str) -> Result<Self, CrowdError> {
        let session = endpoint.connect(peer).await?;
        let options = ChannelOptions::default().uncompressed();
        let channel = session.open(labels::BENCH_LATENCY, options);
        let channel = channel.map_err(|error| ServiceError::Channel(crate::exit::chain(&error)))?;
        let mut member = Self { channel, sent: 0, _endpoint: endpoint.clone() };
        let start = json(&Start::default());
        member.channel.sender.send(start).await.map_err(ServiceError::from)?;
        Ok(member)
    }

    async fn round_trip(&mut self) -> Result<(), CrowdError> {
        // In order: what the other end remembers of gaps would count as the session's.
        let mut message = [7; MESSAGE_BYTES];
        stamp(&mut message, self.sent);
        self.sent += 1;
        let sender = &mut self.channel.sender;
        sender.send_copy(&message).await.map_err(ServiceError::from)?;
        sender.flush();
        self.answer().await
    }

    async fn answer(&mut self) -> Result<(), CrowdError> {
        let receiver = &mut self.channel.receiver;
        let comes = async {
            let answer = receiver.recv().await.map_err(ServiceError::from)?;
            let is_whole = answer.is_some_and(|answer| answer.len() == MESSAGE_BYTES);
            let other = || ServiceError::Malformed("not the message that was sent".into());
            is_whole.then_some(()).ok_or_else(other).map_err(CrowdError::from)
        };
        tokio::time::timeout(PATIENCE, comes).await.unwrap_or(Err(CrowdError::Late))
    }

    async fn end(self) -> Result<(), CrowdError> {
        let session = self.channel.session().clone();
        drop(self.channel);
        session.close(0, "bench");
        let closed = tokio::time::timeout(PATIENCE, session.closed()).await;
        closed.map(drop).map_err(|_| CrowdError::Late)
    }
}

/// Does `work` with each of `items`, [`AT_ONCE`] at a time.
async fn each<T, R, F>(
    items: Vec<T>,
    work: impl Fn(T) -> F + Clone + Send + 'static,
) -> Result<Vec<R>, CrowdError>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<R, CrowdError>> + Send + 'static,
{
    let (mut running, mut results) = (JoinSet::new(), Vec::with_capacity(items.len()));
    for item in items {
        if running.len() >= AT_ONCE {
            results.push(joined(running.join_next().await)?);
        }
        let work = work.clone();
        running.spawn(async move { work(item).await });
    }
    while let Some(result) = running.join_next().await {
        results.push(joined(Some(result))?);
    }
    Ok(results)
}

fn joined<R>(
    result: Option<Result<Result<R, CrowdError>, tokio::task::JoinError>>,
) -> Result<R, CrowdError> {
    match result.expect("some are running") {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Begins and ends sessions with `peer` for `duration`, each of `endpoints` one after the other.
///
/// # Errors
/// [`CrowdError`].
///
/// # Cancel safety
/// Dropping it ends the bench.
pub async fn handshakes(
    endpoints: Vec<Endpoint>,
    peer: &str,
    duration: Duration,
) -> Result<RateReport, CrowdError> {
    let (count, peer): (_, Arc<str>) = (Arc::new(AtomicUsize::new(0)), peer.into());
    let sessions = endpoints.len();
    // What is made once is not measured.
    let warm = endpoints.clone();
    let warm_peer = peer.clone();
    each(warm, move |endpoint| {
        let peer = warm_peer.clone();
        async move { Member::ask_once(&endpoint, &peer).await?.end().await }
    })
    .await?;
    let began = Instant::now();
    let mut running = JoinSet::new();
    for endpoint in endpoints {
        let (count, peer) = (count.clone(), peer.clone());
        running.spawn(async move {
            while began.elapsed() < duration {
                Member::ask_once(&endpoint, &peer).await?.end().await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    while let Some(result) = running.join_next().await {
        joined(Some(result))?;
    }
    let count = count.load(Ordering::Relaxed);
    Ok(rate("dwcp.bench-handshakes/v1", sessions, sessions, count, began.elapsed()))
}

/// Cuts the connections of all sessions again and again for `duration`, 32 at a time; what counts is the time from the
/// first cut of a round until a message has come back on the last session.
///
/// # Errors
/// [`CrowdError`].
///
/// # Cancel safety
/// Dropping it ends the bench.
pub async fn resumes(
    endpoints: Vec<Endpoint>,
    peer: &str,
    duration: Duration,
) -> Result<RateReport, CrowdError> {
    let peer: Arc<str> = peer.into();
    let begin = move |endpoint: Endpoint| {
        let peer = peer.clone();
        async move { Member::begin(&endpoint, &peer).await }
    };
    let mut members = each(endpoints, begin).await?;
    let sessions = members.len();
    let (mut count, mut measured, began) = (0, Duration::ZERO, Instant::now());
    while count == 0 || began.elapsed() < duration {
        tokio::time::sleep(LIFE_MIN).await;
        let round = Instant::now();
        let back = |mut member: Member| async move {
            // A session without a path has nothing to cut yet.
            while !member.channel.session().cut(None) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            member.round_trip().await.map(|()| member)
        };
        members = each(members, back).await?;
        measured += round.elapsed();
        count += sessions;
    }
    Ok(rate("dwcp.bench-resumes/v1", sessions, AT_ONCE, count, measured))
}

/// Begins a session of each of `endpoints` with `peer`, the process `pid`, and looks at what both processes hold then.
///
/// # Errors
/// [`CrowdError`].
///
/// # Cancel safety
/// Dropping it ends the bench.
pub async fn sessions(
    endpoints: Vec<Endpoint>,
    peer: &str,
    pid: u32,
) -> Result<SessionsReport, CrowdError> {
    /// Until the processes are at rest.
    const SETTLE: Duration = Duration::from_millis(500);
    let peer: Arc<str> = peer.into();
    let begin = move |endpoint: Endpoint| {
        let peer = peer.clone();
        async move { Member::begin(&endpoint, &peer).await }
    };
    // What is made once, with the first session, is not a session's.
    let mut endpoints = endpoints;
    let first = each(endpoints.split_off(endpoints.len() - 1), begin.clone()).await?;
    tokio::time::sleep(SETTLE).await;
    let before = [resident_bytes(pid)?, resident_bytes(std::process::id())?];
    let count = endpoints.len();
    let members = each(endpoints, begin).await?;
    tokio::time::sleep(SETTLE).await;
    let after = [resident_bytes(pid)?, resident_bytes(std::process::id())?];
    let each = |end: usize| round((after[end] - before[end]) / count.max(1) as f64, 1);
    drop((first, members));
    Ok(SessionsReport {
        schema: "dwcp.bench-sessions/v1".into(),
        sessions: count,
        bytes_per_session: each(0),
        bytes_per_session_and_endpoint: each(1),
        kernel: kernel("osrelease"),
        debug_build: cfg!(debug_assertions),
    })
}

fn rate(
    schema: &str,
    sessions: usize,
    at_once: usize,
    count: usize,
    elapsed: Duration,
) -> RateReport {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    RateReport {
        schema: schema.into(),
        sessions,
        at_once,
        seconds: round(seconds, 3),
        count: count as u64,
        per_second: round(count as f64 / seconds, 1),
        kernel: kernel("osrelease"),
        debug_build: cfg!(debug_assertions),
    }
}

/// Resident memory of process `pid`.
fn resident_bytes(pid: u32) -> Result<f64, CrowdError> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")).map(str::trim);
    let kib = kib.and_then(|kib| kib.parse::<f64>().ok()).ok_or(CrowdError::Unknown(pid))?;
    Ok(kib * 1024.0)
}
