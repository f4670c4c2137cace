//! The driver: moves what the machine decides over real links. One for all kinds of links.
//!
//! * `core`: what the threads that use a session share.
//! * `path_io`: a link joined with its keys.
//! * `transmit`, `receive`: between machine and link, in whichever thread has the reason to: the caller's for
//!   a lone message or a full cork, a polling receiver's, the driver's for all else.
//! * `turn`: one turn of a session, the same for every driver.
//! * `task`: the driver on tokio. `poll`: the driver on threads of its own.

mod better;
mod carry;
mod clock;
mod core;
mod crowd;
mod facts;
mod grave;
#[cfg(all(test, dwcp_loom))]
mod loom_tests;
mod notes;
mod outbox;
mod overtake;
mod own_polls;
mod path_io;
mod poll;
mod receive;
mod scratch;
mod stage;
mod starved;
#[cfg(feature = "tokio")]
mod task;
#[cfg(all(test, feature = "tokio", not(dwcp_loom)))]
mod tests;
mod transmit;
mod turn;
mod waiting;

pub(crate) use self::clock::Clock;
pub use self::core::OffendingRecord;
pub(crate) use self::core::{Locked, SessionCore};
pub(crate) use self::crowd::Crowd;
#[cfg(feature = "tokio")]
pub(crate) use self::facts::Last;
pub(crate) use self::grave::hold;
pub use self::path_io::TooWeak;
pub(crate) use self::path_io::{PathIo, PathSetup};
pub use self::poll::{PollDriver, PollMode, PollSettings, PollStats};
pub(crate) use self::stage::Stage;
#[cfg(feature = "tokio")]
pub(crate) use self::task::drive;
pub(crate) use self::transmit::{CORK, CORK_BYTES};
pub(crate) use self::turn::{SessionObserver, cut};
pub(crate) use self::waiting::wait;
