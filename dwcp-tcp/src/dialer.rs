//! Connects to peers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use dwcp_core::link::{BoxFuture, DialError, Dialer, SecuredConnection};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::handshake::{Side, Unsecured};
use crate::identity::Identity;
use crate::socket::{self, TcpOptions};

/// Dials peers over TCP and TLS 1.3.
///
/// A host with several addresses is tried at each, in the resolver's order, with
/// [`connect_timeout`](TcpOptions::connect_timeout) for each.
#[derive(Clone, Debug)]
pub struct TcpDialer {
    identity: Identity,
    options: Arc<TcpOptions>,
    bind: Option<SocketAddr>,
}

impl TcpDialer {
    /// A dialer that proves to be `identity`.
    pub fn new(identity: Identity, options: TcpOptions) -> Self {
        Self { identity, options: Arc::new(options), bind: None }
    }

    /// Dials from this local address (port 0: any port). Peers of the other address family are then
    /// unreachable.
    pub fn bind(self, local: SocketAddr) -> Self {
        Self { bind: Some(local), ..self }
    }

    async fn dial_address(
        &self,
        peer_id: &str,
        address: &str,
    ) -> Result<Box<dyn SecuredConnection>, DialError> {
        let resolved = lookup_host(address).await.map_err(|source| resolve(address, source))?;
        let mut failure = None;
        for target in resolved {
            match self.dial_target(peer_id, address, target).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = Some(worse(failure, error)),
            }
        }
        Err(failure.unwrap_or_else(|| resolve(address, io::ErrorKind::NotFound.into())))
    }

    async fn dial_target(
        &self,
        peer_id: &str,
        address: &str,
        target: SocketAddr,
    ) -> Result<Box<dyn SecuredConnection>, DialError> {
        // Both what was written and what it resolved to, when they differ.
        let shown = target.to_string();
        let shown = if shown == address { shown } else { format!("{address} ({shown})") };
        let limit = self.options.connect_timeout;
        let connected = match timeout(limit, self.connect(target)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stream = connected
            .map_err(|source| DialError::Unreachable { address: shown.clone(), source })?;
        let side = Side::Dialer { expected: peer_id.to_owned() };
        let options = self.options.clone();
        Unsecured { stream, address: shown, options }.secure(&self.identity, side).await
    }

    async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket::before_connect(&socket, &self.options)?;
        if let Some(local) = self.bind {
            socket.set_reuse_address(true)?;
            socket.bind(&local.into())?;
        }
        socket::connected(&socket, &self.options)?;
        TcpSocket::from_std_stream(socket.into()).connect(target).await
    }
}

impl Dialer for TcpDialer {
    fn dial<'a>(
        &'a self,
        peer_id: &'a str,
        addresses: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(async move {
            let mut failure = None;
            for address in addresses {
                match self.dial_address(peer_id, address).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => failure = Some(worse(failure, error)),
                }
            }
            Err(failure.unwrap_or_else(|| {
                let source =
                    io::Error::new(io::ErrorKind::InvalidInput, "no address is configured");
                DialError::Unreachable { address: format!("peer {peer_id}"), source }
            }))
        })
    }
}

fn resolve(address: &str, source: io::Error) -> DialError {
    DialError::Resolve { address: address.to_owned(), source }
}

/// The failure that tells more: a refused handshake over an address where nobody answers.
fn worse(earlier: Option<DialError>, later: DialError) -> DialError {
    let weight = |error: &DialError| match error {
        DialError::Unreachable { .. } | DialError::Resolve { .. } => 0,
        DialError::TimedOut { .. } => 1,
        _ => 2,
    };
    match earlier {
        Some(earlier) if weight(&earlier) > weight(&later) => earlier,
        _ => later,
    }
}
