//! What one node does for another over a session: channels named by their label, described in
//! docs/services.md.

pub mod bench;
pub mod file;
pub mod forward;
pub mod under_way;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;

use dwcp_core::{Channel, Receiver, Sender, Session};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use under_way::{UnderWay, Work};

/// Labels of channels.
pub mod labels {
    /// Every message comes back.
    pub const BENCH_LATENCY: &str = "bench/latency";
    /// Messages are counted and checked.
    pub const BENCH_SINK: &str = "bench/sink";
    /// The peer sends for a while.
    pub const BENCH_SOURCE: &str = "bench/source";
    /// Files come in.
    pub const FILE: &str = "file/1";
    /// A TCP connection.
    pub const FORWARD: &str = "forward/1";
}

/// Codes a channel is reset with.
pub mod codes {
    /// The node has no service of that label.
    pub const UNKNOWN_SERVICE: u32 = 1;
    /// A message was not what the service expects.
    pub const MALFORMED: u32 = 2;
    /// The service gave up; the TCP connection of a forward was reset.
    pub const FAILED: u32 = 3;
    /// The node takes nothing new: it is going to stop.
    pub const DRAINING: u32 = 4;

    /// The code in words.
    pub fn words(code: u32) -> &'static str {
        match code {
            UNKNOWN_SERVICE => "the peer does not offer this service",
            MALFORMED => "the peer did not understand a message",
            FAILED => "the peer gave up",
            DRAINING => "the peer drains and takes nothing new: it is going to stop",
            _ => "the peer reset the channel",
        }
    }
}

/// The longest message that opens or steers a service, bytes.
pub const CONTROL_BYTES_MAX: usize = 64 << 10;

/// What a node offers to its peers. Reloadable parts are behind a lock.
#[derive(Default)]
pub struct Services {
    offer: RwLock<Arc<Offer>>,
    /// What it does right now.
    pub under_way: Arc<UnderWay>,
    /// The room for files that come in.
    disk: Arc<file::Disk>,
    /// Who sends them now.
    copies: Arc<file::Places>,
}

/// What is offered now.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Which files are taken; `None`: none are.
    pub reception: Option<file::Reception>,
    /// Which TCP targets peers may reach through this node.
    pub forward_targets: forward::AllowList,
    /// Whether a bench may have a thread of its own here when its peer asks for that: a daemon has few, for all its peers.
    pub bench_threads: bool,
}

impl Services {
    /// Services that offer `offer`.
    pub fn new(offer: Offer) -> Self {
        Self { offer: RwLock::new(Arc::new(offer)), ..Self::default() }
    }

    /// Offers something else from now on. Channels that are open go on.
    pub fn set_offer(&self, offer: Offer) {
        *self.offer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(offer);
    }

    /// Where files go, if any are taken.
    pub fn receive_directory(&self) -> Option<std::path::PathBuf> {
        self.offer().reception.as_ref().map(|reception| reception.directory.clone())
    }

