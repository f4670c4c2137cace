//! A secured connection: hellos through TLS, then the bare socket.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use dwcp_core::crypto::Secret;
use dwcp_core::link::{BoxFuture, Link, SecuredConnection};
use dwcp_core::wire::MAX_HELLO_BYTES;

use super::Side;
use super::tls::TlsStream;
use super::trouble::Trouble;
use crate::identity::Facts;
use crate::link::TcpLink;
use crate::socket::TcpOptions;

pub(super) struct TcpConnection {
    pub(super) tls: TlsStream,
    pub(super) peer: Facts,
    pub(super) own_not_after: SystemTime,
    pub(super) exporter: Secret,
    pub(super) address: String,
    pub(super) side: Side,
    pub(super) options: Arc<TcpOptions>,
}

impl TcpConnection {
    /// Tells the peer what TLS has to say about the failure, then us.
    async fn failed(&mut self, trouble: Trouble) -> io::Error {
        self.tls.farewell().await;
        trouble.into_io_error(&self.address, &self.side, self.options.handshake_timeout)
    }
}

impl SecuredConnection for TcpConnection {
    fn exporter(&self) -> &Secret {
        &self.exporter
    }
    fn peer_id(&self) -> &str {
        &self.peer.node_id
    }
    fn peer_not_after(&self) -> SystemTime {
        self.peer.not_after
    }
    fn own_not_after(&self) -> SystemTime {
        self.own_not_after
    }
    fn send<'a>(&'a mut self, message: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if message.len() > MAX_HELLO_BYTES {
                let what = format!("a hello of {} bytes; {MAX_HELLO_BYTES} at most", message.len());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            match self.tls.send(message).await {
                Ok(()) => Ok(()),
                Err(trouble) => Err(self.failed(trouble).await),
            }
        })
    }
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async {
            match self.tls.receive(MAX_HELLO_BYTES).await {
                Ok(message) => Ok(message),
                Err(trouble) => Err(self.failed(trouble).await),
            }
        })
    }
    fn into_socket(self: Box<Self>) -> io::Result<OwnedFd> {
        Ok(self.tls.into_socket()?.into())
    }
    fn into_link(self: Box<Self>) -> io::Result<Box<dyn Link>> {
        let socket = self.tls.into_socket()?;
        Ok(Box::new(TcpLink::new(socket, &self.options)?))
    }
}
