//! DWCP core: one reliable message session over whatever paths two nodes have.
#![deny(unsafe_code)] // `mem` alone relaxes it; .ci/unsafe-rooms.txt lists the rooms

mod driver;
#[cfg(feature = "tokio")]
mod endpoint;
mod rate;
mod session;
mod sync;

pub mod crypto;
pub mod link;
pub mod machine;
pub mod mem;
pub mod wire;

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "sim")]
pub mod sim;

pub use driver::{OffendingRecord, PollDriver, PollMode, PollSettings, PollStats, TooWeak};
#[cfg(feature = "tokio")]
pub use endpoint::{
    BuildError, ConnectError, Drained, DriverKind, Endpoint, EndpointBuilder, EndpointSettings,
    EndpointStats, Observer, Offence, Peer, PeerConduct, Peers, ReputationRules,
};
pub use machine::{
    Closed, InDoubt, PathCause, PathState, Priority, Role, Switch, SwitchError, SwitchFailure,
};
pub use mem::Message;
pub use rate::Rate;
pub use session::{
    Batch, Channel, ChannelOptions, Chunk, Claim, DirectSetup, MessageCounts, PathStats, Receiver,
    RecvError, Retry, Scope, SendError, Sender, Session, SessionError, SessionStats, SwitchRecord,
    TryRecvError, block_on, block_on_for,
};
#[cfg(feature = "tokio")]
pub use session::{EndpointEvent, Events, SessionEvent};
pub use wire::{PathId, PathKind, Refusal, SessionId, SwitchReason};
