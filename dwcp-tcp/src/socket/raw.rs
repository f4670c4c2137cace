//! The five socket calls that no safe wrapper has. The only unsafe code of the crate.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_int;

/// From `linux/sockios.h`; libc has it for other targets only.
const SIOCOUTQNSD: libc::Ioctl = 0x894b as libc::Ioctl;
/// Room for the kernel's `struct ifreq`, in ints.
const IFREQ_INTS: usize = size_of::<libc::ifreq>().div_ceil(size_of::<c_int>());
/// From `linux/tcp.h`: data went with the SYN and was accepted.
const TCPI_OPT_SYN_DATA: u8 = 32;
/// Bytes of `struct tcp_info` that we read; the kernel only ever appends fields.
const TCP_INFO_BYTES: usize = 152;
/// From `linux/socket.h`: the send buffer's size was asked for.
pub(super) const SEND_BUFFER_LOCK: c_int = 1;
/// The receive buffer's.
pub(super) const RECV_BUFFER_LOCK: c_int = 2;

/// The part of `struct tcp_info` that DWCP uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: u32,
    /// Smallest round-trip time seen, microseconds; `u32::MAX` before the first.
    pub rtt_min_us: u32,
    /// Segments sent again.
    pub retransmits_total: u32,
    /// Whether data travelled in the SYN (TCP Fast Open) and was taken.
    pub is_fast_open: bool,
}

/// Reads `TCP_INFO`.
pub(super) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<KernelInfo> {
    let mut bytes = [0; TCP_INFO_BYTES];
    let length = get(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)?;
    if length < TCP_INFO_BYTES {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "TCP_INFO is too old a kernel's"));
    }
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    Ok(KernelInfo {
        is_fast_open: bytes[5] & TCPI_OPT_SYN_DATA != 0,
        rtt_us: word(68),
        retransmits_total: word(100),
        rtt_min_us: word(148),
    })
}

/// Lets `connect` put the first data into the SYN when the server's cookie is known.
pub(super) fn set_fast_open_connect(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, c_int::from(on))
}

/// Reads that option back.
pub(super) fn fast_open_connect(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(get_int(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)? != 0)
}

/// Accepts data in SYNs, at most `queue` connections of that kind waiting.
pub(super) fn set_fast_open_queue(socket: BorrowedFd<'_>, queue: u32) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, c_int::try_from(queue).unwrap_or(c_int::MAX))
}

/// Reads that option back.
pub(super) fn fast_open_queue(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(get_int(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN)? as u32)
}

/// Bytes taken by `send` and not yet put on the wire.
pub(super) fn unsent_bytes(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut counts = [0 as c_int; IFREQ_INTS];
    // SAFETY: the descriptor is open while borrowed. A TCP socket writes one int to the address given; any other
    // descriptor may be passed, too: the kernel's handlers of this family of calls touch a `struct ifreq` at most, for
    // which there is room, and which is initialised.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQNSD, counts.as_mut_ptr()) };
    if result == 0 { Ok(counts[0] as u32) } else { Err(io::Error::last_os_error()) }
}

/// Which buffers have a size that was asked for: the kernel does not tune those.
pub(crate) fn buffer_locks(socket: BorrowedFd<'_>) -> io::Result<c_int> {
    get_int(socket, libc::SOL_SOCKET, libc::SO_BUF_LOCK)
}

/// Says which are to have the size that they have.
pub(super) fn set_buffer_locks(socket: BorrowedFd<'_>, locks: c_int) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_BUF_LOCK, locks)
}

/// How many connections may wait at a listening socket.
#[cfg(test)]
pub(crate) fn backlog(socket: BorrowedFd<'_>) -> io::Result<u32> {
    /// Of a listening socket the kernel tells it in place of `tcpi_sacked`.
    const AT: usize = 28;
    let mut bytes = [0; TCP_INFO_BYTES];
    get(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes[AT..AT + 4].try_into().expect("4 bytes")))
}

fn set(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed; the kernel reads `length` bytes of `value`, which lives
    // through the call.
    let result = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get_int(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<c_int> {
    let mut bytes = [0; size_of::<c_int>()];
    get(socket, level, option, &mut bytes)?;
    Ok(c_int::from_ne_bytes(bytes))
}

fn get(socket: BorrowedFd<'_>, level: c_int, option: c_int, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed; the kernel writes at most `length` bytes to `bytes` and
    // the count to `length`, both of which live through the call.
    let result = unsafe {
        let value = bytes.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut length)
    };
    if result == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_no_tcp_connection_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let (local, _peer) = UnixStream::pair().expect("a pair");
        let file = File::open("/dev/null").expect("it is everywhere");
        for other in [listener.as_fd(), datagrams.as_fd(), local.as_fd(), file.as_fd()] {
            assert!(unsent_bytes(other).is_err(), "{other:?}");
        }
        for other in [datagrams.as_fd(), local.as_fd(), file.as_fd()] {
            assert!(tcp_info(other).is_err(), "{other:?}");
            assert!(set_fast_open_connect(other, true).is_err(), "{other:?}");
        }
    }
}
