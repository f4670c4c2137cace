//! The receiving half of a channel: what has arrived, what is in order, what was granted.

use std::collections::{BTreeMap, VecDeque};

use super::held::Held;
use super::settings::{
    CHANNEL_WINDOW_MIN, CONTROL_FRAMES_MAX, MAX_FRAMES_AHEAD, WINDOW_GROWTH, WINDOW_PAUSE,
    frame_cost,
};
use super::window::Window;
use super::{Time, Violation};
use crate::mem::Payload;
use crate::wire::{
    Ack, DataFrame, DataKind, MAX_CONTROL_BYTES, MAX_LABEL_BYTES, MAX_RANGES, Ranges,
};

/// Frames of one channel from the first that the application has not taken.
#[derive(Default)]
pub(super) struct ReceiveSide {
    /// Everything below is in order.
    next_seq: u64,
    is_opened_by_peer: bool,
    /// Frames that arrived before their turn.
    early: BTreeMap<u64, DataFrame>,
    /// Frames that are being pulled: they count as missing.
    pulling: BTreeMap<u64, DataFrame>,
    /// Frames in order, not yet taken.
    ready: VecDeque<DataFrame>,
    /// Credit cost of the distinct frames received, of those taken, and the limit granted; absolute.
    received: u64,
    consumed: u64,
    granted: u64,
    /// Present size of the window.
    window: u64,
    granted_at: Time,
    must_tell: bool,
    /// Bytes the message being received still lacks.
    message_left: u64,
    /// The number of the Fin, once it has arrived: nothing comes behind it.
    fin: Option<u64>,
    /// The Fin has been taken in.
    pub(super) is_finished: bool,
    /// Bytes received since the last ack.
    pub(super) unacked_bytes: u64,
    held: Held,
}

/// What arriving data did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// It had arrived before.
    pub(super) is_duplicate: bool,
    /// Frames are ready that were not.
    pub(super) is_readable: bool,
}

impl ReceiveSide {
    /// `is_opened_by_peer`: the first frame must say what the channel is for.
    pub(super) fn new(is_opened_by_peer: bool, held: Held) -> Self {
        let window = CHANNEL_WINDOW_MIN;
        Self { next_seq: 1, granted: window, window, is_opened_by_peer, held, ..Self::default() }
    }

    /// Gives the memory of the queue back if it is empty.
    pub(super) fn shed(&mut self) {
        super::shed(&mut self.ready);
    }

    pub(super) fn has(&self, seq: u64) -> bool {
        seq < self.next_seq || self.early.contains_key(&seq)
    }

    /// Whether this frame is the next in order.
    pub(super) fn is_next(&self, seq: u64) -> bool {
        seq == self.next_seq
    }

    /// Takes a frame in whose payload is there.
    pub(super) fn arrive(&mut self, frame: DataFrame, limit: u64) -> Result<Arrival, Violation> {
        let (channel, seq) = (frame.channel, frame.seq);
        if self.has(seq) {
            return Ok(Arrival { is_duplicate: true, is_readable: false });
        }
        self.admit(&frame)?;
        self.pulling.remove(&seq);
        self.unacked_bytes += u64::from(frame.length) + 1;
        self.held.add(frame.payload.pinned_bytes());
        if seq != self.next_seq {
            self.early.insert(seq, frame);
            return Ok(Arrival::default());
        }
        self.accept(frame, limit)?;
        while let Some(early) = self.early.first_entry() {
            if *early.key() != self.next_seq {
                break;
            }
            let early = early.remove();
            self.accept(early, limit)?;
        }
        debug_assert!(self.early.keys().all(|&early| early > self.next_seq), "{channel}");
        Ok(Arrival { is_duplicate: false, is_readable: true })
    }

    /// Notes a frame whose payload has to be pulled. Returns whether to start a pull.
    pub(super) fn arrive_unpulled(&mut self, frame: DataFrame) -> Result<bool, Violation> {
        if self.has(frame.seq) || self.pulling.contains_key(&frame.seq) {
            return Ok(false);
        }
        self.admit(&frame)?;
        self.pulling.insert(frame.seq, frame);
        Ok(true)
    }

    /// A frame whose pull ended: with its payload, or without, then it stays missing. `None`: it came
    /// otherwise meanwhile.
    pub(super) fn end_pull(
        &mut self,
        seq: u64,
        payload: Option<Payload>,
        limit: u64,
    ) -> Option<Result<Arrival, Violation>> {
        let frame = self.pulling.get(&seq)?;
        let payload = payload?;
        let frame = DataFrame { payload, pull: None, ..frame.clone() };
        Some(self.arrive(frame, limit))
    }

