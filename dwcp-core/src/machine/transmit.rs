//! What to send now.

use std::ops::Range;

use super::path::Path;
use super::send_side::SentState;
use super::settings::{RECORD_RESERVE, STATE_RESERVE, TRANSMIT_BYTES};
use super::{Machine, PathState, Time};
use crate::link::LinkFeatures;
use crate::wire::{DataFrame, Frame, MAX_FRAMES_BYTES, PathId};

/// Records to be sealed and sent, in order. Keep one and reuse its memory.
#[derive(Default)]
pub struct TxBatch {
    records: Vec<TxRecord>,
    frames: Vec<u8>,
    data: Vec<TxData>,
    bytes: usize,
    /// Of the record being built.
    section_bytes: usize,
    has_body: bool,
}

/// A data frame to be sent.
#[derive(Clone, Debug)]
pub struct TxData {
    /// The frame.
    pub frame: DataFrame,
    /// Its channel allows compression.
    pub may_compress: bool,
}

/// One record: encoded frames first, then data.
#[derive(Clone, Debug)]
pub struct TxRecord {
    /// The epoch of its header.
    pub epoch: u32,
    frames: Range<usize>,
    data: Range<usize>,
}

/// Payloads up to this size share a record; larger ones get one of their own.
const INLINE_BYTES_MAX: usize = 1_024;
/// A data frame's fields in the frame section, at most, and the section's own length.
const DATA_FIELD_BYTES: usize = 64;
/// Room that acks and the like may take in a record, so that a data frame still fits.
const SECTION_BYTES_MAX: usize = MAX_FRAMES_BYTES - 512;

impl TxBatch {
    /// Empties the batch; payloads are let go of.
    pub fn clear(&mut self) {
        self.records.clear();
        self.frames.clear();
        self.data.clear();
        (self.bytes, self.section_bytes, self.has_body) = (0, 0, false);
    }

    /// The records, in the order they must be sent.
    pub fn records(&self) -> &[TxRecord] {
        &self.records
    }

    /// The encoded frames of a record.
    pub fn frames(&self, record: &TxRecord) -> &[u8] {
        &self.frames[record.frames.clone()]
    }

    /// The data frames of a record.
    pub fn data(&self, record: &TxRecord) -> &[TxData] {
        &self.data[record.data.clone()]
    }

    /// Payload and frame bytes in the batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn begin(&mut self, epoch: u32) {
        let (frames, data) = (self.frames.len(), self.data.len());
        self.records.push(TxRecord { epoch, frames: frames..frames, data: data..data });
        (self.section_bytes, self.has_body) = (0, false);
    }

    /// Drops the record just begun if nothing went in.
    fn end(&mut self) {
        if self.records.last().is_some_and(|last| last.frames.is_empty() && last.data.is_empty()) {
            self.records.pop();
        }
    }

    /// Whether the record being built may go out on `path`, leaving `reserve` receives at the peer.
    fn may_grow(&self, path: &Path, reserve: u64) -> bool {
        let last = self.records.last().expect("a record was begun");
        let is_begun = !last.frames.is_empty() || !last.data.is_empty();
        is_begun || path.record_room(reserve + self.records.len() as u64 - 1)
    }

    fn put_frame(&mut self, frame: &Frame) -> bool {
        let at = self.frames.len();
        frame.encode(&mut self.frames);
        let bytes = self.frames.len() - at;
        if self.section_bytes + bytes > SECTION_BYTES_MAX {
            self.frames.truncate(at);
            return false;
        }
        self.section_bytes += bytes;
        self.bytes += bytes;
        self.records.last_mut().expect("a record was begun").frames.end = self.frames.len();
        true
    }

    /// Whether a data frame with `payload_bytes` in the record fits the one being built.
    fn has_room(&self, payload_bytes: usize) -> bool {
        let inline = if self.has_body { payload_bytes } else { 0 };
        let fits = self.section_bytes + DATA_FIELD_BYTES + inline <= MAX_FRAMES_BYTES;
        fits && (!self.has_body || payload_bytes <= INLINE_BYTES_MAX)
    }

    fn put_data(&mut self, frame: DataFrame, may_compress: bool) {
        let payload = if frame.pull.is_some() { 0 } else { frame.payload.len() };
        debug_assert!(self.has_room(payload));
        self.section_bytes += DATA_FIELD_BYTES + if self.has_body { payload } else { 0 };
        self.has_body |= frame.pull.is_none();
        self.bytes += DATA_FIELD_BYTES + payload;
        self.data.push(TxData { frame, may_compress });
        self.records.last_mut().expect("a record was begun").data.end = self.data.len();
    }
}

impl Machine {
    /// Fills `batch` with what `path` should send now: [`TRANSMIT_BYTES`] at most, or one larger frame, and
    /// acks and the like besides. Returns whether
    /// there is anything. Call it again when the batch is on its way.
    pub fn poll_transmit(&mut self, now: Time, path: PathId, batch: &mut TxBatch) -> bool {
        batch.clear();
        let Some(at) = self.paths.iter().position(|other| other.id == path && other.is_live())
        else {
            return false;
        };
        let is_active = self.active == Some(path) && self.paths[at].state == PathState::Active;
        batch.begin(self.paths[at].epoch);
        self.transmit_outbox(at, batch);
        if is_active {
            self.transmit_state(now, at, batch);
            self.transmit_data(now, at, batch);
        }
        batch.end();
        if batch.is_empty() {
            return false;
        }
        let path = &mut self.paths[at];
        path.records_sent += batch.records.len() as u64;
        path.sent = now;
        true
    }

