//! The handshake that makes a link: traits of dialers, listeners and providers of further paths.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::SystemTime;

use super::Link;
use crate::crypto::Secret;
use crate::wire::PathKind;

/// A boxed future, as the object-safe traits of this module return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection whose two ends have proven who they are, and on which no record has passed yet.
///
/// The session layer exchanges its hellos through it and then turns it into a link.
pub trait SecuredConnection: Send {
    /// 32 bytes both ends share and nobody else knows, bound to this handshake (TLS exporter, RFC 8446
    /// section 7.5, label `EXPORTER-DWCP-session`).
    fn exporter(&self) -> &Secret;
    /// The node id the peer's certificate proves (SAN URI `dwcp://node/<nodeId>`).
    fn peer_id(&self) -> &str;
    /// When the peer's certificate ends.
    fn peer_not_after(&self) -> SystemTime;
    /// When our own ends, of which the handshake made use.
    fn own_not_after(&self) -> SystemTime;
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
    /// The socket below, for another process of this machine to make a link of. No byte that follows the last handshake
    /// message is lost.
    ///
    /// # Errors
    /// If the transport has none, or cannot hand it over.
    fn into_socket(self: Box<Self>) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The process that was the node before this one, and has its older sessions until they end.
pub trait Predecessor: Send + Sync {
    /// Its incarnation.
    fn incarnation(&self) -> u64;
    /// Asks it for the answer to `hello`, which came over `connection` and resumes a session that is not ours. `None`: it is
    /// gone, and its sessions with it.
    ///
    /// # Errors
    /// When it does not answer, although it may be there.
    ///
    /// # Cancel safety
    /// Cancel-safe: what else is asked is not disturbed.
    fn greet<'a>(
        &'a self,
        connection: &'a dyn SecuredConnection,
        hello: &'a [u8],
    ) -> BoxFuture<'a, io::Result<Option<Box<dyn Relayed>>>>;
}

/// A hello that the predecessor has answered.
pub trait Relayed: Send {
    /// Its reply, to be sent over the connection.
    fn reply(&self) -> &[u8];
    /// Hands it the socket over which its reply went out.
    ///
    /// # Errors
    /// When it is gone meanwhile.
    fn hand_over(self: Box<Self>, socket: OwnedFd) -> BoxFuture<'static, io::Result<()>>;
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

/// Makes links of a kind whose two ends find each other by a few bytes carried on a standing session
/// (queue pair numbers, endpoint addresses): PathOffer and PathAnswer in docs/protocol.md.
pub trait PathProvider: Send + Sync {
    /// The kind of its links.
    fn kind(&self) -> PathKind;
    /// A link waiting for its peer. The offerer and the answerer each prepare one and exchange bootstraps.
    ///
    /// # Errors
    /// When the device cannot give one now.
    fn prepare(&self) -> io::Result<Box<dyn PendingLink>>;
}

/// One end of a link that does not know its peer yet.
pub trait PendingLink: Send {
    /// What the peer has to know, at most 1,024 bytes, never empty.
    fn bootstrap(&self) -> &[u8];
    /// Connects to the peer that sent `bootstrap`. Receives are posted when this returns.
    ///
    /// # Errors
    /// When the bootstrap is not of this kind or the device refuses it.
    fn connect(self: Box<Self>, bootstrap: &[u8]) -> io::Result<Box<dyn Link>>;
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
