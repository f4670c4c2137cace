//! Takes connections of peers.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use dwcp_core::link::{BoxFuture, DialError, Incoming, Listener, SecuredConnection};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::handshake::{Side, Unsecured};
use crate::identity::Identity;
use crate::socket::{self, TcpOptions};

/// Listens for peers over TCP and TLS 1.3.
#[derive(Debug)]
pub struct TcpListener {
    listener: tokio::net::TcpListener,
    local: SocketAddr,
    identity: Identity,
    options: Arc<TcpOptions>,
}

impl TcpListener {
    /// Listens on `address`: `host:port`, `ip:port` or `[ip]:port`; `[::]:port` takes IPv4 too, port 0 is any
    /// free port. A host name is resolved by a blocking call and its first address that can be bound is taken.
    ///
    /// # Errors
    /// Those of the system, with the address in the words.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(address: &str, options: TcpOptions, identity: Identity) -> io::Result<Self> {
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        };
        let mut result = Err(io::ErrorKind::NotFound.into());
        for candidate in address.to_socket_addrs().map_err(failed)? {
            result = listen(candidate, &options);
            if result.is_ok() {
                break;
            }
        }
        let listener = result.map_err(failed)?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local, identity, options: Arc::new(options) })
    }

    /// Goes on with a socket that another process of this node listens on, or did. Connections go by `options`; the socket itself
    /// keeps those of that process, which may go on as the node: see [`set_options`](Self::set_options).
    ///
    /// # Errors
    /// Those of the system; a descriptor that is no listening socket.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn inherit(socket: OwnedFd, options: TcpOptions, identity: Identity) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        if !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
        }
        let listener = tokio::net::TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local, identity, options: Arc::new(options) })
    }

    /// Has the listening `socket`, and what is accepted on it from then on, go by `options`. All who share it have them: it is for
    /// the process that alone is the node.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_options(socket: impl AsFd, options: &TcpOptions) -> io::Result<()> {
        let socket = SockRef::from(&socket);
        socket::listening(&socket, options)?;
        begin(&socket, options)
    }

    /// The socket, for a process that is to follow this one.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

fn listen(address: SocketAddr, options: &TcpOptions) -> io::Result<tokio::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket::before_listen(&socket, options)?;
    socket.bind(&address.into())?;
    begin(&socket, options)?;
    tokio::net::TcpListener::from_std(socket.into())
}

/// Listens; of a socket that does already, only the options change.
fn begin(socket: &Socket, options: &TcpOptions) -> io::Result<()> {
    // What is set here, accepted connections inherit.
    socket::connected(socket, options)?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(async {
            let (stream, remote) = self.listener.accept().await?;
            // A peer of an IPv4 network on a socket for both families is shown as it is.
            let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
            let unsecured =
                Unsecured { stream, address: remote.to_string(), options: self.options.clone() };
            let identity = self.identity.clone();
            Ok(Box::new(TcpIncoming { unsecured, identity }) as Box<dyn Incoming>)
        })
    }

    fn local_address(&self) -> String {
        self.local.to_string()
    }
}

struct TcpIncoming {
    unsecured: Unsecured,
    identity: Identity,
}

impl Incoming for TcpIncoming {
    fn remote_address(&self) -> &str {
        &self.unsecured.address
    }

    fn secure(
        self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async move { self.unsecured.secure(&self.identity, Side::Acceptor).await })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// What the listening `socket` has of its own, and what a connection that it takes has from it.
    fn in_force(socket: &Socket) -> (u32, socket::InForce, i32) {
        let address = socket.local_addr().expect("it is bound").as_socket().expect("TCP");
        let _near = TcpStream::connect(address).expect("it listens");
        socket.set_nonblocking(false).expect("a socket");
        let (far, _) = socket.accept().expect("it came");
        let backlog = socket::backlog(socket.as_fd()).expect("a socket");
        let locks = socket::buffer_locks(far.as_fd()).expect("a socket");
        (backlog, socket::read_back(&far).expect("a socket"), locks)
    }

    #[tokio::test]
    async fn a_socket_that_was_taken_over_obeys_the_options_like_a_new_one() {
        let plain = TcpOptions::default();
        let other = TcpOptions {
            backlog: 99,
            send_buffer_bytes: Some(50_000),
            recv_buffer_bytes: Some(40_000),
            user_timeout: None,
            keepalive: None,
            no_delay: false,
            fast_open: true,
            ..plain.clone()
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let new =
            |options| Socket::from(listen(any, options).expect("free").into_std().expect("ok"));
        for (before, after) in [(&plain, &other), (&other, &plain)] {
            let taken = new(before);
            TcpListener::set_options(&taken, after).expect("it listens");
            assert_eq!(in_force(&taken), in_force(&new(after)));
        }
    }
}
