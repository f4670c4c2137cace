//! Two processes of one node, one of which follows the other: sockets and resumed connections change hands over a Unix
//! socket between them.
//!
//! 1. The old process [`offers`](Bequest::send) its listening sockets and its claim on the node's key.
//! 2. The new one [takes](Bequest::receive) them, starts, and says that it is [ready](HandedOver::ready); until then nothing
//!    has changed, and a new process that ends without a word leaves the old one as it was.
//! 3. The new one passes on connections that resume a session of the old one ([`OldProcess`]), which takes them from its
//!    [`RelayListener`], as long as both live.

mod relay;
mod wire;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

pub use relay::{OldProcess, RelayListener};

/// What the old process has to hand over.
#[derive(Debug, Default)]
pub struct Bequest {
    /// The life of the old process.
    pub incarnation: u64,
    /// The locked file of the private key, if the file system has locks.
    pub claim: Option<OwnedFd>,
    /// Listening sockets, each under the name that both processes know it by.
    pub sockets: Vec<(String, OwnedFd)>,
}

/// What is said before the descriptors.
#[derive(Debug, Serialize, Deserialize)]
struct Inventory {
    incarnation: u64,
    has_claim: bool,
    sockets: Vec<String>,
}

/// The new process serves; what follows are connections passed on.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    pid: u32,
}

/// The conversation after the bequest was sent: the old process's end.
#[derive(Debug)]
pub struct HandedOver(UnixStream);

impl Bequest {
    /// Sends it to the new process.
    ///
    /// # Errors
    /// Those of the socket, or more sockets than one message carries (63).
    pub async fn send(&self, stream: UnixStream) -> io::Result<HandedOver> {
        let inventory = Inventory {
            incarnation: self.incarnation,
            has_claim: self.claim.is_some(),
            sockets: self.sockets.iter().map(|(name, _)| name.clone()).collect(),
        };
        let sockets = self.sockets.iter().map(|(_, socket)| socket);
        let all: Vec<BorrowedFd<'_>> = self.claim.iter().chain(sockets).map(AsFd::as_fd).collect();
        wire::send(&stream, &inventory, &all).await?;
        Ok(HandedOver(stream))
    }

    /// Takes what the old process sends, and the conversation with it.
    ///
    /// # Errors
    /// Those of the socket; descriptors that do not fit the inventory.
    pub async fn receive(stream: UnixStream) -> io::Result<(Self, OldProcess)> {
        let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "the old process is gone");
        let (inventory, descriptors) =
            wire::receive::<Inventory>(&stream).await?.ok_or_else(gone)?;
        let wanted = inventory.sockets.len() + usize::from(inventory.has_claim);
        if descriptors.len() != wanted {
            let what = format!("{} descriptors came in place of {wanted}", descriptors.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut descriptors = descriptors.into_iter();
        let claim = inventory.has_claim.then(|| descriptors.next()).flatten();
        let sockets = inventory.sockets.into_iter().zip(descriptors).collect();
        let incarnation = inventory.incarnation;
        let bequest = Self { incarnation, claim, sockets };
        Ok((bequest, OldProcess::new(stream, incarnation)))
    }

    /// The socket called `name`, once.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|(known, _)| known == name)?;
        Some(self.sockets.swap_remove(at).1)
    }
}

impl HandedOver {
    /// Waits until the new process serves; its process id, and the connections that it passes on from then on. `None`: it
    /// ended without having served.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn ready(self) -> io::Result<Option<(u32, RelayListener)>> {
        let ready = wire::receive::<Ready>(&self.0).await?;
        Ok(ready.map(|(ready, _)| (ready.pid, RelayListener::new(self.0))))
    }
}

impl OldProcess {
    /// Tells the old process that this one serves from now on.
    ///
    /// # Errors
    /// Those of the socket: the old process is gone.
    pub async fn ready(&self) -> io::Result<()> {
        let stream = self.stream().await;
        wire::send(&stream, &Ready { pid: std::process::id() }, &[]).await
    }
}
