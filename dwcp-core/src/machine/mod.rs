//! The session machine: everything a session decides, without I/O, clock or randomness.

mod certificate;
mod channels;
mod event;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod halves;
mod held;
mod ids;
mod lending;
#[cfg(test)]
mod limits_tests;
mod liveness;
mod path;
mod receive;
mod receive_side;
mod seldom;
mod send_side;
mod settings;
mod share;
mod shed;
mod sleep;
mod switching;
mod time;
mod transmit;
mod window;

use std::collections::VecDeque;
use std::sync::Arc;

pub use event::{Closed, Event, InDoubt, PathCause, PullRequest, Switch, SwitchFailure, Violation};
pub use ids::ChannelKey;
pub(crate) use lending::Lent;
pub use path::{PathAttributes, PathState};
pub(crate) use seldom::Seldom;
pub use settings::{
    BATCH_MESSAGE_BYTES_MAX, CHANNEL_WINDOW_MIN, FRAME_COST_MIN, MAX_FRAMES_AHEAD, Priority, Role,
    Settings, TRANSMIT_BYTES,
};
pub use share::{Share, SharedBudget};
pub(crate) use shed::shed;
pub use time::Time;
pub use transmit::{TxBatch, TxData, TxRecord};
pub use window::ReceiveBudget;

use crate::mem::{Message, Payload};
use crate::wire::{Control, PathId, SwitchReason};
use channels::{Channel, Channels};
use ids::RangeSet;
use path::Path;
use window::Window;

/// One end of a session.
///
/// # How to drive it
/// There are four kinds of methods.
///
/// * **Getters** (`&self`) change nothing.
/// * **What happened**: [`handle_path_up`](Self::handle_path_up), [`handle_record`](Self::handle_record),
///   [`handle_path_down`](Self::handle_path_down), [`handle_path_fenced`](Self::handle_path_fenced),
///   [`handle_fence_failed`](Self::handle_fence_failed),
///   [`handle_pull_complete`](Self::handle_pull_complete), [`handle_timeout`](Self::handle_timeout),
///   [`handle_session_lost`](Self::handle_session_lost), [`handle_certificates`](Self::handle_certificates),
///   [`handle_asleep`](Self::handle_asleep).
/// * **Commands** of the application: [`open`](Self::open), [`send`](Self::send), [`finish`](Self::finish),
///   [`reset`](Self::reset), [`release`](Self::release), [`confirm`](Self::confirm),
///   [`request_switch`](Self::request_switch), [`offer_path`](Self::offer_path),
///   [`answer_path`](Self::answer_path), [`close_path`](Self::close_path), [`leave`](Self::leave),
///   [`close`](Self::close).
/// * **Outputs**, polled after any of the above, in this order until each has nothing left:
///   1. [`poll_event`](Self::poll_event): what to tell the application and what to do with links;
///   2. [`poll_transmit`](Self::poll_transmit) for every live path that can send;
///   3. [`poll_timeout`](Self::poll_timeout): when to call `handle_timeout`.
///
///   [`poll_message`](Self::poll_message) may be called at any time; it can give rise to transmits (credit).
///
/// `now` never goes back. A record that `poll_transmit` gave out is sealed and sent on its path, in that
/// order, or the path is reported down: the machine does not ask twice. Payloads are shared: whoever may
/// still read or write a slot's memory holds a reference to it, so a slot is reused only when it is acked
/// **and** the wire is done with it.
///
/// # Panics
/// On a [`ChannelKey`] of another session, and on broken internal invariants: those are bugs.
pub struct Machine {
    settings: Arc<Settings>,
    paths: Vec<Path>,
    channels: Channels,
    /// The path new data goes to.
    active: Option<PathId>,
    /// Our epoch: grows with every switch of either end.
    epoch: u32,
    /// The highest epoch heard from the peer.
    peer_epoch: u32,
    switch: switching::Stage,
    events: VecDeque<Event>,
    /// Pulls the peer may still carry out on a path: they keep their source.
    pull_sources: Seldom<PullOpen>,
    /// Paths of ours that could not be fenced: what could be pulled by them is let go of only when the peer has
    /// fenced its end.
    unfenced: Seldom<PathId>,
    /// Pulls we have been asked for and not reported.
    pulls: Seldom<PullRequest>,
    /// Path ids that were given away, per parity: never reused.
    path_ids_seen: RangeSet,
    next_path: u32,
    /// Paths we offered and the peer has not answered for.
    offers: Seldom<PathId>,
    /// Offers of the peer that were told and not answered.
    offers_heard: usize,
    /// Numbers of our answers on channel 0 that are not acked.
    answers: Seldom<u64>,
    /// Since when there is no path.
    lost_at: Option<Time>,
    /// Acks wait until then.
    ack_at: Option<Time>,
    /// When `handle_timeout` was last called: what was due then is up to `poll_transmit`.
    woken: Time,
    /// Data waits until the peer has told what it has.
    holds_for_resume: bool,
    /// When the certificates behind the session end.
    certificate: Option<certificate::Limit>,
    /// A message or a control message came or went since [`take_moved`](Self::take_moved) was asked last.
    moved: bool,
    /// Some path was active once.
    was_active: bool,
    /// The peer resumes by this path because it has no other, and says first that it moves there.
    awaited: Option<PathId>,
    wants_all_acked: bool,
    /// How the session will end.
    closing: Option<Box<Closed>>,
    /// What to tell the peer when everything is acked.
    farewell: Option<Box<Control>>,
    /// Which ends have said that they leave: ours, the peer's.
    leaves: (bool, bool),
    is_over: bool,
}

