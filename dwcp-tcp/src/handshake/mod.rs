//! Mutual TLS 1.3 on the socket that records will use.
//!
//! TLS proves both identities and gives a secret (its exporter), carries the two hellos, and is dropped. The dialer
//! reads the reply by the 5-byte headers of TLS records, never further, so that the first DWCP record behind it
//! stays in the socket. There are no tickets, no resumption, no early data, and no `close_notify`: each
//! would put TLS bytes where DWCP records are.

mod connection;
mod sniff;
mod tls;
mod trouble;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use dwcp_core::link::{DialError, SecuredConnection};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::connection::TcpConnection;
use self::tls::TlsStream;
use self::trouble::Trouble;
pub(crate) use self::trouble::certificate_problem;
use crate::identity::{Facts, Identity};
use crate::socket::TcpOptions;

/// The application protocol both ends must name (RFC 7301).
pub const ALPN: &[u8] = b"dwcp/3";
/// The label of the exported secret (RFC 8446 section 7.5); no context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-DWCP-session";

/// Which end of the connection we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// We dialled this node.
    Dialer { expected: String },
    /// We were dialled.
    Acceptor,
}

/// A connected socket whose handshake is due.
pub(crate) struct Unsecured {
    pub(crate) stream: TcpStream,
    /// The address as the user or the kernel named it, for errors.
    pub(crate) address: String,
    pub(crate) options: Arc<TcpOptions>,
}

impl Unsecured {
    /// Runs the handshake. The time limit goes on through the hellos.
    pub(crate) async fn secure(
        self,
        identity: &Identity,
        side: Side,
    ) -> Result<Box<dyn SecuredConnection>, DialError> {
        let limit = self.options.handshake_timeout;
        let Self { stream, address, options } = self;
        // Before the start: if the certificate is replaced in between, the earlier end is the safe one.
        let own_not_after = identity.not_after();
        let connection: rustls::Connection = match start(identity, &side) {
            Ok(connection) => connection,
            Err(trouble) => return Err(trouble.into_dial_error(&address, &side, limit)),
        };
        let mut tls = TlsStream::new(stream, connection, &side, deadline(limit));
        match tls.handshake().await.and_then(|()| proven(&tls)) {
            Ok((peer, exporter)) => Ok(Box::new(TcpConnection {
                tls,
                peer,
                own_not_after,
                exporter,
                address,
                side,
                options,
            })),
            Err(trouble) => {
                tls.farewell().await;
                Err(trouble.into_dial_error(&address, &side, limit))
            }
        }
    }
}

fn deadline(limit: Duration) -> Instant {
    let now = Instant::now();
    // A day is for ever here, and a sum that never overflows.
    now + limit.min(Duration::from_secs(86_400))
}

fn start(identity: &Identity, side: &Side) -> Result<rustls::Connection, Trouble> {
    let material = identity.material();
    Ok(match side {
        Side::Dialer { expected } => {
            // Any address will do: none is sent, unlike a name, and the node id is what is checked. (The
            // socket has none yet when fast open holds the SYN back for the first data.)
            let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            ClientConnection::new(material.client(expected), name).map_err(Trouble::tls)?.into()
        }
        Side::Acceptor => {
            ServerConnection::new(material.server.clone()).map_err(Trouble::tls)?.into()
        }
    })
}

/// What the finished handshake proved.
fn proven(tls: &TlsStream) -> Result<(Facts, dwcp_core::crypto::Secret), Trouble> {
    if tls.connection().alpn_protocol() != Some(ALPN) {
        return Err(Trouble::NoAlpn);
    }
    let certificate = tls.connection().peer_certificates().and_then(|chain| chain.first());
    let facts = certificate.map(|certificate| Facts::read_again(certificate));
    let facts = facts.unwrap_or_else(|| Err("it sent no certificate".into()));
    let facts = facts.map_err(Trouble::NoIdentity)?;
    let exporter = tls
        .connection()
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(Trouble::tls)?;
    Ok((facts, dwcp_core::crypto::Secret::new(exporter)))
}
