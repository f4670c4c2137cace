//! The sending half of a channel: what was committed and is not yet acked.

use std::collections::VecDeque;

use super::settings::{BATCH_MESSAGE_BYTES_MAX, CHANNEL_WINDOW_MIN, frame_cost};
use super::share::Share;
use super::{SendError, Time};
use crate::mem::{Payload, Pool, SlotMut};
use crate::wire::{
    Ack, DataKind, FRAME_BYTES, MAX_FRAME_BYTES, PathId, length_bytes, write_length,
};

/// A large message is cut where credit ends, but not into pieces smaller than this, bytes. At rest at least
/// half of the smallest window is free, which takes one.
const PIECE_BYTES_MIN: usize = CHANNEL_WINDOW_MIN as usize / 4;

/// Committed frames of one channel, in order, from the first un-acked one.
#[derive(Default)]
pub(super) struct SendSide {
    frames: VecDeque<Sent>,
    /// Seq of `frames[0]`.
    first_seq: u64,
    /// One past the highest seq that was ever put on its way.
    sent_end: u64,
    /// One past the highest seq that was ever acked.
    acked_end: u64,
    /// The first frame in `frames` that waits to be sent, or their number.
    cursor: usize,
    /// Frames beyond so many un-acked ones wait: what the receiver keeps ahead of a missing one is limited.
    frames_max: usize,
    batch: Option<Batch>,
    large: Option<Large>,
    /// Credit cost of everything committed, absolute.
    committed: u64,
    /// Absolute limit the peer granted.
    limit: u64,
    /// Un-acked frames and the batch being filled.
    unacked: usize,
    /// Messages committed, and those before the first un-acked frame.
    messages: u64,
    messages_acked: u64,
    pub(super) finished: bool,
    /// A `send` was refused for want of credit: tell when there is some.
    pub(super) wants_writable: bool,
    /// The memory of all that is un-acked.
    kept: Share,
}

/// One frame kept until it is acked.
pub(super) struct Sent {
    pub(super) kind: DataKind,
    pub(super) payload: Payload,
    /// Messages that end in this frame.
    messages: u32,
    pub(super) state: SentState,
    /// Once it is acked: it and all before this one are.
    acked_until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentState {
    /// Waits for its (next) transmission.
    Queued {
        /// A pull of it failed: send it in a record.
        no_pull: bool,
    },
    /// On its way.
    InFlight { path: PathId, at: Time, pulled: bool },
    /// In the peer's receive window.
    Acked,
}

impl Sent {
    /// Bytes of memory that are kept for it.
    fn kept_bytes(&self) -> u64 {
        match self.kind {
            DataKind::Batch => self.payload.pinned_bytes(),
            DataKind::First { .. } | DataKind::Next => self.payload.len() as u64,
            DataKind::Open | DataKind::Fin | DataKind::Control => 0,
        }
    }
}

/// Small messages being gathered, each behind its length.
struct Batch {
    slot: SlotMut,
    messages: u32,
}

/// A message that is being cut into fragments as credit allows.
struct Large {
    payload: Payload,
    offset: usize,
}

/// What acks did to a channel.
#[derive(Default)]
pub(super) struct Acked {
    /// Sending time and path of the newest frame acked for the first time.
    pub(super) newest: Option<(Time, PathId)>,
    /// Frames acked for the first time.
    pub(super) frames: u32,
}

impl SendSide {
    pub(super) fn new(limit: u64, frames_max: usize, kept: Share) -> Self {
        Self { first_seq: 1, sent_end: 1, limit, frames_max, kept, ..Self::default() }
    }

    /// Commits one message; see [`Machine::send`](super::Machine::send).
    pub(super) fn send(&mut self, payload: &Payload, pool: &Pool) -> Result<(), SendError> {
        if payload.len() <= BATCH_MESSAGE_BYTES_MAX {
            return self.send_copy(payload, pool);
        }
        self.admit()?;
        self.close_batch();
        if !self.has_credit(frame_cost(payload.len().min(PIECE_BYTES_MIN) as u64)) {
            return Err(self.refuse());
        }
        // A slot is there already, and the pool bounds those.
        if matches!(payload, Payload::Bytes(_)) && !self.kept.may_grow() {
            return Err(SendError::Pool);
        }
        self.kept.add(payload.len() as u64);
        self.messages += 1;
        self.large = Some(Large { payload: payload.clone(), offset: 0 });
        self.cut_large();
        Ok(())
    }