/// A payload that the peer may read by itself until it says `PullDone` or has fenced the path.
struct PullOpen {
    path: PathId,
    channel: u32,
    seq: u64,
    _payload: Payload,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let unfenced = self.unfenced.take();
        let is_readable = |open: &mut PullOpen| unfenced.contains(&open.path);
        for open in self.pull_sources.take().extract_if(.., is_readable) {
            self.settings.pool.leak(open, 1);
        }
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer's window is full: wait for `Writable`.
    #[error("the receive window of the peer is full")]
    Window,
    /// The memory pool is used up: wait until messages are acked or dropped.
    #[error("the memory pool is used up")]
    Pool,
    /// The channel takes no more messages.
    #[error("the channel is closed")]
    Closed,
    /// The message is longer than the peer takes.
    #[error("the message is longer than the peer's limit of {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: u64,
    },
}

/// Why a switch was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// The path is not there, not validated, or down.
    #[error("the path is not ready")]
    NotReady,
    /// Data goes there already.
    #[error("the path is active already")]
    AlreadyActive,
    /// Another switch is going on.
    #[error("another switch is going on")]
    Busy,
}

/// What a path looks like from outside.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PathView {
    /// Its id.
    pub id: PathId,
    /// Its kind.
    pub kind: crate::wire::PathKind,
    /// Where it is in its life.
    pub state: PathState,
    /// Smoothed round-trip time of probes.
    pub rtt: Option<std::time::Duration>,
    /// Frames of ours on their way.
    pub in_flight: usize,
}

/// From this version on a process can say that it leaves.
const VERSION_WITH_LEAVING: u16 = 4;

impl Machine {
    /// A new session without paths. Sessions with the same settings may share them.
    pub fn new(settings: impl Into<Arc<Settings>>) -> Self {
        let settings = settings.into();
        let next_path = if settings.role == Role::Dialer { 0 } else { 1 };
        Self {
            channels: Channels::new(
                settings.role,
                Window::new(settings.window_bytes, settings.receive_budget.clone()),
                Share::new(settings.send_budget.clone()),
            ),
            settings,
            paths: Vec::new(),
            active: None,
            epoch: 0,
            peer_epoch: 0,
            switch: switching::Stage::Steady,
            events: VecDeque::new(),
            pull_sources: Seldom::default(),
            unfenced: Seldom::default(),
            pulls: Seldom::default(),
            path_ids_seen: RangeSet::default(),
            next_path,
            offers: Seldom::default(),
            offers_heard: 0,
            answers: Seldom::default(),
            lost_at: None,
            ack_at: None,
            woken: Time::default(),
            holds_for_resume: false,
            certificate: None,
            moved: false,
            was_active: false,
            awaited: None,
            wants_all_acked: false,
            closing: None,
            farewell: None,
            leaves: (false, false),
            is_over: false,
        }
    }

