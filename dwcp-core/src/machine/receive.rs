//! What arrives.

use super::send_side::SentState;
use super::settings::{ACK_BYTES, ACK_DELAY, CONTROL_UNACKED_MAX, PATHS_MAX};
use super::*;
use crate::link::LinkFeatures;
use crate::wire::{Ack, DataFrame, DataKind, Frame};
use std::sync::atomic::Ordering;

/// Which frames of a record may stay in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    /// Those that others wait for.
    Missed,
}

impl Machine {
    /// Takes the frames of one record in, as opened on `path` under `epoch`; `frames` is left empty.
    /// Records of paths that are down are ignored.
    ///
    /// # Errors
    /// [`Violation`]: the peer broke the protocol inside an authentic record. The session cannot go on; the
    /// caller ends it with [`handle_violation`](Self::handle_violation).
    pub fn handle_record(
        &mut self,
        now: Time,
        path: PathId,
        epoch: u32,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Violation> {
        self.take_record(now, path, epoch, frames, Keep::All).map(drop)
    }

    /// As [`handle_record`](Self::handle_record), for a record in the [last memory](crate::mem::Pool::last): it is for
    /// frames that others wait for, and all other data is refused. Returns whether all was kept; if not, the caller ends
    /// the path with [`PathCause::MemoryShort`]: on the next one what is missing comes first.
    ///
    /// # Errors
    /// As `handle_record`.
    pub fn handle_record_in_need(
        &mut self,
        now: Time,
        path: PathId,
        epoch: u32,
        frames: &mut Vec<Frame>,
    ) -> Result<bool, Violation> {
        self.take_record(now, path, epoch, frames, Keep::Missed)
    }

    /// Whether frames came before their turn: they hold memory until those before them are here.
    pub fn has_early_frames(&self) -> bool {
        self.channels.iter().any(|channel| channel.receive.has_gap())
    }

    /// Bytes of memory that received frames keep: early ones, and those the application has not taken.
    pub fn held_bytes(&self) -> u64 {
        self.channels.held.load(Ordering::Relaxed)
    }

    fn take_record(
        &mut self,
        now: Time,
        path: PathId,
        epoch: u32,
        frames: &mut Vec<Frame>,
        keep: Keep,
    ) -> Result<bool, Violation> {
        let is_live = self.path(path).is_some_and(Path::is_live);
        if self.is_over || !is_live {
            frames.clear();
            return Ok(true);
        }
        let room = self.path_mut(path).expect("found above");
        (room.heard, room.missed) = (now, 0);
        room.peer_sleeps = false; // who sends looks
        #[cfg(feature = "sim")]
        let epoch = if crate::sim::bug(crate::sim::Bug::LostHeaderEpoch) { 0 } else { epoch }; // planted
        self.hear_epoch(now, path, epoch)?;
        // Most sessions stay at epoch 0 for life: their frames are not looked through.
        let is_other_way = self.epoch == 0 && self.active.is_some_and(|active| active != path);
        if is_other_way && frames.iter().any(|frame| matches!(frame, Frame::Data(_))) {
            self.hear_first_path(now, path);
        }
        let mut all_kept = true;
        for frame in frames.drain(..) {
            all_kept &= self.handle_frame(now, path, frame, keep)?;
            if self.is_over {
                break;
            }
        }
        self.check_control()?;
        Ok(all_kept)
    }

    /// Returns whether the frame was kept, or nothing of it is needed.
    fn handle_frame(
        &mut self,
        now: Time,
        path: PathId,
        frame: Frame,
        keep: Keep,
    ) -> Result<bool, Violation> {
        match frame {
            Frame::Data(frame) if self.is_refused(&frame, keep)? => return Ok(false),
            Frame::Data(frame) => {
                self.moved = true;
                match frame.channel {
                    0 => self.handle_control_frame(now, frame)?,
                    _ => self.handle_data(now, path, frame)?,
                }
            }
            Frame::Ack(ack) => self.handle_ack(now, &ack)?,
            Frame::Credit { channel, limit } => self.handle_credit(channel, limit),
            Frame::Confirm { channel, messages } => self.handle_confirm(channel, messages)?,
            Frame::PullDone { channel, seq, arrived } => {
                self.handle_pull_done(path, channel, seq, arrived);
            }
            Frame::SwitchMark { epoch, to } => {
                #[cfg(feature = "sim")]
                if crate::sim::bug(crate::sim::Bug::LostSwitchMark) {
                    return Ok(true); // planted: only headers tell of the switch
                }
                // A path that is not proven yet is believed by its own records only.
                if self.path(to).is_some_and(Path::is_validated) {
                    self.hear_epoch(now, to, epoch)?;
                }
            }
            path_frame => self.handle_path_frame(now, path, &path_frame),
        }
        Ok(true)
    }

    /// Whoever resumes again and again, or opens what is reset, without an ack, makes us keep a message each time.
    pub(super) fn check_control(&self) -> Result<(), Violation> {
        let is_good = self.channels.control_unacked() <= CONTROL_UNACKED_MAX;
        is_good.then_some(()).ok_or(Violation::ControlUnacked)
    }

    fn is_refused(&mut self, frame: &DataFrame, keep: Keep) -> Result<bool, Violation> {
        if keep == Keep::All || frame.pull.is_some() {
            return Ok(false);
        }
        let Some(index) = self.channels.receive_into(frame.channel)? else { return Ok(false) };
        let channel = self.channels.at_mut(index).expect("found or made");
        let receive = &channel.receive;
        // Control messages are acted on at once, and keep nothing.
        let is_good = match frame.channel {
            0 => receive.is_next(frame.seq),
            _ => receive.is_next(frame.seq) && receive.has_gap(),
        };
        Ok(!channel.is_over && !receive.has(frame.seq) && !is_good)
    }

    /// A ping that was taken out of its record and kept for a while.
    pub fn handle_ping(&mut self, now: Time, path: PathId, token: u64) {
        self.handle_path_frame(now, path, &Frame::Ping { token });
    }

    /// Frames that concern the path they came on.
    fn handle_path_frame(&mut self, now: Time, id: PathId, frame: &Frame) {
        let Some(path) = self.path_mut(id).filter(|path| path.is_live()) else { return };
        match *frame {
            Frame::Ping { token } => path.push(&Frame::Pong { token }),
            Frame::Pong { token } => {
                path.handle_pong(now, token);
                self.note_answer(now, id);
            }
            Frame::PathChallenge { token } => path.push(&Frame::PathResponse { token }),
            Frame::PathResponse { token } => {
                if token == path.attributes.challenge && path.state == PathState::Validating {
                    self.note_validated(now, id);
                }
            }
            Frame::PathCredit { records } => path.records_limit = path.records_limit.max(records),
            Frame::Asleep => path.peer_sleeps = true,
            Frame::Wake if self.events.back() == Some(&Event::ProgressAsked) => {}
            Frame::Wake => self.events.push_back(Event::ProgressAsked),
            _ => unreachable!("not a frame of a path"),
        }
    }

    fn handle_data(&mut self, now: Time, path: PathId, frame: DataFrame) -> Result<(), Violation> {
        let id = frame.channel;
        let Some(index) = self.channels.receive_into(id)? else {
            self.channels.note_closed(id);
            self.ack_at = Some(now);
            return Ok(());
        };
        let limit = self.settings.max_message_bytes;
        let channel = self.channels.at_mut(index).expect("found or made");
        if channel.is_over {
            self.channels.note_closed(id);
            self.ack_at = Some(now);
            return Ok(());
        }
        if let Some(source) = frame.pull {
            let can_pull = self.paths.iter().any(|at| at.id == path && at.has(LinkFeatures::PULL));
            if !can_pull {
                return Err(Violation::FrameOutOfPlace { channel: id });
            }
            let (seq, length) = (frame.seq, frame.length);
            let is_here = channel.receive.has(seq);
            let is_new = channel.receive.arrive_unpulled(frame)?;
            let request = PullRequest { path, channel: id, seq, source, length };
            if is_new {
                self.pulls.push(request);
                self.events.push_back(Event::Pull(request));
            } else {
                // A pull of it by another path may never end: then it has to come in a record.
                self.finish_pull(request, is_here);
            }
            return Ok(());
        }
        let arrival = channel.receive.arrive(frame, limit)?;
        self.note_arrival(now, index, arrival)
    }

    /// After a frame went in: announce, wake, ack.
    fn note_arrival(
        &mut self,
        now: Time,
        index: u32,
        arrival: receive_side::Arrival,
    ) -> Result<(), Violation> {
        self.channels.recount(index);
        let channel = self.channels.at_mut(index).expect("data went in");
        let is_pressing = arrival.is_duplicate
            || channel.receive.has_gap()
            || channel.receive.unacked_bytes >= ACK_BYTES;
        let announced = channel.is_announced;
        if arrival.is_readable && !announced {
            self.announce(index)?;
        }
        let channel = self.channels.at_mut(index).expect("data went in");
        if arrival.is_readable && channel.receive.has_ready() {
            let key = ChannelKey { index, id: channel.id };
            if channel.is_released {
                self.drop_unread(key);
            } else {
                self.events.push_back(Event::Readable(key));
            }
        }
        self.channels.note_ack(index);
        let due = if is_pressing { now } else { now + ACK_DELAY };
        self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
        Ok(())
    }

    /// Takes the Open frame of a channel of the peer.
    fn announce(&mut self, index: u32) -> Result<(), Violation> {
        let channel = self.channels.at_mut(index).expect("data went in");
        let out_of_place = Violation::FrameOutOfPlace { channel: channel.id };
        let open = channel.receive.take().ok_or(out_of_place)?;
        let (code, label) = open.payload.split_first().ok_or(out_of_place)?;
        let label = std::str::from_utf8(label).map_err(|_| out_of_place)?;
        if label.len() > crate::wire::MAX_LABEL_BYTES {
            return Err(out_of_place);
        }
        let priority = Priority::from_code(*code).ok_or(out_of_place)?;
        channel.priority = priority;
        channel.is_announced = true;
        let channel = ChannelKey { index, id: channel.id };
        let label = label.to_owned();
        self.events.push_back(Event::ChannelOpened { channel, priority, label });
        Ok(())
    }

    fn handle_ack(&mut self, now: Time, ack: &Ack) -> Result<(), Violation> {
        if ack.channel == 0 && ack.cumulative == u64::MAX {
            return Err(Violation::AckOfUnsent { channel: 0 }); // it is never over
        }
        let Some(index) = self.channels.index_of(ack.channel) else {
            return Ok(()); // acks of a channel that is closed here come late
        };
        let channel = self.channels.at_mut(index).expect("the index is good");
        let paths = &mut self.paths;
        let acked = channel
            .send
            .handle_ack(ack, |state| {
                if let SentState::InFlight { path, .. } = state {
                    note_landed(now, paths, path);
                }
            })
            .ok_or(Violation::AckOfUnsent { channel: ack.channel })?;
        if let Some((sent_at, path)) = acked.newest
            && let Some(path) = self.path_mut(path)
        {
            path.sample_ack(now.since(sent_at));
        }
        self.channels.schedule(index);
        self.channels.reap(index);
        self.after_landing();
        Ok(())
    }

    fn handle_credit(&mut self, channel: u32, limit: u64) {
        let Some(index) = self.channels.index_of(channel) else { return };
        let room = self.channels.at_mut(index).expect("the index is good");
        if !room.send.handle_credit(limit) {
            return;
        }
        if room.send.wants_writable && room.send.is_writable() {
            room.send.wants_writable = false;
            let key = ChannelKey { index, id: channel };
            self.events.push_back(Event::Writable(key));
        }
        self.channels.schedule(index);
    }

    fn handle_confirm(&mut self, channel: u32, messages: u64) -> Result<(), Violation> {
        let Some(index) = self.channels.index_of(channel) else { return Ok(()) };
        let room = self.channels.at_mut(index).expect("the index is good");
        if messages > room.send.messages().0 {
            return Err(Violation::AckOfUnsent { channel });
        }
        room.confirmed = room.confirmed.max(messages);
        let key = ChannelKey { index, id: channel };
        self.events.push_back(Event::Writable(key));
        Ok(())
    }

    fn handle_control_frame(&mut self, now: Time, frame: DataFrame) -> Result<(), Violation> {
        if frame.kind != DataKind::Control || frame.pull.is_some() {
            return Err(Violation::FrameOutOfPlace { channel: 0 });
        }
        self.channels.control_mut().receive.arrive(frame, 0)?;
        self.channels.note_ack(0);
        // Control is rare and what it changes is wanted soon.
        self.ack_at = Some(now);
        while let Some(frame) = self.channels.at_mut(0).and_then(|control| control.receive.take()) {
            let control = Control::decode(&frame.payload).map_err(|_| Violation::BadControl)?;
            self.handle_control(now, control)?;
        }
        Ok(())
    }

    fn handle_control(&mut self, now: Time, control: Control) -> Result<(), Violation> {
        match control {
            Control::Reset { channel, code } => self.handle_reset(channel, code)?,
            Control::SwitchRequest { path, reason } => {
                // A wish, not an order: the dialer decides, and a path that is not ready is no error.
                let _ = self.request_switch(now, path, reason);
            }
            Control::PathOffer { path, kind, nonce, bootstrap } => {
                self.note_peer_path(path)?;
                self.note_offer(path)?;
                self.offers_heard += 1;
                if self.live_paths() < PATHS_MAX {
                    self.events.push_back(Event::PathOffered { path, kind, nonce, bootstrap });
                } else {
                    self.answer_path(path, [0; 32], Vec::new());
                }
            }
            Control::PathAnswer { path, nonce, bootstrap } => {
                let Some(at) = self.offers.iter().position(|&offer| offer == path) else {
                    return Err(Violation::ForeignPath { path });
                };
                self.offers.swap_remove(at);
                self.events.push_back(Event::PathAnswered { path, nonce, bootstrap });
            }
            Control::PathClosed { path } => self.path_closed_by_peer(now, path),
            Control::Fenced { path, received } => {
                self.path_closed_by_peer(now, path);
                for ack in &received {
                    self.handle_ack(now, ack)?;
                }
                self.pull_sources.retain(|open| open.path != path);
                self.unfenced.retain(|&unfenced| unfenced != path);
            }
            Control::Leaving if self.settings.version < VERSION_WITH_LEAVING => {
                return Err(Violation::BadControl);
            }
            Control::Leaving => {
                if !std::mem::replace(&mut self.leaves.1, true) {
                    self.events.push_back(Event::PeerLeaves);
                }
            }
            Control::Close { code, reason } => {
                self.closing.get_or_insert_with(|| Box::new(Closed::ByPeer { code, reason }));
                self.farewell = None; // nobody waits for ours any more
            }
        }
        Ok(())
    }

    fn handle_reset(&mut self, channel: u32, code: u32) -> Result<(), Violation> {
        if channel == 0 {
            return Err(Violation::ForeignChannel { channel }); // it belongs to the session
        }
        let Some(index) = self.channels.receive_into(channel)? else { return Ok(()) };
        let room = self.channels.at_mut(index).expect("found or made");
        if room.is_over {
            return Ok(());
        }
        let was_announced = room.is_announced;
        self.drop_channel(index, code);
        let key = self.channels.key(index);
        if was_announced {
            self.events.extend([
                Event::ChannelReset { channel: key, code },
                Event::Readable(key),
                Event::Writable(key),
            ]);
        } else {
            self.release(key);
        }
        self.channels.reap(index);
        self.after_landing();
        Ok(())
    }

    fn handle_pull_done(&mut self, path: PathId, channel: u32, seq: u64, arrived: bool) {
        let is_it =
            |open: &PullOpen| open.path == path && open.channel == channel && open.seq == seq;
        let Some(at) = self.pull_sources.iter().position(is_it) else { return };
        self.pull_sources.swap_remove(at);
        if arrived {
            return;
        }
        let Some(index) = self.channels.index_of(channel) else { return };
        let room = self.channels.at_mut(index).expect("the index is good");
        let on_path = room.send.get(seq).is_some_and(
            |sent| matches!(sent.state, SentState::InFlight { path: on, .. } if on == path),
        );
        if on_path {
            room.send.requeue(seq, true);
            if let Some(path) = self.path_mut(path) {
                path.in_flight -= 1;
            }
            self.channels.schedule(index);
            self.after_landing();
        }
    }

    /// A pull ended: with the payload, or without (it could not be read, or was not what was promised).
    pub fn handle_pull_complete(
        &mut self,
        now: Time,
        request: PullRequest,
        payload: Option<Payload>,
    ) -> Result<(), Violation> {
        let Some(at) = self.pulls.iter().position(|pull| *pull == request) else {
            return Ok(()); // its path is gone
        };
        self.pulls.swap_remove(at);
        let good = payload.filter(|payload| {
            payload.len() == request.length as usize
                && crc32fast::hash(payload) == request.source.crc
        });
        self.finish_pull(request, good.is_some());
        let Some(index) = self.channels.index_of(request.channel) else { return Ok(()) };
        let room = self.channels.at_mut(index).expect("the index is good");
        if good.is_none() {
            room.receive.forget_pull(request.seq);
        }
        let limit = self.settings.max_message_bytes;
        match room.receive.end_pull(request.seq, good, limit) {
            Some(arrival) => self.note_arrival(now, index, arrival?),
            None => Ok(()),
        }
    }

    fn finish_pull(&mut self, request: PullRequest, arrived: bool) {
        let PullRequest { path, channel, seq, .. } = request;
        if let Some(path) = self.path_mut(path).filter(|path| path.is_live()) {
            path.push(&Frame::PullDone { channel, seq, arrived });
        }
    }

    /// Accounts for a frame that was acked or given up.
    pub(super) fn settle(&mut self, state: SentState) {
        if let SentState::InFlight { path, .. } = state
            && let Some(path) = self.path_mut(path)
        {
            path.in_flight -= 1;
        }
    }
}

fn note_landed(now: Time, paths: &mut [Path], id: PathId) {
    if let Some(path) = paths.iter_mut().find(|path| path.id == id) {
        path.in_flight -= 1;
        path.progress = now;
        path.suspected = None;
    }
}
