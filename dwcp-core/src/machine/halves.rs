//! The two halves of a channel, one at a time: for tests that hold them against naive models.

use super::held::Held;
use super::receive_side::ReceiveSide;
use super::send_side::{SendSide, SentState};
use super::settings::{CHANNEL_WINDOW_MIN, MAX_FRAMES_AHEAD};
use super::share::Share;
use super::window::{ReceiveBudget, Window};
use super::{SendError, Time, Violation};
use crate::mem::{Payload, Pool};
use crate::wire::{self, Ack, DataFrame, PathId};

/// Reads the length before a message in a batch, and how many bytes it took.
pub fn read_length(rest: &[u8]) -> Option<(usize, usize)> {
    wire::read_length(rest)
}

/// The sending half of a channel.
pub struct Sending {
    side: SendSide,
    pool: Pool,
    channel: u32,
}

impl Sending {
    /// A half that has the credit a channel is born with.
    pub fn new(channel: u32, pool: Pool) -> Self {
        let side = SendSide::new(CHANNEL_WINDOW_MIN, MAX_FRAMES_AHEAD as usize, Share::default());
        Self { side, pool, channel }
    }

    /// Commits a message.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        let payload = Payload::Bytes(bytes::Bytes::copy_from_slice(message));
        self.side.send(&payload, &self.pool)
    }

    /// The next frame that waits, as it goes out.
    pub fn transmit(&mut self) -> Option<DataFrame> {
        let (seq, sent) = self.side.next_queued()?;
        let payload = sent.payload.clone();
        let length = payload.len() as u32;
        let frame =
            DataFrame { channel: self.channel, seq, kind: sent.kind, payload, length, pull: None };
        let state = SentState::InFlight { path: PathId(0), at: Time(0), pulled: false };
        self.side.mark_sent(seq, state);
        Some(frame)
    }

    /// A frame was lost: it waits again, unless it is acked.
    pub fn lose(&mut self, seq: u64) {
        self.side.requeue(seq, false);
    }

    /// Applies an ack; whether it was one that an honest peer can send.
    pub fn handle_ack(&mut self, ack: &Ack) -> bool {
        self.side.handle_ack(ack, |_| ()).is_some()
    }

    /// Applies the peer's limit.
    pub fn handle_credit(&mut self, limit: u64) {
        self.side.handle_credit(limit);
    }

    /// Whether nothing is un-acked.
    pub fn is_all_acked(&self) -> bool {
        self.side.is_all_acked()
    }

    /// Messages committed, and those before the first un-acked frame.
    pub fn messages(&self) -> (u64, u64) {
        self.side.messages()
    }
}

/// The receiving half of a channel.
pub struct Receiving {
    side: ReceiveSide,
    channel: u32,
    window: Window,
}

impl Receiving {
    /// A half whose window may grow by `spare` bytes.
    pub fn new(channel: u32, spare: u64) -> Self {
        let window = Window::new(spare, ReceiveBudget::new(u64::MAX));
        Self { side: ReceiveSide::new(false, Held::default()), channel, window }
    }

    /// Takes a frame in; whether it had arrived before.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn arrive(&mut self, frame: DataFrame) -> Result<bool, Violation> {
        self.side.arrive(frame, u64::MAX).map(|arrival| arrival.is_duplicate)
    }

    /// The ack that tells what is here.
    pub fn ack(&self) -> Ack {
        self.side.ack(self.channel)
    }

    /// The next frame in order.
    pub fn take(&mut self) -> Option<DataFrame> {
        self.side.take()
    }

    /// A new limit worth telling, `now` being nanoseconds.
    pub fn grant(&mut self, now: u64) -> Option<u64> {
        self.side.grant(Time(now), 1, &mut self.window)
    }
}
