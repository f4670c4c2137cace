//! Connections that resume a session of the old process come in at the new one, and are passed on.
//!
//! Each is an exchange over a socket pair of its own, whose other end goes to the old process with one byte of the
//! conversation. So none holds up another, none that breaks off leaves the conversation in the middle of a message, and
//! several processes can pass on to an older one, each with a descriptor of the same conversation.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dwcp_core::crypto::Secret;
use dwcp_core::link::{
    BoxFuture, DialError, Incoming, Link, Listener, Predecessor, Relayed, SecuredConnection,
};
use dwcp_core::wire::HelloReply;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::wire;
use crate::link::TcpLink;
use crate::socket::TcpOptions;

/// How long the other process may take over one step. Less than a handshake may (10 s by default): what others say than one
/// that is silent still reaches the peer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection has proven, and the hello that came over it.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Greet {
    #[zeroize(skip)]
    peer: String,
    exporter: [u8; 32],
    /// Seconds since 1970.
    #[zeroize(skip)]
    peer_not_after: u64,
    #[zeroize(skip)]
    own_not_after: u64,
    #[zeroize(skip)]
    hello: Vec<u8>,
}

/// What is to be answered.
#[derive(Serialize, Deserialize)]
struct Reply {
    bytes: Vec<u8>,
}

/// The answer went out; the socket comes with it. An exchange that ends without one: the connection broke meanwhile.
#[derive(Serialize, Deserialize)]
struct Socket;

/// The old process, as the new one speaks to it.
#[derive(Clone, Debug)]
pub struct OldProcess {
    stream: Arc<UnixStream>,
    incarnation: u64,
}

impl OldProcess {
    pub(super) fn new(stream: Arc<UnixStream>, incarnation: u64) -> Self {
        Self { stream, incarnation }
    }

    /// One that the process before this one followed, with the conversation that it had.
    pub(super) fn inherit(socket: OwnedFd, incarnation: u64) -> io::Result<Self> {
        let stream = tokio_stream(StdUnixStream::from(socket))?;
        Ok(Self::new(Arc::new(stream), incarnation))
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub(super) fn life(&self) -> u64 {
        self.incarnation
    }

    /// Whether it has not ended.
    pub fn is_there(&self) -> bool {
        wire::is_open(&self.stream)
    }
}

impl AsFd for OldProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn tokio_stream(stream: StdUnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

impl Predecessor for OldProcess {
    fn incarnation(&self) -> u64 {
        self.incarnation
    }

    fn greet<'a>(
        &'a self,
        connection: &'a dyn SecuredConnection,
        hello: &'a [u8],
    ) -> BoxFuture<'a, io::Result<Option<Box<dyn Relayed>>>> {
        let greet = Greet {
            peer: connection.peer_id().to_owned(),
            exporter: *connection.exporter().expose(),
            peer_not_after: seconds(connection.peer_not_after()),
            own_not_after: seconds(connection.own_not_after()),
            hello: hello.to_vec(),
        };
        Box::pin(async move {
            let asked = async {
                let (ours, theirs) = StdUnixStream::pair()?;
                let stream = tokio_stream(ours)?;
                if let Err(error) = wire::send_byte(&self.stream, Some(theirs.as_fd())).await {
                    return if is_gone(&error) { Ok(None) } else { Err(error) };
                }
                // With the old process's end alone, its end is seen.
                drop(theirs);
                wire::send(&stream, &greet, &[]).await?;
                let reply = wire::receive::<Reply>(&stream).await?;
                let (reply, _) = reply.ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Some(Box::new(Passing { stream, reply: reply.bytes }) as Box<dyn Relayed>))
            };
            tokio::time::timeout(PATIENCE, asked).await?
        })
    }
}

/// Whether nobody has the other end of a conversation any more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// A connection that is passed on. When it is dropped, the old process hears that it broke.
struct Passing {
    stream: UnixStream,
    reply: Vec<u8>,
}

impl Relayed for Passing {
    fn reply(&self) -> &[u8] {
        &self.reply
    }

    fn hand_over(self: Box<Self>, socket: OwnedFd) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            let descriptors = [socket.as_fd()];
            let sent = wire::send(&self.stream, &Socket, &descriptors);
            tokio::time::timeout(PATIENCE, sent).await?
        })
    }
}

/// The connections that the new process passes on, and those after it: the listener of the old one from then on.
#[derive(Debug)]
pub struct RelayListener {
    stream: UnixStream,
}

impl RelayListener {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }
}

impl Listener for RelayListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(async {
            let Some(exchange) = wire::receive_byte(&self.stream).await? else {
                // All processes after this one are gone.
                return std::future::pending().await;
            };
            let exchange = exchange.ok_or(io::ErrorKind::InvalidData)?;
            let stream = tokio_stream(StdUnixStream::from(exchange))?;
            Ok(Box::new(Passed { stream }) as Box<dyn Incoming>)
        })
    }

    fn local_address(&self) -> String {
        "the process after this one".into()
    }
}

/// A connection that was passed on.
struct Passed {
    stream: UnixStream,
}

impl Incoming for Passed {
    fn remote_address(&self) -> &str {
        "the process after this one"
    }

    fn secure(
        self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async move {
            let received = wire::receive::<Greet>(&self.stream).await;
            let received = received.and_then(|greet| Ok(greet.ok_or(io::ErrorKind::NotConnected)?));
            let (mut greet, _) = received.map_err(|error| DialError::Handshake {
                address: self.remote_address().to_owned(),
                reason: error.to_string(),
            })?;
            Ok(Box::new(PassedConnection {
                stream: self.stream,
                exporter: Secret::new(greet.exporter),
                peer: std::mem::take(&mut greet.peer),
                peer_not_after: time(greet.peer_not_after),
                own_not_after: time(greet.own_not_after),
                hello: Some(std::mem::take(&mut greet.hello)),
                socket: None,
            }) as Box<dyn SecuredConnection>)
        })
    }
}

struct PassedConnection {
    stream: UnixStream,
    exporter: Secret,
    peer: String,
    peer_not_after: SystemTime,
    own_not_after: SystemTime,
    hello: Option<Vec<u8>>,
    socket: Option<OwnedFd>,
}

impl SecuredConnection for PassedConnection {
    fn exporter(&self) -> &Secret {
        &self.exporter
    }
    fn peer_id(&self) -> &str {
        &self.peer
    }
    fn peer_not_after(&self) -> SystemTime {
        self.peer_not_after
    }
    fn own_not_after(&self) -> SystemTime {
        self.own_not_after
    }

    /// After a welcome the socket comes back.
    fn send<'a>(&'a mut self, message: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            wire::send(&self.stream, &Reply { bytes: message.to_vec() }, &[]).await?;
            if is_welcome(message) {
                let received = wire::receive::<Socket>(&self.stream).await?;
                self.socket = received.and_then(|(_, sockets)| sockets.into_iter().next());
                if self.socket.is_none() {
                    return Err(io::ErrorKind::NotConnected.into());
                }
            }
            Ok(())
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let hello = self.hello.take().ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        Box::pin(std::future::ready(hello))
    }

    fn into_link(self: Box<Self>) -> io::Result<Box<dyn Link>> {
        let socket = self.socket.ok_or(io::ErrorKind::NotConnected)?;
        // The new process has set its options already.
        Ok(Box::new(TcpLink::new(TcpStream::from(socket), &TcpOptions::default())?))
    }
}

fn is_welcome(reply: &[u8]) -> bool {
    matches!(HelloReply::decode(reply), Ok(HelloReply::Welcome { .. }))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(1 << 40))
}
