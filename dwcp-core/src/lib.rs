//! DWCP core: one reliable message session over whatever paths two nodes have.
#![deny(unsafe_code)] // `mem` alone relaxes it; .ci/unsafe-rooms.txt lists the rooms

#[cfg(feature = "tokio")]
mod driver;
#[cfg(feature = "tokio")]
mod endpoint;
#[cfg(feature = "tokio")]
mod session;

pub mod crypto;
pub mod link;
pub mod machine;
pub mod mem;
pub mod wire;

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "sim")]
pub mod sim;

#[cfg(feature = "tokio")]
pub use driver::TooWeak;
#[cfg(feature = "tokio")]
pub use endpoint::{
    BuildError, ConnectError, Drained, Endpoint, EndpointBuilder, EndpointSettings, EndpointStats,
    Peer, Peers,
};
pub use machine::{
    Closed, PathCause, PathState, Priority, Role, Switch, SwitchError, SwitchFailure,
};
pub use mem::Message;
#[cfg(feature = "tokio")]
pub use session::{
    Channel, ChannelOptions, Chunk, Claim, EndpointEvent, Events, MessageCounts, PathStats,
    Receiver, RecvError, Retry, Scope, SendError, Sender, Session, SessionError, SessionEvent,
    SessionStats, SwitchRecord, TryRecvError,
};
pub use wire::{PathId, PathKind, Refusal, SessionId, SwitchReason};
