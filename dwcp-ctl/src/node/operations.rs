//! What a node does with a peer on request: inside the daemon, or inside `dwcp-ctl` with an endpoint of its
//! own.

use std::time::Duration;

use dwcp_core::machine::Closed;
use dwcp_core::{ConnectError, Endpoint, Events, Session, SessionEvent};
use serde_json::Value;

use super::commands::{CutReport, Operation, PingReport, RekeyReport};
use crate::bench;
use crate::exit::{Exit, chain};
use crate::service::ServiceError;
use crate::service::file::{self, CopyOptions, CopyProgress};
use crate::units::counted;

/// How long a session may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What an operation came to.
#[derive(Debug)]
pub struct Outcome {
    /// The result, with its schema.
    pub result: Value,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// No session.
    #[error("peer {peer}: {}", chain(source))]
    Connect {
        /// The peer.
        peer: String,
        /// Why.
        source: ConnectError,
    },
    /// No session in time.
    #[error("peer {peer}: no session within {} s; is it running and reachable?", CONNECT_TIMEOUT.as_secs())]
    TimedOut {
        /// The peer.
        peer: String,
    },
    /// The peer does not answer.
    #[error("peer {peer}: {reason}")]
    Silent {
        /// The peer.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The service failed.
    #[error("peer {peer}: {source}")]
    Service {
        /// The peer.
        peer: String,
        /// Why.
        source: ServiceError,
    },
    /// The session ended before the service did.
    #[error("peer {peer}: the session ended: {why}{}", doubtful(*in_doubt))]
    SessionOver {
        /// The peer.
        peer: String,
        /// How.
        why: String,
        /// Messages of the session that may or may not have been delivered.
        in_doubt: u64,
    },
    /// A file cannot be sent.
    #[error(transparent)]
    Walk(#[from] file::WalkError),
}

impl OperationError {
    /// How a command that meets it exits.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Silent { .. } => Exit::Unreachable,
            Self::Service { .. } | Self::SessionOver { .. } | Self::Walk(_) => Exit::Problem,
        }
    }
}

fn doubtful(messages: u64) -> String {
    match messages {
        0 => "; no message is in doubt".into(),
        more => {
            let messages = counted(more, "message is", "messages are");
            format!("; {messages} in doubt: delivered at most once, perhaps not")
        }
    }
}

