//! The new process: takes over from the daemon that is the node, which then drains.

use std::io;
use std::path::Path;
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
}

impl TakeOver {
    /// Asks the daemon behind the command socket `socket` for what it has.
    ///
    /// # Errors
    /// In words: nobody is there, or it refuses.
    pub(super) async fn ask(socket: &Path) -> Result<Self, String> {
        let place = socket.display();
        let asked = tokio::time::timeout(PATIENCE, ask(socket)).await;
        let (bequest, process) = asked
            .map_err(|_| format!("{place}: no answer within {} s", PATIENCE.as_secs()))?
            .map_err(|error| format!("cannot take over from the daemon at {place}: {error}"))?;
        Ok(Self { bequest, process })
    }
}

async fn ask(socket: &Path) -> io::Result<(Bequest, OldProcess)> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = serde_json::to_vec(&Request::HandOver)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    match serde_json::from_slice(&read_line(&mut stream).await?)? {
        Answer::Done { .. } => Bequest::receive(stream).await,
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