    /// Commits one message: it is ours to deliver when this returns `Ok`. Small messages are copied into a
    /// batch, larger ones are shared.
    ///
    /// # Errors
    /// [`SendError`]; the message is not taken. After `Window` comes [`Event::Writable`].
    pub fn send(&mut self, channel: ChannelKey, message: &Message) -> Result<(), SendError> {
        self.admit(message.len())?;
        let room = self.channels.get_mut(channel).ok_or(SendError::Closed)?;
        room.send.send(&message.0, &self.settings.pool)?;
        self.channels.schedule(channel.index);
        Ok(())
    }

    fn admit(&self, message_bytes: usize) -> Result<(), SendError> {
        let limit_bytes = self.settings.peer_max_message_bytes;
        if self.is_over || self.closing.is_some() {
            return Err(SendError::Closed);
        }
        if message_bytes as u64 > limit_bytes {
            return Err(SendError::TooLong { limit_bytes });
        }
        Ok(())
    }

    /// As [`send`](Self::send), for a message of at most [`BATCH_MESSAGE_BYTES_MAX`] bytes, which is copied.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Panics
    /// If it is longer.
    pub fn send_copy(&mut self, channel: ChannelKey, message: &[u8]) -> Result<(), SendError> {
        assert!(message.len() <= BATCH_MESSAGE_BYTES_MAX, "longer messages are not copied");
        self.admit(message.len())?;
        let room = self.channels.get_mut(channel).ok_or(SendError::Closed)?;
        room.send.send_copy(message, &self.settings.pool)?;
        self.channels.schedule(channel.index);
        Ok(())
    }

    /// The next frame in order of `channel`: a batch, a fragment or the end. Taking it returns its credit.
    pub fn poll_message(&mut self, channel: ChannelKey) -> Option<crate::wire::DataFrame> {
        let room = self.channels.get_mut(channel)?;
        let frame = room.receive.take()?;
        self.channels.note_consumed(channel.index);
        Some(frame)
    }

