//! `forward/1`: a TCP connection carried over a session.
//!
//! A node listens locally, opens a channel for each connection and names a target; the peer, if its
//! configuration allows the target, connects there. Bytes flow both ways; each direction ends by itself
//! (half-close); a reset at one end is a reset at the other. The session's window is the back-pressure.

mod allow;
mod listen;
mod pump;
mod target;

pub use allow::{AllowList, Allowed};
pub use listen::{BoundForward, ForwardCounts, ForwardListener, ForwardSpec};
pub use pump::{PumpError, Pumped, pump};
pub use target::serve_target;

use serde::{Deserialize, Serialize};

/// The first message: where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// `host:port`.
    pub target: String,
    /// Whether the target's bytes may be compressed, as the opener's are.
    pub compress: bool,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub enum Answer {
    /// The target took the connection. Everything after is the target's bytes.
    Connected,
    /// It did not, or may not be asked. Nothing comes after.
    Refused {
        /// Why, for people.
        message: String,
    },
}
