//! Messages between two processes of one node, over a Unix socket: a length, a JSON value, and descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

/// The longest message, bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Descriptors that go with one message, at most.
const DESCRIPTORS_MAX: usize = 64;
/// Descriptors that go with several, at most: one for each listening socket of a node.
const DESCRIPTORS_TOTAL_MAX: usize = 4_096;
/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;

/// Sends `message` with `descriptors`.
///
/// # Cancel safety
/// Not cancel-safe: a part of it may be out.
pub(super) async fn send<T: Serialize>(
    stream: &UnixStream,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serialise(message)?;
    if descriptors.len() > DESCRIPTORS_MAX {
        return Err(too_long());
    }
    let length = (body.len() as u32).to_le_bytes();
    // The descriptors go with the length: they are there before the rest.
    write(stream, &length, descriptors).await?;
    write(stream, &body, &[]).await
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "too long for one message")
}

/// `message` in a buffer that is erased. It has its size from the start: one that grows would leave the secrets in those
/// that it had before.
fn serialise<T: Serialize>(message: &T) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, message)?;
    if length.0 > MESSAGE_BYTES_MAX {
        return Err(too_long());
    }
    let mut body = Zeroizing::new(vec![0; length.0]);
    serde_json::to_writer(&mut body[..], message)?;
    Ok(body)
}

/// Counts what is written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends `descriptors`, as many with each byte as go with one.
///
/// # Cancel safety
/// Not cancel-safe: a part of them may be out.
pub(super) async fn send_descriptors(
    stream: &UnixStream,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.len() > DESCRIPTORS_TOTAL_MAX {
        let what = format!("{} sockets; {DESCRIPTORS_TOTAL_MAX} at most", descriptors.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    for some in descriptors.chunks(DESCRIPTORS_MAX) {
        write(stream, &[0], some).await?;
    }
    Ok(())
}

/// Receives `count` descriptors.
///
/// # Errors
/// Those of the socket; another number of descriptors.
///
/// # Cancel safety
/// Not cancel-safe: those that came are closed.
pub(super) async fn receive_descriptors(
    stream: &UnixStream,
    count: usize,
) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for _ in 0..count.min(DESCRIPTORS_TOTAL_MAX).div_ceil(DESCRIPTORS_MAX) {
        if !read(stream, &mut [0], &mut all).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if all.len() != count {
        let what = format!("{} descriptors came in place of {count}", all.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(all)
}

/// Sends one byte, and `descriptor` with it.
///
/// # Cancel safety
/// Cancel-safe: it is out, or nothing is.
pub(super) async fn send_byte(
    stream: &UnixStream,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    write(stream, &[0], descriptor.as_slice()).await
}

/// Receives one byte, and what comes with it; `None`: the other process is gone.
///
/// # Errors
/// Those of the socket; out of descriptors, and the one that came is lost.
///
/// # Cancel safety
/// Cancel-safe: nothing is lost.
pub(super) async fn receive_byte(stream: &UnixStream) -> io::Result<Option<Option<OwnedFd>>> {
    let mut descriptors = Vec::new();
    let is_there = read(stream, &mut [0], &mut descriptors).await?;
    Ok(is_there.then(|| descriptors.into_iter().next()))
}

/// Whether the other end is open, as long as it says nothing.
pub(super) fn is_open(stream: &UnixStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(recv(stream, &mut [0_u8; 1], flags), Err(Errno::AGAIN) | Ok((1.., _)))
}

async fn write(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let with = if at == 0 { descriptors } else { &[] };
        at += stream
            .async_io(Interest::WRITABLE, || send_once(stream.as_fd(), &bytes[at..], with))
            .await?;
    }
    Ok(())
}

fn send_once(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?)
}

/// Receives a message and what comes with it; `None`: the other process is gone.
///
/// # Errors
/// Those of the socket; a message that is too long, or is none.
///
/// # Cancel safety
/// Not cancel-safe: a part of a message may be lost.
pub(super) async fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let (mut length, mut descriptors) = ([0; LENGTH_BYTES], Vec::new());
    if !read(stream, &mut length, &mut descriptors).await? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
    }
    let mut body = Zeroizing::new(vec![0; length]);
    if !read(stream, &mut body, &mut descriptors).await? && length > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

/// Fills `bytes`; false: the stream has ended before the first of them.
async fn read(
    stream: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<bool> {
    let mut at = 0;
    while at < bytes.len() {
        let count = stream
            .async_io(Interest::READABLE, || {
                receive_once(stream.as_fd(), &mut bytes[at..], descriptors)
            })
            .await?;
        match count {
            0 if at == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => at += count,
        }
    }
    Ok(true)
}

fn receive_once(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags) {
        // A process that ended without a word is gone like any other.
        Err(Errno::CONNRESET) => return Ok(0),
        received => received?,
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        let what = "descriptors were lost on the way: is the limit of open files reached?";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_never_moves_while_it_is_written() {
        for bytes in [0, 1, 100, 70_000] {
            let message = vec![250_u8; bytes];
            let body = serialise(&message).unwrap();
            assert_eq!(body.capacity(), body.len(), "it has grown");
            assert_eq!(*body, serde_json::to_vec(&message).unwrap());
        }
        assert!(serialise(&vec![250_u8; MESSAGE_BYTES_MAX / 4 + 1]).is_err());
    }

    #[tokio::test]
    async fn an_end_that_is_closed_is_seen() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert!(is_open(&ours));
        send_byte(&theirs, None).await.unwrap();
        assert!(is_open(&ours));
        assert!(receive_byte(&ours).await.unwrap().is_some_and(|with| with.is_none()));
        drop(theirs);
        assert!(!is_open(&ours));
        assert!(receive_byte(&ours).await.unwrap().is_none());
    }
}