    /// Whether [`poll_event`](Self::poll_event) has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next thing to tell or to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Begins to close: no more is committed; when everything is acked the peer is told. Ends with
    /// [`Event::Closed`]. Without a path, a session with something un-acked waits for one, within its time to
    /// live as ever; [`abort`](Self::abort) does not.
    pub fn close(&mut self, code: u32, reason: &str) {
        if self.is_over || self.closing.is_some() {
            return;
        }
        let mut end = reason.len().min(crate::wire::MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.closing = Some(Box::new(Closed::ByUs));
        let reason = reason[..end].to_owned();
        self.farewell = Some(Box::new(Control::Close { code, reason }));
        let has_path = self.paths.iter().any(Path::is_live);
        if !has_path && (self.lost_at.is_none() || self.is_data_acked()) {
            self.end(Closed::ByUs); // nobody to tell
        } else if self.is_all_acked() {
            self.note_all_acked();
        }
    }

    /// Tells the peer that this process leaves: all that is open goes on, new channels belong on a session with its
    /// successor. Before version 4 there is no word for it, and nothing is told.
    pub fn leave(&mut self) {
        if self.is_over || self.closing.is_some() || self.leaves.0 {
            return;
        }
        self.leaves.0 = true;
        if self.settings.version >= VERSION_WITH_LEAVING {
            self.push_control(&Control::Leaving);
        }
    }

    /// Whether either end has said that its process leaves.
    pub fn is_leaving(&self) -> bool {
        self.leaves.0 || self.leaves.1
    }

    /// Ends the session at once; what is un-acked is in doubt.
    pub fn abort(&mut self) {
        if !self.is_over {
            self.end(Closed::ByUs);
        }
    }

    /// As [`abort`](Self::abort), because the peer broke the protocol.
    pub fn handle_violation(&mut self, violation: Violation) {
        if !self.is_over {
            self.end(Closed::PeerViolated(violation));
        }
    }

    /// Asks for [`Event::AllAcked`], once, when everything committed is acked.
    pub fn notify_all_acked(&mut self) {
        self.wants_all_acked = true;
        if self.is_all_acked() {
            self.note_all_acked();
        }
    }

    fn note_all_acked(&mut self) {
        if std::mem::take(&mut self.wants_all_acked) {
            self.events.push_back(Event::AllAcked);
        }
        match (self.farewell.take(), self.closing.as_deref()) {
            (Some(farewell), _) => self.push_control(&farewell),
            (None, Some(Closed::ByUs)) if !self.is_over => self.end(Closed::ByUs),
            _ => {}
        }
    }

    /// The peer no longer knows this session (it restarted, or let it expire): reports every un-acked
    /// message as in doubt and ends.
    pub fn handle_session_lost(&mut self, now: Time) {
        if !self.is_over {
            let why = self.why_lost(now);
            self.end(why);
        }
    }

    /// Ends the session: un-acked messages are in doubt, all paths go down.
    fn end(&mut self, why: Closed) {
        assert!(!self.is_over, "a session ends once");
        self.is_over = true;
        self.channels.window.end();
        for channel in self.channels.iter_mut() {
            let (sent, acked) = channel.send.messages();
            if sent > acked && channel.id != 0 && channel.reset.is_none() {
                let (from, count) = (acked + 1, sent - acked);
                self.events.push_back(Event::InDoubt { channel: channel.id, from, count });
            }
            channel.send.abandon();
            channel.is_over = true;
        }
        self.channels.wake_all(&mut self.events);
        for index in 0..self.paths.len() {
            self.take_down(index, PathCause::Closed);
        }
        self.switch = switching::Stage::Steady;
        self.active = None;
        self.lost_at = None;
        self.events.push_back(Event::Closed(why));
    }

    /// Queues a control message: it is delivered in order, once, whatever happens to paths.
    fn push_control(&mut self, control: &Control) {
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        self.channels
            .control_mut()
            .send
            .push_free(crate::wire::DataKind::Control, Payload::Bytes(bytes.into()));
    }

    fn path(&self, id: PathId) -> Option<&Path> {
        self.paths.iter().find(|path| path.id == id)
    }

    fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.id == id)
    }

    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether it is about to end in good order: no more is committed.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether this end has begun to close it.
    pub fn is_closed_by_us(&self) -> bool {
        self.closing.as_deref() == Some(&Closed::ByUs)
    }

    /// Whether everything committed is acked.
    pub fn is_all_acked(&self) -> bool {
        self.channels.iter().all(|channel| channel.send.is_all_acked())
    }

    /// As [`is_all_acked`](Self::is_all_acked), but for control messages, most of which matter to live
    /// sessions only.
    fn is_data_acked(&self) -> bool {
        self.channels.iter().all(|channel| channel.id == 0 || channel.send.is_all_acked())
    }

    /// Messages committed and not known to have arrived, over all channels.
    pub fn unacked_messages(&self) -> u64 {
        let unacked = |channel: &Channel| {
            let (sent, acked) = channel.send.messages();
            sent - acked
        };
        let is_kept = |channel: &&Channel| channel.id != 0 && channel.reset.is_none();
        self.channels.iter().filter(is_kept).map(unacked).sum()
    }

    /// The path data goes to.
    pub fn active_path(&self) -> Option<PathId> {
        self.active
    }

    /// The preference of a path; 0 if it is not there.
    pub fn preference_of(&self, path: PathId) -> u8 {
        self.path(path).map_or(0, |path| path.attributes.preference)
    }

    /// Asks the active path for an answer, unless one is due.
    pub fn ping_active(&mut self, now: Time) {
        if let Some(path) = self.active.and_then(|id| self.path_mut(id)) {
            path.ping(now);
        }
    }

    /// The round trip of the last ping that was sent at `asked` or later and answered.
    pub fn answered_since(&self, asked: Time) -> Option<std::time::Duration> {
        let answers = self.paths.iter().filter_map(|path| path.answered);
        answers.filter(|(_, sent)| *sent >= asked).map(|(at, sent)| at.since(sent)).next()
    }

    /// Whether the peer waits, or soon will, for credit that is ours to give.
    pub fn has_credit_to_tell(&self) -> bool {
        self.active.is_some() && self.channels.has_urgent()
    }

    /// Messages committed, over all channels that are open.
    pub fn messages_committed(&self) -> u64 {
        let open = self.channels.iter().filter(|channel| channel.id != 0);
        open.map(|channel| channel.send.messages().0).sum::<u64>() + self.channels.messages_over
    }

    /// Whether one end gave the channel up, or it is gone.
    pub fn is_reset(&self, channel: ChannelKey) -> bool {
        self.channels.get(channel).is_none_or(|channel| channel.is_over)
    }

    /// Whether nothing of ours is on its way on the active path: what is committed now is the first after a
    /// pause, or the answer to what came last.
    pub fn is_quiet(&self) -> bool {
        self.active.and_then(|id| self.path(id)).is_some_and(|path| path.in_flight == 0)
    }

    /// Bytes of memory that `channel` keeps until its peer has acked what lies there.
    pub fn kept_bytes(&self, channel: ChannelKey) -> u64 {
        self.channels.get(channel).map_or(0, |channel| channel.send.kept_bytes())
    }

    /// Our switch epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether no switch is going on in either direction.
    pub fn is_steady(&self) -> bool {
        self.switch == switching::Stage::Steady && self.peer_epoch == self.epoch
    }

    /// Every path, also those being fenced.
    pub fn paths(&self) -> impl Iterator<Item = PathView> + '_ {
        self.paths.iter().map(|path| PathView {
            id: path.id,
            kind: path.attributes.kind,
            state: path.state,
            rtt: path.rtt,
            in_flight: path.in_flight,
        })
    }

    /// The end of this session we are.
    pub fn role(&self) -> Role {
        self.settings.role
    }

    /// Channels that are open, the control channel not counted.
    pub fn channel_count(&self) -> usize {
        self.channels.iter().filter(|channel| channel.id != 0).count()
    }

    /// Whether the session may keep more until it is acked; otherwise messages are refused with [`SendError::Pool`].
    pub fn may_keep(&self) -> bool {
        self.channels.kept.may_grow()
    }

    /// Whether taking the next frame of `channel` means to gather a message that comes in pieces.
    pub fn is_next_a_piece(&self, channel: ChannelKey) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.receive.is_next_a_piece())
    }

    /// Whether `channel` would take a message now.
    pub fn is_writable(&self, channel: ChannelKey) -> bool {
        self.channels.get(channel).is_none_or(|channel| channel.send.is_writable())
    }

    /// As [`is_writable`](Self::is_writable); if it is not, [`Event::Writable`] comes when it is.
    pub fn ask_writable(&mut self, channel: ChannelKey) -> bool {
        match self.channels.get_mut(channel) {
            Some(channel) if !channel.send.is_writable() => {
                channel.send.wants_writable = true;
                false
            }
            _ => true,
        }
    }

    /// Whether `channel` has something to take, or will never have again.
    pub fn is_readable(&self, channel: ChannelKey) -> bool {
        self.channels.get(channel).is_none_or(|channel| {
            channel.receive.has_ready() || channel.receive.is_finished || channel.is_over
        })
    }

    /// Why nothing more comes from `channel`, once its frames are taken.
    pub fn end_of(&self, channel: ChannelKey) -> ChannelEnd {
        match self.channels.get(channel) {
            None => ChannelEnd::Reset { code: 0 },
            Some(channel) => match channel.reset {
                Some(code) => ChannelEnd::Reset { code },
                None if channel.receive.is_at_end() => ChannelEnd::Finished,
                None if self.is_over => ChannelEnd::SessionOver,
                None => ChannelEnd::Open,
            },
        }
    }

    /// Messages of `channel`: committed, acked, confirmed.
    pub fn message_counts(&self, channel: ChannelKey) -> (u64, u64, u64) {
        self.channels.get(channel).map_or((0, 0, 0), |channel| {
            let (sent, acked) = channel.send.messages();
            (sent, acked, channel.confirmed)
        })
    }
}

/// Whether and why a channel's incoming direction is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEnd {
    /// It is not.
    Open,
    /// The peer finished it; everything was received.
    Finished,
    /// One end gave it up.
    Reset {
        /// The application's reason.
        code: u32,
    },
    /// The session ended.
    SessionOver,
}
