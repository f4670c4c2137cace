//! Moves bytes between a TCP connection and a channel, both ways, until both ways have ended.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use dwcp_core::{Message, Receiver, RecvError, SendError, Sender};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use super::ForwardCounts;
use crate::service::codes;

/// Most bytes read from the connection into one message.
const READ_BYTES: usize = 64 << 10;
/// Most messages written to the connection by one call.
const GATHER_MAX: usize = 32;

/// Why a pump ended before both directions had finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PumpError {
    /// The TCP connection failed: the channel was reset.
    #[error("the TCP connection failed: {0}")]
    Connection(#[from] io::Error),
    /// The channel failed: the TCP connection was reset.
    #[error("the channel ended: {0}")]
    Receive(#[from] RecvError),
    /// The channel failed: the TCP connection was reset.
    #[error("the channel ended: {0}")]
    Send(#[from] SendError),
}

/// Bytes a pump moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pumped {
    /// From the connection to the channel.
    pub sent_bytes: u64,
    /// From the channel to the connection.
    pub received_bytes: u64,
}

/// Moves bytes, and adds them to `counts` as they move, until both directions have ended. If one fails, the channel and the connection are reset, so
/// that both applications see an error and neither an early end.
///
/// # Errors
/// [`PumpError`].
///
/// # Cancel safety
/// Dropping it closes both ends.
pub async fn pump(
    mut stream: TcpStream,
    mut sender: Sender,
    mut receiver: Receiver,
    counts: &ForwardCounts,
) -> Result<Pumped, PumpError> {
    let (reader, writer) = stream.split();
    let result = tokio::try_join!(
        outgoing(&reader, &mut sender, &counts.sent_bytes_total),
        incoming(&mut receiver, writer, &counts.received_bytes_total),
    );
    match result {
        Ok((sent_bytes, received_bytes)) => Ok(Pumped { sent_bytes, received_bytes }),
        Err(error) => {
            sender.reset(codes::FAILED);
            reset(stream);
            Err(error)
        }
    }
}

/// Closes a connection so that its peer sees a reset, not an end.
pub(super) fn reset(stream: TcpStream) {
    // If the system refuses, the peer sees an orderly end: nothing better can be done.
    let _ = stream.set_zero_linger();
    drop(stream);
}

async fn outgoing(
    reader: &ReadHalf<'_>,
    sender: &mut Sender,
    total: &AtomicU64,
) -> Result<u64, PumpError> {
    let mut count = 0;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        match reader.try_read_buf(&mut buffer) {
            Ok(0) => {
                sender.finish();
                return Ok(count);
            }
            Ok(bytes) => {
                sender.send(Message::from(buffer.split().freeze())).await?;
                count += bytes as u64;
                total.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // An idle connection holds no buffer.
                buffer = BytesMut::new();
                reader.readable().await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn incoming(
    receiver: &mut Receiver,
    mut writer: impl AsyncWrite + Unpin,
    total: &AtomicU64,
) -> Result<u64, PumpError> {
    let mut count = 0;
    let mut messages = Vec::with_capacity(GATHER_MAX);
    while let Some(first) = receiver.recv().await? {
        messages.push(first);
        while messages.len() < GATHER_MAX {
            // Its end or failure is found by the next `recv`, after what came before it is written.
            match receiver.try_recv() {
                Ok(Some(message)) => messages.push(message),
                _ => break,
            }
        }
        let bytes = write_all(&mut writer, &messages).await?;
        count += bytes;
        total.fetch_add(bytes, Ordering::Relaxed);
        messages.clear();
    }
    writer.shutdown().await?;
    Ok(count)
}

/// Writes every message; returns their bytes.
async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    messages: &[Message],
) -> io::Result<u64> {
    let mut slices: Vec<_> = messages.iter().map(|message| IoSlice::new(message)).collect();
    let mut rest = &mut slices[..];
    let count = rest.iter().map(|slice| slice.len() as u64).sum();
    IoSlice::advance_slices(&mut rest, 0); // empty messages are nothing to write
    while !rest.is_empty() {
        match writer.write_vectored(rest).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut rest, written),
        }
    }
    Ok(count)
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
