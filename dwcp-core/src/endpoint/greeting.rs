//! The hellos that start or resume a session, and the keys they lead to: docs/protocol.md, section "Hello".

use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::agreement::{Agreement, Terms};
use super::conduct::Offence;
use super::{Inner, random};
use crate::crypto::{PathSecret, Secret, SessionSecret};
use crate::link::SecuredConnection;
use crate::session::Session;
use crate::wire::{
    Hello, HelloReply, PathId, Refusal, Resumption, SessionId, VERSION, VERSION_MIN,
};

/// What both ends know after the hellos.
pub(super) struct Greeting {
    pub(super) path: PathId,
    pub(super) path_secret: PathSecret,
    pub(super) session: SessionId,
    pub(super) session_secret: SessionSecret,
    pub(super) agreement: Agreement,
    pub(super) peer_incarnation: u64,
    pub(super) peer_max_message_bytes: u64,
    /// Time until the first of the two certificates ends.
    pub(super) certificates_left: Duration,
    /// The dialer resumes because it has no other path.
    pub(super) is_held: bool,
    /// The life before of the peer that dialled, which goes on beside this one.
    pub(super) predecessor: Option<u64>,
}

fn certificates_left(connection: &dyn SecuredConnection) -> Duration {
    let ends = connection.peer_not_after().min(connection.own_not_after());
    ends.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Why a greeting failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum GreetingError {
    /// The connection broke.
    #[error("the connection broke during the hello")]
    Io(#[from] std::io::Error),
    /// What came is no hello.
    #[error(transparent)]
    Malformed(#[from] crate::wire::DecodeError),
    /// The peer refused.
    #[error("the peer refused: {reason}")]
    Refused {
        /// For programs.
        refusal: Refusal,
        /// For people.
        reason: String,
    },
    /// The session to go on with is gone with the peer's process.
    #[error("the peer is another process than the one that had the session")]
    OtherIncarnation,
    /// The reply does not fit the hello.
    #[error("the peer's reply does not fit: {what}")]
    Mismatch {
        /// What is wrong.
        what: &'static str,
    },
}

impl GreetingError {
    /// What is wrong with a hello or a reply that no honest peer says.
    pub(super) fn offence(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(error) => Some(error.what),
            Self::Mismatch { what } => Some(what),
            Self::Io(_) | Self::Refused { .. } | Self::OtherIncarnation => None,
        }
    }
}

impl Inner {
    /// A node said what no honest peer says, behind its own certificate. Of those that are no peers nothing is kept:
    /// they are refused in any case.
    pub(super) fn note_false_hello(&self, peer: &str, what: &'static str) {
        if super::lock(&self.peers).allows(peer) {
            self.note_offence(peer, None, Offence::Hello { what }, None);
        }
    }
}

fn transcript(hello: &[u8], reply: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [hello, reply] {
        hash.update((part.len() as u32).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The claim to go on with `session` over the connection of `exporter`.
fn resumption(session: &Session, exporter: &Secret) -> Resumption {
    Resumption {
        session: session.id(),
        proof: session.shared.secret.resume_proof(exporter),
        is_held: session.core().lock().machine.active_path().is_none(),
    }
}

/// The dialer's side, within the time that a handshake may take; `None`: it took longer. `resume` is the session to go on
/// with and the new path's id.
pub(super) async fn dialer(
    inner: &Inner,
    connection: &mut dyn SecuredConnection,
    resume: Option<(&Session, PathId)>,
) -> Option<Result<Greeting, GreetingError>> {
    let peer = connection.peer_id().to_owned();
    let limit = inner.settings.handshake_timeout;
    let greeted = tokio::time::timeout(limit, greet(inner, connection, resume)).await.ok();
    if !matches!(greeted, Some(Ok(_) | Err(GreetingError::Refused { .. }))) {
        Inner::count(&inner.counters.handshakes_failed);
    }
    let greeted = greeted?;
    // The link's own limit may pass first: that is no other trouble.
    if let Err(GreetingError::Io(error)) = &greeted
        && error.kind() == std::io::ErrorKind::TimedOut
    {
        return None;
    }
    if let Some(what) = greeted.as_ref().err().and_then(GreetingError::offence) {
        inner.note_false_hello(&peer, what);
    }
    Some(greeted)
}

/// What the dialer says over `connection`.
fn hello(
    inner: &Inner,
    connection: &dyn SecuredConnection,
    terms: &Terms,
    path: PathId,
    resume: Option<Resumption>,
) -> Hello {
    Hello {
        versions: terms.versions,
        features: terms.features,
        node_id: inner.node_id.clone(),
        peer_id: connection.peer_id().to_owned(),
        incarnation: inner.incarnation,
        nonce: random(),
        path,
        max_message_bytes: inner.settings.max_message_bytes,
        suites: terms.suite_names(),
        trusted_suites: terms.trusted_suite_names(),
        predecessor: inner.predecessors.first().map(|before| before.incarnation()),
        resume,
    }
}

async fn greet(
    inner: &Inner,
    connection: &mut dyn SecuredConnection,
    resume: Option<(&Session, PathId)>,
) -> Result<Greeting, GreetingError> {
    let path = resume.map_or(PathId(0), |(_, path)| path);
    let exporter = connection.exporter().clone();
    let resumption = resume.map(|(session, _)| resumption(session, &exporter));
    let terms = Terms::new(inner, resume.map(|(session, _)| session));
    let hello = hello(inner, connection, &terms, path, resumption);
    let nonce = hello.nonce;
    let hello_bytes = hello.encode();
    connection.send(&hello_bytes).await?;
    let reply_bytes = connection.receive().await?;
    let reply = HelloReply::decode(&reply_bytes)?;
    check_reply(&hello, &reply)?;
    let HelloReply::Welcome {
        version,
        features,
        incarnation,
        nonce: their_nonce,
        session,
        max_message_bytes,
        suite,
        trusted_suite,
        ..
    } = reply
    else {
        unreachable!("a refusal was an error");
    };
    let mismatch = |what| Err(GreetingError::Mismatch { what });
    let agreement = terms.accept(version, features, &suite, &trusted_suite).or_else(mismatch)?;
    let session_secret = match resume {
        Some((known, _)) if known.id() != session => {
            return Err(GreetingError::Mismatch { what: "another session" });
        }
        Some((known, _)) if known.shared.peer_incarnation != incarnation => {
            return Err(GreetingError::OtherIncarnation);
        }
        Some((known, _)) => known.shared.secret.clone(),
        None => SessionSecret::from_exporter(&exporter, inner.settings.cluster_key.as_ref()),
    };
    let path_root =
        if resume.is_some() { session_secret.resumed(&exporter) } else { session_secret.clone() };
    let hash = transcript(&hello_bytes, &reply_bytes);
    let is_held = hello.resume.is_some_and(|resume| resume.is_held);
    Ok(Greeting {
        path,
        path_secret: path_root.path(path, &nonce, &their_nonce, &hash),
        session,
        session_secret,
        agreement,
        peer_incarnation: incarnation,
        peer_max_message_bytes: max_message_bytes,
        certificates_left: certificates_left(connection),
        is_held,
        predecessor: None,
    })
}

/// Whether the reply fits the hello it answers.
fn check_reply(hello: &Hello, reply: &HelloReply) -> Result<(), GreetingError> {
    let mismatch = |what| Err(GreetingError::Mismatch { what });
    match reply {
        HelloReply::Refused { refusal, reason } => {
            Err(GreetingError::Refused { refusal: *refusal, reason: reason.clone() })
        }
        HelloReply::Welcome { node_id, .. } if *node_id != hello.peer_id => {
            mismatch("another node id than the certificate's")
        }
        HelloReply::Welcome { .. } => Ok(()),
    }
}

/// The acceptor's side, once it has decided: sends the welcome to `session`, which is `resumed` or a new one.
pub(super) async fn welcome(
    inner: &Inner,
    connection: &mut dyn SecuredConnection,
    hello: &Hello,
    hello_bytes: &[u8],
    (session, resumed): (SessionId, Option<&Session>),
    agreement: Agreement,
) -> Result<Greeting, GreetingError> {
    let nonce = random();
    let exporter = connection.exporter().clone();
    let reply = HelloReply::Welcome {
        version: agreement.version,
        features: agreement.features,
        node_id: inner.node_id.clone(),
        incarnation: inner.incarnation,
        nonce,
        session,
        max_message_bytes: inner.settings.max_message_bytes,
        suite: agreement.suite.wire_name().to_owned(),
        trusted_suite: agreement.trusted_suite.wire_name().to_owned(),
    };
    let reply_bytes = reply.encode();
    connection.send(&reply_bytes).await?;
    let fresh = || SessionSecret::from_exporter(&exporter, inner.settings.cluster_key.as_ref());
    let session_secret = resumed.map_or_else(fresh, |session| session.shared.secret.clone());
    let path_root =
        if resumed.is_some() { session_secret.resumed(&exporter) } else { session_secret.clone() };
    let hash = transcript(hello_bytes, &reply_bytes);
    Ok(Greeting {
        path: hello.path,
        path_secret: path_root.path(hello.path, &hello.nonce, &nonce, &hash),
        session,
        session_secret,
        agreement,
        peer_incarnation: hello.incarnation,
        peer_max_message_bytes: hello.max_message_bytes,
        certificates_left: certificates_left(connection),
        is_held: hello.resume.as_ref().is_some_and(|resume| resume.is_held),
        predecessor: hello.predecessor,
    })
}

/// Why the acceptor will not have this hello, if so.
pub(super) fn objection(inner: &Inner, hello: &Hello, peer: &str) -> Option<(Refusal, String)> {
    let refuse = |refusal, reason: &str| Some((refusal, reason.to_owned()));
    if hello.common_version((VERSION_MIN, VERSION)).is_none() {
        let (low, high) = hello.versions;
        let words = format!("we speak {VERSION_MIN}-{VERSION}, you speak {low}-{high}: upgrade");
        return Some((Refusal::Version, words));
    }
    if hello.node_id != peer {
        inner.note_false_hello(peer, "it names another node than the certificate");
        return refuse(Refusal::NotAPeer, "the hello names another node than the certificate");
    }
    if hello.peer_id != inner.node_id {
        return refuse(Refusal::NotAPeer, "the hello is for another node");
    }
    if !super::lock(&inner.peers).allows(peer) {
        return refuse(Refusal::NotAPeer, "you are not among this node's peers");
    }
    let left = inner.quarantined_for(peer)?;
    let words =
        format!("you broke the protocol and are in quarantine for {} s", left.as_secs() + 1);
    // Version 3 has no code for it.
    let refusal = if hello.versions.1 >= 4 { Refusal::Quarantined } else { Refusal::Busy };
    Some((refusal, words))
}
