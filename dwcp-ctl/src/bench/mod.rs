//! `dwcp-ctl bench`: what is measured, how, and what it comes to.

pub mod cpu;
pub mod crowd;
mod cuts;
mod latency;
pub mod latency_record;
pub mod limits;
mod report;
pub mod schedule;
pub mod sequence;
mod throughput;

pub use latency::{LatencyPlan, latency};
pub(crate) use report::kernel;
pub use report::{Cpu, Cuts, Environment, LatencyReport, ThroughputReport};
pub use throughput::{Direction, ThroughputPlan, throughput};

use std::collections::VecDeque;
use std::future::Future;

use bytes::{Bytes, BytesMut};
use dwcp_core::{SendError, Sender};

/// Runs `work` in a thread that does nothing else, and waits there for what it waits for. Dropping it leaves the thread to
/// end by itself, with its session.
///
/// # Panics
/// As `work` does.
pub(crate) async fn in_a_thread<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(move || dwcp_core::block_on(work)).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Messages of one size with 0, 1, 2, … at their front. Their memory is used again when the session is done
/// with it, as a service would: what is measured is the transport, not the allocator.
pub struct Numbered {
    size: usize,
    next: u64,
    /// Whether messages are short enough to be copied.
    is_short: bool,
    copied: Vec<u8>,
    /// Messages on their way, oldest first.
    lent: VecDeque<Bytes>,
}

impl Numbered {
    /// Messages of `size` bytes.
    pub fn new(size: usize) -> Self {
        /// Up to here a copy costs less than sharing.
        const SHORT_BYTES_MAX: usize = 8 << 10;
        let is_short = size <= SHORT_BYTES_MAX;
        let copied = if is_short { vec![0; size] } else { Vec::new() };
        Self { size, next: 0, is_short, copied, lent: VecDeque::new() }
    }

    /// Messages made.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// Sends the next message.
    ///
    /// # Errors
    /// [`SendError`]; the message does not count.
    ///
    /// # Cancel safety
    /// Cancel-safe: the message was sent and counts, or neither.
    pub async fn send(&mut self, sender: &mut Sender) -> Result<(), SendError> {
        if self.is_short {
            sequence::stamp(&mut self.copied, self.next);
            sender.send_copy(&self.copied).await?;
        } else {
            let bytes = self.fill();
            sender.send(bytes.clone()).await?;
            self.lent.push_back(bytes);
        }
        self.next += 1;
        Ok(())
    }

    /// A message in memory that nobody else uses, with its number.
    fn fill(&mut self) -> Bytes {
        let mut bytes = match self.lent.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(bytes)) => bytes,
            Some(Err(used)) => {
                self.lent.push_front(used);
                BytesMut::zeroed(self.size)
            }
            None => BytesMut::zeroed(self.size),
        };
        sequence::stamp(&mut bytes, self.next);
        bytes.freeze()
    }
}

#[cfg(test)]
mod pair_tests;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_and_of_one_size() {
        for size in [8, 64, 3 << 19, 2 << 20] {
            let mut numbered = Numbered::new(size);
            for number in 0..5 {
                let message = numbered.fill();
                assert_eq!((message.len(), sequence::stamped(&message)), (size, Some(number)));
                numbered.next += 1;
            }
        }
    }
}
