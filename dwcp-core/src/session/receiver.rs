//! The receiving half of a channel.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::batch::{Batch, Malformed, Reading};
use super::channel::ChannelShared;
use super::error::{RecvError, TryRecvError};
use super::spin::Spin;
use crate::machine::{ChannelEnd, Violation};
use crate::mem::{Message, Payload};
use crate::wire::{DataFrame, DataKind};

/// Receives the messages of a channel: each once, in the order they were sent.
///
/// Dropping the receiver drops what arrives; the peer is not told until the sender is gone, too.
pub struct Receiver {
    shared: Arc<ChannelShared>,
    /// The batch being read.
    batch: Reading,
    /// The message that begins a [`Batch`] and has not been looked at.
    held: Option<Message>,
    /// A long message whose fragments have not all come.
    partial: Option<Partial>,
    /// Bytes of it that count as gathered, if it is being gathered: its first piece may be empty.
    gathered: Option<u64>,
    /// It waits until it may gather more.
    is_held_up: bool,
    /// Messages given to the application and not yet counted.
    uncounted: u64,
    spin: Spin,
}

/// The beginning of a long message.
struct Partial {
    bytes: BytesMut,
    total: u64,
    /// Bytes of it seen, also those given away as chunks.
    seen: u64,
    /// A piece of it was given away: it is no message any more, only the rest of one.
    is_begun: bool,
}

/// A piece of a message.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The piece's bytes; they share the memory they arrived in.
    pub bytes: Message,
    /// Whether the message ends with it.
    pub is_last: bool,
    /// Bytes of the whole message.
    pub total_bytes: u64,
}

/// What the next frame gave.
enum Step {
    Message(Message),
    /// More is needed.
    Nothing,
    End,
}

/// What the machine has for a channel.
enum Taken {
    Frame(DataFrame),
    Nothing,
    End,
}

/// A long message grows from this, as its fragments come: what a peer announces costs nothing.
const PARTIAL_BYTES: u64 = 1 << 20;

impl Receiver {
    pub(super) fn new(shared: Arc<ChannelShared>) -> Self {
        let spin = Spin::new(shared.core.spin);
        Self {
            shared,
            batch: Reading::none(),
            held: None,
            partial: None,
            gathered: None,
            is_held_up: false,
            uncounted: 0,
            spin,
        }
    }

    /// The channel's id on the wire.
    pub fn id(&self) -> u32 {
        self.shared.key.id()
    }

    /// The next message if it has arrived; `None` when the peer has finished.
    ///
    /// # Errors
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Message>, TryRecvError> {
        match self.next_at_hand() {
            Some(message) => Ok(Some(message)),
            None => self.try_next(),
        }
    }

    fn try_next(&mut self) -> Result<Option<Message>, TryRecvError> {
        match self.next() {
            Ok(Step::Message(message)) => Ok(Some(message)),
            Ok(Step::End) => Ok(None),
            Ok(Step::Nothing) => {
                self.stop_waiting();
                Err(TryRecvError::Empty)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next message, whole; `None` when the peer has finished the channel. What is left of a message of
    /// which [`recv_chunk`](Self::recv_chunk) gave a piece is passed over.
    ///
    /// A message of more than one frame is gathered in memory of its own, beside the endpoint's pool: all receivers
    /// together gather as much as `memory_budget_bytes`, those of one session never more than they leave to the others,
    /// but for one message of each session. Beyond that a receiver waits, and its peer with it, until another message is
    /// whole: whoever stops calling this in the middle of a long message, and keeps the receiver, may keep others of the
    /// session waiting. [`recv_chunk`](Self::recv_chunk) gathers nothing.
    ///
    /// Before it waits, it polls the link for as long as the endpoint's `spin` says, if the peer has lately
    /// answered within that time: a wake-up costs more.
    ///
    /// # Errors
    /// [`RecvError`]; nothing more will come.
    ///
    /// # Cancel safety
    /// Cancel-safe: no message is lost when the future is dropped.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        if let Some(message) = self.next_at_hand() {
            return Ok(Some(message));
        }
        let waiting = Waiting(self);
        poll_fn(|context| waiting.0.poll_recv(context)).await
    }

    /// As [`recv`](Self::recv), but all short messages that have arrived together at once, to be looked at where they lie: the
    /// cheapest way to receive many. A long message is a batch of its own. `None` when the peer has finished.
    ///
    /// ```
    /// # async fn count(receiver: &mut dwcp_core::Receiver) -> Result<usize, dwcp_core::RecvError> {
    /// let mut bytes = 0;
    /// while let Some(mut batch) = receiver.recv_batch().await? {
    ///     while let Some(message) = batch.next_message() {
    ///         bytes += message.len();
    ///     }
    /// }
    /// # Ok(bytes)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RecvError`]; nothing more will come.
    ///
    /// # Cancel safety
    /// Cancel-safe: no message is lost when the future is dropped.
    pub async fn recv_batch(&mut self) -> Result<Option<Batch<'_>>, RecvError> {
        {
            let waiting = Waiting(self);
            let is_any = poll_fn(|context| waiting.0.poll_with(context, Self::hold)).await?;
            if !is_any {
                return Ok(None);
            }
        }
        Ok(Some(Batch::new(self)))
    }

