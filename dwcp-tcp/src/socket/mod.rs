//! The socket itself: options asked for and read back, and what only the kernel knows of a connection.

mod differences;
mod options;
mod raw;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub(crate) use differences::{differences, log_once};
pub use options::{Congestion, FastOpen, InForce, Keepalive, LAN_RTT, TcpOptions, read_back};
pub(crate) use options::{before_connect, before_listen, connected, listening, settle};
pub use raw::KernelInfo;
#[cfg(test)]
pub(crate) use raw::{backlog, buffer_locks};

/// What the kernel measures of a connection (`TCP_INFO`).
///
/// # Errors
/// Those of `getsockopt`.
pub fn kernel_info(socket: BorrowedFd<'_>) -> io::Result<KernelInfo> {
    raw::tcp_info(socket)
}

/// Bytes in the send buffer that were never sent (`SIOCOUTQNSD`).
///
/// # Errors
/// Those of `ioctl`.
pub fn unsent_bytes<S: AsFd>(socket: &S) -> io::Result<u32> {
    raw::unsent_bytes(socket.as_fd())
}
