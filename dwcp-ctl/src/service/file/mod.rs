//! `file/1`: files from one node to another, verified, never half under their final name.

mod disk;
mod intake;
mod intake_error;
mod limit;
mod lock;
mod part;
mod places;
mod protocol;
mod read;
mod receive;
mod send;
mod sweep;
mod tree;
mod walk;

pub use disk::Disk;
pub use intake::{Intake, Reception};
pub use intake_error::IntakeError;
pub use places::Places;
pub use protocol::{
    Begin, DATA_BYTES_MAX, Directory, ENTRIES_MAX, End, FileHead, Frame, Link, Prefix, Reply,
    VERSION,
};
pub use receive::receive;
pub use send::{CopyOptions, CopyProgress, CopyReport, CopyResult, LeftOut, send};
pub use sweep::{KEPT_FOR, Swept, sweep};
pub use walk::{Kind, Source, Walk, WalkError, walk};
