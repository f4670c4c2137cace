//! `bench/…`: the end of a benchmark that answers.

use std::future::Future;
use std::time::{Duration, Instant};

use dwcp_core::{Channel, Receiver, Sender};
use serde::{Deserialize, Serialize};

use super::{Service, ServiceError, codes, json, receive_first};
use crate::bench::Numbered;
use crate::bench::cpu::process_time;
use crate::bench::limits::check_source;
use crate::bench::sequence::{Order, SequenceCheck, stamped};

/// The first message of `bench/sink` and `bench/latency`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Start {
    /// Answered in a thread of its own, where the peer gives one: a daemon does not.
    #[serde(default)]
    pub blocking: bool,
    /// `bench/sink`: messages are so long that they come in pieces, and are counted as they come.
    #[serde(default)]
    pub in_pieces: bool,
}

/// The first message of `bench/source`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourcePlan {
    /// Bytes of each message.
    pub size: usize,
    /// How long to send.
    pub duration_ms: u64,
}

/// The last message of every bench: what the answering end saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PeerReport {
    /// Messages it received (source: sent).
    pub messages: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// From the first message to the last.
    pub nanoseconds: u64,
    /// What was wrong with their order.
    pub order: Order,
    /// Processor time its process used meanwhile, user and system.
    pub cpu_nanoseconds: u64,
}

/// Counts what comes.
struct Tally {
    cpu: Duration,
    first: Option<Instant>,
    last: Instant,
    check: SequenceCheck,
    messages: u64,
    bytes: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            cpu: process_time(),
            first: None,
            last: Instant::now(),
            check: SequenceCheck::default(),
            messages: 0,
            bytes: 0,
        }
    }

    #[inline]
    fn note(&mut self, message: &[u8], now: Instant) {
        let number = stamped(message).unwrap_or(self.messages);
        self.note_number(number, message.len() as u64, now);
    }

    #[inline]
    fn note_number(&mut self, number: u64, bytes: u64, now: Instant) {
        self.first.get_or_insert(now);
        self.last = now;
        self.check.note(number);
        self.messages += 1;
        self.bytes += bytes;
    }

    fn finish(self) -> PeerReport {
        PeerReport {
            messages: self.messages,
            bytes: self.bytes,
            nanoseconds: self.first.map_or(0, |first| nanoseconds(self.last - first)),
            // How many were sent, the sender knows: what is missing at the end it adds by itself.
            order: self.check.finish(0),
            cpu_nanoseconds: nanoseconds(process_time() - self.cpu),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sends every message back. `may_block`: in a thread of its own, if the peer asks for that.
pub fn echo(channel: Channel, may_block: bool) -> Service {
    begin(channel, may_block, |_, sender, receiver| Box::pin(send_back(sender, receiver)))
}

// What the services work with is made outside of their futures: one that is handed its arguments holds them twice, and
// thousands of idle channels with it.

/// Begins `service` as the first message asks. What reading that takes is let go of before.
fn begin(
    channel: Channel,
    may_block: bool,
    service: fn(&Start, Sender, Receiver) -> Service,
) -> Service {
    // What is measured is the path: the other end has compression off, too.
    channel.set_compression(false);
    let (mut sender, mut receiver) = channel.split();
    let begun = Box::pin(async move {
        let start: Start = receive_first(&mut sender, &mut receiver).await?;
        Ok::<_, ServiceError>((start.blocking && may_block, service(&start, sender, receiver)))
    });
    Box::pin(async move {
        let (blocking, service) = begun.await?;
        // In a thread of its own that waits by itself, or here.
        if blocking { crate::bench::in_a_thread(service).await } else { service.await }
    })
}

fn send_back(
    mut sender: Sender,
    mut receiver: Receiver,
) -> impl Future<Output = Result<(), ServiceError>> + Send {
    let mut tally = Tally::new();
    async move {
        while let Some(message) = receiver.recv().await? {
            tally.note(&message, Instant::now());
            sender.send(message).await?;
        }
        sender.send_last(json(&tally.finish())).await?;
        Ok(())
    }
}

/// Counts and checks every message. `may_block`: in a thread of its own, if the peer asks for that.
pub fn sink(channel: Channel, may_block: bool) -> Service {
    begin(channel, may_block, |start, sender, receiver| match start.in_pieces {
        true => Box::pin(take_in_pieces(sender, receiver)),
        false => Box::pin(take_in(sender, receiver)),
    })
}

/// As whoever stores or passes on what comes: no message is put together first.
async fn take_in_pieces(mut sender: Sender, mut receiver: Receiver) -> Result<(), ServiceError> {
    let (mut tally, mut first): (_, Option<u64>) = (Tally::new(), None);
    while let Some(chunk) = receiver.recv_chunk().await? {
        let number =
            first.take().unwrap_or_else(|| stamped(&chunk.bytes).unwrap_or(tally.messages));
        match chunk.is_last {
            true => tally.note_number(number, chunk.total_bytes, Instant::now()),
            false => first = Some(number),
        }
    }
    sender.send_last(json(&tally.finish())).await?;
    Ok(())
}

async fn take_in(mut sender: Sender, mut receiver: Receiver) -> Result<(), ServiceError> {
    let mut tally = Tally::new();
    while let Some(mut batch) = receiver.recv_batch().await? {
        // One look at the clock for all that came together.
        let now = Instant::now();
        while let Some(message) = batch.next_message() {
            tally.note(message, now);
        }
    }
    sender.send_last(json(&tally.finish())).await?;
    Ok(())
}

/// Sends numbered messages for as long as the peer asked.
///
/// # Errors
/// [`ServiceError`]; [`ServiceError::Plan`] for a plan beyond the limits.
pub async fn source(channel: Channel) -> Result<(), ServiceError> {
    // What is measured is the path: the other end has compression off, too.
    channel.set_compression(false);
    let (mut sender, mut receiver) = channel.split();
    let plan: SourcePlan = receive_first(&mut sender, &mut receiver).await?;
    check_source(plan.size, plan.duration_ms).inspect_err(|_| sender.reset(codes::MALFORMED))?;
    let duration = Duration::from_millis(plan.duration_ms);
    let (cpu, start) = (process_time(), Instant::now());
    let mut report = PeerReport::default();
    let mut numbered = Numbered::new(plan.size);
    while start.elapsed() < duration {
        numbered.send(&mut sender).await?;
        // Where the peer gives credit without end, nothing else makes this wait for anybody.
        tokio::task::coop::consume_budget().await;
        report.messages += 1;
        report.bytes += plan.size as u64;
    }
    report.nanoseconds = nanoseconds(start.elapsed());
    report.cpu_nanoseconds = nanoseconds(process_time() - cpu);
    sender.send_last(json(&report)).await?;
    Ok(())
}
