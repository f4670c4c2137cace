//! Connections that resume a session of the old process come in at the new one, and are passed on.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dwcp_core::crypto::Secret;
use dwcp_core::link::{
    BoxFuture, DialError, Incoming, Link, Listener, Predecessor, Relayed, SecuredConnection,
};
use dwcp_core::wire::HelloReply;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::wire;
use crate::link::TcpLink;
use crate::socket::TcpOptions;

/// How long the other process may take over one step.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// The answer went out; the socket comes with it. Without one, the connection broke meanwhile.
#[derive(Serialize, Deserialize)]
struct Socket;

/// The old process, as the new one speaks to it. One connection is passed on at a time.
#[derive(Clone, Debug)]
pub struct OldProcess {
    stream: Arc<Mutex<UnixStream>>,
    incarnation: u64,
}

impl OldProcess {
    pub(super) fn new(stream: UnixStream, incarnation: u64) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)), incarnation }
    }

    pub(super) async fn stream(&self) -> MutexGuard<'_, UnixStream> {
        self.stream.lock().await
    }
}

impl Predecessor for OldProcess {
    fn incarnation(&self) -> u64 {
        self.incarnation
    }

    fn greet<'a>(
        &'a self,
        connection: &'a dyn SecuredConnection,
        hello: &'a [u8],
    ) -> BoxFuture<'a, io::Result<Box<dyn Relayed>>> {
        let greet = Greet {
            peer: connection.peer_id().to_owned(),
            exporter: *connection.exporter().expose(),
            peer_not_after: seconds(connection.peer_not_after()),
            own_not_after: seconds(connection.own_not_after()),
            hello: hello.to_vec(),
        };
        Box::pin(async move {
            let stream = self.stream.clone().lock_owned().await;
            let mut passing = Passing { stream, reply: Vec::new(), owed: Owed::Ear };
            let asked = async {
                wire::send(&passing.stream, &greet, &[]).await?;
                wire::receive::<Reply>(&passing.stream).await
            };
            let reply = tokio::time::timeout(PATIENCE, asked).await??;
            let (reply, _) = reply.ok_or(io::ErrorKind::NotConnected)?;
            // After a refusal it waits for nothing.
            passing.owed = if is_welcome(&reply.bytes) { Owed::Socket } else { Owed::Nothing };
            passing.reply = reply.bytes;
            Ok(Box::new(passing) as Box<dyn Relayed>)
        })
    }
}

/// What is left to be said of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// The old process has not answered: what comes next would be its answer.
    Ear,
    /// It waits for the socket, or for the word that there is none.
    Socket,
    Nothing,
}

/// A connection that is passed on.
struct Passing {
    stream: OwnedMutexGuard<UnixStream>,
    reply: Vec<u8>,
    owed: Owed,
}

impl Relayed for Passing {
    fn reply(&self) -> &[u8] {
        &self.reply
    }

    fn hand_over(mut self: Box<Self>, socket: OwnedFd) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            let descriptors = [socket.as_fd()];
            let sent = wire::send(&self.stream, &Socket, &descriptors);
            tokio::time::timeout(PATIENCE, sent).await??;
            self.owed = Owed::Nothing;
            Ok(())
        })
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let is_told = match self.owed {
            Owed::Nothing => true,
            Owed::Socket => wire::send_at_once(&self.stream, &Socket),
            Owed::Ear => false,
        };
        if !is_told {
            // What would come next is not what either end waits for.
            let _ = rustix::net::shutdown(&*self.stream, rustix::net::Shutdown::Both);
        }
    }
}

/// The connections that the new process passes on: the listener of the old one from then on.
#[derive(Debug)]
pub struct RelayListener {
    stream: Arc<Mutex<UnixStream>>,
}

impl RelayListener {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)) }
    }
}

impl Listener for RelayListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(async {
            let stream = self.stream.clone().lock_owned().await;
            match wire::receive::<Greet>(&stream).await {
                Ok(Some((greet, _))) => Ok(Box::new(Passed { stream, greet }) as Box<dyn Incoming>),
                Ok(None) => std::future::pending().await,
                Err(error) => {
                    // What comes next cannot be understood either.
                    tracing::warn!(%error, "the new process passes nothing on any more");
                    std::future::pending().await
                }
            }
        })
    }

    fn local_address(&self) -> String {
        "the process after this one".into()
    }
}

/// A connection that was passed on.
struct Passed {
    stream: OwnedMutexGuard<UnixStream>,
    greet: Greet,
}

impl Incoming for Passed {
    fn remote_address(&self) -> &str {
        "the process after this one"
    }

    fn secure(
        self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        let Self { stream, mut greet } = *self;
        let connection = PassedConnection {
            stream,
            exporter: Secret::new(greet.exporter),
            peer: std::mem::take(&mut greet.peer),
            peer_not_after: time(greet.peer_not_after),
            own_not_after: time(greet.own_not_after),
            hello: Some(std::mem::take(&mut greet.hello)),
            socket: None,
        };
        Box::pin(std::future::ready(Ok(Box::new(connection) as Box<dyn SecuredConnection>)))
    }
}

struct PassedConnection {
    stream: OwnedMutexGuard<UnixStream>,
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
