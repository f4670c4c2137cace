//! `length-delimited` and `rustls-framed`: tokio-util's codec, as its documentation says for many messages: `feed`, which
//! does not flush, and a backpressure boundary that makes each write a large one.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::Failure;
use crate::asynchronous::{adopt, runtime};
use crate::identity::NAME;
use crate::load::{MESSAGES_PER_LOOK, Outcome};
use crate::meter::Meter;
use crate::options::Options;
use crate::run::{Client, Serving};

/// Of the codec's buffers: a write leaves when so much has gathered, a read takes at most so much.
const BOUNDARY: usize = 64 * 1024;

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let stream = adopt(client.connect()?)?;
        match client.tls() {
            None => feed(stream, client.options, meter).await?.shutdown().await?,
            Some(identity) => {
                let connector = TlsConnector::from(identity.client_config()?);
                let stream = connector.connect(NAME.try_into()?, stream).await?;
                feed(stream, client.options, meter).await?.shutdown().await?;
            }
        }
        Ok(Outcome::Messages(meter.end_with_total()?))
    })
}

pub fn server(serving: &Serving) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let stream = adopt(serving.accept()?)?;
        let size = serving.options.size;
        let total = match serving.tls() {
            None => drain(stream, size).await?,
            Some(identity) => {
                let acceptor = TlsAcceptor::from(identity.server_config()?);
                drain(acceptor.accept(stream).await?, size).await?
            }
        };
        serving.took(total);
        Ok(())
    })
}

fn codec(size: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(size.max(8 << 20)).new_codec()
}

/// Sends messages for the time of a run and returns the stream, flushed.
pub async fn feed<S: AsyncWrite + Unpin>(
    stream: S,
    options: &Options,
    meter: &mut Meter,
) -> Result<S, Failure> {
    let message = Bytes::from(vec![7; options.size]);
    let mut framed = FramedWrite::new(stream, codec(options.size));
    framed.set_backpressure_boundary(BOUNDARY);
    meter.begin()?;
    while meter.elapsed() < options.duration {
        for _ in 0..MESSAGES_PER_LOOK.min(1 + (8 << 20) / options.size) {
            framed.feed(message.clone()).await?;
        }
    }
    SinkExt::<Bytes>::flush(&mut framed).await?;
    Ok(framed.into_inner())
}

/// Counts messages until the stream ends.
pub async fn drain(stream: impl AsyncRead + Unpin, size: usize) -> Result<u64, Failure> {
    let mut framed = FramedRead::with_capacity(stream, codec(size), BOUNDARY);
    let mut total = 0;
    while let Some(message) = framed.next().await {
        total += u64::from(message?.len() == size);
    }
    Ok(total)
}
