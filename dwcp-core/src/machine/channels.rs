//! The channels of a session and their commands.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::wire::{DataKind, MAX_CHANNELS, MAX_LABEL_BYTES};
use held::Held;
use receive_side::ReceiveSide;
use send_side::SendSide;
use settings::{CLOSED_REMEMBERED, CONTROL_FRAMES_MAX};
use window::Window;

pub(super) struct Channel {
    pub(super) id: u32,
    pub(super) priority: Priority,
    /// Its frames may be compressed.
    pub(super) may_compress: bool,
    pub(super) send: SendSide,
    pub(super) receive: ReceiveSide,
    /// Messages the peer's application confirmed, and ours.
    pub(super) confirmed: u64,
    confirms: u64,
    /// The reason it was given up.
    pub(super) reset: Option<u32>,
    /// No more frames go out or come in.
    pub(super) is_over: bool,
    /// The application has seen it open.
    pub(super) is_announced: bool,
    /// The application holds it no more.
    pub(super) is_released: bool,
    /// It counts against the limit of the end that opened it.
    counts: bool,
    is_scheduled: bool,
    /// It is in the list of those with missing frames.
    is_missed: bool,
    ack_due: bool,
    credit_due: bool,
    confirm_due: bool,
    /// It is in the list of those with something due.
    is_due: bool,
}

/// All channels, with the lists that make every choice O(1).
pub(super) struct Channels {
    role: Role,
    /// The first is the control channel's: most sessions end without a word on it but their last, and it is made for that.
    slots: Vec<Option<Box<Channel>>>,
    free: Seldom<u32>,
    /// Id and index of each but channel 0, by id: few sessions have more than a handful, and the newest is behind the others.
    by_id: Vec<(u32, u32)>,
    /// Channels that count against our limit, and against the peer's.
    open_ours: usize,
    open_peers: usize,
    /// Ids the peer has used, halved.
    peer_ids: RangeSet,
    next_id: u32,
    /// Channels with frames to send, per priority, in turn.
    pub(super) sendable: [VecDeque<u32>; 2],
    /// Channels with frames to send that others, which the peer has, wait for.
    missed: VecDeque<u32>,
    /// Channels with an ack, credit or confirmation to tell.
    due: Vec<u32>,
    /// Closed channels of which the peer re-sent something.
    closed_acks: Seldom<u32>,
    /// The last channels to be forgotten: their last ack may be lost with a path.
    recently_closed: VecDeque<u32>,
    /// Receive window for channels beyond the minimum.
    pub(super) window: Window,
    /// What all channels keep until it is acked.
    pub(super) kept: Share,
    /// Messages committed on channels that are no more.
    pub(super) messages_over: u64,
    /// Bytes of memory that received frames keep.
    pub(super) held: Arc<AtomicU64>,
}

impl Channels {
    pub(super) fn new(role: Role, window: Window, kept: Share) -> Self {
        Self {
            role,
            slots: vec![None],
            free: Seldom::default(),
            by_id: Vec::new(),
            open_ours: 0,
            open_peers: 0,
            peer_ids: RangeSet::default(),
            next_id: if role == Role::Dialer { 2 } else { 1 },
            sendable: Default::default(),
            missed: VecDeque::new(),
            due: Vec::new(),
            closed_acks: Seldom::default(),
            recently_closed: VecDeque::new(),
            window,
            kept,
            messages_over: 0,
            held: Arc::default(),
        }
    }

    fn make(&self, id: u32, priority: Priority) -> Box<Channel> {
        let frames_max = if id == 0 { CONTROL_FRAMES_MAX } else { MAX_FRAMES_AHEAD as usize };
        let is_opened_by_peer = id != 0 && !self.role.owns(id);
        Box::new(Channel {
            id,
            priority,
            may_compress: true,
            send: SendSide::new(CHANNEL_WINDOW_MIN, frames_max, self.kept.of_channel()),
            receive: ReceiveSide::new(is_opened_by_peer, Held::new(&self.held)),
            confirmed: 0,
            confirms: 0,
            reset: None,
            is_over: false,
            is_announced: false,
            is_released: false,
            counts: id != 0,
            is_scheduled: false,
            is_missed: false,
            ack_due: false,
            credit_due: false,
            confirm_due: false,
            is_due: false,
        })
    }

