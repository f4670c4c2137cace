//! The session machine: two of them, with a path between them that takes no time.

use dwcp_core::Role;
use dwcp_core::link::LinkFeatures;
use dwcp_core::machine::{
    ChannelKey, Event, Machine, PathAttributes, Priority, Settings, Time, TxBatch,
};
use dwcp_core::mem::{Pool, Slot};
use dwcp_core::wire::{Frame, PathId, PathKind, RecordEncoder, decode_record};

use super::records::{Never, plain};
use super::{MESSAGE_BYTES, MESSAGES, ROUNDS};

const PATH: PathId = PathId(0);
/// Of one round: the machines' clock goes on, so that acks and credit become due.
const ROUND: std::time::Duration = std::time::Duration::from_millis(5);

/// A sender and a receiver.
pub(super) struct Ends {
    sender: Machine,
    receiver: Machine,
    channel: ChannelKey,
    /// The receiver's end of the channel, once it has heard of it.
    accepted: Option<ChannelKey>,
    now: Time,
    encoder: RecordEncoder,
    pub(super) batch: TxBatch,
    pub(super) pool: Pool,
}

impl Ends {
    pub(super) fn new() -> Self {
        let pool = Pool::new(64 << 20);
        let now = Time(1_000_000_000);
        let [mut sender, receiver] = [Role::Dialer, Role::Acceptor].map(|role| {
            let mut machine = Machine::new(Settings::new(role, pool.clone()));
            let features = LinkFeatures::RELIABLE | LinkFeatures::ORDERED;
            let attributes = PathAttributes::plain(PathKind::Tcp, features, true, [0; 16]);
            machine.handle_path_up(now, PATH, attributes);
            machine
        });
        let channel = sender.open(Priority::Interactive, "counts").expect("room");
        let (encoder, batch) = (RecordEncoder::default(), TxBatch::default());
        Self { sender, receiver, channel, accepted: None, now, encoder, batch, pool }
    }

    /// Commits the messages of a round.
    pub(super) fn commit(&mut self) {
        commit(&mut self.sender, self.channel);
    }

    /// What the sender has to send now, in `batch`; false when that is nothing.
    pub(super) fn transmit(&mut self) -> bool {
        self.sender.poll_transmit(self.now, PATH, &mut self.batch)
    }

    /// The records of `batch` as they would arrive.
    pub(super) fn plains(&mut self) -> Vec<Slot> {
        let Self { encoder, batch, pool, .. } = self;
        batch.records().iter().map(|record| plain(encoder, batch, record, pool)).collect()
    }

    /// Takes frames in at the receiver.
    pub(super) fn take(&mut self, frames: &mut Vec<Frame>) {
        self.receiver.handle_record(self.now, PATH, 0, frames).expect("honest");
    }

    /// Has what is in `batch` arrive.
    pub(super) fn carry(&mut self) {
        let mut frames = Vec::new();
        for plain in self.plains() {
            decode_record(&plain, &self.pool, &mut Never, &mut frames).expect("ours");
            self.take(&mut frames);
        }
    }

    /// The receiving application takes what is there.
    fn consume(&mut self) {
        while let Some(event) = self.receiver.poll_event() {
            if let Event::ChannelOpened { channel, .. } = event {
                self.accepted = Some(channel);
            }
        }
        let Some(channel) = self.accepted else { return };
        while self.receiver.poll_message(channel).is_some() {}
    }

    /// What the receiver answers, as the sender reads it.
    fn answers(&mut self) -> Vec<Frame> {
        self.now = self.now + ROUND;
        self.receiver.handle_timeout(self.now);
        let (mut frames, mut batch) = (Vec::new(), TxBatch::default());
        while self.receiver.poll_transmit(self.now, PATH, &mut batch) {
            for record in batch.records() {
                let plain = plain(&mut self.encoder, &batch, record, &self.pool);
                decode_record(&plain, &self.pool, &mut Never, &mut frames).expect("ours");
            }
        }
        frames
    }

    /// Ends a round: all is read and acked.
    pub(super) fn settle(&mut self) {
        self.consume();
        let mut answers = self.answers();
        acked(&mut self.sender, self.now, &mut answers);
        while self.sender.poll_event().is_some() {}
    }
}

fn commit(sender: &mut Machine, channel: ChannelKey) {
    for number in 0..MESSAGES {
        let message = [number as u8; MESSAGE_BYTES];
        sender.send_copy(channel, &message).expect("the window is open");
    }
}

fn acked(sender: &mut Machine, now: Time, frames: &mut Vec<Frame>) {
    sender.handle_record(now, PATH, 0, frames).expect("honest");
}

/// Committing messages, and what the window has to say of each.
pub(super) fn window() {
    let mut ends = Ends::new();
    for _ in 0..ROUNDS {
        counted_window(&mut ends.sender, ends.channel);
        while ends.transmit() {
            ends.carry();
        }
        ends.settle();
    }
    assert!(ends.sender.is_all_acked());
}

#[inline(never)]
fn counted_window(sender: &mut Machine, channel: ChannelKey) {
    commit(sender, channel);
}

/// Taking frames in at the receiver, until the application has them.
pub(super) fn deliver() {
    let mut ends = Ends::new();
    let mut frames = Vec::new();
    for _ in 0..ROUNDS {
        ends.commit();
        while ends.transmit() {
            for plain in ends.plains() {
                decode_record(&plain, &ends.pool, &mut Never, &mut frames).expect("ours");
            }
        }
        counted_deliver(&mut ends, &mut frames);
        ends.settle();
    }
}

#[inline(never)]
fn counted_deliver(ends: &mut Ends, frames: &mut Vec<Frame>) {
    ends.take(frames);
    ends.consume();
}

/// Taking acks and credit in at the sender.
pub(super) fn ack() {
    let mut ends = Ends::new();
    for _ in 0..ROUNDS {
        ends.commit();
        while ends.transmit() {
            ends.carry();
        }
        ends.consume();
        let mut answers = ends.answers();
        counted_ack(&mut ends.sender, ends.now, &mut answers);
        while ends.sender.poll_event().is_some() {}
    }
    assert!(ends.sender.is_all_acked());
}

#[inline(never)]
fn counted_ack(sender: &mut Machine, now: Time, frames: &mut Vec<Frame>) {
    acked(sender, now, frames);
}
