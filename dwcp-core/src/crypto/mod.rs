//! Record protection without I/O: key schedule, nonces, replay rules, usage limits.
//!
//! The algorithms themselves come from outside as a [`Suite`] (dwcp-tcp has AES-256-GCM with HMAC-SHA256);
//! this module decides which key, which nonce and which record number they are used with.
//! Everything here is described for other implementations in docs/protocol.md.

mod checksum;
mod opener;
mod replay;
mod schedule;
mod sealer;
mod suite;

pub use checksum::ChecksumSuite;
pub use opener::{OpenError, PathOpener};
pub use replay::ReplayWindow;
pub use schedule::{Direction, KeyMaterial, PathSecret, Secret, SessionSecret};
pub use sealer::{PathSealer, REKEY_PAUSE, SealError, Usage, UsageLimits};
pub use suite::{MAX_OVERHEAD_BYTES, NotAuthentic, Open, Protection, Seal, Suite};
