//! Two processes of one node, one of which follows the other: sockets and resumed connections change hands over a Unix
//! socket between them.
//!
//! 1. The old process [`offers`](Bequest::send) its listening sockets, its claim on the node's key, and the conversations
//!    with processes before it.
//! 2. The new one [takes](Bequest::receive) them, gets all that it needs, and asks to [succeed](OldProcess::succeed). It
//!    accepts nothing yet.
//! 3. The old one [accepts](Candidate::accept) it, or does not; only then the new one begins. Until then nothing has changed:
//!    a new process that ends, at whatever point, leaves the old one as it was, and one that is not accepted ends.
//! 4. The new one passes on connections that resume a session of the old one ([`OldProcess`]), which takes them from its
//!    [`RelayListener`], as long as both live.

mod relay;
mod wire;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub use relay::{OldProcess, RelayListener};

/// Processes before the present one whose sessions can come back, at most: as many as their sessions stay at a peer
/// (`LEAVING_MAX` in docs/protocol.md).
pub const PROCESSES_MAX: usize = 4;
/// How long a new process that is accepted may take to say that it begins: it has nothing to do for it.
const BEGINNING: Duration = Duration::from_secs(5);
/// How long the old process may take to accept the new one: it may be in the middle of something.
const ACCEPTANCE: Duration = Duration::from_secs(60);

/// What the old process has to hand over.
#[derive(Debug, Default)]
pub struct Bequest {
    /// The life of the old process.
    pub incarnation: u64,
    /// The locked file of the private key, if the file system has locks.
    pub claim: Option<OwnedFd>,
    /// Listening sockets, each under the name that both processes know it by.
    pub sockets: Vec<(String, OwnedFd)>,
    /// The processes before the old one, the newest first: they may have sessions still.
    pub older: Vec<OldProcess>,
}

/// What is said before the descriptors.
#[derive(Debug, Serialize, Deserialize)]
struct Inventory {
    incarnation: u64,
    has_claim: bool,
    sockets: Vec<String>,
    /// The lives of the processes before.
    older: Vec<u64>,
}

/// What the two say after the bequest, until the new process begins.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "kebab-case")]
enum Word {
    /// The new process has all it needs.
    Ready { pid: u32 },
    /// It is the node.
    Accepted,
}

/// The conversation after the bequest was sent: the old process's end.
#[derive(Debug)]
pub struct HandedOver(UnixStream);

/// A new process that has all it needs and waits to be accepted. When this is dropped it is not, and ends.
#[derive(Debug)]
pub struct Candidate {
    pid: u32,
    stream: UnixStream,
}

impl Bequest {
    /// Sends it to the new process: of the older processes those that live, at most [`PROCESSES_MAX`] with this one.
    ///
    /// # Errors
    /// Those of the socket, or more sockets than are passed on.
    pub async fn send(&self, stream: UnixStream) -> io::Result<HandedOver> {
        let lives = self.older.iter().filter(|process| process.is_there());
        let older: Vec<_> = lives.take(PROCESSES_MAX - 1).collect();
        let inventory = Inventory {
            incarnation: self.incarnation,
            has_claim: self.claim.is_some(),
            sockets: self.sockets.iter().map(|(name, _)| name.clone()).collect(),
            older: older.iter().map(|process| process.life()).collect(),
        };
        let sockets = self.sockets.iter().map(|(_, socket)| socket.as_fd());
        let all: Vec<BorrowedFd<'_>> = self.claim.iter().map(AsFd::as_fd).chain(sockets).collect();
        let all = [all, older.iter().map(|process| process.as_fd()).collect()].concat();
        wire::send(&stream, &inventory, &[]).await?;
        wire::send_descriptors(&stream, &all).await?;
        Ok(HandedOver(stream))
    }

    /// Takes what the old process sends, and the conversation with it.
    ///
    /// # Errors
    /// Those of the socket; descriptors that do not fit the inventory.
    pub async fn receive(stream: UnixStream) -> io::Result<(Self, OldProcess)> {
        let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "the old process is gone");
        let (inventory, _) = wire::receive::<Inventory>(&stream).await?.ok_or_else(gone)?;
        let Inventory { incarnation, has_claim, sockets, older } = inventory;
        let wanted = usize::from(has_claim) + sockets.len() + older.len();
        let mut descriptors = wire::receive_descriptors(&stream, wanted).await?.into_iter();
        let claim = has_claim.then(|| descriptors.next()).flatten();
        // Names first: a zip that ends with them takes no descriptor too many.
        let sockets = sockets.into_iter().zip(descriptors.by_ref()).collect();
        let older = older.into_iter().zip(descriptors);
        let older = older.map(|(life, socket)| OldProcess::inherit(socket, life));
        let older = older.collect::<io::Result<_>>()?;
        let bequest = Self { incarnation, claim, sockets, older };
        Ok((bequest, OldProcess::new(Arc::new(stream), incarnation)))
    }

    /// The socket called `name`, once.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|(known, _)| known == name)?;
        Some(self.sockets.swap_remove(at).1)
    }
}

impl HandedOver {
    /// Waits until the new process has all it needs. `None`: it ended before.
    ///
    /// # Errors
    /// Those of the socket; another word than was expected.
    pub async fn ready(self) -> io::Result<Option<Candidate>> {
        match wire::receive::<Word>(&self.0).await? {
            Some((Word::Ready { pid }, _)) => Ok(Some(Candidate { pid, stream: self.0 })),
            Some((Word::Accepted, _)) => Err(io::ErrorKind::InvalidData.into()),
            None => Ok(None),
        }
    }
}

impl Candidate {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Makes it the node; the connections that it passes on from then on. It has begun when this returns.
    ///
    /// # Errors
    /// It is gone, or says nothing: it is not the node then, and cannot become it.
    pub async fn accept(self) -> io::Result<RelayListener> {
        let stream = self.stream;
        let begins = async {
            wire::send(&stream, &Word::Accepted, &[]).await?;
            wire::receive_byte(&stream).await
        };
        let begins = match timeout(BEGINNING, begins).await {
            Ok(begins) => begins?,
            Err(_) => {
                // From here on it cannot say it any more. It may have, just now.
                rustix::net::shutdown(&stream, rustix::net::Shutdown::Both)?;
                wire::receive_byte(&stream).await?
            }
        };
        begins.ok_or_else(|| io::Error::other("it ended before it began"))?;
        Ok(RelayListener::new(stream))
    }
}

impl OldProcess {
    /// Asks the old process to make way, and waits until it does: from then on this one is the node.
    ///
    /// # Errors
    /// It does not, or is gone: this process is not the node.
    pub async fn succeed(&self) -> io::Result<()> {
        let stream = self.stream();
        let accepted = async {
            wire::send(stream, &Word::Ready { pid: std::process::id() }, &[]).await?;
            wire::receive::<Word>(stream).await
        };
        match timeout(ACCEPTANCE, accepted).await?? {
            Some((Word::Accepted, _)) => wire::send_byte(stream, None).await,
            Some((Word::Ready { .. }, _)) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(io::Error::other("it is stopping, or has ended")),
        }
    }
}