    fn insert(&mut self, id: u32, priority: Priority) -> u32 {
        let channel = self.make(id, priority);
        match self.role.owns(id) {
            true => self.open_ours += 1,
            false => self.open_peers += 1,
        }
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(index as usize) {
            Some(slot) => *slot = Some(channel),
            None => {
                reserve_first(&mut self.slots);
                self.slots.push(Some(channel));
            }
        }
        if let Err(at) = self.place_of(id) {
            reserve_first(&mut self.by_id);
            self.by_id.insert(at, (id, index));
        }
        index
    }

    /// Gives back what queues have grown to that are empty.
    pub(super) fn shed(&mut self) {
        self.sendable.iter_mut().for_each(shed);
        shed(&mut self.missed);
        self.closed_acks.shed();
        self.free.shed();
        for channel in self.iter_mut() {
            channel.send.shed();
            channel.receive.shed();
        }
    }

    pub(super) fn get(&self, key: ChannelKey) -> Option<&Channel> {
        self.at(key.index).filter(|channel| channel.id == key.id)
    }

    pub(super) fn get_mut(&mut self, key: ChannelKey) -> Option<&mut Channel> {
        self.at_mut(key.index).filter(|channel| channel.id == key.id)
    }

    pub(super) fn at(&self, index: u32) -> Option<&Channel> {
        self.slots.get(index as usize)?.as_deref()
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut Channel> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    /// Our half of the control channel; `None`: nothing was ever said on it, nor heard.
    pub(super) fn control(&self) -> Option<&SendSide> {
        self.at(0).map(|control| &control.send)
    }

    /// The control channel.
    pub(super) fn control_mut(&mut self) -> &mut Channel {
        if self.slots[0].is_none() {
            self.slots[0] = Some(self.make(0, Priority::Interactive));
        }
        self.slots[0].as_mut().expect("made above")
    }

    /// Control messages that are not acked.
    pub(super) fn control_unacked(&self) -> usize {
        self.control().map_or(0, SendSide::unacked)
    }

    /// Whether a control message waits to be sent.
    pub(super) fn has_control(&self) -> bool {
        self.control().is_some_and(SendSide::has_queued)
    }

    /// Where a channel is that is open. The control channel is.
    pub(super) fn index_of(&mut self, id: u32) -> Option<u32> {
        if id == 0 {
            self.control_mut();
            return Some(0);
        }
        self.place_of(id).ok().map(|at| self.by_id[at].1)
    }

    /// Where `id` is in `by_id`, or belongs.
    fn place_of(&self, id: u32) -> Result<usize, usize> {
        self.by_id.binary_search_by_key(&id, |(id, _)| *id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.slots.iter().filter_map(|slot| slot.as_deref())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.slots.iter_mut().filter_map(|slot| slot.as_deref_mut())
    }

    /// Finds the channel of an arriving frame, making it if the peer opens it by this. `Ok(None)`: closed.
    pub(super) fn receive_into(&mut self, id: u32) -> Result<Option<u32>, Violation> {
        if let Some(index) = self.index_of(id) {
            return Ok(Some(index));
        }
        if self.role.owns(id) {
            // Ours: it was opened and is closed, or never was.
            return if id < self.next_id {
                Ok(None)
            } else {
                Err(Violation::ForeignChannel { channel: id })
            };
        }
        if self.peer_ids.contains(u64::from(id / 2)) {
            return Ok(None);
        }
        if self.open_peers >= MAX_CHANNELS || self.peer_ids.ranges() > MAX_CHANNELS {
            return Err(Violation::TooManyChannels);
        }
        self.peer_ids.insert(u64::from(id / 2));
        Ok(Some(self.insert(id, Priority::Interactive)))
    }

    /// Whether we may open another. A reset that is not acked may be overtaken by the next Open: the peer
    /// still counts the channel, and so do we. Any other control message is taken for one.
    fn may_open(&self) -> bool {
        self.open_ours + self.control_unacked() < MAX_CHANNELS
    }

    /// The peer may count one of its channels no more as soon as it has our Fin and knows that we have its
    /// own: from the moment our Fin is on its way, neither do we. Ours count until we are through with them.
    pub(super) fn recount(&mut self, index: u32) {
        let Some(channel) = self.at_mut(index).filter(|channel| channel.counts) else { return };
        let (is_over, id) = (channel.is_over, channel.id);
        let is_finished = channel.receive.is_finished && channel.send.is_fin_sent();
        if self.role.owns(id) {
            if is_over {
                self.discount(index);
            }
        } else if is_over || is_finished {
            self.discount(index);
        }
    }

    fn discount(&mut self, index: u32) {
        let Some(channel) = self.at_mut(index) else { return };
        if std::mem::take(&mut channel.counts) {
            match self.role.owns(self.at(index).map_or(0, |channel| channel.id)) {
                true => self.open_ours -= 1,
                false => self.open_peers -= 1,
            }
        }
    }

    /// One past the highest index.
    pub(super) fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Looks through all channels for something to send.
    pub(super) fn reschedule(&mut self) {
        (0..self.capacity()).for_each(|index| self.schedule(index));
    }

    pub(super) fn key(&self, index: u32) -> ChannelKey {
        ChannelKey { index, id: self.at(index).expect("the channel is there").id }
    }

    /// Puts a channel with something to send in its queue.
    pub(super) fn schedule(&mut self, index: u32) {
        let Some(channel) = self.at_mut(index) else { return };
        if channel.id == 0 || !channel.send.has_queued() {
            return;
        }
        if channel.send.fills_gap() {
            if !std::mem::replace(&mut channel.is_missed, true) {
                self.missed.push_back(index);
            }
        } else if !std::mem::replace(&mut channel.is_scheduled, true) {
            let priority = channel.priority as usize;
            self.sendable[priority].push_back(index);
        }
    }

    /// The next channel of which the peer has frames that wait for others.
    pub(super) fn next_missed(&mut self) -> Option<u32> {
        while let Some(index) = self.missed.pop_front() {
            let Some(channel) = self.at_mut(index) else { continue };
            channel.is_missed = false;
            if channel.send.has_queued() && channel.send.fills_gap() {
                return Some(index);
            }
            self.schedule(index);
        }
        None
    }

    /// The next channel with something to send in `priority`; [`schedule`](Self::schedule) it again after.
    pub(super) fn next_sendable(&mut self, priority: usize) -> Option<u32> {
        while let Some(index) = self.sendable[priority].pop_front() {
            let Some(channel) = self.at_mut(index) else { continue };
            channel.is_scheduled = false;
            if channel.send.has_queued() {
                return Some(index);
            }
        }
        None
    }

    pub(super) fn has_sendable(&self) -> bool {
        !self.missed.is_empty() || self.sendable.iter().any(|queue| !queue.is_empty())
    }

    pub(super) fn note_consumed(&mut self, index: u32) {
        self.mark_due(index, |channel| channel.credit_due = true);
    }

    pub(super) fn note_ack(&mut self, index: u32) {
        self.mark_due(index, |channel| channel.ack_due = true);
    }

    fn mark_due(&mut self, index: u32, mark: impl FnOnce(&mut Channel)) {
        let Some(channel) = self.at_mut(index) else { return };
        mark(channel);
        if !std::mem::replace(&mut channel.is_due, true) {
            self.due.push(index);
        }
    }

    /// Everything that is state is told again: a lost path may have carried it.
    pub(super) fn refresh(&mut self) {
        let mut acks = self.closed_acks.take();
        acks.extend(&self.recently_closed);
        acks.sort_unstable();
        acks.dedup();
        self.closed_acks.set(acks);
        for index in 0..self.slots.len() as u32 {
            self.mark_due(index, |channel| {
                (channel.ack_due, channel.credit_due) = (true, true);
                channel.confirm_due = channel.confirms > 0;
                channel.receive.forget_grant();
            });
        }
    }

    /// Gives what is due to `tell` until it refuses; returns whether everything was told.
    pub(super) fn tell_due(
        &mut self,
        now: Time,
        round_trip_ns: u64,
        mut tell: impl FnMut(&Frame) -> bool,
    ) -> bool {
        let mut is_full = false;
        let mut through = Vec::new();
        // Taken out while the channels are changed, and put back: no allocation.
        let mut due = std::mem::take(&mut self.due);
        let (slots, window) = (&mut self.slots, &mut self.window);
        due.retain(|&index| {
            let channel = slots.get_mut(index as usize).and_then(Option::as_deref_mut);
            let Some(channel) = channel else { return false };
            let id = channel.id;
            if !is_full && channel.ack_due {
                is_full |= !tell(&Frame::Ack(channel.receive.ack(id)));
                channel.ack_due = is_full;
                channel.receive.unacked_bytes = 0;
            }
            if !is_full
                && std::mem::take(&mut channel.credit_due)
                && id != 0
                && let Some(limit) = channel.receive.grant(now, round_trip_ns, window)
                && !tell(&Frame::Credit { channel: id, limit })
            {
                (is_full, channel.credit_due) = (true, true);
                channel.receive.forget_grant();
            }
            if !is_full && std::mem::take(&mut channel.confirm_due) {
                is_full |= !tell(&Frame::Confirm { channel: id, messages: channel.confirms });
                channel.confirm_due = is_full;
            }
            channel.is_due = channel.ack_due || channel.credit_due || channel.confirm_due;
            if channel.is_released && !channel.ack_due {
                through.push(index);
            }
            channel.is_due
        });
        debug_assert!(self.due.is_empty());
        self.due = due;
        through.into_iter().for_each(|index| self.reap(index));
        !is_full
    }

    /// A frame came of a channel that is over: the peer has to know.
    pub(super) fn note_closed(&mut self, id: u32) {
        if !self.closed_acks.contains(&id) && self.closed_acks.len() < MAX_CHANNELS {
            self.closed_acks.push(id);
        }
    }

    /// Gives the channels of [`note_closed`](Self::note_closed) to `tell` until it refuses.
    pub(super) fn tell_closed(&mut self, mut tell: impl FnMut(u32) -> bool) -> bool {
        while let Some(&id) = self.closed_acks.last() {
            if !tell(id) {
                return false;
            }
            self.closed_acks.pop();
        }
        true
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty() || !self.closed_acks.is_empty()
    }

    /// Whether something but acks is due: those may wait.
    pub(super) fn has_urgent(&self) -> bool {
        let urgent = |&index: &u32| {
            self.at(index)
                .is_some_and(|channel| channel.confirm_due || channel.has_credit_to_tell())
        };
        !self.closed_acks.is_empty() || self.due.iter().any(urgent)
    }

    pub(super) fn wake_all(&self, events: &mut VecDeque<Event>) {
        for index in 1..self.slots.len() as u32 {
            if self.at(index).is_some() {
                let key = self.key(index);
                events.extend([Event::Readable(key), Event::Writable(key)]);
            }
        }
    }

    /// Forgets the channel if both ends and the application are through with it.
    pub(super) fn reap(&mut self, index: u32) {
        let Some(channel) = self.at(index) else { return };
        let is_sent = channel.send.finished && channel.send.is_all_acked();
        let is_done = is_sent && channel.receive.is_finished && !channel.ack_due;
        if channel.id != 0 && channel.is_released && (is_done || channel.is_over) {
            let (id, extra) = (channel.id, channel.receive.extra_window());
            self.discount(index);
            self.messages_over += self.at(index).map_or(0, |channel| channel.send.messages().0);
            self.window.give_back(extra);
            if let Ok(at) = self.place_of(id) {
                self.by_id.remove(at);
            }
            if self.recently_closed.len() == CLOSED_REMEMBERED {
                self.recently_closed.pop_front();
            }
            self.recently_closed.push_back(id);
            self.slots[index as usize] = None;
            self.free.push(index);
        }
    }
}

/// Room for the first entry alone: most sessions have one or two channels, and a vector would begin with four.
fn reserve_first<T>(entries: &mut Vec<T>) {
    if entries.len() < 2 {
        entries.reserve_exact(1);
    }
}

impl Channel {
    fn has_credit_to_tell(&self) -> bool {
        self.credit_due && self.receive.wants_grant()
    }
}

impl Machine {
    /// Opens a channel. The peer learns of it with its first frame.
    ///
    /// # Errors
    /// `Err(SendError::Closed)` when the session is over, `Window` when [`MAX_CHANNELS`] of ours are open.
    ///
    /// # Panics
    /// If `label` is longer than [`MAX_LABEL_BYTES`].
    pub fn open(&mut self, priority: Priority, label: &str) -> Result<ChannelKey, SendError> {
        assert!(label.len() <= MAX_LABEL_BYTES, "a label is short");
        if self.is_over || self.closing.is_some() {
            return Err(SendError::Closed);
        }
        if !self.channels.may_open() {
            return Err(SendError::Window);
        }
        let id = self.channels.next_id;
        self.channels.next_id = id.checked_add(2).ok_or(SendError::Closed)?;
        let index = self.channels.insert(id, priority);
        let mut payload = vec![priority.code()];
        payload.extend_from_slice(label.as_bytes());
        let channel = self.channels.at_mut(index).expect("just made");
        channel.is_announced = true;
        channel.send.push_free(DataKind::Open, Payload::Bytes(payload.into()));
        self.channels.schedule(index);
        Ok(ChannelKey { index, id })
    }

    /// Ends our direction of the channel in good order, after everything committed.
    pub fn finish(&mut self, channel: ChannelKey) {
        if let Some(room) = self.channels.get_mut(channel) {
            room.send.finish();
            self.channels.schedule(channel.index);
        }
    }

    /// Gives the channel up in both directions: un-acked messages may never arrive.
    pub fn reset(&mut self, channel: ChannelKey, code: u32) {
        let Some(room) = self.channels.get_mut(channel) else { return };
        if room.is_over {
            return;
        }
        self.drop_channel(channel.index, code);
        self.push_control(&Control::Reset { channel: channel.id, code });
        self.channels.reap(channel.index);
        self.after_landing();
    }

    /// The application holds the channel no more. Our direction is finished in good order; what the peer still
    /// sends is dropped, and acked, until it has finished, too. [`reset`](Self::reset) is the quick way.
    pub fn release(&mut self, channel: ChannelKey) {
        let Some(room) = self.channels.get_mut(channel) else { return };
        room.is_released = true;
        self.finish(channel);
        self.drop_unread(channel);
        self.channels.reap(channel.index);
    }

    /// Takes what has arrived on a channel that nobody reads.
    pub(super) fn drop_unread(&mut self, channel: ChannelKey) {
        while self.poll_message(channel).is_some() {}
    }

    /// Whether frames of our direction of the channel may be compressed; they may at first. Lengths of
    /// compressed frames tell something of their content: switch it off where secrets and text that
    /// others choose are mixed.
    pub fn set_compression(&mut self, channel: ChannelKey, may_compress: bool) {
        if let Some(room) = self.channels.get_mut(channel) {
            room.may_compress = may_compress;
        }
    }

    /// Tells the peer's application that ours is done with `messages` messages of the channel, in all.
    pub fn confirm(&mut self, channel: ChannelKey, messages: u64) {
        let Some(room) = self.channels.get_mut(channel) else { return };
        if messages > room.confirms {
            room.confirms = messages;
            self.channels.mark_due(channel.index, |channel| channel.confirm_due = true);
        }
    }

    /// Drops everything un-acked and unread of a channel that was reset by either end.
    pub(super) fn drop_channel(&mut self, index: u32, code: u32) {
        let channel = self.channels.at_mut(index).expect("the channel is there");
        channel.is_over = true;
        channel.reset = Some(code);
        for sent in channel.send.abandon() {
            self.settle(sent.state);
        }
        self.channels.recount(index);
    }
}

use crate::wire::Frame;
