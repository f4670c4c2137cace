//! From the link to the machine: read, open, decode.

use std::io;
use std::sync::atomic::Ordering;

use super::core::{OffendingRecord, SessionCore};
use super::crowd::Crowd;
use super::path_io::{Opened, PathCounters, PathIo, PathRx};
use super::scratch::{INPUT_BYTES, Scratch, with_scratch};
use super::starved::{Look, Starved};
use crate::link::LinkFeatures;
use crate::machine::{PathCause, Time};
use crate::mem::SlotMut;
use crate::wire::{DecodeError, Frame, HEADER_BYTES, RecordHeader, decode_record};

/// What one read of a link came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing had arrived.
    Empty,
    /// Something had arrived, and nothing more.
    Drained,
    /// There may be more.
    More,
    /// There is no memory for it now: it stays where it is.
    Starved(Starved),
    /// The peer has asked too much: it is not listened to until then.
    Resting(Time),
    /// The link is over, or the half is somebody else's now.
    Nothing,
}

impl Received {
    /// Whether nothing but time, or another thread, makes it worth a look again.
    pub(super) fn is_set_aside(self) -> bool {
        matches!(self, Self::Nothing | Self::Starved(_) | Self::Resting(_))
    }

    fn waits(self) -> bool {
        matches!(self, Self::Starved(_) | Self::Resting(_))
    }
}

impl SessionCore {
    /// Reads once from `path`, in this thread, and takes in what has arrived. If another thread is at it,
    /// that one wakes the driver when it leaves.
    pub(crate) fn receive(&self, path: &PathIo) -> Received {
        match path.receive_note.try_take(|| path.rx.try_lock().ok()) {
            Some(mut rx) => self.read(path, &mut rx),
            None => Received::Nothing,
        }
    }

    /// Reads `path` until `is_done` or it has been idle for as long as `keep_on` says.
    pub(crate) fn spin(
        &self,
        path: &PathIo,
        mut is_done: impl FnMut() -> bool,
        mut keep_on: impl FnMut() -> bool,
        crowd: &mut Crowd,
    ) -> bool {
        let Ok(mut rx) = path.rx.try_lock() else { return false };
        self.own_polls.begin();
        /// Looks in vain after which to ask whether there is something nevertheless.
        const ASK: u32 = 8;
        let (mut found, mut received, mut looks) = (false, Received::Empty, 0_u32);
        crowd.begin();
        while !rx.is_ended {
            received = self.read(path, &mut rx);
            if std::mem::take(&mut rx.is_flush_wanted) {
                // The driver hears of nothing that this thread has read.
                self.flush(path);
            }
            // What this thread did not read others may have brought about: the end of the channel, for one.
            looks += 1;
            let is_news = received != Received::Empty || looks.is_multiple_of(ASK);
            if is_news {
                found = is_done();
                if found || received.waits() {
                    break;
                }
            }
            if !keep_on() {
                break;
            }
            crowd.pause();
        }
        // What is left for want of memory is looked for by time, which is the driver's.
        let is_called = path.receive_note.leave(rx) || received.waits();
        if is_called | (!found && self.own_polls.end_in_vain()) {
            self.wake.raise();
        }
        found
    }

    fn read(&self, path: &PathIo, rx: &mut PathRx) -> Received {
        if rx.is_ended {
            return Received::Nothing;
        }
        if rx.rests_until > Time(0) {
            if self.clock.now() < rx.rests_until {
                return Received::Resting(rx.rests_until);
            }
            rx.rests_until = Time(0);
        }
        // Whatever wakes the driver, and however often a thread polls: a look has its price.
        if let Some(starved) =
            rx.starved.as_deref().copied().filter(|starved| self.clock.now() < starved.until)
        {
            return Received::Starved(starved);
        }
        let received = with_scratch(|scratch| {
            let received = self
                .try_read(path, rx, scratch)
                .unwrap_or_else(|cause| self.lose_rx(path, rx, cause, scratch));
            scratch.wake_all();
            rx.is_flush_wanted = std::mem::take(&mut scratch.is_flush_wanted);
            received
        });
        if !matches!(received, Received::Starved(_)) {
            rx.starved = None;
        }
        if matches!(received, Received::Empty | Received::Drained) {
            path.looks.fetch_add(1, Ordering::Release);
        }
        self.tell_posted(path, rx);
        received
    }

    /// Receives were used up and posted anew: the peer is told, whoever reads. A receiver that polls keeps the
    /// driver from the link for as long as it finds something.
    fn tell_posted(&self, path: &PathIo, rx: &mut PathRx) {
        let posted = rx.link.take_posted();
        if posted == 0 {
            return;
        }
        let now = self.clock.now();
        let mut state = self.lock();
        state.machine.handle_receives_posted(path.id, posted);
        let is_any = state.machine.wants_transmit(now, path.id);
        drop(state);
        if is_any {
            self.flush(path);
        }
    }