    /// The pull of a frame will not end: a later announcement starts another.
    pub(super) fn forget_pull(&mut self, seq: u64) {
        if let Some(frame) = self.pulling.remove(&seq) {
            self.received -= cost(&frame);
        }
    }

    /// Checks a new frame against the limits and counts its cost, once.
    fn admit(&mut self, frame: &DataFrame) -> Result<(), Violation> {
        let (channel, seq) = (frame.channel, frame.seq);
        if self.is_finished {
            return Err(Violation::FrameOutOfPlace { channel });
        }
        let ahead_max = if channel == 0 { CONTROL_FRAMES_MAX as u64 } else { MAX_FRAMES_AHEAD };
        if seq - self.next_seq > ahead_max {
            return Err(Violation::TooFarAhead { channel, seq });
        }
        if !self.may_be_kept(frame) {
            return Err(Violation::FrameOutOfPlace { channel });
        }
        if let Some(announced) = self.pulling.get(&seq) {
            // Counted when it was announced: as what it is now.
            let is_same = (announced.kind, announced.length) == (frame.kind, frame.length);
            return is_same.then_some(()).ok_or(Violation::FrameOutOfPlace { channel });
        }
        if frame.kind == DataKind::Fin {
            self.fin = Some(seq);
        }
        self.received += cost(frame);
        if self.received > self.granted {
            return Err(Violation::CreditExceeded { channel });
        }
        Ok(())
    }

    /// Whether a frame can be what it says, whenever its turn comes. What costs no credit is small, and a
    /// channel has few of it: early frames hold no more memory than the credit allows.
    fn may_be_kept(&self, frame: &DataFrame) -> bool {
        let (seq, length) = (frame.seq, frame.length as usize);
        let is_behind_fin = self.fin.is_some_and(|fin| seq >= fin);
        let is_good = match frame.kind {
            DataKind::Batch | DataKind::First { .. } | DataKind::Next => frame.channel != 0,
            DataKind::Open => seq == 1 && length <= 1 + MAX_LABEL_BYTES && frame.pull.is_none(),
            DataKind::Fin => {
                length == 0 && frame.pull.is_none() && self.early.range(seq..).next().is_none()
            }
            DataKind::Control => frame.channel == 0 && length <= MAX_CONTROL_BYTES,
        };
        is_good && !is_behind_fin
    }

    /// Appends the next frame in order after checking that it fits the ones before.
    fn accept(&mut self, frame: DataFrame, limit: u64) -> Result<(), Violation> {
        let channel = frame.channel;
        let length = u64::from(frame.length);
        let is_in_place = match frame.kind {
            DataKind::First { total } => {
                if total > limit {
                    return Err(Violation::MessageTooLong { channel });
                }
                let starts = self.message_left == 0 && length <= total;
                self.message_left = total.saturating_sub(length);
                starts
            }
            DataKind::Next => {
                let continues = 0 < length && length <= self.message_left;
                self.message_left = self.message_left.saturating_sub(length);
                continues
            }
            DataKind::Batch | DataKind::Fin => self.message_left == 0,
            DataKind::Open => self.is_opened_by_peer && self.next_seq == 1,
            DataKind::Control => channel == 0,
        };
        let lacks_open = self.is_opened_by_peer && self.next_seq == 1;
        if !is_in_place || (lacks_open && frame.kind != DataKind::Open) {
            return Err(Violation::FrameOutOfPlace { channel });
        }
        self.next_seq += 1;
        self.is_finished |= frame.kind == DataKind::Fin;
        self.ready.push_back(frame);
        Ok(())
    }

    /// The next frame in order, and whether its window is free again.
    pub(super) fn take(&mut self) -> Option<DataFrame> {
        let mut frame = self.ready.pop_front()?;
        self.held.sub(frame.payload.pinned_bytes());
        frame.payload.leave_last();
        let cost = cost(&frame);
        #[cfg(feature = "sim")]
        if crate::sim::bug(crate::sim::Bug::CreditLeak) && frame.seq % 16 == 5 {
            return Some(frame); // planted: this frame's credit is lost
        }
        self.consumed += cost;
        Some(frame)
    }

    /// Whether the next frame in order is a piece of a message.
    pub(super) fn is_next_a_piece(&self) -> bool {
        self.ready.front().is_some_and(|frame| match frame.kind {
            DataKind::First { total } => total > u64::from(frame.length),
            kind => kind == DataKind::Next,
        })
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether the next frame in order is a Fin: nothing will follow.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_finished && self.ready.iter().all(|frame| frame.kind == DataKind::Fin)
    }

