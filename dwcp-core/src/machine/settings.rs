//! What a session is set up with. Every limit has a name here.

use std::time::Duration;

use super::share::SharedBudget;
use super::window::ReceiveBudget;
use crate::mem::Pool;

/// Which end of the session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Dialled: decides on switches, opens even paths and channels.
    Dialer,
    /// Was dialled: opens odd ones.
    Acceptor,
}

impl Role {
    /// Whether a channel or path of this id is this end's to open.
    pub(crate) fn owns(self, id: u32) -> bool {
        id.is_multiple_of(2) == (self == Self::Dialer)
    }
}

/// The urgency of a channel's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Goes before `Bulk`.
    #[default]
    Interactive,
    /// Fills what is left.
    Bulk,
}

impl Priority {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Interactive => 0,
            Self::Bulk => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Interactive, Self::Bulk].get(usize::from(code)).copied()
    }
}

/// Settings of a session's machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which end this is.
    pub role: Role,
    /// Memory for frames.
    pub pool: Pool,
    /// How long a session outlives its last path.
    pub time_to_live: Duration,
    /// Receive window that channels may grow into together, beyond [`CHANNEL_WINDOW_MIN`] each, bytes.
    pub window_bytes: u64,
    /// What the sessions of the endpoint may promise together; that window is taken from it.
    pub receive_budget: ReceiveBudget,
    /// What the sessions of the endpoint may keep together until it is acked.
    pub send_budget: SharedBudget,
    /// The largest message the application receives whole, bytes.
    pub max_message_bytes: u64,
    /// The largest message the peer receives whole, bytes.
    pub peer_max_message_bytes: u64,
    /// Pause after which a quiet path is probed.
    pub heartbeat_interval: Duration,
    /// Quiet paths are probed at multiples of this, so that the sessions of a process wake it together and not one by one;
    /// zero: each when it is due. An end that was dialed waits twice this longer: the dialer's probe serves both.
    pub heartbeat_slack: Duration,
    /// Unanswered heartbeats after which a path counts as dead.
    pub timeout_multiplier: u32,
    /// How long a switch may prepare or drain.
    pub switch_timeout: Duration,
    /// Both ends have agreed that paths may be offered.
    pub may_offer_paths: bool,
    /// The version that both ends speak.
    pub version: u16,
    /// Payloads of at least this many bytes are offered for pulling, where the path can.
    pub pull_bytes_min: usize,
}

impl Settings {
    /// The defaults for `role`, with memory from `pool`.
    pub fn new(role: Role, pool: Pool) -> Self {
        Self {
            role,
            pool,
            time_to_live: Duration::from_secs(60),
            window_bytes: 64 << 20,
            receive_budget: ReceiveBudget::new(u64::MAX),
            send_budget: SharedBudget::default(),
            max_message_bytes: 64 << 20,
            peer_max_message_bytes: 64 << 20,
            heartbeat_interval: Duration::from_secs(1),
            heartbeat_slack: Duration::ZERO,
            timeout_multiplier: 5,
            switch_timeout: Duration::from_secs(10),
            may_offer_paths: true,
            version: crate::wire::VERSION,
            pull_bytes_min: 32 << 10,
        }
    }
}

/// Credit a channel is born with and never falls below, bytes. Part of the wire format.
pub const CHANNEL_WINDOW_MIN: u64 = 64 << 10;
/// The least credit one frame costs, bytes. A frame pins at most eight times the memory it costs: payloads much
/// smaller than their record's slot are copied out of it.
pub const FRAME_COST_MIN: u64 = 1 << 10;
/// Frames a channel may be ahead of the first one that is missing.
pub const MAX_FRAMES_AHEAD: u64 = 16_384;
/// A channel that needed no credit for so long gives half of its extra window back.
pub(crate) const WINDOW_PAUSE: Duration = Duration::from_secs(1);
/// A channel's window that is used up within a round trip becomes so many times as large. A transport's own start doubles what
/// is on its way once a round trip; credit that does no more than keep up is what that waits for, and a sender that waits
/// now and then keeps BBR from seeing that the link is full.
pub(crate) const WINDOW_GROWTH: u64 = 4;
/// The least by which a window grows, bytes.
pub(crate) const WINDOW_STEP_MIN: u64 = 4 << 10;
/// Messages up to this size are gathered in batches; larger ones are sent from where they lie, bytes.
pub const BATCH_MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Frames of channel 0 in flight at once.
pub(crate) const CONTROL_FRAMES_MAX: usize = 256;
/// Control messages kept for a peer that acks none: more than honest ends come by while no path lives long enough for an
/// ack. They take 16 MiB at most.
pub(crate) const CONTROL_UNACKED_MAX: usize = 2 * crate::wire::MAX_CHANNELS;
/// Closed channels whose last ack is told again when a path is lost.
pub(crate) const CLOSED_REMEMBERED: usize = 1_024;
/// Bytes one call of `poll_transmit` gathers: four frames of the largest usual size, what their records say of them, and some
/// acks.
pub const TRANSMIT_BYTES: usize = (256 << 10) + 2_048;
/// Records that only frames other than data may use, of the receives the peer has posted.
pub(crate) const RECORD_RESERVE: u64 = 8;
/// Of those, records that only news of receives posted may use.
pub(crate) const STATE_RESERVE: u64 = 1;
/// An ack waits at most this long for company.
pub(crate) const ACK_DELAY: Duration = Duration::from_millis(2);
/// An ack goes at once when this many bytes wait for it.
pub(crate) const ACK_BYTES: u64 = 128 << 10;
/// The same before there is any sample of the round trip: it may be on the other side of the world.
pub(crate) const FAILOVER_UNKNOWN: Duration = Duration::from_secs(1);
/// The least time without ack progress before the path is suspected.
pub(crate) const FAILOVER_MIN: Duration = Duration::from_millis(20);
/// Ack round trips without progress before the path is suspected.
pub(crate) const FAILOVER_RTTS: u32 = 4;
/// A standby path is probed this many heartbeats apart.
pub(crate) const STANDBY_HEARTBEATS: u32 = 5;

/// Offers of one end that wait for their answer.
pub(crate) const OFFERS_MAX: usize = 8;
/// Answers of ours that the peer has not acked: more than any peer with [`OFFERS_MAX`] offers can leave.
pub(crate) const ANSWERS_MAX: usize = 64;
/// Live paths of a session. Offers beyond it are refused; a connection that resumes takes the place of the path
/// that has been quiet for the longest time.
pub(crate) const PATHS_MAX: usize = 8;
/// How far an epoch of the peer may be above all that we know of: it raises it by 2 for each path that it has and
/// loses, and of which we may never hear.
pub(crate) const EPOCH_STEP_MAX: u32 = 1 << 16;
/// The last epoch. A session that gets there, after two thousand million switches, ends.
pub(crate) const EPOCH_MAX: u32 = u32::MAX - 2 * EPOCH_STEP_MAX;

/// What a frame of `payload_bytes` costs in credit.
pub(crate) fn frame_cost(payload_bytes: u64) -> u64 {
    payload_bytes.max(FRAME_COST_MIN)
}