    /// Gives the memory of the queue back if it is empty.
    pub(super) fn shed(&mut self) {
        super::shed(&mut self.frames);
    }

    fn admit(&mut self) -> Result<(), SendError> {
        if self.finished {
            return Err(SendError::Closed);
        }
        if self.large.is_some() {
            return Err(self.refuse());
        }
        Ok(())
    }

    /// Commits one short message, which is copied into the batch.
    pub(super) fn send_copy(&mut self, message: &[u8], pool: &Pool) -> Result<(), SendError> {
        self.admit()?;
        let bytes = length_bytes(message.len()) + message.len();
        let fits =
            |batch: &Batch| batch.slot.room() >= bytes && batch.slot.len() + bytes <= FRAME_BYTES;
        if self.batch.as_ref().is_some_and(|batch| !fits(batch)) {
            self.close_batch();
        }
        let before = self.batch.as_ref().map_or(0, |batch| frame_cost(batch.slot.len() as u64));
        let after =
            frame_cost(self.batch.as_ref().map_or(0, |b| b.slot.len()) as u64 + bytes as u64);
        if !self.has_credit(after - before) {
            return Err(self.refuse());
        }
        if self.batch.is_none() {
            // A lone message gets a small slot; under load the next ones gather in a large one.
            if !self.kept.may_grow() {
                return Err(SendError::Pool);
            }
            let capacity = if self.frames.len() < 2 { bytes } else { FRAME_BYTES };
            let slot = pool.take(capacity).or_else(|| pool.take(bytes)).ok_or(SendError::Pool)?;
            self.kept.add(slot.capacity() as u64);
            self.batch = Some(Batch { slot, messages: 0 });
            self.unacked += 1;
        }
        let batch = self.batch.as_mut().expect("made above");
        write_length(message.len(), |length| batch.slot.extend(length));
        batch.slot.extend(message);
        batch.messages += 1;
        self.messages += 1;
        self.committed += after - before;
        Ok(())
    }

    /// Appends a frame without credit: Open, Fin, Control.
    pub(super) fn push_free(&mut self, kind: DataKind, payload: Payload) {
        self.close_batch();
        self.unacked += 1;
        self.push(kind, payload, 0);
    }