    /// Holds the next message, for a batch to begin with. Ready with false at the end.
    fn hold(&mut self) -> Result<Poll<bool>, RecvError> {
        Ok(match self.next()? {
            Step::Message(message) => {
                self.held = Some(message);
                Poll::Ready(true)
            }
            Step::End => Poll::Ready(false),
            Step::Nothing => Poll::Pending,
        })
    }

    /// As [`recv`](Self::recv), for code that polls.
    pub fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, RecvError>> {
        self.poll_with(context, |receiver| {
            Ok(match receiver.next()? {
                Step::Message(message) => Poll::Ready(Some(message)),
                Step::End => Poll::Ready(None),
                Step::Nothing => Poll::Pending,
            })
        })
    }

    /// The next piece of a message as it arrives: long messages need not be held whole. Short ones are one
    /// piece. `None` when the peer has finished.
    ///
    /// # Errors
    /// [`RecvError`].
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn recv_chunk(&mut self) -> Result<Option<Chunk>, RecvError> {
        poll_fn(|context| self.poll_with(context, Self::next_chunk)).await
    }

    fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        mut step: impl FnMut(&mut Self) -> Result<Poll<T>, RecvError>,
    ) -> Poll<Result<T, RecvError>> {
        if let Poll::Ready(value) = step(self)? {
            self.spin.note_awake();
            return Poll::Ready(Ok(value));
        }
        if self.spin.is_worthwhile() && self.spin.run(&self.shared.core, self.shared.key) {
            // The runtime's other tasks get their turn now and then, although this one never waits. Before
            // the message is taken: it would be lost with a `Pending`.
            std::task::ready!(Spin::poll_budget(context));
            if let Poll::Ready(value) = step(self)? {
                return Poll::Ready(Ok(value));
            }
        }
        self.spin.note_sleep();
        let replaced = self.shared.core.peek().wait_recv(self.shared.key, context.waker());
        drop(replaced);
        // Something may have come before the waker was there.
        match step(self)? {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The next message, from the batch at hand or from the machine.
    fn next(&mut self) -> Result<Step, RecvError> {
        if let Some(message) = self.held.take() {
            return Ok(Step::Message(message));
        }
        loop {
            if let Some(message) = self.next_of_batch() {
                return Ok(Step::Message(message));
            }
            // Of a message that is handed out in pieces nothing is gathered.
            let gathers = self.partial.as_ref().is_none_or(|partial| !partial.is_begun);
            let frame = match self.take_frame(gathers)? {
                Taken::Frame(frame) => frame,
                Taken::Nothing => return Ok(Step::Nothing),
                Taken::End => return Ok(Step::End),
            };
            match self.take_in(frame) {
                Step::Nothing => {}
                step => return Ok(step),
            }
        }
    }

    /// The next message of the batch at hand. Small enough to become a part of the caller: a message that is handed from call
    /// to call is copied each time, and that costs more than all else.
    #[inline(always)]
    fn next_at_hand(&mut self) -> Option<Message> {
        if self.held.is_some() {
            return None;
        }
        let message = self.batch.next().ok()?;
        self.uncounted += u64::from(message.is_some());
        message
    }

    fn next_of_batch(&mut self) -> Option<Message> {
        match self.batch.next() {
            Ok(None) => None,
            Ok(Some(message)) => {
                self.uncounted += 1;
                Some(message)
            }
            Err(Malformed) => {
                self.refuse_batch();
                None
            }
        }
    }

    /// What a [`Batch`] begins with.
    #[inline]
    pub(super) fn take_held(&mut self) -> Option<Message> {
        self.held.take()
    }

    /// The next message of the batch at hand, where it lies. One that is malformed the next receive refuses.
    #[inline]
    pub(super) fn next_in_place(&mut self) -> Option<&[u8]> {
        let message = self.batch.next_in_place();
        self.uncounted += u64::from(message.is_some());
        message
    }

    /// Of a batch that is read to its end nothing is kept.
    pub(super) fn let_go_of_read(&mut self) {
        self.batch.let_go();
    }

    /// A length leads out of its batch. The machine has acked the frame without looking inside, so the rest
    /// cannot be asked for again: the session ends, and says why.
    fn refuse_batch(&mut self) {
        self.batch = Reading::none();
        let violation = Violation::FrameOutOfPlace { channel: self.id() };
        tracing::warn!(%violation, "a batch of messages is malformed");
        self.shared.core.with_state(|state| state.machine.handle_violation(violation));
        self.shared.core.wake.raise();
    }

    /// The next frame in order, and the credit it returns. `gathers`: a piece of a message is kept until the message is
    /// whole, so there must be memory for it.
    fn take_frame(&mut self, gathers: bool) -> Result<Taken, RecvError> {
        let core = &self.shared.core;
        let key = self.shared.key;
        if self.uncounted > 0 {
            core.counters.messages_received.fetch_add(self.uncounted, Ordering::Relaxed);
            self.uncounted = 0;
        }
        let mut state = core.peek();
        // After the end nobody tells that there is room.
        let is_piece = gathers && !state.machine.is_over() && state.machine.is_next_a_piece(key);
        if is_piece && !state.gathered.may_take(key) {
            state.gathered.wait(!std::mem::replace(&mut self.is_held_up, true));
            drop(state);
            core.wake.raise();
            return Ok(Taken::Nothing);
        }
        if std::mem::take(&mut self.is_held_up) {
            state.gathered.stop_waiting();
        }
        let Some(frame) = state.machine.poll_message(key) else {
            return match state.machine.end_of(key) {
                ChannelEnd::Open => Ok(Taken::Nothing),
                // The Fin was taken before.
                ChannelEnd::Finished => Ok(Taken::End),
                ChannelEnd::Reset { code } => Err(RecvError::Reset { code }),
                ChannelEnd::SessionOver => {
                    let why =
                        state.closed.as_deref().cloned().unwrap_or(crate::machine::Closed::ByUs);
                    Err(RecvError::SessionOver { why })
                }
            };
        };
        if is_piece {
            state.gathered.add(u64::from(frame.length));
            *self.gathered.get_or_insert(0) += u64::from(frame.length);
        }
        let path =
            if state.machine.has_credit_to_tell() { state.active_path().cloned() } else { None };
        drop(state);
        if let Some(path) = path {
            core.flush(&path);
        }
        core.counters.bytes_received.fetch_add(u64::from(frame.length), Ordering::Relaxed);
        Ok(Taken::Frame(frame))
    }

    /// What a frame in order brings.
    fn take_in(&mut self, frame: DataFrame) -> Step {
        match frame.kind {
            DataKind::Batch => {
                self.batch = Reading::of(frame.payload);
                Step::Nothing
            }
            DataKind::First { total } if total == u64::from(frame.length) => {
                self.uncounted += 1;
                Step::Message(Message(frame.payload))
            }
            DataKind::First { total } => {
                let capacity = total.min(PARTIAL_BYTES) as usize;
                let mut bytes = BytesMut::with_capacity(capacity);
                bytes.extend_from_slice(&frame.payload);
                let seen = u64::from(frame.length);
                self.partial = Some(Partial { bytes, total, seen, is_begun: false });
                Step::Nothing
            }
            DataKind::Next => self.continue_message(&frame),
            DataKind::Fin => Step::End,
            DataKind::Open | DataKind::Control => Step::Nothing,
        }
    }

    fn continue_message(&mut self, frame: &DataFrame) -> Step {
        let Some(partial) = &mut self.partial else { return Step::Nothing };
        partial.seen += u64::from(frame.length);
        if !partial.is_begun {
            partial.bytes.extend_from_slice(&frame.payload);
        }
        if partial.seen < partial.total {
            return Step::Nothing;
        }
        let Partial { bytes, is_begun, .. } = self.partial.take().expect("it is there");
        self.end_gathering();
        self.uncounted += 1;
        match is_begun {
            true => Step::Nothing,
            false => Step::Message(Message(Payload::Bytes(bytes.freeze()))),
        }
    }

    /// What was gathered is the application's now, or nobody's.
    fn end_gathering(&mut self) {
        if let Some(bytes) = self.gathered.take() {
            let core = &self.shared.core;
            let mut state = core.lock();
            state.gathered.end(self.shared.key, bytes);
            let is_waited_for = state.gathered.is_waited_for;
            drop(state);
            if is_waited_for {
                core.wake.raise();
            }
        }
    }

    /// Nobody waits for what it may not gather yet.
    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_held_up) {
            self.shared.core.lock().gathered.stop_waiting();
        }
    }

    fn next_chunk(&mut self) -> Result<Poll<Option<Chunk>>, RecvError> {
        let whole = |bytes: Message| {
            let total_bytes = bytes.len() as u64;
            Poll::Ready(Some(Chunk { bytes, is_last: true, total_bytes }))
        };
        if let Some(message) = self.held.take().or_else(|| self.next_of_batch()) {
            return Ok(whole(message));
        }
        // What `recv` had begun to gather is the first piece.
        if let Some(partial) = &mut self.partial
            && !partial.bytes.is_empty()
        {
            let bytes: Bytes = std::mem::take(&mut partial.bytes).freeze();
            partial.is_begun = true;
            let total_bytes = partial.total;
            self.end_gathering();
            return Ok(Poll::Ready(Some(Chunk {
                bytes: bytes.into(),
                is_last: false,
                total_bytes,
            })));
        }
        // Nor is an empty first piece gathered any more: the place that it may have belongs to those that gather.
        self.end_gathering();
        loop {
            let frame = match self.take_frame(false)? {
                Taken::Frame(frame) => frame,
                Taken::Nothing => return Ok(Poll::Pending),
                Taken::End => return Ok(Poll::Ready(None)),
            };
            let total = match frame.kind {
                DataKind::First { total } if total > u64::from(frame.length) => total,
                DataKind::Next => self.partial.as_ref().map_or(0, |partial| partial.total),
                _ => match self.take_in(frame) {
                    Step::Message(message) => return Ok(whole(message)),
                    Step::End => return Ok(Poll::Ready(None)),
                    Step::Nothing => match self.next_of_batch() {
                        Some(message) => return Ok(whole(message)),
                        None => continue,
                    },
                },
            };
            return Ok(Poll::Ready(Some(self.piece(frame, total))));
        }
    }

    fn piece(&mut self, frame: DataFrame, total_bytes: u64) -> Chunk {
        let seen = self.partial.take().map_or(0, |partial| partial.seen) + u64::from(frame.length);
        let is_last = seen >= total_bytes;
        if is_last {
            self.uncounted += 1;
        } else {
            let bytes = BytesMut::new();
            self.partial = Some(Partial { bytes, total: total_bytes, seen, is_begun: true });
        }
        Chunk { bytes: Message(frame.payload), is_last, total_bytes }
    }

    /// Tells the peer that the application is done with `messages` messages, counted from the channel's
    /// beginning.
    pub fn confirm(&mut self, messages: u64) {
        let core = &self.shared.core;
        core.with_state(|state| state.machine.confirm(self.shared.key, messages));
        core.flush_active();
    }
}

