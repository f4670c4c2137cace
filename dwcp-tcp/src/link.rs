//! A TCP connection as a link: one system call for each send and receive, no runtime in between.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dwcp_core::link::{
    Link, LinkAttributes, LinkFeatures, LinkReceiver, LinkSender, PathKind, Readiness, SocketFacts,
};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::socket::{self, InForce, TcpOptions};

/// How old a round-trip time may be before the kernel is asked again.
const RTT_AGE: Duration = Duration::from_millis(10);

/// A connected TCP socket without a handshake's state: records go straight to it.
#[derive(Debug)]
pub struct TcpLink {
    socket: Arc<TcpStream>,
    attributes: LinkAttributes,
    in_force: InForce,
}

impl TcpLink {
    /// Takes a connected socket over, chooses its congestion control by the round trip it has seen so far, sets
    /// the other options where they differ, and reads all of them back.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn new(socket: TcpStream, options: &TcpOptions) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (local, remote) = (socket.local_addr()?.to_string(), socket.peer_addr()?.to_string());
        let in_force = socket::settle(&socket, options, &remote)?;
        let differences = socket::differences(options, &in_force);
        socket::log_once(&remote, &differences);
        let attributes = LinkAttributes {
            kind: PathKind::Tcp,
            provider: in_force.to_string(),
            features: LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
            local,
            remote,
            receives_posted: 0,
            regions: Vec::new(),
            socket: Some(SocketFacts {
                congestion: in_force.congestion.clone(),
                send_buffer_bytes: in_force.send_buffer_bytes as u64,
                recv_buffer_bytes: in_force.recv_buffer_bytes as u64,
                fast_open: in_force.fast_open.name(),
                differences,
            }),
        };
        Ok(Self { socket: Arc::new(socket), attributes, in_force })
    }

    /// The socket's options as the kernel told them.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }
}

impl Link for TcpLink {
    fn attributes(&self) -> &LinkAttributes {
        &self.attributes
    }

    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>) {
        let receiver = TcpReceiver { socket: self.socket.clone() };
        (Box::new(TcpSender { socket: self.socket, rtt: Cell::new(None) }), Box::new(receiver))
    }
}

struct TcpSender {
    socket: Arc<TcpStream>,
    /// The last answer and when it was got.
    rtt: Cell<Option<(Instant, u32)>>,
}

impl LinkSender for TcpSender {
    fn try_send(&mut self, records: &[u8]) -> io::Result<usize> {
        loop {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::send(&self.socket, records, flags) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn readiness(&self) -> Readiness {
        Readiness::Fd(self.socket.clone())
    }

    fn rtt_us(&self) -> Option<u32> {
        let now = Instant::now();
        if let Some((at, rtt)) = self.rtt.get()
            && now.duration_since(at) < RTT_AGE
        {
            return Some(rtt);
        }
        let rtt = socket::kernel_info(self.socket.as_fd()).ok().map(|info| info.rtt_us);
        let rtt = rtt.filter(|rtt| *rtt > 0)?;
        self.rtt.set(Some((now, rtt)));
        Some(rtt)
    }

    fn unsent_bytes(&self) -> Option<u32> {
        socket::unsent_bytes(&*self.socket).ok()
    }

    fn shut_down(&mut self) {
        // An error means that it is down already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

struct TcpReceiver {
    socket: Arc<TcpStream>,
}

impl LinkReceiver for TcpReceiver {
    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                result => return Ok(result?.0),
            }
        }
    }

    fn readiness(&self) -> Readiness {
        Readiness::Fd(self.socket.clone())
    }
}
