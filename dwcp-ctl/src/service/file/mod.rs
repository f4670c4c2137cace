//! `file/1`: files from one node to another, verified, never half under their final name.

mod disk;
mod intake;
mod protocol;
mod receive;
mod send;
mod sweep;
mod walk;

pub use disk::Disk;
pub use intake::{Intake, IntakeError, Reception};
pub use protocol::{Begin, DATA_BYTES_MAX, Directory, ENTRIES_MAX, End, FileHead, Frame, Reply};
pub use receive::receive;
pub use send::{CopyProgress, CopyReport, CopyResult, send};
pub use sweep::sweep;
pub use walk::{Source, WalkError, walk};
