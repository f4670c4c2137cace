//! Errors of sessions and channels: what they concern, and whether to try again.

use crate::machine::Closed;

/// What an error concerns: how much of what the caller holds is still of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This message or call only.
    Message,
    /// The channel.
    Channel,
    /// The session.
    Session,
}

/// Whether the same call may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Yes, after waiting: the asynchronous form of the call waits by itself.
    Later,
    /// No.
    Never,
}

/// Why a message was not taken. It is still the caller's: it was neither sent nor lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peer's receive window is full: it reads more slowly than we send.
    #[error("the peer's receive window is full")]
    Window,
    /// The endpoint's memory budget is used up: free received messages, or raise
    /// `memory.poolSize`.
    #[error("the memory for messages is used up")]
    Pool,
    /// The channel takes no more messages: it was finished or reset, or its session is about to end.
    #[error("the channel takes no more messages: it was finished or reset")]
    Closed,
    /// The session is over; [`Session::closed`](crate::Session::closed) tells more. What was committed and not
    /// acked is in doubt: delivered at most once, perhaps not.
    #[error("the session is over ({why}): messages not acked by then are in doubt")]
    SessionOver {
        /// How it ended, in a few words.
        why: &'static str,
    },
    /// The message is longer than the peer receives: send less, or raise its `session.maxMessageSize`.
    #[error("the message is longer than the peer's limit of {limit_bytes} bytes")]
    TooLong {
        /// The peer's limit.
        limit_bytes: u64,
    },
    /// There was no room before the deadline.
    #[error("the deadline passed before the message was taken")]
    DeadlinePassed,
}

impl SendError {
    /// What the error concerns.
    pub fn scope(self) -> Scope {
        match self {
            Self::Closed => Scope::Channel,
            Self::SessionOver { .. } => Scope::Session,
            _ => Scope::Message,
        }
    }

    /// Whether to try again.
    pub fn retry(self) -> Retry {
        match self {
            Self::Window | Self::Pool | Self::DeadlinePassed => Retry::Later,
            Self::Closed | Self::SessionOver { .. } | Self::TooLong { .. } => Retry::Never,
        }
    }
}

impl From<crate::machine::SendError> for SendError {
    fn from(error: crate::machine::SendError) -> Self {
        use crate::machine::SendError as Machine;
        match error {
            Machine::Window => Self::Window,
            Machine::Pool => Self::Pool,
            Machine::Closed => Self::Closed,
            Machine::TooLong { limit_bytes } => Self::TooLong { limit_bytes },
        }
    }
}

/// Why nothing more comes from a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// One end gave the channel up.
    #[error("the channel was reset with code {code}")]
    Reset {
        /// The application's reason.
        code: u32,
    },
    /// The session ended before the peer finished the channel.
    #[error("the session is over: {}", describe(why))]
    SessionOver {
        /// How it ended.
        why: Closed,
    },
}

impl RecvError {
    /// What the error concerns.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Reset { .. } => Scope::Channel,
            Self::SessionOver { .. } => Scope::Session,
        }
    }

    /// Whether to try again: never on this channel.
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Why [`try_recv`](crate::Receiver::try_recv) has no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// None has arrived.
    #[error("no message has arrived")]
    Empty,
    /// None will.
    #[error(transparent)]
    Over(#[from] RecvError),
}

/// Why a session did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// It has ended.
    #[error("the session is over")]
    Over,
    /// This end has opened as many channels as it may: close some.
    #[error("this end has opened {} channels already: close some", crate::wire::MAX_CHANNELS)]
    TooManyChannels,
    /// No path answered in time.
    #[error("no path to the peer answered in time")]
    NoPath,
}

impl SessionError {
    /// What the error concerns.
    pub fn scope(self) -> Scope {
        match self {
            Self::TooManyChannels => Scope::Channel,
            Self::Over | Self::NoPath => Scope::Session,
        }
    }

    /// Whether to try again.
    pub fn retry(self) -> Retry {
        match self {
            Self::Over => Retry::Never,
            Self::TooManyChannels | Self::NoPath => Retry::Later,
        }
    }
}

/// How a session ended, in a few words.
pub(crate) fn describe_short(why: &Closed) -> &'static str {
    match why {
        Closed::ByPeer { .. } => "the peer closed it",
        Closed::ByUs => "this end closed it",
        Closed::Expired => "no path for longer than its time to live",
        Closed::PeerRestarted => "the peer restarted or forgot it",
        Closed::MemoryShort => "the memory was too small for its half-come messages",
        Closed::CertificateEnded => "the certificate of one end has ended",
        Closed::PeerViolated(_) => "the peer broke the protocol",
    }
}

/// How a session ended, in words.
pub(crate) fn describe(why: &Closed) -> String {
    match why {
        Closed::ByPeer { code, reason } => format!("the peer closed it ({code}: {reason})"),
        Closed::ByUs => "closed by this end".into(),
        Closed::Expired => "no path for longer than its time to live".into(),
        Closed::PeerRestarted => "the peer restarted or forgot it".into(),
        Closed::MemoryShort => {
            "the memory was too small for its half-come messages: a larger pool, or fewer at once"
                .into()
        }
        Closed::CertificateEnded => {
            "the certificate of one end has ended: renew it and reload before".into()
        }
        Closed::PeerViolated(violation) => format!("the peer broke the protocol: {violation}"),
    }
}
