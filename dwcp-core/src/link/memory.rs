//! An in-memory link: for `Endpoint::pair()` and tests.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use super::{
    BoxFuture, DialError, Dialer, Incoming, Link, LinkAttributes, LinkFeatures, LinkReceiver,
    LinkSender, Listener, PathKind, PathProvider, PendingLink, Readiness, SecuredConnection,
    Signal,
};
use crate::crypto::Secret;

/// Bytes a direction holds before it pushes back: as a socket buffer would.
const CAPACITY_BYTES: usize = 1 << 20;

/// One end of an in-memory stream.
pub struct MemoryLink {
    attributes: LinkAttributes,
    outgoing: Arc<Pipe>,
    incoming: Arc<Pipe>,
    /// While it is set, what is sent is lost without a word.
    hole: Arc<AtomicBool>,
}

/// Two connected ends: reliable, ordered, trusted (nobody else sees this memory).
pub fn memory_pair() -> (MemoryLink, MemoryLink) {
    let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let end = |local: &str, remote: &str, outgoing: &Arc<Pipe>, incoming: &Arc<Pipe>| MemoryLink {
        attributes: LinkAttributes {
            kind: PathKind::Tcp,
            provider: "memory".into(),
            features: LinkFeatures::RELIABLE | LinkFeatures::ORDERED | LinkFeatures::TRUSTED_MEDIUM,
            local: local.into(),
            remote: remote.into(),
            receives_posted: 0,
            regions: Vec::new(),
            socket: None,
        },
        outgoing: outgoing.clone(),
        incoming: incoming.clone(),
        hole: Arc::default(),
    };
    (end("memory:a", "memory:b", &there, &back), end("memory:b", "memory:a", &back, &there))
}

#[derive(Default)]
struct Pipe {
    state: Mutex<PipeState>,
    readable: Arc<Signal>,
    writable: Arc<Signal>,
}

#[derive(Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    is_closed: bool,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.readable.raise();
        self.writable.raise();
    }
}

impl Link for MemoryLink {
    fn attributes(&self) -> &LinkAttributes {
        &self.attributes
    }

    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>) {
        let sender =
            MemorySender { pipe: self.outgoing, back: self.incoming.clone(), hole: self.hole };
        (Box::new(sender), Box::new(MemoryReceiver { pipe: self.incoming }))
    }
}

struct MemorySender {
    pipe: Arc<Pipe>,
    back: Arc<Pipe>,
    hole: Arc<AtomicBool>,
}

impl LinkSender for MemorySender {
    fn try_send(&mut self, records: &[u8]) -> io::Result<usize> {
        let mut state = self.pipe.lock();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.hole.load(Ordering::Relaxed) {
            return Ok(records.len());
        }
        let count = records.len().min(CAPACITY_BYTES - state.bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.bytes.extend(&records[..count]);
        drop(state);
        self.pipe.readable.raise();
        Ok(count)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Signal(self.pipe.writable.clone())
    }

    fn shut_down(&mut self) {
        self.pipe.close();
        self.back.close();
    }
}

impl Drop for MemorySender {
    fn drop(&mut self) {
        self.shut_down();
    }
}

struct MemoryReceiver {
    pipe: Arc<Pipe>,
}

impl LinkReceiver for MemoryReceiver {
    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.pipe.lock();
        let count = buffer.len().min(state.bytes.len());
        if count == 0 {
            let end = state.is_closed;
            return if end { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let (front, back) = state.bytes.as_slices();
        let first = count.min(front.len());
        buffer[..first].copy_from_slice(&front[..first]);
        buffer[first..count].copy_from_slice(&back[..count - first]);
        state.bytes.drain(..count);
        drop(state);
        self.pipe.writable.raise();
        Ok(count)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Signal(self.pipe.readable.clone())
    }
}

/// A connection over an in-memory link, as a handshake would leave it: for `Endpoint::pair()` and tests.
/// Returns the end of `a` and that of `b`.
pub fn memory_connection(
    a: &str,
    b: &str,
    exporter: [u8; 32],
) -> (Box<dyn SecuredConnection>, Box<dyn SecuredConnection>) {
    let (left, right) = memory_pair();
    let end = |link, peer: &str| MemoryConnection {
        link,
        peer: peer.to_owned(),
        exporter: Secret::new(exporter),
    };
    (Box::new(end(left, b)), Box::new(end(right, a)))
}

struct MemoryConnection {
    link: MemoryLink,
    peer: String,
    exporter: Secret,
}

impl MemoryConnection {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<()> {
        let pipe = &self.link.incoming;
        let mut at = 0;
        while at < buffer.len() {
            let is_closed = {
                let mut state = pipe.lock();
                let count = (buffer.len() - at).min(state.bytes.len());
                for (to, byte) in buffer[at..].iter_mut().zip(state.bytes.drain(..count)) {
                    *to = byte;
                }
                at += count;
                state.is_closed
            };
            if at == buffer.len() {
                break;
            }
            if is_closed {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            std::future::poll_fn(|context| pipe.readable.poll(context)).await;
        }
        Ok(())
    }
}

impl SecuredConnection for MemoryConnection {
    fn exporter(&self) -> &Secret {
        &self.exporter
    }
    fn peer_id(&self) -> &str {
        &self.peer
    }
    fn peer_not_after(&self) -> SystemTime {
        // There is no certificate: years longer than anybody tests.
        SystemTime::now() + std::time::Duration::from_secs(10 * 365 * 86_400)
    }
    fn own_not_after(&self) -> SystemTime {
        self.peer_not_after()
    }
    fn send<'a>(&'a mut self, message: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        let mut bytes = (message.len() as u16).to_le_bytes().to_vec();
        bytes.extend_from_slice(message);
        let pipe = &self.link.outgoing;
        pipe.lock().bytes.extend(bytes);
        pipe.readable.raise();
        Box::pin(std::future::ready(Ok(())))
    }
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async {
            let mut length = [0; 2];
            self.read(&mut length).await?;
            let mut message = vec![0; usize::from(u16::from_le_bytes(length))];
            self.read(&mut message).await?;
            Ok(message)
        })
    }
    fn into_link(self: Box<Self>) -> io::Result<Box<dyn Link>> {
        Ok(Box::new(self.link))
    }
}

