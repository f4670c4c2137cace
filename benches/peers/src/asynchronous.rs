//! `tokio`, and `tokio-rustls` on top of it: the same code over both kinds of stream.

use std::net::TcpStream;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Failure;
use crate::identity::NAME;
use crate::load::{Outcome, RoundTrips};
use crate::meter::Meter;
use crate::options::Options;
use crate::peer::What;
use crate::run::{Client, Serving};

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Either kind of stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub fn adopt(stream: TcpStream) -> Result<tokio::net::TcpStream, Failure> {
    stream.set_nonblocking(true)?;
    Ok(tokio::net::TcpStream::from_std(stream)?)
}

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let stream = adopt(client.connect()?)?;
        let Some(identity) = client.tls() else { return load(stream, client.options, meter).await };
        let connector = TlsConnector::from(identity.client_config()?);
        load(connector.connect(NAME.try_into()?, stream).await?, client.options, meter).await
    })
}

pub fn server(serving: &Serving) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let stream = adopt(serving.accept()?)?;
        let Some(identity) = serving.tls() else { return answer(stream, serving).await };
        let acceptor = TlsAcceptor::from(identity.server_config()?);
        answer(acceptor.accept(stream).await?, serving).await
    })
}

async fn load(
    stream: impl Stream,
    options: &Options,
    meter: &mut Meter,
) -> Result<Outcome, Failure> {
    match options.what {
        What::Latency => ping(stream, options, meter).await,
        _ => pour(stream, options, meter).await,
    }
}

/// Round trips; also of other streams.
pub async fn ping(
    mut stream: impl Stream,
    options: &Options,
    meter: &mut Meter,
) -> Result<Outcome, Failure> {
    let mut buffer = vec![7; options.size];
    let mut trips = RoundTrips::begin(options.duration);
    loop {
        let sent = Instant::now();
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        stream.read_exact(&mut buffer).await?;
        if !trips.record(sent, meter)? {
            return Ok(trips.outcome());
        }
    }
}

async fn pour(
    mut stream: impl Stream,
    options: &Options,
    meter: &mut Meter,
) -> Result<Outcome, Failure> {
    let buffer = vec![7; options.size];
    meter.begin()?;
    while meter.elapsed() < options.duration {
        stream.write_all(&buffer).await?;
    }
    stream.shutdown().await?;
    Ok(Outcome::Bytes(meter.end_with_total()?))
}

async fn answer(mut stream: impl Stream, serving: &Serving) -> Result<(), Failure> {
    if serving.options.what == What::Latency {
        echo(stream, serving.options.size).await;
        return Ok(());
    }
    let mut buffer = vec![0; serving.options.size];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            bytes => total += bytes as u64,
        }
    }
    serving.took(total);
    Ok(())
}

/// Sends back each message until the other end goes away, which is how a client ends a run.
pub async fn echo(mut stream: impl Stream, size: usize) {
    let mut buffer = vec![0; size];
    while stream.read_exact(&mut buffer).await.is_ok() {
        if stream.write_all(&buffer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
