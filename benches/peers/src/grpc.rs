//! `tonic`: gRPC over HTTP/2, in clear. Messages are bare bytes, without the cost of protobuf: unary calls for round
//! trips, one client stream for the rest. Windows of 16 MiB a stream and 32 MiB a connection; the frames that measured
//! best: larger ones, up to 1 MiB, lost a third.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use futures_util::StreamExt;
use futures_util::stream::{iter, pending};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::client::Grpc as Caller;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{ClientStreamingService, Grpc as Answerer, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::Failure;
use crate::asynchronous::{adopt, runtime};
use crate::load::{MESSAGES_PER_LOOK, Outcome, RoundTrips};
use crate::meter::Meter;
use crate::options::Options;
use crate::peer::What;
use crate::run::{Client, Serving};

const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// At most so much in a frame. Small messages gather to less of it.
fn frame(options: &Options) -> u32 {
    if options.what == What::Messages { 32 << 10 } else { 64 << 10 }
}

/// Messages that gather before a frame leaves.
const GATHERED: usize = 64 << 10;

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(GATHERED, GATHERED)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(GATHERED, GATHERED)
    }
}

/// Gives the connection that is there.
struct Connector(Option<TcpStream>);

impl Service<http::Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = std::future::Ready<Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        std::future::ready(stream.ok_or_else(|| "the connection was lost".into()))
    }
}

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let stream = adopt(client.connect()?)?;
        let channel = Endpoint::from_static("http://peer-bench.invalid")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(frame(client.options))
            .connect_with_connector(Connector(Some(stream)))
            .await?;
        let caller = Caller::new(channel).max_decoding_message_size(usize::MAX);
        match client.options.what {
            What::Latency => ping(caller, client.options, meter).await,
            _ => stream_all(caller, client.options, meter).await,
        }
    })
}

fn method() -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static("/dwcp.Peers/Measure")
}

async fn ping(
    mut caller: Caller<Channel>,
    options: &Options,
    meter: &mut Meter,
) -> Result<Outcome, Failure> {
    let message = Bytes::from(vec![7; options.size]);
    let mut trips = RoundTrips::begin(options.duration);
    loop {
        let sent = Instant::now();
        caller.ready().await?;
        caller.unary(Request::new(message.clone()), method(), Raw).await?;
        if !trips.record(sent, meter)? {
            return Ok(trips.outcome());
        }
    }
}

async fn stream_all(
    mut caller: Caller<Channel>,
    options: &Options,
    meter: &mut Meter,
) -> Result<Outcome, Failure> {
    caller.ready().await?;
    meter.begin()?;
    let messages = messages(options.size, options.duration);
    caller.client_streaming(Request::new(messages), method(), Raw).await?;
    let total = meter.end_with_total()?;
    Ok(match options.what {
        What::Messages => Outcome::Messages(total),
        _ => Outcome::Bytes(total * options.size as u64),
    })
}

/// The same message again and again for so long.
fn messages(size: usize, duration: Duration) -> impl futures_util::Stream<Item = Bytes> + use<> {
    let message = Bytes::from(vec![7; size]);
    let end = Instant::now() + duration;
    let per_look = MESSAGES_PER_LOOK.min(1 + (1 << 20) / size);
    iter((0..).map_while(move |sent: usize| {
        let is_over = sent.is_multiple_of(per_look) && Instant::now() >= end;
        (!is_over).then(|| message.clone())
    }))
}

/// The service, without what a generator would make of it.
#[derive(Clone)]
struct Bench(Arc<Serving>);

impl Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bench = self.clone();
        Box::pin(async move {
            let mut answerer = Answerer::new(Raw).max_decoding_message_size(usize::MAX);
            Ok(match bench.0.options.what {
                What::Latency => answerer.unary(bench, request).await,
                _ => answerer.client_streaming(bench, request).await,
            })
        })
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

impl UnaryService<Bytes> for Bench {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl ClientStreamingService<Bytes> for Bench {
    type Response = Bytes;
    type Future = Answer;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Answer {
        let serving = self.0.clone();
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut total = 0;
            while let Some(message) = messages.message().await? {
                total += u64::from(message.len() == serving.options.size);
            }
            serving.took(total);
            Ok(Response::new(Bytes::new()))
        })
    }
}

pub fn server(serving: Arc<Serving>) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let stream = adopt(serving.accept()?)?;
        let connections = iter([Ok::<_, std::io::Error>(stream)]).chain(pending());
        tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(frame(&serving.options))
            .serve_with_incoming(Bench(serving), connections)
            .await?;
        Ok(())
    })
}