    /// A new limit worth telling, if there is one; the channel's window grows, by what `window` gives, when it is
    /// used up within `round_trip_ns`, and shrinks after a pause.
    pub(super) fn grant(
        &mut self,
        now: Time,
        round_trip_ns: u64,
        window: &mut Window,
    ) -> Option<u64> {
        if !self.wants_grant() {
            return None;
        }
        let is_fast =
            now.since(self.granted_at).as_nanos() as u64 <= 2 * round_trip_ns.max(1_000_000);
        // Nothing consumed: the peer may not even know the channel, and would miss what it is told.
        if is_fast && self.consumed > 0 {
            let wanted = self.window.saturating_mul(WINDOW_GROWTH - 1);
            self.window += window.take_for_channel(wanted, self.extra_window());
        } else if now.since(self.granted_at) >= WINDOW_PAUSE && self.extra_window() > 0 {
            // What was told stays good, so only what was not is given back.
            let untold = (self.consumed + self.window).saturating_sub(self.granted);
            let less = (self.extra_window() / 2).min(untold);
            self.window -= less;
            window.give_back(less);
        }
        let limit = self.consumed + self.window;
        if limit <= self.granted {
            let again = std::mem::take(&mut self.must_tell) && self.granted > CHANNEL_WINDOW_MIN;
            return again.then_some(self.granted);
        }
        self.must_tell = false;
        self.granted = limit;
        self.granted_at = now;
        Some(limit)
    }

    /// Whether [`grant`](Self::grant) has something to tell.
    pub(super) fn wants_grant(&self) -> bool {
        let left = self.granted - self.received.min(self.granted);
        let next = self.consumed + self.window;
        self.must_tell || next >= self.granted + self.window / 2 || left <= self.window / 4
    }

    /// The peer may not have heard of the limit: tell it again.
    pub(super) fn forget_grant(&mut self) {
        self.must_tell = true;
    }

    /// Bytes beyond the minimum that this window holds of the session's budget.
    pub(super) fn extra_window(&self) -> u64 {
        self.window - CHANNEL_WINDOW_MIN
    }

    /// The ack that tells what is here.
    pub(super) fn ack(&self, channel: u32) -> Ack {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &seq in self.early.keys() {
            let count = ranges.len();
            match ranges.last_mut() {
                Some((_, end)) if *end == seq => *end += 1,
                _ if count == MAX_RANGES => break,
                _ => ranges.push((seq, seq + 1)),
            }
        }
        Ack { channel, cumulative: self.next_seq - 1, ranges: Ranges(ranges) }
    }

    /// Whether frames are missing before one that is there.
    pub(super) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }
}

fn cost(frame: &DataFrame) -> u64 {
    match frame.kind {
        DataKind::Batch | DataKind::First { .. } | DataKind::Next => {
            frame_cost(u64::from(frame.length))
        }
        DataKind::Open | DataKind::Fin | DataKind::Control => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::settings::WINDOW_STEP_MIN;
    use super::super::window::ReceiveBudget;
    use super::*;

    const ROUND_TRIP_NS: u64 = 50_000_000;

    /// The peer sends all that it may, and the application takes all of it.
    fn use_up(side: &mut ReceiveSide, seq: &mut u64) {
        const LENGTH: u32 = 8 << 10;
        while side.received + frame_cost(u64::from(LENGTH)) <= side.granted {
            let kind = DataKind::First { total: u64::from(LENGTH) };
            let payload = Payload::Bytes(Bytes::from(vec![0; LENGTH as usize]));
            let frame =
                DataFrame { channel: 2, seq: *seq, kind, payload, length: LENGTH, pull: None };
            side.arrive(frame, u64::MAX).expect("within the limit");
            side.take().expect("in order");
            *seq += 1;
        }
    }

    #[test]
    fn a_window_that_is_used_up_in_a_round_trip_grows_by_four_up_to_its_share() {
        let mut window = Window::new(64 << 20, ReceiveBudget::new(1 << 40));
        let mut side = ReceiveSide::new(false, Held::default());
        let (mut seq, mut now, mut windows) = (1, Time(0), Vec::new());
        for _ in 0..12 {
            use_up(&mut side, &mut seq);
            now = Time(now.0 + ROUND_TRIP_NS);
            side.grant(now, ROUND_TRIP_NS, &mut window).expect("a new limit");
            windows.push(side.window);
        }
        assert_eq!(windows[..4], [256 << 10, 1 << 20, 4 << 20, 16 << 20]);
        let share = CHANNEL_WINDOW_MIN + (48 << 20);
        assert!((share - WINDOW_STEP_MIN..=share).contains(windows.last().expect("twelve")));
        // One that is used slowly stays as it is.
        use_up(&mut side, &mut seq);
        side.grant(Time(now.0 + 3 * ROUND_TRIP_NS), ROUND_TRIP_NS, &mut window).expect("as far on");
        assert_eq!(Some(&side.window), windows.last());
    }
}
