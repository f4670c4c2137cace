//! `bench latency`: round trips over `bench/latency`.

use std::time::{Duration, Instant};

use dwcp_core::{ChannelOptions, Receiver, Sender, Session};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::cpu::process_time;
use super::cuts::cut_evenly;
use super::latency_record::LatencyRecord;
use super::report::round;
use super::schedule::Schedule;
use super::sequence::{Order, SequenceCheck, stamped};
use super::{Cpu, Cuts, Environment, LatencyReport, Numbered, in_a_thread};
use crate::service::bench::{PeerReport, Start};
use crate::service::{ServiceError, json, labels, receive_json};

/// What to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyPlan {
    /// Bytes of each message, at least 8.
    pub size: usize,
    /// How long, after the warm-up.
    pub duration_ms: u64,
    /// How long to run before figures count.
    pub warm_up_ms: u64,
    /// Messages a second; `None`: each follows the answer to the one before.
    pub rate: Option<f64>,
    /// How often to cut the connection meanwhile.
    pub cuts: u32,
    /// In a thread of its own at each end; not with a rate.
    #[serde(default)]
    pub blocking: bool,
}

/// What a run gathers.
#[derive(Default)]
struct Gathered {
    record: LatencyRecord,
    check: SequenceCheck,
    sent: u64,
    /// Due and not sent.
    unsent: u64,
}

/// Measures round trips over `session`.
///
/// # Errors
/// [`ServiceError`]; a plan beyond the limits before anything is sent.
///
/// # Cancel safety
/// Dropping it ends the bench.
pub async fn latency(session: &Session, plan: &LatencyPlan) -> Result<LatencyReport, ServiceError> {
    plan.check()?;
    let options = ChannelOptions::default().uncompressed();
    let channel = session.open(labels::BENCH_LATENCY, options);
    let channel = channel.map_err(|error| ServiceError::Channel(crate::exit::chain(&error)))?;
    let (mut sender, mut receiver) = channel.split();
    sender.send(json(&Start { blocking: plan.blocking, in_pieces: false })).await?;
    let before = session.stats();
    let (cpu, start) = (process_time(), Instant::now());
    let warm = start + Duration::from_millis(plan.warm_up_ms);
    let duration = Duration::from_millis(plan.duration_ms);
    let end = warm + duration;
    let cutting = async {
        tokio::time::sleep_until(warm.into()).await;
        cut_evenly(session, plan.cuts, duration).await
    };
    let (size, rate, blocking) = (plan.size, plan.rate, plan.blocking);
    let loops = async move {
        let ends = (&mut sender, &mut receiver);
        let gathered = match rate {
            None => closed_loop(ends.0, ends.1, size, warm, end).await,
            Some(rate) => open_loop(ends.0, ends.1, size, rate, warm, end).await,
        };
        gathered.map(|gathered| (gathered, sender, receiver))
    };
    let running = async { if blocking { in_a_thread(loops).await } else { loops.await } };
    let (gathered, made) = tokio::join!(running, cutting);
    let (gathered, mut sender, mut receiver) = gathered?;
    sender.finish();
    let peer: PeerReport = receive_json(&mut receiver).await?;
    let elapsed = start.elapsed();
    let after = session.stats();
    let peer_cpu = Duration::from_nanos(peer.cpu_nanoseconds);
    Ok(LatencyReport {
        schema: "dwcp.bench-latency/v1".into(),
        peer: session.peer_id().into(),
        size: plan.size,
        rate: plan.rate,
        seconds: round(warm.elapsed().as_secs_f64(), 3),
        messages: gathered.record.count(),
        unsent: gathered.unsent,
        latency_us: gathered.record.percentiles(),
        order: order(gathered.check.finish(gathered.sent), peer.order),
        cpu: Cpu::new(process_time() - cpu, peer_cpu, elapsed, None),
        cuts: Cuts {
            asked: plan.cuts,
            made,
            reconnects: after.reconnects_total - before.reconnects_total,
            in_doubt: after.in_doubt_total - before.in_doubt_total,
        },
        environment: Environment::of(session),
    })
}

