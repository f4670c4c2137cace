//! `dwcp-ctl bench`: what is measured, how, and what it comes to.

pub mod cpu;
mod cuts;
mod latency;
pub mod latency_record;
mod report;
pub mod schedule;
pub mod sequence;
mod throughput;

pub use latency::{LatencyPlan, latency};
pub(crate) use report::kernel;
pub use report::{Cpu, Cuts, Environment, LatencyReport, ThroughputReport};
pub use throughput::{Direction, ThroughputPlan, throughput};

use bytes::BytesMut;
use dwcp_core::Message;

/// Memory for small messages is taken this much at a time, bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Makes messages of one size with 0, 1, 2, … at their front.
pub struct Numbered {
    size: usize,
    next: u64,
    chunk: BytesMut,
}

impl Numbered {
    /// Messages of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { size, next: 0, chunk: BytesMut::new() }
    }

    /// Messages made.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// The next message.
    pub fn message(&mut self) -> Message {
        if self.chunk.len() < self.size {
            self.chunk = BytesMut::zeroed(self.size.max(CHUNK_BYTES));
        }
        let mut bytes = self.chunk.split_to(self.size);
        sequence::stamp(&mut bytes, self.next);
        self.next += 1;
        bytes.freeze().into()
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
                let message = numbered.message();
                assert_eq!((message.len(), sequence::stamped(&message)), (size, Some(number)));
            }
            assert_eq!(numbered.count(), 5);
        }
    }
}