/// Nodes that reach each other in memory: for `Endpoint::pair()` and tests. Cloning shares it.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    nodes: Arc<Mutex<HashMap<String, Arc<Arrivals>>>>,
}

/// Connections on their way to one node, and who waits for them: several processes of it may listen.
#[derive(Default)]
struct Arrivals(Mutex<ArrivalState>);

#[derive(Default)]
struct ArrivalState {
    queue: VecDeque<Box<dyn SecuredConnection>>,
    waiting: Vec<Waker>,
}

impl Arrivals {
    fn push(&self, connection: Box<dyn SecuredConnection>) {
        let waiting = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.queue.push_back(connection);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll_pop(&self, context: &Context<'_>) -> Poll<Box<dyn SecuredConnection>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.queue.pop_front() {
            Some(connection) => Poll::Ready(connection),
            None => {
                state.waiting.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl MemoryNetwork {
    fn arrivals(&self, node: &str) -> Arc<Arrivals> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(node.to_owned()).or_default().clone()
    }

    /// Dials as `node`.
    pub fn dialer(&self, node: &str) -> MemoryDialer {
        MemoryDialer { network: self.clone(), node: node.to_owned() }
    }

    /// Listens as `node`.
    pub fn listener(&self, node: &str) -> MemoryListener {
        MemoryListener { arrivals: self.arrivals(node), node: node.to_owned() }
    }
}

/// Dials nodes of a [`MemoryNetwork`]; addresses do not matter.
pub struct MemoryDialer {
    network: MemoryNetwork,
    node: String,
}

impl Dialer for MemoryDialer {
    fn dial<'a>(
        &'a self,
        peer_id: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn SecuredConnection>, DialError>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Nobody reads this memory: the exporter need only differ from one connection to the next.
        let mut exporter = [0; 32];
        exporter[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let (ours, theirs) = memory_connection(&self.node, peer_id, exporter);
        self.network.arrivals(peer_id).push(theirs);
        Box::pin(std::future::ready(Ok(ours)))
    }
}

/// Takes connections of a [`MemoryNetwork`].
pub struct MemoryListener {
    arrivals: Arc<Arrivals>,
    node: String,
}

impl Listener for MemoryListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Incoming>>> {
        Box::pin(std::future::poll_fn(|context| {
            let taken = self.arrivals.poll_pop(context);
            taken.map(|connection| Ok(Box::new(MemoryIncoming { connection }) as Box<dyn Incoming>))
        }))
    }
    fn local_address(&self) -> String {
        format!("memory:{}", self.node)
    }
}

struct MemoryIncoming {
    connection: Box<dyn SecuredConnection>,
}

impl Incoming for MemoryIncoming {
    fn remote_address(&self) -> &str {
        "memory"
    }
    fn secure(
        self: Box<Self>,
    ) -> BoxFuture<'static, Result<Box<dyn SecuredConnection>, DialError>> {
        Box::pin(std::future::ready(Ok(self.connection)))
    }
}

/// Makes further in-memory paths for a session, as an RDMA device would: for tests of switching without one.
/// Both ends share one provider; its links say they are of `kind`.
#[derive(Clone)]
pub struct MemoryProvider {
    kind: PathKind,
    waiting: Arc<Mutex<HashMap<u64, MemoryLink>>>,
    hole: Arc<AtomicBool>,
}

impl MemoryProvider {
    /// A provider of links of `kind`.
    pub fn new(kind: PathKind) -> Self {
        Self { kind, waiting: Arc::default(), hole: Arc::default() }
    }

    /// From now on its links lose, or no longer lose, all that is sent, in both directions and without a word.
    pub fn set_black_hole(&self, is_hole: bool) {
        self.hole.store(is_hole, Ordering::Relaxed);
    }
}

impl PathProvider for MemoryProvider {
    fn kind(&self) -> PathKind {
        self.kind
    }
    fn prepare(&self) -> io::Result<Box<dyn PendingLink>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let token = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(PendingMemory { provider: self.clone(), token, name: token.to_le_bytes() }))
    }
}

struct PendingMemory {
    provider: MemoryProvider,
    token: u64,
    name: [u8; 8],
}

impl PendingLink for PendingMemory {
    fn bootstrap(&self) -> &[u8] {
        &self.name
    }
    fn connect(self: Box<Self>, bootstrap: &[u8]) -> io::Result<Box<dyn Link>> {
        let name = bootstrap.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut waiting = self.provider.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // The end that connects second finds its half waiting under its own name.
        if let Some(link) = waiting.remove(&self.token) {
            return Ok(Box::new(link));
        }
        let (mut ours, mut theirs) = memory_pair();
        ours.attributes.kind = self.provider.kind;
        theirs.attributes.kind = self.provider.kind;
        (ours.hole, theirs.hole) = (self.provider.hole.clone(), self.provider.hole.clone());
        waiting.insert(u64::from_le_bytes(name), theirs);
        Ok(Box::new(ours))
    }
}