    /// Whether `path` has something to send now: [`poll_transmit`](Self::poll_transmit) without doing it.
    pub fn wants_transmit(&self, now: Time, path: PathId) -> bool {
        let Some(room) = self.path(path).filter(|path| path.is_live()) else { return false };
        let is_active = self.active == Some(path);
        let is_ack_due = self.channels.has_due() && self.ack_at.is_some_and(|at| at <= now);
        room.outbox.front().is_some_and(|frame| room.record_room(outbox_reserve(frame)))
            || (is_active
                && (is_ack_due || self.channels.has_urgent())
                && room.record_room(STATE_RESERVE))
            || (is_active && self.has_data() && room.record_room(RECORD_RESERVE))
    }

    /// Whether frames of channels wait that may go.
    fn has_data(&self) -> bool {
        self.channels.has_control() || (!self.holds_data() && self.channels.has_sendable())
    }

    /// Frames of the path itself.
    fn transmit_outbox(&mut self, at: usize, batch: &mut TxBatch) {
        let path = &mut self.paths[at];
        while let Some(frame) = path.outbox.front() {
            if !batch.may_grow(path, outbox_reserve(frame)) {
                return;
            }
            if batch.put_frame(frame) {
                path.outbox.pop_front();
            } else {
                batch.begin(path.epoch);
            }
        }
    }

    /// Acks, credit, confirmations.
    fn transmit_state(&mut self, now: Time, at: usize, batch: &mut TxBatch) {
        if !self.channels.has_due() {
            return;
        }
        let has_company = !batch.frames.is_empty() || self.has_data();
        let with_acks = has_company || self.ack_at.is_some_and(|at| at <= now);
        if !with_acks && !self.channels.has_urgent() {
            return;
        }
        let path = &self.paths[at];
        let round_trip = path.round_trip().as_nanos() as u64;
        while batch.may_grow(path, STATE_RESERVE) {
            let is_told = self.channels.tell_closed(|id| batch.put_frame(&closed_ack(id)))
                && self.channels.tell_due(now, round_trip, |frame| batch.put_frame(frame));
            if is_told {
                self.ack_at = None;
                return;
            }
            batch.begin(path.epoch);
        }
    }

    /// Control messages, then channels by priority, in turn.
    fn transmit_data(&mut self, now: Time, at: usize, batch: &mut TxBatch) {
        while self.channels.has_control() && batch.bytes < TRANSMIT_BYTES {
            if !self.transmit_frame(now, at, 0, batch) {
                return;
            }
        }
        if self.holds_data() {
            return;
        }
        // What frames wait for that the peer has: it may have no memory for anything else.
        while batch.bytes < TRANSMIT_BYTES {
            let Some(index) = self.channels.next_missed() else { break };
            let is_sent = self.transmit_frame(now, at, index, batch);
            self.channels.schedule(index);
            if !is_sent {
                return;
            }
        }
        for priority in 0..self.channels.sendable.len() {
            while batch.bytes < TRANSMIT_BYTES {
                let Some(index) = self.channels.next_sendable(priority) else { break };
                let is_sent = self.transmit_frame(now, at, index, batch);
                self.channels.schedule(index);
                if !is_sent {
                    return;
                }
            }
        }
    }

    /// Puts the next frame of a channel into the batch. False: the path takes no more records, or the batch no
    /// more bytes.
    fn transmit_frame(&mut self, now: Time, at: usize, index: u32, batch: &mut TxBatch) -> bool {
        let path = &mut self.paths[at];
        let channel = self.channels.at_mut(index).expect("a scheduled channel is there");
        let id = channel.id;
        let (seq, sent) = channel.send.next_queued().expect("the channel has a frame queued");
        let SentState::Queued { no_pull } = sent.state else { unreachable!("it is queued") };
        let may_pull = !no_pull
            && path.has(LinkFeatures::PULL)
            && sent.payload.len() >= self.settings.pull_bytes_min;
        let pull = if may_pull { path.pull_source(&sent.payload) } else { None };
        let payload_bytes = if pull.is_some() { 0 } else { sent.payload.len() };
        // One batch is one piece of sealing and sending: another frame's turn comes with the next.
        if !batch.data.is_empty() && batch.bytes + DATA_FIELD_BYTES + payload_bytes > TRANSMIT_BYTES
        {
            return false;
        }
        if !batch.has_room(payload_bytes) {
            batch.begin(path.epoch);
        }
        if !batch.may_grow(path, RECORD_RESERVE) {
            return false;
        }
        let must_wake = std::mem::take(&mut path.peer_sleeps).then_some(path.id);
        let length = sent.payload.len() as u32;
        let payload = sent.payload.clone();
        if pull.is_some() {
            let (path, payload) = (path.id, payload.clone());
            self.pull_sources.push(super::PullOpen { path, channel: id, seq, _payload: payload });
        }
        let kind = sent.kind;
        let frame = DataFrame { channel: id, seq, kind, payload, length, pull };
        batch.put_data(frame, channel.may_compress);
        let pulled = pull.is_some();
        channel.send.mark_sent(seq, SentState::InFlight { path: path.id, at: now, pulled });
        if path.in_flight == 0 {
            path.progress = now;
        }
        path.in_flight += 1;
        self.moved = true;
        if kind == crate::wire::DataKind::Fin {
            self.channels.recount(index);
        }
        if let Some(path) = must_wake {
            self.wake_peer(path);
        }
        true
    }
}

/// What the peer must have left for a frame of the outbox to go. The last record of all is kept for telling
/// the peer of room here: without that, both ends could wait for each other for ever.
fn outbox_reserve(frame: &Frame) -> u64 {
    if matches!(frame, Frame::PathCredit { .. }) { 0 } else { STATE_RESERVE }
}

/// The answer to frames of a channel that is over here.
fn closed_ack(channel: u32) -> Frame {
    Frame::Ack(crate::wire::Ack { channel, cumulative: u64::MAX, ranges: Default::default() })
}
