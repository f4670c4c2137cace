//! Short messages that came together.

use bytes::Bytes;

use super::Receiver;
use crate::mem::{Message, Payload, Prepaid};
use crate::wire::read_length;

/// A batch that is being read, and how far.
pub(super) struct Reading {
    bytes: Shared,
    at: usize,
}

enum Shared {
    Slot {
        prepaid: Prepaid,
        /// Where the batch lies in the slot.
        start: usize,
        len: usize,
    },
    Bytes(Bytes),
}

/// A length leads out of the batch.
pub(super) struct Malformed;

impl Reading {
    /// Nothing to read.
    pub(super) fn none() -> Self {
        Self { bytes: Shared::Bytes(Bytes::new()), at: 0 }
    }

    pub(super) fn of(payload: Payload) -> Self {
        let bytes = match payload {
            Payload::Bytes(bytes) => Shared::Bytes(bytes),
            Payload::Slot(slice) => {
                let (start, len) = (slice.start(), slice.len());
                Shared::Slot { prepaid: Prepaid::new(slice.into_slot()), start, len }
            }
        };
        Self { bytes, at: 0 }
    }

    #[inline]
    fn all(&self) -> &[u8] {
        match &self.bytes {
            Shared::Slot { prepaid, start, len } => &prepaid[*start..*start + *len],
            Shared::Bytes(bytes) => bytes,
        }
    }

    /// Where the next message lies. `None`: there is no other.
    #[inline(always)]
    fn step(&mut self) -> Result<Option<(usize, usize)>, Malformed> {
        let rest = self.all().get(self.at..).filter(|rest| !rest.is_empty());
        let Some(rest) = rest else { return Ok(None) };
        let (length, used) = read_length(rest).ok_or(Malformed)?;
        let start = self.at + used;
        self.at = start + length;
        Ok(Some((start, length)))
    }

    /// The next message. What it lies in is let go of with the last one.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Message>, Malformed> {
        let Some((at, length)) = self.step()? else { return Ok(None) };
        let (payload, total) = match &mut self.bytes {
            Shared::Slot { prepaid, start, len } => {
                (Payload::Slot(prepaid.slice(*start + at, length)), *len)
            }
            Shared::Bytes(bytes) => (Payload::Bytes(bytes.slice(at..at + length)), bytes.len()),
        };
        if self.at == total {
            self.end();
        }
        Ok(Some(Message(payload)))
    }

    /// The next message where it lies: no reference is counted. `None`: there is no other, or its length leads out of the
    /// batch, which [`next`](Self::next) tells.
    #[inline]
    pub(super) fn next_in_place(&mut self) -> Option<&[u8]> {
        let (at, length) = self.step().ok()??;
        Some(&self.all()[at..at + length])
    }

    #[cold]
    fn end(&mut self) {
        *self = Self::none();
    }

    /// Lets go of what is read to its end.
    pub(super) fn let_go(&mut self) {
        if self.at == self.all().len() {
            *self = Self::none();
        }
    }
}

/// Messages that arrived together, each to be looked at where it lies: [`Receiver::recv_batch`]. Those that are left when it
/// is dropped come next.
#[derive(Debug)]
pub struct Batch<'a> {
    receiver: &'a mut Receiver,
    /// The message that is being looked at, if it had to be taken out.
    shown: Option<Message>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(receiver: &'a mut Receiver) -> Self {
        Self { receiver, shown: None }
    }

    /// The next message; `None` when there is no other in this batch.
    #[inline]
    pub fn next_message(&mut self) -> Option<&[u8]> {
        match self.receiver.take_held() {
            Some(first) => Some(self.shown.insert(first)),
            None => self.receiver.next_in_place(),
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.receiver.let_go_of_read();
    }
}
