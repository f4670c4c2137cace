//! docs/protocol.md, "Handshake": TLS 1.3 by rustls, read record by record, and dropped without a further byte.
//!
//! It believes every certificate: whom it attacks, it knows.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    ServerConfig, ServerConnection, SignatureScheme,
};

use super::keys::Secret;

/// A certificate and its key.
pub(crate) struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Credentials {
    /// Those that `dwcp-ctl keys init` has put into `directory`.
    pub(crate) fn load(directory: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        Self::from_pem(&text("node.crt"), &text("node.key"))
    }

    pub(crate) fn from_pem(cert: &str, key: &str) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        Self { chain, key: PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap() }
    }
}

/// Believes anybody.
#[derive(Debug)]
struct Gullible;

fn believed() -> Result<HandshakeSignatureValid, Error> {
    Ok(HandshakeSignatureValid::assertion())
}

fn schemes() -> Vec<SignatureScheme> {
    default_provider().signature_verification_algorithms.supported_schemes()
}

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        believed()
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        believed()
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for Gullible {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        believed()
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        believed()
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// TLS over a socket.
pub(crate) struct Tls {
    pub(crate) stream: TcpStream,
    connection: Connection,
    plain: Vec<u8>,
}

impl Tls {
    /// The dialer's end, not begun. Without `credentials` it has no certificate; `alpn` may be empty.
    pub(crate) fn client(
        stream: TcpStream,
        credentials: Option<&Credentials>,
        alpn: &[&[u8]],
    ) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible));
        let mut config = match credentials {
            Some(Credentials { chain, key }) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.enable_sni = false;
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from("node").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Self { stream, connection: connection.into(), plain: Vec::new() }
    }

    /// The acceptor's end, not begun.
    pub(crate) fn server(stream: TcpStream, credentials: &Credentials) -> Self {
        let Credentials { chain, key } = credentials.clone();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Gullible))
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"dwcp/3".to_vec()];
        config.send_tls13_tickets = 0;
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        Self { stream, connection: connection.into(), plain: Vec::new() }
    }

    /// What TLS has to say now.
    pub(crate) fn outgoing(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut out).unwrap();
        }
        out
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let out = self.outgoing();
        self.stream.write_all(&out)
    }

    /// Runs the handshake to its end.
    pub(crate) fn handshake(&mut self) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.flush()?;
            if self.connection.is_handshaking() {
                self.read_record()?;
            }
        }
        self.flush()
    }

    /// The 32 bytes that both ends export.
    pub(crate) fn exporter(&self) -> Secret {
        let label = b"EXPORTER-DWCP-session";
        self.connection.export_keying_material([0; 32], label, None).unwrap()
    }

    /// TLS records with `bytes`, not sent.
    pub(crate) fn sealed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.connection.writer().write_all(bytes).unwrap();
        self.outgoing()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out = self.sealed(bytes);
        self.stream.write_all(&out)
    }

    /// Sends a hello or reply behind its length.
    pub(crate) fn send_framed(&mut self, message: &[u8]) -> io::Result<()> {
        self.send(&[&(message.len() as u16).to_le_bytes(), message].concat())
    }

    /// Receives a hello or reply.
    pub(crate) fn receive_framed(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((length, rest)) = self.plain.split_first_chunk::<2>()
                && let Some(message) = rest.get(..usize::from(u16::from_le_bytes(*length)))
            {
                let message = message.to_vec();
                self.plain.drain(..2 + message.len());
                return Ok(message);
            }
            self.read_record()?;
        }
    }

    /// Reads exactly one TLS record: the bytes behind the last one are DWCP's.
    fn read_record(&mut self) -> io::Result<()> {
        let mut record = vec![0; 5];
        self.stream.read_exact(&mut record)?;
        let body = usize::from(u16::from_be_bytes([record[3], record[4]]));
        record.resize(5 + body, 0);
        self.stream.read_exact(&mut record[5..])?;
        let mut rest = &record[..];
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest)?;
        }
        let state = self.connection.process_new_packets().map_err(io::Error::other)?;
        let at = self.plain.len();
        self.plain.resize(at + state.plaintext_bytes_to_read(), 0);
        self.connection.reader().read_exact(&mut self.plain[at..])
    }
}
