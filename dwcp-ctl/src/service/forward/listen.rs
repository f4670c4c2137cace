//! The end of a forward that listens.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dwcp_core::{ChannelOptions, Endpoint, Priority};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::pump::{Pumped, pump, reset};
use super::{Answer, Connect};
use crate::service::under_way::{UnderWay, Work};
use crate::service::{ServiceError, json, labels, receive_json, words_of_peer};

/// How long a connection waits for a session.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection: running out of descriptors passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A forward as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForwardSpec {
    /// Its name in status and metrics.
    pub name: String,
    /// `ip:port` to listen on.
    pub listen: String,
    /// The node to go through.
    pub peer: String,
    /// `host:port` as that node names it.
    pub target: String,
    /// How urgent its bytes are.
    pub priority: Priority,
    /// Whether they may be compressed.
    pub compress: bool,
}

/// What a forward has carried.
#[derive(Debug, Default)]
pub struct ForwardCounts {
    /// Connections taken.
    pub connections_total: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections that ended by a failure.
    pub failed_total: AtomicU64,
    /// Bytes sent to targets.
    pub sent_bytes_total: AtomicU64,
    /// Bytes received from targets.
    pub received_bytes_total: AtomicU64,
}

/// A listening forward. Dropping it stops listening; open connections go on until the endpoint ends.
pub struct ForwardListener {
    spec: ForwardSpec,
    address: SocketAddr,
    listener: Arc<TcpListener>,
    counts: Arc<ForwardCounts>,
    task: JoinHandle<()>,
}

/// A bound forward that does not accept yet: so that a reload can bind all before it changes anything.
pub struct BoundForward {
    spec: ForwardSpec,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    counts: Arc<ForwardCounts>,
}

impl ForwardSpec {
    /// Binds the listening socket.
    ///
    /// # Errors
    /// Those of the operating system, such as an address in use.
    pub async fn bind(self) -> io::Result<BoundForward> {
        let listener = TcpListener::bind(&self.listen).await?;
        self.on(listener)
    }

    /// The addresses to listen on, for [`bind_to`](Self::bind_to). Blocks: a name takes as long as the name service of this
    /// machine likes.
    ///
    /// # Errors
    /// Those of the name service.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(self.listen.to_socket_addrs()?.collect())
    }

    /// Binds the listening socket to the first of `addresses` that can be had. It waits for nothing.
    ///
    /// # Errors
    /// Those of the operating system, such as an address in use.
    pub async fn bind_to(self, addresses: &[SocketAddr]) -> io::Result<BoundForward> {
        let listener = TcpListener::bind(addresses).await?;
        self.on(listener)
    }

    /// Goes on with a socket that the process before this one listens on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn inherit(self, socket: OwnedFd) -> io::Result<BoundForward> {
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        self.on(TcpListener::from_std(listener)?)
    }

    fn on(self, listener: TcpListener) -> io::Result<BoundForward> {
        let address = listener.local_addr()?;
        Ok(BoundForward {
            spec: self,
            listener: Arc::new(listener),
            address,
            counts: Arc::default(),
        })
    }
}

impl BoundForward {
    /// As configured.
    pub fn spec(&self) -> &ForwardSpec {
        &self.spec
    }

    /// Counts on where `before` is: figures of a forward's name only grow.
    pub fn count_on(&mut self, before: &ForwardListener) {
        self.counts = before.counts.clone();
    }

    /// Begins to accept connections and carries them over `endpoint`, while `under_way` takes them.
    pub fn start(self, endpoint: Endpoint, under_way: Arc<UnderWay>) -> ForwardListener {
        let Self { spec, listener, address, counts } = self;
        let task = accept(listener.clone(), spec.clone(), endpoint, counts.clone(), under_way);
        ForwardListener { spec, address, listener, counts, task: tokio::spawn(task) }
    }
}

impl ForwardListener {
    /// A forward by `spec`, which has the same `listen`, on this one's socket: no connection is refused while one
    /// follows the other.
    pub fn hand_over(&self, spec: ForwardSpec) -> BoundForward {
        let (listener, address) = (self.listener.clone(), self.address);
        BoundForward { spec, listener, address, counts: Arc::default() }
    }

    /// The socket, for a process that is to follow this one.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// As configured.
    pub fn spec(&self) -> &ForwardSpec {
        &self.spec
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has carried.
    pub fn counts(&self) -> &ForwardCounts {
        &self.counts
    }
}

impl Drop for ForwardListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: Arc<TcpListener>,
    spec: ForwardSpec,
    endpoint: Endpoint,
    counts: Arc<ForwardCounts>,
    under_way: Arc<UnderWay>,
) {
    let spec = Arc::new(spec);
    // Connections are tasks of their own: they outlive the listener when a reload removes it.
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(place) = under_way.begin(Work::Forward) else {
                    reset(stream);
                    continue;
                };
                let (spec, endpoint, counts) = (spec.clone(), endpoint.clone(), counts.clone());
                tokio::spawn(async move {
                    let _place = place;
                    counts.connections_total.fetch_add(1, Ordering::Relaxed);
                    counts.connections.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = carry(stream, &spec, &endpoint, &counts).await {
                        counts.failed_total.fetch_add(1, Ordering::Relaxed);
                        let (peer, target) = (&spec.peer, &spec.target);
                        let error = crate::exit::chain(&error);
                        warn!(peer, target, %from, error, "a forwarded connection failed");
                    }
                    counts.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => {
                warn!(listen = spec.listen, %error, "cannot take a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Carries one connection. On failure the application sees a reset.
async fn carry(
    stream: TcpStream,
    spec: &ForwardSpec,
    endpoint: &Endpoint,
    counts: &ForwardCounts,
) -> Result<(), ServiceError> {
    let (sender, mut receiver) = match open(spec, endpoint).await {
        Ok(halves) => halves,
        Err(error) => {
            reset(stream);
            return Err(error);
        }
    };
    match receive_json(&mut receiver).await {
        Ok(Answer::Connected) => {}
        Ok(Answer::Refused { message }) => {
            reset(stream);
            return Err(ServiceError::Refused(words_of_peer(&message)));
        }
        Err(error) => {
            reset(stream);
            return Err(error);
        }
    }
    let _ = stream.set_nodelay(true);
    match pump(stream, sender, receiver, counts).await {
        Ok(Pumped { sent_bytes, received_bytes }) => {
            let (forward, peer) = (&spec.name, &spec.peer);
            debug!(forward, peer, sent_bytes, received_bytes, "a forwarded connection ended");
        }
        // Applications reset connections every day: not worth a warning.
        Err(error) => debug!(%error, "a forwarded connection was reset"),
    }
    Ok(())
}

async fn open(
    spec: &ForwardSpec,
    endpoint: &Endpoint,
) -> Result<(dwcp_core::Sender, dwcp_core::Receiver), ServiceError> {
    let channel_error = |words: String| ServiceError::Channel(words);
    let session = tokio::time::timeout(SESSION_TIMEOUT, endpoint.connect(&spec.peer))
        .await
        .map_err(|_| channel_error(format!("no session to {} within 10 s", spec.peer)))?
        .map_err(|error| channel_error(crate::exit::chain(&error)))?;
    let options = ChannelOptions { priority: spec.priority, compress: spec.compress };
    let channel = session
        .open(labels::FORWARD, options)
        .map_err(|error| channel_error(crate::exit::chain(&error)))?;
    let (mut sender, receiver) = channel.split();
    sender.send(json(&Connect { target: spec.target.clone(), compress: spec.compress })).await?;
    Ok((sender, receiver))
}
