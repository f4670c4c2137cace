//! What a transport offers a session: links, and the handshake that makes one.
//!
//! A link moves records; it knows nothing of sessions, keys or frames. What it guarantees is data
//! ([`LinkFeatures`]), so that the session machine serves every kind without asking which one it is.

mod features;
mod memory;
mod signal;

use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

pub use features::LinkFeatures;
pub use memory::{MemoryLink, memory_pair};
pub use signal::Signal;

use crate::crypto::Secret;
pub use crate::wire::PathKind;

/// A boxed future, as the object-safe traits of this module return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is known of a link once it stands.
#[derive(Clone, Debug)]
pub struct LinkAttributes {
    /// `tcp`, `rdma` or `fabric`.
    pub kind: PathKind,
    /// Which one of that kind: congestion control of a socket, a verbs device, a libfabric provider.
    pub provider: String,
    /// What the link guarantees.
    pub features: LinkFeatures,
    /// Our end, for status and logs.
    pub local: String,
    /// The peer's end.
    pub remote: String,
}

/// A connected transport, before it is split into its two directions.
pub trait Link: Send {
    /// What the link is.
    fn attributes(&self) -> &LinkAttributes;
    /// Splits it. Dropping both halves closes the link.
    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>);
}

/// The sending half of a link. Never blocks.
pub trait LinkSender: Send {
    /// Takes bytes of `records` (whole records, back to back) from the front and returns how many. A stream
    /// link takes any number; one with `MESSAGE_BOUNDARIES` takes whole records only. The bytes are free for
    /// reuse when the call returns.
    ///
    /// # Errors
    /// `WouldBlock` when the link takes nothing now; any other error is the end of the link.
    fn try_send(&mut self, records: &[u8]) -> io::Result<usize>;
    /// How to wait until [`try_send`](Self::try_send) may go on.
    fn readiness(&self) -> Readiness<'_>;
    /// A round-trip time the transport knows, microseconds.
    fn rtt_us(&self) -> Option<u32> {
        None
    }
    /// Bytes the transport has taken and not yet put on the wire: what is queued below us.
    fn unsent_bytes(&self) -> Option<u32> {
        None
    }
    /// Ends the link in both directions at once.
    fn shut_down(&mut self);
}

/// The receiving half of a link. Never blocks.
pub trait LinkReceiver: Send {
    /// Copies bytes that have arrived to `buffer` and returns how many; 0 is the peer's orderly end. A
    /// stream link may end anywhere in a record, one with `MESSAGE_BOUNDARIES` gives whole records.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; any other error is the end of the link.
    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// How to wait until [`try_recv`](Self::try_recv) may go on.
    fn readiness(&self) -> Readiness<'_>;
}

/// How to wait for one half of a link.
pub enum Readiness<'a> {
    /// Poll this descriptor: readable for receivers, writable for senders.
    Fd(BorrowedFd<'a>),
    /// Wait for this signal.
    Signal(&'a Arc<Signal>),
}

/// A connection whose two ends have proven who they are, and on which no record has passed yet.
///
/// The session layer exchanges its hellos through it and then turns it into a link.
pub trait SecuredConnection: Send {
    /// 32 bytes both ends share and nobody else knows, bound to this handshake (TLS exporter, RFC 9846
    /// section 7.5, label `EXPORTER-DWCP-session`).
    fn exporter(&self) -> &Secret;
    /// The node id the peer's certificate proves (SAN URI `dwcp://node/<nodeId>`).
    fn peer_id(&self) -> &str;
    /// When the peer's certificate ends.
    fn peer_not_after(&self) -> SystemTime;
    /// Sends one handshake message, at most `wire::MAX_HELLO_BYTES`.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a part of the message may be out.
    fn send<'a>(&'a mut self, message: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;
    /// Receives one handshake message, at most `wire::MAX_HELLO_BYTES`.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a part of the message may be lost.
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>>;
    /// The link below, for records. No byte that follows the last handshake message is lost.
    ///
    /// # Errors
    /// If the transport cannot hand its socket over.
    fn into_link(self: Box<Self>) -> io::Result<Box<dyn Link>>;
}

/// Makes connections to peers.
pub trait Dialer: Send + Sync {
    /// Connects to one of `addresses` (each tried, in order, until one answers) and proves both identities;
    /// the peer must prove to be `peer_id`.
    ///
    /// # Errors
    /// [`DialError`], with the address and the remedy in its words.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    fn dial<'a>(
        &'a self,
        peer_id: &'a str,
        addresses: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn SecuredConnection>, DialError>>;
}

/// Takes connections of peers.
pub trait Listener: Send + Sync {
    /// The next connection, not yet secured, so that a slow handshake holds up nobody else.
    ///
    /// # Errors
    /// Those of the operating system. The caller pauses and goes on: running out of descriptors passes.
    ///
    /// # Cancel safety
    /// Cancel-safe: no connection is lost.
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>>;
    /// The address it listens on, for status and logs.
    fn local_address(&self) -> String;
}

/// A connection before its handshake.
pub trait Incoming: Send {
    /// The address it came from.
    fn remote_address(&self) -> &str;
    /// Runs the handshake.
    ///
    /// # Errors
    /// [`DialError`] says what was wrong with the peer.
    fn secure(self: Box<Self>)
    -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>>;
}

/// Why no secured connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No address answered.
    #[error("{address}: cannot connect")]
    Unreachable {
        /// The address tried last.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address names no host.
    #[error("{address}: cannot resolve; write host:port or ip:port")]
    Resolve {
        /// The address.
        address: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The handshake failed: not DWCP, a wrong certificate, no common parameters.
    #[error("{address}: handshake failed: {reason}")]
    Handshake {
        /// The peer's address.
        address: String,
        /// What failed, and what to do.
        reason: String,
    },
    /// The peer proved to be another node.
    #[error("{address}: expected node {expected}, but its certificate names {found}")]
    WrongNode {
        /// The peer's address.
        address: String,
        /// The node that was dialled.
        expected: String,
        /// What the certificate says.
        found: String,
    },
    /// The handshake took too long.
    #[error("{address}: no answer to the handshake within {seconds} s")]
    TimedOut {
        /// The peer's address.
        address: String,
        /// The limit.
        seconds: u64,
    },
}
