//! What the application sends and receives.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::slot::{Slice, SlotMut};

/// One message of the application: bytes in a pooled slot, or [`Bytes`] of the application's own.
///
/// It dereferences to its bytes. A received message keeps the slot of its frame alive, which may be much larger (64
/// KiB of small messages share one) and is up to 260 KiB: copy it (`to_vec`) to keep a small message for long.
#[derive(Clone)]
pub struct Message(pub(crate) Payload);

/// The memory behind a message or a frame.
#[derive(Clone)]
pub enum Payload {
    /// A part of a pooled slot.
    Slot(Slice),
    /// Memory the application brought.
    Bytes(Bytes),
}

impl Payload {
    /// Bytes of memory that the payload keeps: all of its slot, which others may share.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        match self {
            Self::Slot(slice) => slice.slot().capacity() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// The payload in memory that may be kept for long: out of the [last](super::Pool::last) it is copied.
    pub(crate) fn leave_last(&mut self) {
        if let Self::Slot(slice) = self
            && slice.slot().is_last()
        {
            *self = Self::Bytes(Bytes::copy_from_slice(slice));
        }
    }

    /// The part of the payload that starts at `start`; shares the memory.
    ///
    /// # Panics
    /// If the range leaves the payload.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        match self {
            Self::Slot(slice) => Self::Slot(slice.slice(start, len)),
            Self::Bytes(bytes) => Self::Bytes(bytes.slice(start..start + len)),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Slot(slice) => slice,
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl Deref for Message {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.len())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self(Payload::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Payload::Bytes(bytes.into()))
    }
}

impl From<&'static [u8]> for Message {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Payload::Bytes(Bytes::from_static(bytes)))
    }
}

impl From<&'static str> for Message {
    fn from(text: &'static str) -> Self {
        Self(Payload::Bytes(Bytes::from_static(text.as_bytes())))
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self(Payload::Bytes(text.into()))
    }
}

impl From<SlotMut> for Message {
    fn from(slot: SlotMut) -> Self {
        Self(Payload::Slot(slot.freeze().into()))
    }
}

impl From<Slice> for Message {
    fn from(slice: Slice) -> Self {
        Self(Payload::Slot(slice))
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Message {
    fn eq(&self, other: &T) -> bool {
        self[..] == *other.as_ref()
    }
}