/// Faults of both ways together.
fn order(back: Order, there: Order) -> Order {
    Order {
        lost: back.lost + there.lost,
        duplicated: back.duplicated + there.duplicated,
        reordered: back.reordered + there.reordered,
    }
}

/// Each message follows the answer to the one before.
async fn closed_loop(
    sender: &mut Sender,
    receiver: &mut Receiver,
    size: usize,
    warm: Instant,
    end: Instant,
) -> Result<Gathered, ServiceError> {
    let mut gathered = Gathered::default();
    let mut numbered = Numbered::new(size);
    let mut now = Instant::now();
    while now < end {
        let sent_at = now;
        numbered.send(sender).await?;
        sender.flush();
        gathered.sent += 1;
        take(receiver, &mut gathered.check).await?;
        now = Instant::now();
        if sent_at >= warm {
            gathered.record.note(now - sent_at);
        }
    }
    Ok(gathered)
}

/// Messages leave by the clock, whatever became of those before. Answers are taken meanwhile: a sender that
/// waited for room without reading would wait for ever.
async fn open_loop(
    sender: &mut Sender,
    receiver: &mut Receiver,
    size: usize,
    rate: f64,
    warm: Instant,
    end: Instant,
) -> Result<Gathered, ServiceError> {
    let (intend, intended) = mpsc::unbounded_channel();
    let sending = send_by_clock(sender, size, rate, end, intend);
    let ((sent, unsent), mut gathered) =
        tokio::try_join!(sending, take_answers(receiver, warm, intended))?;
    (gathered.sent, gathered.unsent) = (sent, unsent);
    Ok(gathered)
}

/// Sends until `end` and notes each message's intended moment; returns how many were sent, and how many were
/// due and not sent.
async fn send_by_clock(
    sender: &mut Sender,
    size: usize,
    rate: f64,
    end: Instant,
    intend: mpsc::UnboundedSender<Instant>,
) -> Result<(u64, u64), ServiceError> {
    let mut numbered = Numbered::new(size);
    let start = Instant::now();
    let schedule = Schedule::new(start, rate);
    loop {
        let (due, now) = (schedule.due(numbered.count()), Instant::now());
        if due >= end {
            return Ok((numbered.count(), 0));
        }
        if now >= end {
            let all = ((end - start).as_secs_f64() * rate) as u64;
            return Ok((numbered.count(), all.saturating_sub(numbered.count())));
        }
        if due <= now {
            // Late already: answers come first.
            tokio::task::yield_now().await;
        }
        Schedule::wait(due).await;
        // Nobody listens only when the answers have failed, and then all ends.
        let _ = intend.send(due);
        numbered.send(sender).await?;
        sender.flush();
    }
}

/// Takes the answer to each message of `intended`.
async fn take_answers(
    receiver: &mut Receiver,
    warm: Instant,
    mut intended: mpsc::UnboundedReceiver<Instant>,
) -> Result<Gathered, ServiceError> {
    let mut gathered = Gathered::default();
    while let Some(intended) = intended.recv().await {
        take(receiver, &mut gathered.check).await?;
        // By the answer's moment: at a rate that cannot be kept, all that is sent may have been due before.
        let now = Instant::now();
        if now >= warm {
            gathered.record.note(now.saturating_duration_since(intended));
        }
    }
    Ok(gathered)
}

async fn take(receiver: &mut Receiver, check: &mut SequenceCheck) -> Result<(), ServiceError> {
    let message = receiver.recv().await?;
    let message = message.ok_or_else(|| ServiceError::Malformed("an early end".into()))?;
    let number = stamped(&message);
    check.note(number.ok_or_else(|| ServiceError::Malformed("a short answer".into()))?);
    Ok(())
}