/// A receiver that somebody waits for: whoever is told to stop says nothing else.
struct Waiting<'a>(&'a mut Receiver);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.stop_waiting();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop_waiting();
        self.end_gathering();
        self.shared.core.with_state(|state| state.deafen(self.shared.key));
        self.shared.core.wake.raise();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({:?})", self.shared.key)
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::driver::{Clock, SessionCore};
    use crate::link::LinkFeatures;
    use crate::machine::{ChannelKey, Machine, PathAttributes, Role, Settings, SharedBudget, Time};
    use crate::mem::Pool;
    use crate::wire::{Frame, PathId, PathKind};

    const PATH: PathId = PathId(0);
    /// Bytes that receivers may gather.
    const GATHERED: u64 = 1 << 20;
    const TOTAL: u64 = 100;

    fn frame(channel: u32, seq: u64, kind: DataKind, length: usize) -> Frame {
        let payload = Payload::Bytes(vec![0; length].into());
        Frame::Data(DataFrame { channel, seq, kind, payload, length: length as u32, pull: None })
    }

    /// A session that gathers as much as it may, and the receivers of two channels that its peer has opened; each has come
    /// to a long message: the first piece of one is empty.
    fn receivers() -> (Arc<SessionCore>, [Receiver; 2]) {
        let pool = Pool::new(16 << 20);
        let mut machine = Machine::new(Settings::new(Role::Acceptor, pool.clone()));
        let features = LinkFeatures::RELIABLE | LinkFeatures::ORDERED;
        let attributes = PathAttributes::plain(PathKind::Tcp, features, true, [0; 16]);
        machine.handle_path_up(Time(1), PATH, attributes);
        let core = SessionCore::new(machine, pool, Clock::system(), Duration::ZERO);
        let core = Arc::new(core.with_gather_budget(SharedBudget::new(GATHERED)));
        let begin = DataKind::First { total: TOTAL };
        let mut frames = vec![
            frame(2, 1, DataKind::Open, 1),
            frame(2, 2, begin, 0),
            frame(4, 1, DataKind::Open, 1),
            frame(4, 2, begin, 1),
        ];
        core.with_state(|state| {
            state.machine.handle_record(Time(2), PATH, 0, &mut frames).expect("within credit");
            state.gathered.add(GATHERED + 1);
        });
        let keys: Vec<ChannelKey> = core.lock().incoming.iter().map(|(key, ..)| *key).collect();
        let receiver = |key| Receiver::new(Arc::new(ChannelShared { core: core.clone(), key }));
        let receivers = [receiver(keys[0]), receiver(keys[1])];
        (core, receivers)
    }

    #[test]
    fn an_empty_first_piece_keeps_no_place_once_pieces_are_asked_for() {
        let (core, [mut one, mut other]) = receivers();
        let mut context = Context::from_waker(Waker::noop());
        assert!(one.poll_recv(&mut context).is_pending(), "its first piece is here");
        assert!(other.poll_recv(&mut context).is_pending() && other.is_held_up);
        assert!(one.poll_with(&mut context, Receiver::next_chunk).is_pending());
        assert!(other.poll_recv(&mut context).is_pending() && !other.is_held_up, "it goes on");
        let mut rest = vec![frame(2, 3, DataKind::Next, TOTAL as usize)];
        core.with_state(|state| {
            state.machine.handle_record(Time(3), PATH, 0, &mut rest).expect("within credit");
        });
        let Poll::Ready(Ok(Some(piece))) = one.poll_with(&mut context, Receiver::next_chunk) else {
            panic!("the rest is here");
        };
        assert!(piece.is_last && piece.bytes.len() as u64 == TOTAL);
    }
}
