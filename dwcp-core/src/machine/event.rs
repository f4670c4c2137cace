//! What the machine reports.

use super::{ChannelKey, Priority};
use crate::wire::{PathId, PathKind, PullSource, SwitchReason};

/// Something the driver or the application has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer opened a channel.
    ChannelOpened {
        /// The channel.
        channel: ChannelKey,
        /// Its urgency.
        priority: Priority,
        /// What it is for.
        label: String,
    },
    /// The channel has something to receive, or will never have again.
    Readable(ChannelKey),
    /// The channel takes messages again, or never will.
    Writable(ChannelKey),
    /// The peer gave the channel up.
    ChannelReset {
        /// The channel.
        channel: ChannelKey,
        /// The peer application's reason.
        code: u32,
    },
    /// Everything committed on every channel is acked.
    AllAcked,
    /// Both ends have proven that they hold the path's keys; it can be switched to.
    PathValidated(PathId),
    /// The path is lost or given up. The driver ends the link, fences it and reports
    /// [`handle_path_fenced`](super::Machine::handle_path_fenced), or that it could not, by
    /// [`handle_fence_failed`](super::Machine::handle_fence_failed).
    PathDown {
        /// The path.
        path: PathId,
        /// Why.
        cause: PathCause,
    },
    /// Nothing can land in memory that the path used: the driver may reuse it. Never comes for a path that could
    /// not be fenced.
    PathReleased(PathId),
    /// Something has to go out on this path now, besides the one that was polled: poll it, too.
    TransmitNeeded(PathId),
    /// The peer sends to a path of which we said that we hardly look at it: make progress on every link
    /// now, and look often again.
    ProgressAsked,
    /// No path is left. The dialer's driver connects anew; the acceptor's waits.
    PathNeeded,
    /// The session moved.
    Switched(Switch),
    /// A switch was given up; the session stayed where it was.
    SwitchFailed {
        /// The path that was not reached.
        to: PathId,
        /// Why.
        cause: SwitchFailure,
    },
    /// The peer offers a path; answer with [`answer_path`](super::Machine::answer_path).
    PathOffered {
        /// Its id.
        path: PathId,
        /// Its kind.
        kind: PathKind,
        /// The initiator's nonce.
        nonce: [u8; 32],
        /// The link's bootstrap.
        bootstrap: Vec<u8>,
    },
    /// The peer answered an offer.
    PathAnswered {
        /// The offered id.
        path: PathId,
        /// The responder's nonce.
        nonce: [u8; 32],
        /// The link's bootstrap; empty: refused.
        bootstrap: Vec<u8>,
    },
    /// Read `length` bytes from `source` on `path`, then report
    /// [`handle_pull_complete`](super::Machine::handle_pull_complete).
    Pull(PullRequest),
    /// Messages of the channel may or may not have been delivered, at most once; they are never re-sent.
    InDoubt {
        /// The channel.
        channel: u32,
        /// The first message, counted from 1.
        from: u64,
        /// How many.
        count: u64,
    },
    /// The session ends soon, with a certificate behind it, unless a new one comes before.
    CertificateEnds {
        /// Time left.
        within: std::time::Duration,
    },
    /// The peer's process leaves: new channels belong on a session with its successor.
    PeerLeaves,
    /// The session is over.
    Closed(Closed),
}

/// Messages that may or may not have been delivered, at most once: the session ended before they were acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// The channel.
    pub channel: u32,
    /// The first message, counted from 1.
    pub from: u64,
    /// How many.
    pub count: u64,
}

/// A completed change of the active path in our sending direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The path before; none at the start or after a time without any.
    pub from: Option<PathId>,
    /// The path now.
    pub to: PathId,
    /// The new epoch.
    pub epoch: u32,
    /// Why.
    pub reason: SwitchReason,
}

/// Why a path is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathCause {
    /// The transport reported its end.
    LinkFailed,
    /// Records were not authentic or out of order.
    BadRecord,
    /// Authentic records did not decode: the peer broke the protocol.
    Malformed {
        /// What is wrong with the record.
        what: &'static str,
    },
    /// What came on it had no room, and what waits for memory was not among it: the next path begins with that.
    MemoryShort,
    /// Nothing came back while another path answered.
    Silent,
    /// Heartbeats stayed unanswered.
    HeartbeatLost,
    /// It did not prove itself in time.
    NotValidated,
    /// The peer gave it up.
    PeerClosed,
    /// We gave it up.
    Closed,
}