    fn offer(&self) -> Arc<Offer> {
        self.offer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves every channel the peer opens until the session is over.
    ///
    /// # Cancel safety
    /// Dropping it ends every channel it serves.
    pub async fn serve(self: Arc<Self>, session: Session) {
        let mut channels = JoinSet::new();
        loop {
            let mut next = pin!(session.accept());
            let next = poll_fn(|context| {
                // Ended services are taken out as they end.
                while let Poll::Ready(Some(_)) = channels.poll_join_next(context) {}
                next.as_mut().poll(context)
            });
            match next.await {
                Ok(channel) => _ = channels.spawn(Arc::clone(&self).serve_channel(channel)),
                Err(_) => break,
            }
        }
        // The session is over: each service sees that on its channel and ends by itself.
        while channels.join_next().await.is_some() {}
    }

    /// The task of a channel. What it holds for as long as the service lives is worked out before it begins: a future keeps
    /// what it is given beside what it makes of it.
    fn serve_channel(self: Arc<Self>, channel: Channel) -> impl Future<Output = ()> + Send {
        let (label, session) = (Box::<str>::from(channel.label()), channel.session().clone());
        let peer = session.peer_id();
        debug!(peer, label = &*label, channel = channel.id(), "a peer opened a channel");
        let place = Work::of(&label).map(|work| self.under_way.begin(work));
        let service = if matches!(place, Some(None)) {
            channel.split().0.reset(codes::DRAINING);
            None
        } else {
            Some(self.service(&label, channel))
        };
        async move {
            let result = match service {
                Some(service) => service.await,
                None => Ok(()),
            };
            // Held until the service has ended.
            drop(place);
            if let Err(error) = result {
                let (peer, label) = (session.peer_id(), &*label);
                warn!(peer, label, error = crate::exit::chain(&error), "a service ended early");
            }
        }
    }

    /// What is done on a channel labelled `label`. Each service in memory of its own: in that of the task, the one that needs
    /// most would decide what all of them hold.
    fn service(self: Arc<Self>, label: &str, channel: Channel) -> Service {
        let offer = self.offer();
        match label {
            labels::BENCH_LATENCY => bench::echo(channel, offer.bench_threads),
            labels::BENCH_SINK => bench::sink(channel, offer.bench_threads),
            labels::BENCH_SOURCE => Box::pin(bench::source(channel)),
            labels::FILE => Box::pin(async move {
                let reception = offer.reception.as_ref();
                file::receive(channel, reception, &self.disk, &self.copies).await
            }),
            labels::FORWARD => {
                Box::pin(
                    async move { forward::serve_target(channel, &offer.forward_targets).await },
                )
            }
            _ => {
                channel.split().0.reset(codes::UNKNOWN_SERVICE);
                Box::pin(std::future::ready(Err(ServiceError::Unknown)))
            }
        }
    }
}

/// A service under way.
pub type Service = Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send>>;

/// Why a service ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// There is no service of that name.
    #[error("no service has this label: the peer may be newer than this node")]
    Unknown,
    /// The session or the channel ended.
    #[error("the channel ended: {0}")]
    Channel(String),
    /// The peer said something else than the protocol has.
    #[error("the peer sent a message that the service does not know: {0}")]
    Malformed(String),
    /// A bench is asked for what no bench does.
    #[error(transparent)]
    Plan(#[from] crate::bench::limits::PlanError),
    /// The other end reports a failure.
    #[error("{0}")]
    Refused(String),
    /// The operating system refused something.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl From<dwcp_core::SendError> for ServiceError {
    fn from(error: dwcp_core::SendError) -> Self {
        Self::Channel(crate::exit::chain(&error))
    }
}

impl From<dwcp_core::RecvError> for ServiceError {
    fn from(error: dwcp_core::RecvError) -> Self {
        match error {
            dwcp_core::RecvError::Reset { code, .. } => Self::Channel(codes::words(code).into()),
            other => Self::Channel(crate::exit::chain(&other)),
        }
    }
}

/// Reads a JSON message.
///
/// # Errors
/// [`ServiceError::Malformed`] if it is too long or not a `T`.
pub fn parse<T: DeserializeOwned>(message: &[u8]) -> Result<T, ServiceError> {
    if message.len() > CONTROL_BYTES_MAX {
        return Err(ServiceError::Malformed(format!("{} bytes of JSON", message.len())));
    }
    // What does not fit is among the words, whole.
    let failed =
        |error: serde_json::Error| ServiceError::Malformed(words_of_peer(&error.to_string()));
    serde_json::from_slice(message).map_err(failed)
}

/// The longest that a peer says about a refusal, characters; the rest is cut off.
const WORDS_MAX: usize = 1_000;

/// What a peer says, as it is kept, printed and logged: short, and without what steers a terminal.
pub(crate) fn words_of_peer(words: &str) -> String {
    let end = words.char_indices().nth(WORDS_MAX).map_or(words.len(), |(end, _)| end);
    crate::exit::escaped(&words[..end])
}

/// Receives a JSON message.
///
/// # Errors
/// [`ServiceError`]; also when the peer finishes instead.
pub async fn receive_json<T: DeserializeOwned>(receiver: &mut Receiver) -> Result<T, ServiceError> {
    match receiver.recv().await? {
        Some(message) => parse(&message),
        None => Err(ServiceError::Malformed("the end of the channel".into())),
    }
}

/// The message that a service begins with. If it is another, the peer is told so, and the channel is over.
async fn receive_first<T: DeserializeOwned>(
    sender: &mut Sender,
    receiver: &mut Receiver,
) -> Result<T, ServiceError> {
    let first = receive_json(receiver).await;
    if let Err(ServiceError::Malformed(_)) = first {
        sender.reset(codes::MALFORMED);
    }
    first
}

/// The bytes of a JSON message.
pub fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data serialises")
}

#[cfg(test)]
mod size_tests {
    use super::*;

    /// Each session has one of these tasks, and each open channel the other.
    #[tokio::test]
    async fn tasks_of_idle_sessions_are_small() {
        let (a, b) = dwcp_core::Endpoint::pair();
        let session = a.connect("b").await.expect("b answers");
        let far = b.accept().await.expect("a dialled");
        let channel = session.open("x", dwcp_core::ChannelOptions::default()).expect("room");
        let services = Arc::new(Services::new(Offer::default()));
        let bytes = size_of_val(&services.clone().serve_channel(channel));
        let whole = size_of_val(&services.serve(far));
        println!("a channel's task {bytes} bytes, a session's {whole}");
        assert!(bytes <= 256 && whole <= 256, "{bytes} {whole}");
    }
}
