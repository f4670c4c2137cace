//! `quinn`: QUIC, one stream. Windows and socket buffers are raised, as its documentation says for fast paths.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime, TransportConfig,
};
use rustix::net::sockopt;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

use crate::Failure;
use crate::asynchronous::{echo, ping, runtime};
use crate::framed::{drain, feed};
use crate::identity::NAME;
use crate::load::Outcome;
use crate::meter::Meter;
use crate::options::Options;
use crate::peer::What;
use crate::run::{Client, Serving};

/// Its own default.
pub const CONGESTION: &str = "cubic";

/// What one end may have on its way: more than a loopback holds. Eight times as much measured worse.
const WINDOW: u32 = 1 << 20;

/// Of the socket, both ways: a burst must not be lost in it.
const SOCKET_BUFFER: usize = 4 << 20;

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let options = client.options;
        let tls = client.tls().ok_or("no identity")?.client_config()?;
        let tls = QuicClientConfig::with_initial(tls, initial_suite()?)?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config.transport_config(transport(options)?);
        let mut endpoint = endpoint(None)?;
        endpoint.set_default_client_config(config);
        let connection = endpoint.connect((Ipv4Addr::LOCALHOST, client.port).into(), NAME)?.await?;
        let (send, receive) = connection.open_bi().await?;
        match options.what {
            What::Latency => ping(tokio::io::join(receive, send), options, meter).await,
            What::Throughput => {
                finish(pour(send, options, meter).await?).await?;
                Ok(Outcome::Bytes(meter.end_with_total()?))
            }
            _ => {
                finish(feed(send, options, meter).await?).await?;
                Ok(Outcome::Messages(meter.end_with_total()?))
            }
        }
    })
}

async fn pour(
    mut stream: SendStream,
    options: &Options,
    meter: &mut Meter,
) -> Result<SendStream, Failure> {
    let buffer = vec![7; options.size];
    meter.begin()?;
    while meter.elapsed() < options.duration {
        stream.write_all(&buffer).await?;
    }
    Ok(stream)
}

/// Ends the stream and waits until the other end has all of it.
async fn finish(mut stream: SendStream) -> Result<(), Failure> {
    stream.finish()?;
    stream.stopped().await?;
    Ok(())
}

pub fn server(serving: &Serving) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let tls = serving.tls().ok_or("no identity")?.server_config()?;
        let tls = QuicServerConfig::with_initial(tls, initial_suite()?)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(transport(&serving.options)?);
        let endpoint = endpoint(Some(config))?;
        serving.announce(endpoint.local_addr()?.port());
        let connection = endpoint.accept().await.ok_or("the endpoint is closed")?.await?;
        answer(&connection, serving).await?;
        connection.closed().await;
        Ok(())
    })
}

async fn answer(connection: &Connection, serving: &Serving) -> Result<(), Failure> {
    let (send, receive) = connection.accept_bi().await?;
    match serving.options.what {
        What::Latency => echo(tokio::io::join(receive, send), serving.options.size).await,
        What::Throughput => serving.took(count(receive).await?),
        _ => serving.took(drain(receive, serving.options.size).await?),
    }
    Ok(())
}

async fn count(mut stream: RecvStream) -> Result<u64, Failure> {
    let mut total = 0;
    // Without a copy.
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
        total += chunk.bytes.len() as u64;
    }
    Ok(total)
}

/// What protects the first packets, before keys are agreed: fixed by QUIC.
fn initial_suite() -> Result<rustls::quic::Suite, Failure> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    Ok(suite.ok_or("no QUIC in this build of rustls")?)
}

fn endpoint(config: Option<quinn::ServerConfig>) -> Result<Endpoint, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // More than the system allows everybody needs a privilege; with less it works as well.
    if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER)?;
    }
    Ok(Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(TokioRuntime))?)
}

fn transport(options: &Options) -> Result<Arc<TransportConfig>, Failure> {
    let controller: Arc<dyn ControllerFactory + Send + Sync> =
        match options.congestion.as_deref().unwrap_or(CONGESTION) {
            "cubic" => Arc::new(CubicConfig::default()),
            "bbr" => Arc::new(BbrConfig::default()),
            "reno" => Arc::new(NewRenoConfig::default()),
            name => {
                return Err(format!(
                    "quinn has no congestion control '{name}'; it has cubic, bbr and reno"
                )
                .into());
            }
        };
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(controller)
        .stream_receive_window(WINDOW.into())
        .receive_window((2 * WINDOW).into())
        .send_window(WINDOW.into());
    Ok(config.into())
}
