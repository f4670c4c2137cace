//! Sealed records that the link has not taken yet.

use std::collections::VecDeque;
use std::io;

use super::scratch::{put_buffer, take_buffer};
use crate::link::LinkSender;
use crate::machine::shed;
use crate::mem::Payload;
use crate::wire::HEADER_BYTES;

/// Room grows by so much: a batch is a little more than 256 KiB, and the next power of two twice as much.
const GROWTH_BYTES: usize = 16 << 10;

/// Records, back to back. Some have their body elsewhere: a link that can, sends it from there.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// `bytes[at..end]` is what is left.
    at: usize,
    end: usize,
    around: VecDeque<Around>,
}

/// A record whose body lies elsewhere.
struct Around {
    /// Where its header lies; all that goes behind the body follows, up to `end`.
    at: usize,
    end: usize,
    body: Payload,
}

impl Outbox {
    /// Begins anew.
    pub(super) fn start(&mut self) {
        debug_assert!(self.is_empty(), "everything before was written");
        self.bytes = take_buffer();
        (self.at, self.end) = (0, 0);
    }

    /// Room for so many bytes behind those put before; [`put`](Self::put) them when they are written.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.end + bytes;
        if self.bytes.len() < end {
            self.bytes.resize(end.next_multiple_of(GROWTH_BYTES), 0);
        }
        &mut self.bytes[self.end..end]
    }

    /// Puts a record of so many bytes.
    pub(super) fn put(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Puts a record of which only the header, and so much that it makes `bytes`, is in the room.
    pub(super) fn put_around(&mut self, bytes: usize, body: Payload) {
        self.around.push_back(Around { at: self.end, end: self.end + bytes, body });
        self.end += bytes;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// Bytes that are left, bodies and all.
    pub(super) fn bytes(&self) -> usize {
        self.end - self.at + self.around.iter().map(|around| around.body.len()).sum::<usize>()
    }

    /// Offers the link what comes next. Returns how many bytes it took.
    ///
    /// # Errors
    /// Those of the link; nothing was taken then.
    pub(super) fn write(&mut self, link: &mut dyn LinkSender) -> io::Result<usize> {
        match self.around.front() {
            Some(around) if around.at == self.at => {
                let (head, tail) = self.bytes[around.at..around.end].split_at(HEADER_BYTES);
                link.try_send_parts(head, &around.body, tail)?;
                let count = around.end - around.at + around.body.len();
                self.at = around.end;
                self.around.pop_front();
                Ok(count)
            }
            next => {
                let end = next.map_or(self.end, |around| around.at);
                let count = link.try_send(&self.bytes[self.at..end])?;
                self.at += count;
                Ok(count)
            }
        }
    }

    /// Gives back what the queue has grown to, if it is empty.
    pub(super) fn shed(&mut self) {
        shed(&mut self.around);
    }

    /// All is written: a path that has nothing to send keeps no buffer.
    pub(super) fn finish(&mut self) {
        put_buffer(std::mem::take(&mut self.bytes));
        (self.at, self.end) = (0, 0);
    }
}
