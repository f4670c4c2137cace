//! `bench latency`: round trips over `bench/latency`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dwcp_core::{ChannelOptions, Receiver, Sender, Session};
use serde::{Deserialize, Serialize};

use super::cpu::process_time;
use super::cuts::cut_evenly;
use super::latency_record::LatencyRecord;
use super::report::round;
use super::schedule::Schedule;
use super::sequence::{Order, SequenceCheck, stamped};
use super::{Cpu, Cuts, Environment, LatencyReport, Numbered};
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
}

/// What a run gathers.
#[derive(Default)]
struct Gathered {
    record: LatencyRecord,
    check: SequenceCheck,
    sent: u64,
}

/// Measures round trips over `session`.
///
/// # Errors
/// [`ServiceError`].
///
/// # Cancel safety
/// Dropping it ends the bench.
pub async fn latency(session: &Session, plan: &LatencyPlan) -> Result<LatencyReport, ServiceError> {
    let options = ChannelOptions::default().uncompressed();
    let channel = session.open(labels::BENCH_LATENCY, options);
    let channel = channel.map_err(|error| ServiceError::Channel(crate::exit::chain(&error)))?;
    let (mut sender, mut receiver) = channel.split();
    sender.send(json(&Start {})).await?;
    let before = session.stats();
    let (cpu, start) = (process_time(), Instant::now());
    let warm = start + Duration::from_millis(plan.warm_up_ms);
    let duration = Duration::from_millis(plan.duration_ms);
    let end = warm + duration;
    let cutting = async {
        tokio::time::sleep_until(warm.into()).await;
        cut_evenly(session, plan.cuts, duration).await
    };
    let running = async {
        match plan.rate {
            None => closed_loop(&mut sender, &mut receiver, plan.size, warm, end).await,
            Some(rate) => open_loop(&mut sender, &mut receiver, plan.size, rate, warm, end).await,
        }
    };
    let (gathered, made) = tokio::join!(running, cutting);
    let gathered = gathered?;
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

/// Messages leave by the clock, whatever became of those before.
async fn open_loop(
    sender: &mut Sender,
    receiver: &mut Receiver,
    size: usize,
    rate: f64,
    warm: Instant,
    end: Instant,
) -> Result<Gathered, ServiceError> {
    let mut gathered = Gathered::default();
    let mut numbered = Numbered::new(size);
    let schedule = Schedule::new(Instant::now(), rate);
    let mut due = VecDeque::new();
    loop {
        let next = schedule.due(gathered.sent);
        if next >= end && due.is_empty() {
            return Ok(gathered);
        }
        tokio::select! {
            // Answers first: their moment is what is measured.
            biased;
            result = take(receiver, &mut gathered.check), if !due.is_empty() => {
                result?;
                let now = Instant::now();
                if let Some(intended) = due.pop_front().filter(|intended| *intended >= warm) {
                    gathered.record.note(now.saturating_duration_since(intended));
                }
            }
            () = Schedule::wait(next), if next < end => {
                numbered.send(sender).await?;
                sender.flush();
                due.push_back(next);
                gathered.sent += 1;
            }
        }
    }
}

async fn take(receiver: &mut Receiver, check: &mut SequenceCheck) -> Result<(), ServiceError> {
    let message = receiver.recv().await?;
    let message = message.ok_or_else(|| ServiceError::Malformed("an early end".into()))?;
    let number = stamped(&message);
    check.note(number.ok_or_else(|| ServiceError::Malformed("a short answer".into()))?);
    Ok(())
}
