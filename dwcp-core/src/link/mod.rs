//! What a transport offers a session: links, and the handshake that makes one.
//!
//! A link moves records; it knows nothing of sessions, keys or frames. What it guarantees is data
//! ([`LinkFeatures`]), so that the session machine serves every kind without asking which one it is.

mod connect;
mod features;
mod memory;
mod signal;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

pub use connect::{
    BoxFuture, DialError, Dialer, Incoming, Listener, PathProvider, PendingLink, Predecessor,
    Relayed, SecuredConnection,
};
pub use features::LinkFeatures;
pub use memory::{
    MemoryDialer, MemoryLink, MemoryListener, MemoryNetwork, MemoryProvider, memory_connection,
    memory_pair,
};
pub use signal::Signal;

use crate::mem::{Payload, RegionId, SlotMut};
pub use crate::wire::{PathKind, PullSource};

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
    /// Receives posted at both ends from the start; 0 without `MESSAGE_BOUNDARIES`.
    pub receives_posted: u64,
    /// Our memory that the peer can read by itself; empty without `PULL`.
    pub regions: Vec<RegionKey>,
    /// The options of the socket below, for status; `None` without one.
    pub socket: Option<SocketFacts>,
}

/// Options of a link's socket as the kernel has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// Congestion control, such as `cubic`.
    pub congestion: String,
    /// Send buffer as the kernel counts it, twice what a program asks for.
    pub send_buffer_bytes: u64,
    /// Receive buffer, likewise.
    pub recv_buffer_bytes: u64,
    /// TCP Fast Open: `off`, `unused` or `used`.
    pub fast_open: &'static str,
    /// What was asked for and is not in force, with the remedy, in words.
    pub differences: Vec<String>,
}

/// How the peer reads one region of our memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionKey {
    /// The region.
    pub region: RegionId,
    /// Address of its first byte, as the peer names it.
    pub address: u64,
    /// The key it was registered under, on this link.
    pub key: u64,
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
    /// Takes one record whose body lies elsewhere, `head | body | tail`, without copying the body: the link
    /// keeps its reference to it until the device is done. Asked only of links with `ZERO_COPY_TX`.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send); nothing was taken then.
    fn try_send_parts(&mut self, head: &[u8], body: &Payload, tail: &[u8]) -> io::Result<()> {
        let _ = (head, body, tail);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// How to wait until [`try_send`](Self::try_send) may go on.
    fn readiness(&self) -> Readiness;
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
    /// How to wait until [`try_recv`](Self::try_recv) or [`poll_pulled`](Self::poll_pulled) may go on.
    fn readiness(&self) -> Readiness;
    /// The peer is about to send here. A link that moves only while it is polled, and had been left to be
    /// polled now and then, is polled often again.
    fn wake_up(&mut self) {}
    /// Receives posted since this was last asked; the peer may send as many records more.
    fn take_posted(&mut self) -> u64 {
        0
    }
    /// Begins to read `length` bytes of the peer's memory into `target`. Asked only of links with `PULL`.
    ///
    /// # Errors
    /// When the link cannot take it; the frame then comes in a record instead.
    fn start_pull(
        &mut self,
        token: u64,
        source: PullSource,
        length: u32,
        target: SlotMut,
    ) -> io::Result<()> {
        let _ = (token, source, length, target);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The next pull that ended.
    fn poll_pulled(&mut self) -> Option<Pulled> {
        None
    }
    /// After the link was shut down: whether anything can still land in our memory. A stream copies only
    /// when asked, so it is fenced at once.
    fn poll_fenced(&mut self) -> Fence {
        Fence::Done
    }
}

/// A pull that ended.
#[derive(Debug)]
pub struct Pulled {
    /// The token of [`LinkReceiver::start_pull`].
    pub token: u64,
    /// The filled slot, or why it is not.
    pub slot: io::Result<SlotMut>,
}

/// How far the fencing of a link that was shut down has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Nothing can land any more.
    Done,
    /// Work requests are still being flushed; ask again after [`LinkReceiver::readiness`] or 1 ms.
    Pending,
    /// It cannot be known: what the link may still write to is leaked and counted.
    Failed,
}

/// How to wait for one half of a link. The answer is the same for the life of the half.
#[derive(Clone)]
pub enum Readiness {
    /// Poll this descriptor: readable for receivers, writable for senders. Whoever waits keeps it open.
    Fd(Arc<dyn AsFd + Send + Sync>),
    /// Wait for this signal.
    Signal(Arc<Signal>),
}