    fn try_read(
        &self,
        path: &PathIo,
        rx: &mut PathRx,
        scratch: &mut Scratch,
    ) -> Result<Received, PathCause> {
        // Left for want of memory: it comes first.
        if let Some(opened) = rx.opened.take() {
            if !self.take_opened(path, rx, *opened, scratch)? {
                return Ok(self.starve(rx, None, false));
            }
            if rx.rests_until > Time(0) {
                return Ok(Received::Resting(rx.rests_until));
            }
        }
        match self.next_step(path, rx)? {
            Step::Wait(bytes) => Ok(self.starve(rx, Some(bytes), false)),
            Step::Open(slot) => self.open_carried(path, rx, slot, scratch),
            Step::Read(bytes) => {
                let mut input = scratch.take_input();
                let received = self.read_link(path, rx, &mut input, bytes, scratch);
                scratch.put_input(input);
                received
            }
        }
    }

    /// What comes next on `path`. Memory is asked for before anything is read or moved.
    fn next_step(&self, path: &PathIo, rx: &mut PathRx) -> Result<Step, PathCause> {
        // A link that gives whole records cannot be read in part.
        let is_whole = path.attributes.features.has(LinkFeatures::MESSAGE_BOUNDARIES);
        let may_read_ahead = is_whole || rx.carry.may_read_ahead();
        let read = |bytes| Ok(Step::Read(if may_read_ahead { INPUT_BYTES } else { bytes }));
        let Some(header) = rx.carry.header() else { return read(HEADER_BYTES - rx.carry.len()) };
        let header = RecordHeader::decode(&header).map_err(|error| bad(path, &error))?;
        let plain = plain_bytes(path, rx, &header)?;
        let missing = (HEADER_BYTES + header.length as usize).saturating_sub(rx.carry.len());
        if missing == 0 {
            return Ok(self.slot_for(plain).map_or(Step::Wait(plain), Step::Open));
        }
        if !rx.carry.is_begun()
            && let Some(slot) = self.slot_to_begin(plain)
        {
            rx.carry.begin(slot);
        }
        // What others wait for is let in whatever happens.
        if rx.carry.is_begun() || may_read_ahead || self.may_use_last() {
            return read(missing);
        }
        Ok(Step::Wait(plain))
    }

    /// Opens records that were read before; there is memory for the first.
    fn open_carried(
        &self,
        path: &PathIo,
        rx: &mut PathRx,
        slot: (SlotMut, bool),
        scratch: &mut Scratch,
    ) -> Result<Received, PathCause> {
        let mut carry = rx.carry.take_all();
        let mut slot = Some(slot);
        let (used, why) = self.take_records(path, rx, carry.rest(), &mut slot, scratch)?;
        carry.skip(used);
        rx.carry = carry;
        Ok(why.unwrap_or(Received::More))
    }

