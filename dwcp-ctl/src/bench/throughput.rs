//! `bench throughput`: bytes a second over `bench/sink` and `bench/source`.

use std::time::{Duration, Instant};

use dwcp_core::{ChannelOptions, Receiver, Sender, Session};
use serde::{Deserialize, Serialize};

use super::cpu::process_time;
use super::cuts::cut_evenly;
use super::report::round;
use super::sequence::{Order, SequenceCheck, stamped};
use super::{Cpu, Cuts, Environment, Numbered, ThroughputReport, in_a_thread};
use crate::service::bench::{PeerReport, SourcePlan, Start};
use crate::service::{ServiceError, json, labels, receive_json};

/// Which way the bytes go, as this end sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the peer.
    #[default]
    Send,
    /// From the peer.
    Receive,
}

/// What to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThroughputPlan {
    /// Which way.
    pub direction: Direction,
    /// Bytes of each message, at least 8.
    pub size: usize,
    /// How long.
    pub duration_ms: u64,
    /// How often to cut the connection meanwhile.
    pub cuts: u32,
    /// In a thread of its own at each end; not where the peer sends.
    #[serde(default)]
    pub blocking: bool,
}

/// Measures throughput over `session`.
///
/// # Errors
/// [`ServiceError`]; a plan beyond the limits before anything is sent.
///
/// # Cancel safety
/// Dropping it ends the bench.
pub async fn throughput(
    session: &Session,
    plan: &ThroughputPlan,
) -> Result<ThroughputReport, ServiceError> {
    plan.check()?;
    let label = match plan.direction {
        Direction::Send => labels::BENCH_SINK,
        Direction::Receive => labels::BENCH_SOURCE,
    };
    let options = ChannelOptions::bulk().uncompressed();
    let channel = session.open(label, options);
    let channel = channel.map_err(|error| ServiceError::Channel(crate::exit::chain(&error)))?;
    let (mut sender, mut receiver) = channel.split();
    let before = session.stats();
    let (cpu, start) = (process_time(), Instant::now());
    let duration = Duration::from_millis(plan.duration_ms);
    let running = async {
        match plan.direction {
            Direction::Send if plan.blocking => {
                let plan = plan.clone();
                let push =
                    async move { push(&mut sender, &mut receiver, &plan, start + duration).await };
                in_a_thread(push).await
            }
            Direction::Send => push(&mut sender, &mut receiver, plan, start + duration).await,
            Direction::Receive => pull(&mut sender, &mut receiver, plan).await,
        }
    };
    let (result, made) = tokio::join!(running, cut_evenly(session, plan.cuts, duration));
    let peer = result?;
    let (elapsed, after) = (start.elapsed(), session.stats());
    let peer_cpu = Duration::from_nanos(peer.cpu_nanoseconds);
    let seconds = (peer.nanoseconds.max(1)) as f64 / 1e9;
    Ok(ThroughputReport {
        schema: "dwcp.bench-throughput/v1".into(),
        peer: session.peer_id().into(),
        direction: plan.direction,
        size: plan.size,
        seconds: round(seconds, 4),
        messages: peer.messages,
        bytes: peer.bytes,
        bytes_per_second: (peer.bytes as f64 / seconds).round(),
        messages_per_second: (peer.messages as f64 / seconds).round(),
        order: peer.order,
        cpu: Cpu::new(process_time() - cpu, peer_cpu, elapsed, Some(peer.bytes)),
        cuts: Cuts {
            asked: plan.cuts,
            made,
            reconnects: after.reconnects_total - before.reconnects_total,
            in_doubt: after.in_doubt_total - before.in_doubt_total,
        },
        environment: Environment::of(session),
    })
}

/// Sends until `end`; what counts is what the peer received.
async fn push(
    sender: &mut Sender,
    receiver: &mut Receiver,
    plan: &ThroughputPlan,
    end: Instant,
) -> Result<PeerReport, ServiceError> {
    /// Messages between two looks at the clock.
    const STRIDE: u64 = 16;
    /// Longer messages come in pieces: a frame has as much.
    const WHOLE_BYTES_MAX: usize = 64 << 10;
    let in_pieces = plan.size > WHOLE_BYTES_MAX;
    sender.send(json(&Start { blocking: plan.blocking, in_pieces })).await?;
    let mut numbered = Numbered::new(plan.size);
    while !numbered.count().is_multiple_of(STRIDE) || Instant::now() < end {
        numbered.send(sender).await?;
    }
    sender.finish();
    let mut peer: PeerReport = receive_json(receiver).await?;
    // The peer cannot know of messages missing at the end.
    let accounted =
        peer.messages.saturating_add(peer.order.lost).saturating_sub(peer.order.duplicated);
    peer.order.lost += numbered.count().saturating_sub(accounted);
    Ok(peer)
}

/// Receives what the peer sends; times and order are this end's own.
async fn pull(
    sender: &mut Sender,
    receiver: &mut Receiver,
    plan: &ThroughputPlan,
) -> Result<PeerReport, ServiceError> {
    sender.send(json(&SourcePlan { size: plan.size, duration_ms: plan.duration_ms })).await?;
    sender.finish();
    let mut check = SequenceCheck::default();
    let mut times: Option<(Instant, Instant)> = None;
    let (mut messages, mut bytes) = (0, 0);
    // The last message is the report: each is counted only when another follows it.
    let mut held = None;
    while let Some(message) = receiver.recv().await? {
        if let Some(data) = held.replace(message) {
            let now = Instant::now();
            check.note(stamped(&data).unwrap_or(messages));
            messages += 1;
            bytes += data.len() as u64;
            times = Some((times.map_or(now, |(first, _)| first), now));
        }
    }
    let last = held.ok_or_else(|| ServiceError::Malformed("an early end".into()))?;
    let peer: PeerReport = crate::service::parse(&last)?;
    let order: Order = check.finish(peer.messages);
    let nanoseconds = times.map_or(0, |(first, last)| (last - first).as_nanos());
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
    Ok(PeerReport { messages, bytes, nanoseconds, order, ..peer })
}
