//! Peers that do not keep to the rules: plain rustls, or no TLS at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme, SupportedProtocolVersion,
};

use super::Pems;

/// Believes anybody.
#[derive(Debug)]
struct Gullible;

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
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn chain(pems: &Pems) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let cert = CertificateDer::from_pem_slice(pems.cert.as_bytes()).unwrap();
    (vec![cert], PrivateKeyDer::from_pem_slice(pems.key.as_bytes()).unwrap())
}

/// A client that shows `pems` (or nothing) and believes anybody.
pub(crate) fn client_config(
    pems: Option<&Pems>,
    version: &'static SupportedProtocolVersion,
    alpn: &[u8],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match pems {
        Some(pems) => {
            let (chain, key) = chain(pems);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// A server that shows `pems` and asks for nothing.
pub(crate) fn server_config(
    pems: &Pems,
    version: &'static SupportedProtocolVersion,
    alpn: &[u8],
) -> ServerConfig {
    let (chain, key) = chain(pems);
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
    config
}

/// Takes one connection and does `work` with it, on a thread of its own.
pub(crate) fn serve(work: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        work(stream);
    });
    (address, thread)
}

/// Connects and does `work`, on a thread of its own.
pub(crate) fn connect(
    address: SocketAddr,
    work: impl FnOnce(TcpStream) + Send + 'static,
) -> JoinHandle<()> {
    spawn(move || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        work(stream);
    })
}

/// Runs a TLS server until the connection ends, whatever happens.
pub(crate) fn tls_server(config: ServerConfig) -> impl FnOnce(TcpStream) {
    move |mut stream| {
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let _ = rustls::Stream::new(&mut connection, &mut stream).read(&mut [0; 100]);
    }
}

/// Runs a TLS client until the connection ends, whatever happens.
pub(crate) fn tls_client(config: ClientConfig) -> impl FnOnce(TcpStream) {
    move |mut stream| {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let _ = rustls::Stream::new(&mut connection, &mut stream).read(&mut [0; 100]);
    }
}

/// Says `bytes` and waits for the end.
pub(crate) fn says(bytes: &'static [u8]) -> impl FnOnce(TcpStream) {
    move |mut stream| {
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// Sends one byte of a valid-looking record every 20 ms until the other end has had enough.
pub(crate) fn drips(mut stream: TcpStream) {
    let bytes = [22, 3, 1, 0x20, 0].into_iter().chain(std::iter::repeat(1));
    for byte in bytes {
        if stream.write_all(&[byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
