//! The admin HTTP server.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::Node;
use super::health::Health;
use super::places::Places;
use super::routes::{Asked, View, reply};
use super::status::Status;

/// Connections served at once; one more takes the place of the oldest.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take over its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound admin server.
pub(super) struct AdminListener {
    listener: TcpListener,
    address: String,
    visitors: Places,
}

impl AdminListener {
    /// Binds `address`.
    pub(super) async fn bind(address: &str) -> io::Result<Self> {
        Self::on(TcpListener::bind(address).await?)
    }

    /// Goes on with a socket that the process before this one listens on.
    pub(super) fn inherit(socket: OwnedFd) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Self::on(TcpListener::from_std(listener)?)
    }

    fn on(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?.to_string();
        Ok(Self { listener, address, visitors: Places::new(CONNECTIONS_MAX) })
    }

    /// The socket, for a process that is to follow this one.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        self.address.clone()
    }

    /// Those who are served. They are, while this is kept, even when [`serve`](Self::serve) is dropped.
    pub(super) fn visitors(&self) -> Places {
        self.visitors.clone()
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, node: Arc<Node>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let connection = connection(stream, from, node.clone());
                    self.visitors.take(tokio::spawn(async move {
                        // A client that stays for ever would hold its place for ever.
                        let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
                    }));
                }
                Err(error) => {
                    warn!(%error, "admin: cannot take a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, node: Arc<Node>) {
    let is_loopback = from.ip().to_canonical().is_loopback();
    let answer = move |request: &Request<Incoming>| {
        let health_path = node.current().config.monitoring.health_check_path.as_str().to_owned();
        let has_token = given_token(request).is_some_and(|header| node.token.is_in(header));
        let view = NodeView { node: &node, health_path };
        let mut response = answer(request, is_loopback, has_token, &view);
        if node.is_followed.load(Ordering::Relaxed) {
            // What the client asks next is for the process that is the node by now.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    };
    if let Err(error) = exchange(stream, answer).await {
        debug!(%error, %from, "admin: a connection ended early");
    }
}

/// Speaks HTTP on `stream` until the client has done.
pub(super) async fn exchange<S>(
    stream: S,
    answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>>,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let response = answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// What the client gives for a token.
fn given_token(request: &Request<Incoming>) -> Option<&str> {
    request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok())
}

pub(super) fn answer(
    request: &Request<Incoming>,
    is_loopback: bool,
    has_token: bool,
    view: &dyn View,
) -> Response<Full<Bytes>> {
    let (method, path) = (request.method().as_str(), request.uri().path());
    let reply = reply(view, Asked { method, path, is_loopback, has_token });
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(reply.content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

struct NodeView<'a> {
    node: &'a Node,
    health_path: String,
}

impl View for NodeView<'_> {
    fn health(&self) -> Health {
        self.node.health()
    }
    fn status(&self) -> Status {
        self.node.status()
    }
    fn health_path(&self) -> &str {
        &self.health_path
    }
}
