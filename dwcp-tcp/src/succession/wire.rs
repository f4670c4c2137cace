//! Messages between two processes of one node, over a Unix socket: a length, a JSON value, and descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The longest message, bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Descriptors that go with one message, at most.
pub(super) const DESCRIPTORS_MAX: usize = 64;
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
    let body = zeroize::Zeroizing::new(serde_json::to_vec(message)?);
    if body.len() > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too long for one message"));
    }
    let length = (body.len() as u32).to_le_bytes();
    // The descriptors go with the length: they are there before the rest.
    write(stream, &length, descriptors).await?;
    write(stream, &body, &[]).await
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

/// Sends a short message without waiting; false if it did not go out whole.
pub(super) fn send_at_once<T: Serialize>(stream: &UnixStream, message: &T) -> bool {
    let Ok(body) = serde_json::to_vec(message) else { return false };
    let bytes = [&(body.len() as u32).to_le_bytes(), &body[..]].concat();
    matches!(send_once(stream.as_fd(), &bytes, &[]), Ok(count) if count == bytes.len())
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
    let mut body = zeroize::Zeroizing::new(vec![0; length]);
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
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS_MAX {
        let what = "descriptors were lost on the way: is the limit of open files reached?";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(received.bytes)
}