    pub(super) fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) && self.large.is_none() {
            self.push_free(DataKind::Fin, Payload::default());
        }
    }

    /// The credit that is left.
    pub(super) fn credit(&self) -> u64 {
        self.limit - self.committed
    }

    /// Bytes of memory that are kept until they are acked, the batch being filled among them.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept.here()
    }

    /// Whether a message is on its way that is too long for a batch.
    pub(super) fn is_cutting(&self) -> bool {
        self.large.is_some()
    }

    /// The batch that is being filled, and the messages in it. Until it is [put back](Self::put_batch) it counts as un-acked.
    pub(super) fn take_batch(&mut self) -> Option<(SlotMut, u32)> {
        self.batch.take().map(|batch| (batch.slot, batch.messages))
    }

    /// A batch that was taken is back: it has `count` more messages, which cost so much more.
    pub(super) fn put_batch(&mut self, slot: SlotMut, messages: u32, count: u32, cost: u64) {
        debug_assert!(self.batch.is_none(), "no other was begun meanwhile");
        self.batch = Some(Batch { slot, messages });
        self.messages += u64::from(count);
        self.committed += cost;
    }

    fn has_credit(&self, cost: u64) -> bool {
        self.committed + cost <= self.limit
    }

    fn refuse(&mut self) -> SendError {
        self.wants_writable = true;
        SendError::Window
    }

    fn push(&mut self, kind: DataKind, payload: Payload, messages: u32) {
        let state = SentState::Queued { no_pull: false };
        self.frames.push_back(Sent { kind, payload, messages, state, acked_until: 0 });
    }

    pub(super) fn close_batch(&mut self) {
        if let Some(Batch { slot, messages }) = self.batch.take() {
            self.push(DataKind::Batch, Payload::Slot(slot.freeze().into()), messages);
        }
    }

    /// Cuts fragments of the large message for which there is credit.
    fn cut_large(&mut self) {
        while let Some(large) = &mut self.large {
            // A slot lies in memory a device may know: larger pieces are worth pulling.
            let piece = match large.payload {
                Payload::Slot(_) => MAX_FRAME_BYTES,
                Payload::Bytes(_) => FRAME_BYTES,
            };
            let left = large.payload.len() - large.offset;
            let credit = usize::try_from(self.limit - self.committed).unwrap_or(usize::MAX);
            let bytes = left.min(piece).min(credit);
            let cost = frame_cost(bytes as u64);
            if bytes < left.min(PIECE_BYTES_MIN) || cost > credit as u64 {
                return;
            }
            let total = large.payload.len();
            let kind = match large.offset {
                0 => DataKind::First { total: total as u64 },
                _ => DataKind::Next,
            };
            let payload = large.payload.slice(large.offset, bytes);
            large.offset += bytes;
            let is_last = large.offset == total;
            if is_last {
                self.large = None;
            }
            self.committed += cost;
            self.unacked += 1;
            self.push(kind, payload, u32::from(is_last));
        }
        if self.finished {
            self.push_free(DataKind::Fin, Payload::default());
        }
    }

    /// The peer's new limit. Returns whether more can be sent or committed now.
    pub(super) fn handle_credit(&mut self, limit: u64) -> bool {
        let grew = limit > self.limit;
        self.limit = self.limit.max(limit);
        if grew && self.large.is_some() {
            self.cut_large();
        }
        grew
    }

    /// Whether a frame waits to be sent.
    pub(super) fn has_queued(&self) -> bool {
        let count = self.frames.len() + usize::from(self.batch.is_some());
        self.cursor < count.min(self.frames_max)
    }

    /// Whether the next frame to send is one that others, which the peer has, wait for.
    pub(super) fn fills_gap(&self) -> bool {
        self.first_seq + (self.cursor as u64) < self.acked_end
    }

    /// Moves the cursor over frames that are on their way or acked.
    fn advance(&mut self) {
        let is_queued = |sent: &Sent| matches!(sent.state, SentState::Queued { .. });
        while self.frames.get(self.cursor).is_some_and(|sent| !is_queued(sent)) {
            self.cursor += 1;
        }
    }

    /// The next frame to send, by number.
    pub(super) fn next_queued(&mut self) -> Option<(u64, &mut Sent)> {
        if !self.has_queued() {
            return None;
        }
        if self.cursor == self.frames.len() {
            self.close_batch();
        }
        let seq = self.first_seq + self.cursor as u64;
        Some((seq, &mut self.frames[self.cursor]))
    }

    pub(super) fn get(&mut self, seq: u64) -> Option<&mut Sent> {
        let index = seq.checked_sub(self.first_seq)?;
        self.frames.get_mut(usize::try_from(index).ok()?)
    }

    /// Frame `seq` was put on its way.
    pub(super) fn mark_sent(&mut self, seq: u64, state: SentState) {
        self.get(seq).expect("the frame is kept").state = state;
        self.sent_end = self.sent_end.max(seq + 1);
        self.advance();
    }

    /// Puts frame `seq` back in the queue.
    pub(super) fn requeue(&mut self, seq: u64, no_pull: bool) {
        if let Some(sent) = self.get(seq)
            && matches!(sent.state, SentState::InFlight { .. })
        {
            sent.state = SentState::Queued { no_pull };
            self.cursor = self.cursor.min((seq - self.first_seq) as usize);
        }
    }

    /// Frames on their way over `path`.
    pub(super) fn in_flight_on(&self, path: PathId) -> impl Iterator<Item = (u64, bool)> {
        let numbered = (self.first_seq..).zip(&self.frames);
        numbered.filter_map(move |(seq, sent)| match sent.state {
            SentState::InFlight { path: on, pulled, .. } if on == path => Some((seq, pulled)),
            _ => None,
        })
    }

    /// Applies an ack. `None`: it acks what was never sent. `done` gets every frame acked for the first time.
    pub(super) fn handle_ack(
        &mut self,
        ack: &Ack,
        mut done: impl FnMut(SentState),
    ) -> Option<Acked> {
        let everything = ack.cumulative == u64::MAX;
        if everything {
            self.drop_unsent();
        }
        let cumulative = if everything { self.last_seq() } else { ack.cumulative };
        let highest = ack.ranges.0.last().map_or(cumulative, |&(_, end)| end - 1);
        if !everything && highest >= self.sent_end {
            return None;
        }
        if !everything {
            self.acked_end = self.acked_end.max(highest + 1);
        }
        let mut acked = Acked::default();
        let ranges = ack.ranges.0.iter().filter(|_| !everything).copied();
        for (start, end) in std::iter::once((self.first_seq, cumulative + 1)).chain(ranges) {
            let mut seq = start.max(self.first_seq);
            while seq < end {
                let sent = &mut self.frames[(seq - self.first_seq) as usize];
                let state = std::mem::replace(&mut sent.state, SentState::Acked);
                let passed = if state == SentState::Acked { sent.acked_until } else { 0 };
                seq = passed.max(seq + 1);
                // Told again, it is passed over at once, with all that was passed over with it.
                sent.acked_until = sent.acked_until.max(end);
                match state {
                    SentState::Acked => continue,
                    SentState::InFlight { at, path, .. } => {
                        acked.newest = acked.newest.max(Some((at, path)));
                    }
                    // Acked by way of a path that died before: no sample of a round trip.
                    SentState::Queued { .. } => {}
                }
                acked.frames += 1;
                self.unacked -= 1;
                self.kept.sub(sent.kept_bytes());
                sent.payload = Payload::default();
                done(state);
            }
        }
        while self.frames.front().is_some_and(|sent| sent.state == SentState::Acked) {
            let sent = self.frames.pop_front().expect("looked at");
            self.messages_acked += u64::from(sent.messages);
            self.first_seq += 1;
            self.cursor = self.cursor.saturating_sub(1);
        }
        self.advance();
        Some(acked)
    }

    /// The number of the first frame that is not acked.
    pub(super) fn first_unacked(&self) -> u64 {
        self.first_seq
    }

    /// The number of the last frame committed, when none is being filled.
    pub(super) fn last_seq(&self) -> u64 {
        self.first_seq + self.frames.len() as u64 - 1
    }

    /// Frames of a control channel that are not known to have arrived.
    pub(super) fn unacked(&self) -> usize {
        self.unacked
    }

    /// The channel is over at the peer: what never went out is dropped, and not taken for delivered.
    fn drop_unsent(&mut self) {
        let sent = usize::try_from(self.sent_end.saturating_sub(self.first_seq));
        let kept = sent.unwrap_or(usize::MAX).min(self.frames.len());
        let has_rest = self.batch.is_some() || self.large.is_some();
        if kept == self.frames.len() && !has_rest {
            return;
        }
        let dropped: u64 = self.frames.iter().skip(kept).map(Sent::kept_bytes).sum();
        let batch = self.batch.as_ref().map_or(0, |batch| batch.slot.capacity());
        let large = self.large.as_ref().map_or(0, |large| large.payload.len() - large.offset);
        self.kept.sub(dropped + batch as u64 + large as u64);
        self.unacked -= self.frames.len() - kept + usize::from(self.batch.is_some());
        self.frames.truncate(kept);
        (self.batch, self.large, self.finished) = (None, None, true);
        self.cursor = self.cursor.min(kept);
    }

    /// Whether the last frame was put on its way.
    pub(super) fn is_fin_sent(&self) -> bool {
        self.finished
            && self.large.is_none()
            && self.sent_end == self.first_seq + self.frames.len() as u64
    }

    pub(super) fn is_all_acked(&self) -> bool {
        self.unacked == 0 && self.large.is_none()
    }

    /// Committed messages, and how many of them are known to have arrived.
    pub(super) fn messages(&self) -> (u64, u64) {
        (self.messages, self.messages_acked)
    }

    /// Whether a message of this size would be taken now.
    pub(super) fn is_writable(&self) -> bool {
        self.large.is_none() && self.committed < self.limit
    }

    /// Forgets everything un-acked.
    pub(super) fn abandon(&mut self) -> VecDeque<Sent> {
        self.kept.clear();
        self.batch = None;
        self.large = None;
        self.finished = true;
        self.unacked = 0;
        self.cursor = 0;
        let frames = std::mem::take(&mut self.frames);
        self.first_seq += frames.len() as u64;
        frames
    }
}