/// The value, or why there is none: a channel that failed does not know that its session ended, and how.
async fn or_why<T>(
    result: Result<T, ServiceError>,
    session: &Session,
    mut events: Events,
) -> Result<T, OperationError> {
    /// How long the end of a session may lag behind that of its channels.
    const LAG: Duration = Duration::from_millis(200);
    /// How long what it leaves in doubt may lag behind its end.
    const COUNT_LAG: Duration = Duration::from_secs(2);
    let peer = session.peer_id().to_owned();
    let source = match result {
        Ok(value) => return Ok(value),
        Err(source) => source,
    };
    let is_channel = matches!(source, ServiceError::Channel(_));
    let (true, Ok(closed)) = (is_channel, tokio::time::timeout(LAG, session.closed()).await) else {
        return Err(OperationError::Service { peer, source });
    };
    // Its last event: what is in doubt is counted by then.
    let over = async {
        while let Some(event) = events.recv().await {
            if event.session == Some(session.id()) && matches!(event.event, SessionEvent::Closed(_))
            {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(COUNT_LAG, over).await;
    let in_doubt = session.stats().in_doubt_total;
    Err(OperationError::SessionOver { peer, why: describe(&closed), in_doubt })
}

fn describe(closed: &Closed) -> String {
    match closed {
        Closed::ByPeer { reason, .. } => {
            format!("the peer closed it: {}", crate::service::words_of_peer(reason))
        }
        Closed::ByUs => "this node closed it".into(),
        Closed::Expired => "no path for longer than session.timeToLive".into(),
        Closed::MemoryShort => {
            "memory.poolSize is too small for the long messages that it had half of at once".into()
        }
        Closed::CertificateEnded => "a certificate behind it ended: renew it, then reload".into(),
        Closed::PeerRestarted => "the peer restarted".into(),
        Closed::PeerViolated(violation) => format!("the peer broke the protocol: {violation}"),
    }
}

/// Does `operation` over `endpoint`.
///
/// # Errors
/// [`OperationError`].
///
/// # Cancel safety
/// Dropping it cancels the operation at both ends.
pub async fn run_operation(
    endpoint: &Endpoint,
    operation: Operation,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<Outcome, OperationError> {
    let peer = operation.peer().to_owned();
    let events = endpoint.subscribe();
    let result = match operation {
        Operation::Cut { .. } => json(&cut(endpoint, &peer)),
        Operation::Rekey { .. } => json(&rekey(endpoint, &peer)),
        Operation::Ping { count, timeout_ms, .. } => {
            let limit = Duration::from_millis(timeout_ms);
            let session = connect(endpoint, &peer, limit).await?;
            json(&ping(&session, count, limit).await?)
        }
        Operation::BenchLatency { plan, .. } => {
            let session = connect(endpoint, &peer, CONNECT_TIMEOUT).await?;
            let measured = session.clone();
            let bench = async move { bench::latency(&measured, &plan).await };
            json(&or_why(on_a_worker(bench).await, &session, events).await?)
        }
        Operation::BenchThroughput { plan, .. } => {
            let session = connect(endpoint, &peer, CONNECT_TIMEOUT).await?;
            let measured = session.clone();
            let bench = async move { bench::throughput(&measured, &plan).await };
            json(&or_why(on_a_worker(bench).await, &session, events).await?)
        }
        Operation::Copy {
            directory,
            files,
            recursive,
            compress,
            verify,
            limit_bytes_per_second,
            ..
        } => {
            // A tree may be large, and its disk slow.
            let walk = tokio::task::spawn_blocking(move || file::walk(&files, recursive));
            let walk = match walk.await {
                Ok(walk) => walk?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            let session = connect(endpoint, &peer, CONNECT_TIMEOUT).await?;
            let options = CopyOptions { compress, verify, limit_bytes_per_second };
            let report = file::send(&session, walk, &directory, options, progress).await;
            json(&or_why(report, &session, events).await?)
        }
    };
    Ok(Outcome { result })
}

/// Runs `future` as a task of the runtime's, where services run, and not in the thread that started the runtime:
/// wake-ups between that thread and the workers would be measured, too. Dropping it ends the task.
async fn on_a_worker<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(future);
    match tasks.join_next().await.expect("one was spawned") {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn connect(
    endpoint: &Endpoint,
    peer: &str,
    limit: Duration,
) -> Result<Session, OperationError> {
    match tokio::time::timeout(limit, endpoint.connect(peer)).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(source)) => Err(OperationError::Connect { peer: peer.to_owned(), source }),
        Err(_) => Err(OperationError::TimedOut { peer: peer.to_owned() }),
    }
}

fn rekey(endpoint: &Endpoint, peer: &str) -> RekeyReport {
    let sessions = endpoint.sessions();
    let mut paths = 0;
    for session in sessions.iter().filter(|session| session.peer_id() == peer) {
        session.rekey();
        paths += session.stats().paths.len();
    }
    RekeyReport { schema: "dwcp.rekey/v1".into(), peer: peer.to_owned(), paths }
}

fn cut(endpoint: &Endpoint, peer: &str) -> CutReport {
    let sessions = endpoint.sessions();
    let with_it = sessions.iter().filter(|session| session.peer_id() == peer);
    let was_cut = with_it.fold(false, |was_cut, session| session.cut(None) | was_cut);
    CutReport { schema: "dwcp.cut/v1".into(), peer: peer.to_owned(), was_cut }
}

async fn ping(
    session: &Session,
    count: u32,
    limit: Duration,
) -> Result<PingReport, OperationError> {
    let mut rtt_us = Vec::new();
    for _ in 0..count {
        let rtt = session.ping(limit).await.map_err(|error| OperationError::Silent {
            peer: session.peer_id().to_owned(),
            reason: error.to_string(),
        })?;
        rtt_us.push((rtt.as_nanos() as f64 / 10.0).round() / 100.0);
    }
    let stats = session.stats();
    let path = stats.paths.iter().find(|path| Some(path.id) == stats.active);
    Ok(PingReport {
        schema: "dwcp.ping/v1".into(),
        peer: session.peer_id().to_owned(),
        path: path.map_or_else(String::new, |path| path.kind.name().to_owned()),
        rtt_us,
    })
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("plain data serialises")
}
