//! A peer written from docs/protocol.md alone: it shares no code with dwcp-core, and every step of it can be spoiled.

pub(crate) mod bytes;
pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod keys;
pub(crate) mod record;
pub(crate) mod session;
pub(crate) mod tls;
