//! The new process: takes over from the daemon that is the node, which then drains.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dwcp_tcp::succession::{Bequest, OldProcess};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::commands::{Answer, LINE_BYTES_MAX, Request};

/// How long the old process may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the old process has given, and the conversation with it.
pub(super) struct TakeOver {
    pub(super) bequest: Bequest,
    pub(super) process: OldProcess,
    /// Its command socket.
    pub(super) socket: PathBuf,
}

impl TakeOver {
    /// Asks the daemon of `node` behind the command socket `socket` for what it has.
    ///
    /// # Errors
    /// In words: nobody is there, it is another node's, or it refuses.
    pub(super) async fn ask(socket: PathBuf, node: &str) -> Result<Self, String> {
        let place = socket.display();
        let asked = tokio::time::timeout(PATIENCE, ask(&socket, node)).await;
        let (bequest, process) = asked
            .map_err(|_| format!("{place}: no answer within {} s", PATIENCE.as_secs()))?
            .map_err(|error| format!("cannot take over from the daemon at {place}: {error}"))?;
        Ok(Self { bequest, process, socket })
    }

    /// Whether its command socket is the one at `path`.
    pub(super) fn commands_at(&self, path: &Path) -> bool {
        let file = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino()));
        match (file(&self.socket), file(path)) {
            (Ok(its), Ok(other)) => its == other,
            _ => self.socket == path,
        }
    }

    /// The first of its sockets that `is_wanted` by its name.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&str) -> bool) -> Option<OwnedFd> {
        let sockets = &mut self.bequest.sockets;
        let at = sockets.iter().position(|(name, _)| is_wanted(name))?;
        Some(sockets.swap_remove(at).1)
    }

    /// Why `address` is in use, if it is a socket of that process on the same port: it has that until this one is the node.
    pub(super) fn overlap(&self, port: u16) -> Option<String> {
        let address = |socket| SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok();
        let all = self.bequest.sockets.iter().filter_map(|(_, socket)| address(socket));
        let other = all.into_iter().find(|address| address.port() == port && port != 0)?;
        Some(format!(
            "the process before this one has that port at {other}, and needs it until this one serves: a restart cannot \
             move a port between addresses that overlap, or between purposes. Take another port, or stop the node and \
             start it"
        ))
    }
}

async fn ask(socket: &Path, node: &str) -> io::Result<(Bequest, OldProcess)> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = serde_json::to_vec(&Request::HandOver)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    match serde_json::from_slice(&read_line(&mut stream).await?)? {
        Answer::Done { result } if result["node"] == node => Bequest::receive(stream).await,
        Answer::Done { result } => Err(io::Error::other(format!(
            "it is the node {}, and this would be {node}: stop the one and start the other",
            result["node"]
        ))),
        Answer::Failed { message, .. } => Err(io::Error::other(message)),
        Answer::Progress(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Reads a line and not a byte more: what follows is no text.
async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(line),
            byte if line.len() < LINE_BYTES_MAX => line.push(byte),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