    /// Reads so many bytes at most, and takes them in behind those that were read before.
    fn read_link(
        &self,
        path: &PathIo,
        rx: &mut PathRx,
        input: &mut [u8],
        bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<Received, PathCause> {
        let carried = rx.carry.len();
        let end = input.len().min(carried + bytes);
        let count = match rx.link.try_recv(&mut input[carried..end]) {
            Ok(0) => return Err(PathCause::LinkFailed),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Empty),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Received::More),
            Err(error) => {
                tracing::debug!(path = path.id.0, %error, "receiving failed");
                return Err(PathCause::LinkFailed);
            }
        };
        PathCounters::add(&path.counters.bytes_received, count as u64);
        let mut slot = rx.carry.take(input).map(|slot| (slot, false));
        let bytes = &input[..carried + count];
        let (used, why) = self.take_records(path, rx, bytes, &mut slot, scratch)?;
        let rest = &bytes[used..];
        if !rest.is_empty() {
            let slot = slot.map(|(slot, _)| slot);
            let slot = slot.or_else(|| self.slot_to_begin(begun_bytes(rx, rest)?));
            rx.carry.keep(rest, slot);
        }
        // A link that gives whole records gives one at a time.
        let is_whole = path.attributes.features.has(LinkFeatures::MESSAGE_BOUNDARIES);
        let is_full = is_whole || carried + count == end;
        Ok(why.unwrap_or(if is_full { Received::More } else { Received::Drained }))
    }

    /// Opens the whole records at the start of `bytes`, the first into `slot` if there is one. Returns how many bytes
    /// they take, and why some are left if some are.
    fn take_records(
        &self,
        path: &PathIo,
        rx: &mut PathRx,
        bytes: &[u8],
        slot: &mut Option<(SlotMut, bool)>,
        scratch: &mut Scratch,
    ) -> Result<(usize, Option<Received>), PathCause> {
        let mut at = 0;
        while let Some(header) = bytes[at..].first_chunk::<HEADER_BYTES>() {
            let header = RecordHeader::decode(header).map_err(|error| bad(path, &error))?;
            let end = at + HEADER_BYTES + header.length as usize;
            let Some(record) = bytes.get(at..end) else { break };
            let plain = plain_bytes(path, rx, &header)?;
            let room = slot.take().or_else(|| self.slot_for(plain));
            let Some((mut slot, is_last)) = room else {
                return Ok((at, Some(self.starve(rx, Some(plain), at > 0))));
            };
            slot.set_len(plain);
            rx.opener.open(&header, record, &mut slot).map_err(|error| bad(path, &error))?;
            at = end;
            let RecordHeader { epoch, number, .. } = header;
            let opened = Opened { plain: slot.freeze(), epoch, number, is_last };
            if !self.take_opened(path, rx, opened, scratch)? {
                return Ok((at, Some(self.starve(rx, None, at > end - record.len()))));
            }
            if rx.rests_until > Time(0) {
                return Ok((at, Some(Received::Resting(rx.rests_until))));
            }
        }
        Ok((at, None))
    }

    /// There is no memory for a record of so many bytes, or (`None`) for what it inflates to.
    fn starve(&self, rx: &mut PathRx, bytes: Option<usize>, has_read: bool) -> Received {
        let keeps_itself = self.keeps_itself(bytes);
        let now = self.clock.now();
        let (taken, was_waited_for) = {
            let gathered = &mut self.lock().gathered;
            (gathered.taken, gathered.was_waited_for(now))
        };
        let look = Look { has_read, taken, is_own: was_waited_for && keeps_itself };
        let starved = Starved::after(rx.starved.as_deref().copied(), now, &look);
        rx.starved = Some(Box::new(starved));
        Received::Starved(starved)
    }

    /// Whether it is what the session itself holds that keeps it from memory: others would be given some, or a good part
    /// of what is in use is its own. What others hold they may give back.
    fn keeps_itself(&self, bytes: Option<usize>) -> bool {
        let held = self.received.bytes();
        let is_left = || bytes.is_some_and(|bytes| self.pool.take_for_receive(bytes).is_some());
        let used = self.pool.stats().used_bytes as u64;
        held > 0 && (held >= used / OWN_PART || is_left())
    }

    /// Memory for a record of so many bytes, and whether it is the last.
    fn slot_for(&self, bytes: usize) -> Option<(SlotMut, bool)> {
        let slot = self.receive_pool.take_share(bytes, self.received.bytes());
        let slot = slot.map(|slot| (slot, false));
        slot.or_else(|| {
            self.may_use_last().then(|| self.pool.last().take(bytes)).flatten().zip(Some(true))
        })
    }

    /// Memory for a record of so many bytes of which only a part has come. It leaves as much to all others: whoever sends
    /// the beginnings of records decides for how long they are held.
    fn slot_to_begin(&self, bytes: usize) -> Option<SlotMut> {
        let held = self.received.bytes();
        self.receive_pool.take_share(bytes, held + bytes as u64)
    }

    /// Frames that came before their turn may hold all memory: what they wait for is taken in nevertheless.
    /// Otherwise the application has to read first.
    fn may_use_last(&self) -> bool {
        self.lock().machine.has_early_frames()
    }

    /// Takes in the frames of a record that was opened. False: memory is short, the record is kept.
    fn take_opened(
        &self,
        path: &PathIo,
        rx: &mut PathRx,
        mut opened: Opened,
        scratch: &mut Scratch,
    ) -> Result<bool, PathCause> {
        let mut decode = |opened: &Opened| {
            scratch.frames.clear();
            let last = opened.is_last.then(|| self.pool.last());
            let pool = last.as_ref().unwrap_or(&self.receive_pool);
            decode_record(&opened.plain, pool, &mut *rx.decompress, &mut scratch.frames)
        };
        let mut decoded = decode(&opened);
        if decoded == Err(DecodeError::OUT_OF_MEMORY) && !opened.is_last && self.may_use_last() {
            opened.is_last = true;
            decoded = decode(&opened);
        }
        match decoded {
            Ok(()) => {
                PathCounters::add(&path.counters.records_received, 1);
                match self.take_frames(path, rx, &opened, scratch) {
                    true => Ok(true),
                    false => Err(PathCause::MemoryShort),
                }
            }
            // Others want what it would hold while it waits.
            Err(DecodeError::OUT_OF_MEMORY) if opened.is_last => {
                scratch.frames.clear();
                Err(PathCause::MemoryShort)
            }
            Err(DecodeError::OUT_OF_MEMORY) => {
                scratch.frames.clear();
                rx.opened = Some(Box::new(opened));
                Ok(false)
            }
            Err(error) => {
                scratch.frames.clear();
                self.lock().offending = Some(Box::new(opened.whereabouts(path)));
                tracing::warn!(path = path.id.0, remote = &*path.attributes.remote, %error, "malformed record");
                Err(PathCause::Malformed { what: error.what })
            }
        }
    }

    /// Returns whether there was room for all.
    fn take_frames(
        &self,
        path: &PathIo,
        rx: &mut PathRx,
        opened: &Opened,
        scratch: &mut Scratch,
    ) -> bool {
        let now = self.clock.now();
        let Scratch { frames, wakers, .. } = scratch;
        let rate = self.request_rate.get().map(|rate| (rate, requests(frames)));
        if let Some((rate, count)) = rate.filter(|(_, count)| *count > 0)
            && let Some(until) = self.asked.note(now, rate, count)
        {
            rx.rests_until = until;
            self.counters.slowed.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = self.lock();
        let mut needs_driver =
            state.machine.stands_by(path.id) && state.put_off_answers(path.id, frames);
        let taken = match opened.is_last {
            true => state.machine.handle_record_in_need(now, path.id, opened.epoch, frames),
            false => state.machine.handle_record(now, path.id, opened.epoch, frames).map(|()| true),
        };
        let all_kept = taken.unwrap_or_else(|violation| {
            frames.clear();
            tracing::warn!(path = path.id.0, %violation, "the peer broke the protocol");
            state.offending = Some(Box::new(opened.whereabouts(path)));
            state.machine.handle_violation(violation);
            true
        });
        state.dispatch(wakers, &mut needs_driver);
        needs_driver |= state.machine.poll_timeout().is_some_and(|due| due < state.armed);
        scratch.is_flush_wanted |= state.machine.wants_transmit(now, path.id);
        let elsewhere = state.machine.active_path().filter(|&active| active != path.id);
        needs_driver |= elsewhere.is_some_and(|path| state.machine.wants_transmit(now, path));
        drop(state);
        if needs_driver {
            self.wake.raise();
        }
        all_kept
    }

    fn lose_rx(
        &self,
        path: &PathIo,
        rx: &mut PathRx,
        cause: PathCause,
        scratch: &mut Scratch,
    ) -> Received {
        rx.is_ended = true;
        rx.carry.clear();
        let now = self.clock.now();
        let mut state = self.lock();
        state.machine.handle_path_down(now, path.id, cause);
        state.dispatch(&mut scratch.wakers, &mut false);
        drop(state);
        self.wake.raise();
        Received::Nothing
    }
}

