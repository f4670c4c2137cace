//! The locks and atomics of the parts that loom checks: `RUSTFLAGS="--cfg dwcp_loom"` puts loom's in the place
//! of the standard library's (see `.ci/rooms/mem`).

#[cfg(dwcp_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(dwcp_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
