//! A batch that is filled outside of the machine.

use super::send_side::SendSide;
use super::settings::{BATCH_MESSAGE_BYTES_MAX, frame_cost};
use super::{ChannelKey, Machine};
use crate::mem::SlotMut;
use crate::wire::{FRAME_BYTES, length_bytes, write_length};

/// The open batch of a channel, with as much room as credit and frame allow. Until it is back
/// ([`Machine::take_back`]) nothing else may be asked of the channel's sending side.
pub(crate) struct Lent {
    slot: SlotMut,
    /// Messages in it, and those that were before.
    messages: u32,
    messages_before: u32,
    bytes_before: usize,
    /// How full it may become.
    bytes_max: usize,
    message_bytes_max: usize,
}

/// How far ahead memory is asked for: a few messages of a cache line each.
const PREFETCH_BYTES: usize = 1024;

impl Lent {
    /// Commits a copy of `message`. False: it is too long, or there is no room.
    #[inline]
    pub(crate) fn append(&mut self, message: &[u8]) -> bool {
        let bytes = length_bytes(message.len()) + message.len();
        if self.slot.len() + bytes > self.bytes_max || message.len() > self.message_bytes_max {
            return false;
        }
        write_length(message.len(), |length| self.slot.extend(length));
        self.slot.extend(message);
        self.slot.prefetch(PREFETCH_BYTES, bytes);
        self.messages += 1;
        true
    }
}

impl SendSide {
    /// Lends the open batch for messages of at most `message_bytes_max`. `None`: there is none, or none may grow.
    pub(super) fn lend(&mut self, message_bytes_max: usize) -> Option<Lent> {
        if self.finished || self.is_cutting() {
            return None;
        }
        let credit = usize::try_from(self.credit()).unwrap_or(usize::MAX);
        let (slot, messages) = self.take_batch()?;
        let paid = frame_cost(slot.len() as u64) as usize;
        let bytes_max = paid.saturating_add(credit).min(FRAME_BYTES).min(slot.capacity());
        Some(Lent {
            bytes_before: slot.len(),
            messages_before: messages,
            bytes_max,
            message_bytes_max,
            slot,
            messages,
        })
    }

    /// What [`lend`](Self::lend) gave is back.
    fn take_back(&mut self, lent: Lent) {
        let cost = |bytes: usize| frame_cost(bytes as u64);
        let more = cost(lent.slot.len()) - cost(lent.bytes_before);
        let count = lent.messages - lent.messages_before;
        self.put_batch(lent.slot, lent.messages, count, more);
    }
}

impl Machine {
    /// Lends the batch that `channel` is filling, so that messages can be committed without the machine: by
    /// [`Lent::append`], as [`send_copy`](Self::send_copy) would. `None`: it is filling none, or takes no more.
    pub(crate) fn lend_batch(&mut self, channel: ChannelKey) -> Option<Lent> {
        if self.is_over || self.closing.is_some() {
            return None;
        }
        let limit = usize::try_from(self.settings.peer_max_message_bytes).unwrap_or(usize::MAX);
        let room = self.channels.get_mut(channel)?;
        room.send.lend(limit.min(BATCH_MESSAGE_BYTES_MAX))
    }

    /// What [`lend_batch`](Self::lend_batch) gave is back: before anything else is asked of the channel.
    pub(crate) fn take_back(&mut self, channel: ChannelKey, lent: Lent) {
        if let Some(room) = self.channels.get_mut(channel) {
            room.send.take_back(lent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::send_side::SendSide;
    use super::super::share::{Share, SharedBudget};
    use super::*;
    use crate::mem::Pool;

    /// A channel's sending side with `limit` of credit.
    fn side(limit: u64) -> SendSide {
        SendSide::new(limit, 64, Share::new(SharedBudget::new(1 << 30)))
    }

    fn fill(lent: &mut Lent, message: &[u8]) -> u64 {
        let mut count = 0;
        while lent.append(message) {
            count += 1;
        }
        count
    }

    /// Both ways to commit take the same messages, at the same cost, whatever limits them.
    #[test]
    fn what_is_appended_counts_as_what_is_sent() {
        let pool = Pool::new(16 << 20);
        for limit in [300, 1_000, 70_000, 1 << 20] {
            for bytes in [0, 1, 64, 127, 128, 1_000, 8_000] {
                let message = vec![7; bytes];
                let (mut sent, mut lent) = (side(limit), side(limit));
                for one in [&mut sent, &mut lent] {
                    // Under load batches gather in large slots.
                    for _ in 0..2 {
                        let _ = one.send_copy(&[1], &pool);
                        one.close_batch();
                    }
                }
                let first = (sent.send_copy(&message, &pool), lent.send_copy(&message, &pool));
                assert_eq!(first.0, first.1);
                let Some(mut batch) = lent.lend(BATCH_MESSAGE_BYTES_MAX) else {
                    assert!(first.0.is_err(), "there is a batch to lend");
                    continue;
                };
                let appended = fill(&mut batch, &message);
                lent.take_back(batch);
                for _ in 0..appended {
                    sent.send_copy(&message, &pool).expect("as many are taken");
                }
                assert_eq!((sent.messages(), sent.credit()), (lent.messages(), lent.credit()));
                let next = (sent.send_copy(&message, &pool), lent.send_copy(&message, &pool));
                assert_eq!(next.0, next.1);
                assert_eq!((sent.last_seq(), sent.credit()), (lent.last_seq(), lent.credit()));
            }
        }
    }

    #[test]
    fn a_side_that_takes_no_more_lends_nothing() {
        let pool = Pool::new(16 << 20);
        let mut one = side(1 << 20);
        assert!(one.lend(64).is_none(), "nothing was begun");
        one.send_copy(b"a", &pool).expect("room");
        let mut lent = one.lend(64).expect("a batch");
        assert!(!lent.append(&[0; 65]) && lent.append(&[0; 64]), "the peer takes no longer ones");
        one.take_back(lent);
        assert_eq!(one.messages(), (2, 0));
        one.finish();
        assert!(one.lend(64).is_none());
    }
}