/// What is asked for in `frames` that costs no credit.
fn requests(frames: &[Frame]) -> u32 {
    frames.iter().filter(|frame| frame.is_request()).count() as u32
}

impl Opened {
    fn whereabouts(&self, path: &PathIo) -> OffendingRecord {
        let remote = path.attributes.remote.to_string();
        OffendingRecord { path: path.id, remote, number: self.number, epoch: self.epoch }
    }
}

/// A session that holds so much of what is in use, one part in so many, waits for itself if there is no more.
const OWN_PART: u64 = 8;

/// What to do next with a path.
enum Step {
    /// There is no memory for what comes next, so many bytes.
    Wait(usize),
    /// To open what was read before.
    Open((SlotMut, bool)),
    /// To read so many bytes at most.
    Read(usize),
}

fn plain_bytes(path: &PathIo, rx: &PathRx, header: &RecordHeader) -> Result<usize, PathCause> {
    rx.opener.plain_bytes(header.length as usize).map_err(|error| bad(path, &error))
}

/// Bytes of the opened record of which `bytes` are the beginning; `None` if it cannot be known yet, or it is whole.
fn begun_bytes(rx: &PathRx, bytes: &[u8]) -> Option<usize> {
    let header = RecordHeader::decode(bytes.first_chunk()?).ok()?;
    rx.opener.plain_bytes(header.length as usize).ok().filter(|_| !is_complete(bytes))
}

/// Whether `bytes` begin with a whole record.
fn is_complete(bytes: &[u8]) -> bool {
    bytes
        .first_chunk::<HEADER_BYTES>()
        .and_then(|header| RecordHeader::decode(header).ok())
        .is_some_and(|header| bytes.len() >= HEADER_BYTES + header.length as usize)
}

fn bad(path: &PathIo, error: &dyn std::error::Error) -> PathCause {
    tracing::warn!(path = path.id.0, remote = &*path.attributes.remote, %error, "bad record");
    PathCause::BadRecord
}
