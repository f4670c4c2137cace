//! Message memory: pooled, reference-counted slots.
//!
//! A *slot* is a fixed-size piece of a *region* (one large allocation that an RDMA device can register once).
//! It is taken from a [`Pool`] as a unique, writable [`SlotMut`], frozen into a shared [`Slot`], and goes back
//! to the pool when the last reference is dropped. That is the whole reuse rule of DWCP: whoever may still
//! touch the memory (the retention of un-acked frames, a posted work request, an unfenced path) holds a
//! reference, so a slot can be reused only when the wire is done with it **and** the peer has acked it.
//!
//! This is the only module of the crate with `unsafe` code.
#![allow(unsafe_code)]

mod account;
#[cfg(all(test, dwcp_loom))]
mod loom_tests;
mod message;
mod pool;
mod region;
mod slot;

pub use account::Account;
pub use message::{Message, Payload};
pub use pool::{CLASS_BYTES, Pool, PoolStats};
pub use region::RegionId;
pub(crate) use slot::Prepaid;
pub use slot::{Slice, Slot, SlotMut};
