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

use dwcp_core::{Message, Retry, SendError, Sender};

/// Messages up to this size are written straight into a slot, bytes.
const CLAIM_BYTES_MAX: usize = 256 << 10;

/// Sends a message of `size` bytes with `number` at its front.
///
/// # Errors
/// [`SendError`].
pub async fn send_numbered(sender: &mut Sender, size: usize, number: u64) -> Result<(), SendError> {
    while size <= CLAIM_BYTES_MAX {
        let mut claim = sender.claim(size).await?;
        sequence::stamp(&mut claim, number);
        match claim.commit() {
            // The room was taken between claim and commit: again.
            Err(error) if error.retry() == Retry::Later => {}
            result => return result,
        }
    }
    let mut message = vec![0; size];
    sequence::stamp(&mut message, number);
    sender.send(Message::from(message)).await
}
