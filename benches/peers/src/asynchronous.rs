//! tokio, and tokio-rustls on top of it: the same code over both kinds of stream.

use std::net::TcpStream;
use std::time::Instant;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::codec::{Framed, FramedRead, LengthDelimitedCodec};

use crate::Failure;
use crate::identity::{Identity, NAME};
use crate::load::{Outcome, RoundTrips};
use crate::options::{Options, What};

/// The clock is read once per so many small messages.
const MESSAGES_PER_LOOK: u64 = 1024;

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_io().build()?)
}

fn adopt(stream: TcpStream) -> Result<tokio::net::TcpStream, Failure> {
    stream.set_nonblocking(true)?;
    Ok(tokio::net::TcpStream::from_std(stream)?)
}

pub fn client(
    stream: TcpStream,
    tls: Option<&Identity>,
    options: &Options,
) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let stream = adopt(stream)?;
        let Some(identity) = tls else { return load(stream, options).await };
        let connector = TlsConnector::from(identity.client_config()?);
        load(connector.connect(NAME.try_into()?, stream).await?, options).await
    })
}

pub fn server(stream: TcpStream, tls: Option<&Identity>, options: &Options) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let stream = adopt(stream)?;
        let Some(identity) = tls else { return answer(stream, options).await };
        let acceptor = TlsAcceptor::from(identity.server_config()?);
        answer(acceptor.accept(stream).await?, options).await
    })
}

async fn load<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    options: &Options,
) -> Result<Outcome, Failure> {
    match options.what {
        What::Latency => ping(stream, options).await,
        What::Throughput => pour(stream, options).await,
        What::Messages => feed(stream, options).await,
    }
}

async fn ping<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    options: &Options,
) -> Result<Outcome, Failure> {
    let mut buffer = vec![7; options.size];
    let mut trips = RoundTrips::begin(options.duration);
    loop {
        let sent = Instant::now();
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        stream.read_exact(&mut buffer).await?;
        if !trips.record(sent) {
            return Ok(trips.outcome());
        }
    }
}

async fn pour<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    options: &Options,
) -> Result<Outcome, Failure> {
    let buffer = vec![7; options.size];
    let began = Instant::now();
    while began.elapsed() < options.duration {
        stream.write_all(&buffer).await?;
    }
    stream.shutdown().await?;
    let bytes = stream.read_u64().await?;
    Ok(Outcome::Throughput { bytes, seconds: began.elapsed().as_secs_f64() })
}

async fn feed<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    options: &Options,
) -> Result<Outcome, Failure> {
    let message = Bytes::from(vec![7; options.size]);
    let mut framed = Framed::new(stream, LengthDelimitedCodec::new());
    let began = Instant::now();
    while began.elapsed() < options.duration {
        for _ in 0..MESSAGES_PER_LOOK {
            framed.feed(message.clone()).await?;
        }
    }
    SinkExt::<Bytes>::flush(&mut framed).await?;
    let mut stream = framed.into_inner();
    stream.shutdown().await?;
    let count = stream.read_u64().await?;
    Ok(Outcome::Messages { count, seconds: began.elapsed().as_secs_f64() })
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    options: &Options,
) -> Result<(), Failure> {
    let mut buffer = vec![0; options.size];
    let mut total = 0_u64;
    match options.what {
        What::Latency => {
            // The client ends a latency run by going away.
            while stream.read_exact(&mut buffer).await.is_ok() {
                stream.write_all(&buffer).await?;
                stream.flush().await?;
            }
            return Ok(());
        }
        What::Throughput => loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                bytes => total += bytes as u64,
            }
        },
        What::Messages => {
            let mut framed = FramedRead::new(&mut stream, LengthDelimitedCodec::new());
            while let Some(message) = next(&mut framed).await {
                total += u64::from(message?.len() == options.size);
            }
        }
    }
    stream.write_u64(total).await?;
    // A TLS record sits in a buffer of rustls until it is flushed.
    stream.flush().await?;
    Ok(())
}

async fn next<S: AsyncRead + Unpin>(
    framed: &mut FramedRead<S, LengthDelimitedCodec>,
) -> Option<std::io::Result<bytes::BytesMut>> {
    use futures_core::Stream;
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *framed).poll_next(context)).await
}