impl PathCause {
    /// The names of all causes, each at its [`index`](Self::index).
    pub const NAMES: [&'static str; 9] = [
        "link-failed",
        "bad-record",
        "malformed-record",
        "memory-short",
        "silent",
        "heartbeat-lost",
        "not-validated",
        "peer-closed",
        "closed",
    ];

    /// The place of the cause where causes are counted.
    pub fn index(self) -> usize {
        match self {
            Self::LinkFailed => 0,
            Self::BadRecord => 1,
            Self::Malformed { .. } => 2,
            Self::MemoryShort => 3,
            Self::Silent => 4,
            Self::HeartbeatLost => 5,
            Self::NotValidated => 6,
            Self::PeerClosed => 7,
            Self::Closed => 8,
        }
    }

    /// The name used in events and metrics.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// Why a switch was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwitchFailure {
    /// The target went down.
    TargetDown,
    /// The target did not answer in time.
    TargetSilent,
    /// Another switch or a failover came first.
    Overtaken,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed it.
    ByPeer {
        /// The peer application's code.
        code: u32,
        /// Its words.
        reason: String,
    },
    /// We closed it and the peer knows.
    ByUs,
    /// No path for `time_to_live`.
    Expired,
    /// The peer came back as a new process, or no longer knows the session.
    PeerRestarted,
    /// The beginnings of long messages on many channels have used up the session's part of the memory, and none of them
    /// could be taken in whole for `time_to_live`, 5 s at least.
    MemoryShort,
    /// The certificate of one end ended, and no handshake with a new one came before.
    CertificateEnded,
    /// The peer broke the protocol inside an authentic record.
    PeerViolated(Violation),
}

/// A payload to be read from the peer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// The path to read on.
    pub path: PathId,
    /// The frame's channel.
    pub channel: u32,
    /// The frame's number.
    pub seq: u64,
    /// Where it lies.
    pub source: PullSource,
    /// Bytes.
    pub length: u32,
}

/// What a peer did that no honest peer does. The session ends; the peer's reputation suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame of a channel that the peer may not open.
    #[error("channel {channel} is not the peer's to open")]
    ForeignChannel {
        /// The channel.
        channel: u32,
    },
    /// More channels than allowed.
    #[error("more than {} channels of its own", crate::wire::MAX_CHANNELS)]
    TooManyChannels,
    /// More data than credit.
    #[error("channel {channel} exceeds its credit")]
    CreditExceeded {
        /// The channel.
        channel: u32,
    },
    /// A frame number too far ahead.
    #[error("channel {channel} runs too far ahead with frame {seq}")]
    TooFarAhead {
        /// The channel.
        channel: u32,
        /// The frame.
        seq: u64,
    },
    /// An ack of a frame that was never sent.
    #[error("channel {channel} acks a frame that was never sent")]
    AckOfUnsent {
        /// The channel.
        channel: u32,
    },
    /// A data frame that cannot be where it is.
    #[error("channel {channel} has a frame out of place")]
    FrameOutOfPlace {
        /// The channel.
        channel: u32,
    },
    /// A message longer than the receiver said.
    #[error("channel {channel} announces a message beyond the limit")]
    MessageTooLong {
        /// The channel.
        channel: u32,
    },
    /// A path id that is not the peer's, or not known.
    #[error("path {path} is not the peer's to name")]
    ForeignPath {
        /// The path.
        path: PathId,
    },
    /// An epoch that no switches of the peer can have led to.
    #[error("epoch {epoch} is out of reach")]
    EpochTooHigh {
        /// The epoch.
        epoch: u32,
    },
    /// Paths offered without the feature, or more than may wait for an answer.
    #[error("path {path} is offered although none may be")]
    OfferUnasked {
        /// The path.
        path: PathId,
    },
    /// A control message that does not decode.
    #[error("malformed control message")]
    BadControl,
    /// What it is told on channel 0 it never acks.
    #[error("it acks none of what it is told on channel 0")]
    ControlUnacked,
}

impl Violation {
    /// The name used in events, metrics and the evidence log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ForeignChannel { .. } => "foreign-channel",
            Self::TooManyChannels => "too-many-channels",
            Self::CreditExceeded { .. } => "credit-exceeded",
            Self::TooFarAhead { .. } => "too-far-ahead",
            Self::AckOfUnsent { .. } => "ack-of-unsent",
            Self::FrameOutOfPlace { .. } => "frame-out-of-place",
            Self::MessageTooLong { .. } => "message-too-long",
            Self::ForeignPath { .. } => "foreign-path",
            Self::EpochTooHigh { .. } => "epoch-too-high",
            Self::OfferUnasked { .. } => "offer-unasked",
            Self::BadControl => "bad-control",
            Self::ControlUnacked => "control-unacked",
        }
    }
}
