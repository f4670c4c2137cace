//! Peers that come in.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::agreement::{Agreement, Terms};
use super::gate::{Admission, Source, Ticket};
use super::greeting::{self, Greeting, GreetingError};
use super::registry::{NotEntered, Standing};
use super::strangers::Cause;
use super::{FULL, Inner, lock, paths, random, spawn};
use crate::link::{BoxFuture, DialError, Incoming, Listener, Relayed, SecuredConnection};
use crate::machine::Role;
use crate::session::Session;
use crate::wire::{Hello, HelloReply, Refusal, SessionId};

/// Pause after the listener failed: running out of descriptors passes.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the hello of a node that is refused in any case may take: it comes with the last flight of the handshake. It is
/// read for the reply, and for no other reason.
const STRANGERS_HELLO: Duration = Duration::from_secs(1);

/// Why a connection became no path.
struct Rejection {
    cause: Cause,
    words: String,
}

impl Rejection {
    fn new(cause: Cause, words: impl Into<String>) -> Self {
        Self { cause, words: words.into() }
    }
}

/// Who brings connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// They come from peers, or from strangers.
    Peers,
    /// The process after this one, which has let them in and passes on what may be of a session here.
    Successor,
}

/// Accepts connections for ever.
pub(super) async fn run(inner: Arc<Inner>, listener: Box<dyn Listener>, origin: Origin) {
    loop {
        match listener.accept().await {
            Ok(incoming) if origin == Origin::Successor => receive_passed_on(&inner, incoming),
            Ok(incoming) => receive(&inner, incoming),
            Err(error) => {
                let now = Instant::now().into_std();
                *lock(&inner.not_accepted) = Some((error.to_string(), now));
                if let Some(more) = lock(&inner.strangers).count(now, Cause::NotAccepted) {
                    let address = listener.local_address();
                    tracing::warn!(address, %error, more_since_last_line = more, "cannot accept");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Begins the handshake of a connection, at the cost of another's where the gate says so.
fn receive(inner: &Arc<Inner>, incoming: Box<dyn Incoming>) {
    let address = incoming.remote_address().to_owned();
    // Whoever holds the sender lets the handshake live.
    let (handle, dropped) = oneshot::channel::<()>();
    let source = Source::of(&address);
    let admission = lock(&inner.gate).enter(Instant::now().into_std(), source, handle);
    let Admission::Enter { ticket, dropped: _other } = admission else {
        Inner::count(&inner.counters.handshakes_too_fast);
        let words = "its address begins more handshakes than `security.rateLimit` allows";
        turned_away(inner, &address, &Rejection::new(Cause::TooFast, words));
        return;
    };
    let room = inner.clone();
    spawn(inner, async move {
        let result = tokio::select! {
            result = handshake(&room, incoming, Some(ticket)) => result,
            _ = dropped => {
                Inner::count(&room.counters.handshakes_dropped);
                let words = "too many handshakes are under way, and its address or node has the most";
                Err(Rejection::new(Cause::Dropped, words))
            }
        };
        lock(&room.gate).leave(ticket);
        note(&room, &address, result);
    });
}

/// Goes on with the handshake of a connection that the process after this one has let in: its gate is enough. All have the
/// same address here, and would have to share the rate of one.
fn receive_passed_on(inner: &Arc<Inner>, incoming: Box<dyn Incoming>) {
    let room = inner.clone();
    spawn(inner, async move {
        let address = incoming.remote_address().to_owned();
        let result = handshake(&room, incoming, None).await;
        note(&room, &address, result);
    });
}

/// Notes what came of a handshake.
fn note(inner: &Inner, address: &str, result: Result<(), Rejection>) {
    match result {
        Ok(()) => Inner::count(&inner.counters.handshakes_ok),
        Err(rejection) => turned_away(inner, address, &rejection),
    }
}

/// The error and what lies below it.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Counts a connection that came to nothing, and logs it unless the like was logged just now.
fn turned_away(inner: &Inner, address: &str, rejection: &Rejection) {
    Inner::count(&inner.counters.handshakes_failed);
    let Rejection { cause, words } = rejection;
    let Some(more) = lock(&inner.strangers).count(Instant::now().into_std(), *cause) else {
        return;
    };
    // What the handshake says begins with the address.
    let error = words.strip_prefix(address).map_or(&**words, |rest| rest.trim_start_matches(": "));
    let cause = cause.name();
    tracing::warn!(
        address,
        cause,
        error,
        more_since_last_line = more,
        "a connection was turned away"
    );
}

/// The handshake of a connection that has a `ticket`, or was passed on.
async fn handshake(
    inner: &Arc<Inner>,
    incoming: Box<dyn Incoming>,
    ticket: Option<Ticket>,
) -> Result<(), Rejection> {
    let limit = inner.settings.handshake_timeout;
    let greeted = timeout(limit, async {
        let secured = incoming.secure().await;
        let mut connection = secured.map_err(|error| {
            let is_late = matches!(error, DialError::TimedOut { .. });
            let cause = if is_late { Cause::TimedOut } else { Cause::NotSecured };
            Rejection::new(cause, words(&error))
        })?;
        let origin = if ticket.is_some() { Origin::Peers } else { Origin::Successor };
        let greeted = if inner.may_have_sessions(connection.peer_id()) {
            if let Some(ticket) = ticket {
                drop(lock(&inner.gate).prove(ticket, connection.peer_id()));
            }
            greet(inner, &mut connection, origin).await
        } else {
            // It keeps the place of a stranger.
            let hello = timeout(STRANGERS_HELLO, greet(inner, &mut connection, origin));
            hello.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        };
        match greeted {
            Ok(Greeted::Ours(greeting, joins)) => Ok(Some((connection, greeting, joins))),
            Ok(Greeted::Relayed(relayed)) => pass_on(connection, relayed).await.map(|()| None),
            Err(error @ GreetingError::Refused { .. }) => {
                Err(Rejection::new(Cause::Refused, words(&error)))
            }
            Err(GreetingError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Rejection::new(Cause::TimedOut, words(&error)))
            }
            Err(error) => Err(Rejection::new(Cause::NoHello, words(&error))),
        }
    });
    let greeted = greeted.await.unwrap_or_else(|_| {
        let words = format!("no handshake within {} s", limit.as_secs_f32());
        Err(Rejection::new(Cause::TimedOut, words))
    })?;
    let Some((connection, greeting, joins)) = greeted else { return Ok(()) };
    join(inner, connection, &greeting, joins)
        .map_err(|error| Rejection::new(Cause::NotUsable, error))
}

/// What a hello led to.
enum Greeted<'a> {
    Ours(Box<Greeting>, Joins<'a>),
    /// The process before this one has welcomed it.
    Relayed(Box<dyn Relayed>),
}

/// Hands a connection that the process before this one has welcomed to that process.
async fn pass_on(
    connection: Box<dyn SecuredConnection>,
    relayed: Box<dyn Relayed>,
) -> Result<(), Rejection> {
    let failed = |error: io::Error| {
        let words = format!("its session's process could not be handed the connection: {error}");
        Rejection::new(Cause::NotUsable, words)
    };
    let socket = connection.into_socket().map_err(failed)?;
    relayed.hand_over(socket).await.map_err(failed)
}

/// The answer of a process before this one to a hello that resumes a session of its own; `None`: none of them has it. All
/// are asked at once: the one that has the session is not to wait for one that is silent.
///
/// One that does not answer may have it: then nothing is said, and the peer comes again.
async fn relay(
    inner: &Inner,
    connection: &mut dyn SecuredConnection,
    hello: &[u8],
) -> Result<Option<Box<dyn Relayed>>, GreetingError> {
    let mut silent = None;
    // What those say that refuse it otherwise; the newest counts, unless one has it.
    let mut refused = Vec::new();
    let mut welcomed = None;
    {
        let connection = &*connection;
        let mut asked = Vec::new();
        for (age, predecessor) in inner.predecessors.iter().enumerate() {
            asked.push((age, predecessor.greet(connection, hello)));
        }
        while let Some((age, answer)) = first(&mut asked).await {
            let relayed = match answer {
                Ok(Some(relayed)) => relayed,
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(%error, "a process before this one does not answer");
                    silent = Some(error);
                    continue;
                }
            };
            match HelloReply::decode(relayed.reply())? {
                HelloReply::Refused { refusal: Refusal::UnknownSession, .. } => {}
                HelloReply::Welcome { .. } => {
                    welcomed = Some(relayed);
                    break;
                }
                HelloReply::Refused { refusal, reason } => {
                    refused.push((age, relayed, refusal, reason));
                }
            }
        }
    }
    if let Some(relayed) = welcomed {
        connection.send(relayed.reply()).await?;
        return Ok(Some(relayed));
    }
    if let Some((_, relayed, refusal, reason)) = refused.into_iter().min_by_key(|(age, ..)| *age) {
        connection.send(relayed.reply()).await?;
        let reason = format!("refused by a process before this one: {reason}");
        return Err(GreetingError::Refused { refusal, reason });
    }
    silent.map_or(Ok(None), |error| Err(error.into()))
}

/// What the first of them to end says, and its number; `None`: none is left.
async fn first<T>(asked: &mut Vec<(usize, BoxFuture<'_, T>)>) -> Option<(usize, T)> {
    std::future::poll_fn(|context| {
        for at in 0..asked.len() {
            if let Poll::Ready(answer) = asked[at].1.as_mut().poll(context) {
                let (number, _) = asked.remove(at);
                return Poll::Ready(Some((number, answer)));
            }
        }
        if asked.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// What a welcomed connection becomes a path of.
enum Joins<'a> {
    Resumed(Session),
    New(Welcomed<'a>),
}

/// A new session that its peer knows of before it can be found here. Dropping it is the end of that time.
struct Welcomed<'a> {
    inner: &'a Inner,
    peer: String,
    id: SessionId,
}

impl Drop for Welcomed<'_> {
    fn drop(&mut self) {
        lock(&self.inner.registry).end_welcome(&self.peer, self.id);
        self.inner.changed.notify_waiters();
    }
}

/// Waits while a session with `peer` that has been welcomed is not entered yet: the one called `id`, or any.
pub(super) async fn entered(inner: &Inner, peer: &str, id: Option<SessionId>) {
    loop {
        let changed = inner.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !lock(&inner.registry).is_welcomed(peer, id) {
            return;
        }
        changed.await;
    }
}

/// Reads the hello and answers it.
async fn greet<'a>(
    inner: &'a Inner,
    connection: &mut Box<dyn SecuredConnection>,
    origin: Origin,
) -> Result<Greeted<'a>, GreetingError> {
    let bytes = connection.receive().await?;
    let hello = Hello::decode(&bytes)
        .inspect_err(|error| inner.note_false_hello(connection.peer_id(), error.what))?;
    let connection = &mut **connection;
    if let Some(resume) = &hello.resume {
        // A peer whose first path broke at once may be back before its session is entered.
        entered(inner, connection.peer_id(), Some(resume.session)).await;
    }
    match decide(inner, &hello, connection) {
        Ok((joins, agreement)) => {
            let session = match &joins {
                Joins::Resumed(session) => (session.id(), Some(session)),
                Joins::New(welcomed) => (welcomed.id, None),
            };
            let greeting =
                greeting::welcome(inner, connection, &hello, &bytes, session, agreement).await?;
            Ok(Greeted::Ours(Box::new(greeting), joins))
        }
        Err((refusal, reason)) => {
            // The process after this one asks those before by itself.
            if refusal == Refusal::UnknownSession
                && origin == Origin::Peers
                && let Some(relayed) = relay(inner, connection, &bytes).await?
            {
                return Ok(Greeted::Relayed(relayed));
            }
            Inner::count(&inner.counters.refused);
            let reply = HelloReply::Refused { refusal, reason: reason.clone() };
            connection.send(&reply.encode()).await?;
            Err(GreetingError::Refused { refusal, reason: format!("refused by us: {reason}") })
        }
    }
}

/// Whether the hello may have its session; which it is, and how records are protected.
fn decide<'a>(
    inner: &'a Inner,
    hello: &Hello,
    connection: &dyn SecuredConnection,
) -> Result<(Joins<'a>, Agreement), (Refusal, String)> {
    let joins = admit(inner, hello, connection)?;
    let resumed = match &joins {
        Joins::Resumed(session) => Some(session),
        Joins::New(_) => None,
    };
    let agreement = Terms::new(inner, resumed).choose(hello);
    Ok((joins, agreement.map_err(|reason| (Refusal::NoCommonSuite, reason))?))
}

/// The session that the hello resumes, or a new one.
fn admit<'a>(
    inner: &'a Inner,
    hello: &Hello,
    connection: &dyn SecuredConnection,
) -> Result<Joins<'a>, (Refusal, String)> {
    let peer = connection.peer_id();
    if let Some(objection) = greeting::objection(inner, hello, peer) {
        return Err(objection);
    }
    let refuse = |refusal, reason: &str| Err((refusal, reason.to_owned()));
    if let Some(resume) = &hello.resume {
        let Some(session) = lock(&inner.registry).by_id(resume.session, peer) else {
            return refuse(Refusal::UnknownSession, "the session is not known here");
        };
        let proof = session.shared.secret.resume_proof(connection.exporter());
        if session.shared.peer_incarnation != hello.incarnation {
            let words = "the session is one with an earlier life of your process";
            return refuse(Refusal::OtherIncarnation, words);
        }
        if !is_equal(&proof, &resume.proof) {
            return refuse(Refusal::BadProof, "the session's proof is wrong");
        }
        if !session.core().lock().machine.reserve_path(hello.path) {
            return refuse(Refusal::BadProof, "the path's id was used before");
        }
        return Ok(Joins::Resumed(session));
    }
    if !hello.path.0.is_multiple_of(2) {
        return refuse(Refusal::BadProof, "the path's id is not the dialer's to give");
    }
    if inner.is_draining.load(Ordering::Relaxed) {
        return refuse(Refusal::Draining, "this node is going down");
    }
    let mut registry = lock(&inner.registry);
    if registry.standing(&inner.node_id, peer, hello.incarnation) == Standing::OursStands {
        return refuse(Refusal::OtherDialStands, "our own dial to you stands");
    }
    if registry.is_full(peer, hello.predecessor) {
        return refuse(Refusal::Busy, FULL);
    }
    // From here on no dial of ours begins, that would lead to a second session.
    let id = SessionId(random());
    registry.welcome(peer, id);
    Ok(Joins::New(Welcomed { inner, peer: peer.to_owned(), id }))
}

/// Sessions of one peer that are over, not accepted yet, and have something to read: the newest so many are kept.
const UNREAD_MAX: usize = 64;

/// Adds a session to those that wait to be accepted. Of the same peer's, those that are over go if they hold nothing to
/// read, and the oldest if there are too many.
fn keep_for_accept(accepted: &mut VecDeque<Session>, session: Session) {
    let is_unread = |old: &Session| !old.core().lock().incoming.is_empty();
    let is_past = |old: &Session| old.peer_id() == session.peer_id() && old.is_over();
    accepted.retain(|old| !is_past(old) || is_unread(old));
    if accepted.iter().filter(|old| is_past(old)).count() >= UNREAD_MAX {
        let oldest = accepted.iter().position(is_past);
        oldest.and_then(|at| accepted.remove(at));
    }
    accepted.push_back(session);
}

/// Compares in a time that does not tell where the first difference is.
fn is_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Makes the connection a path: of the session it resumes, or of a new one.
fn join(
    inner: &Arc<Inner>,
    connection: Box<dyn SecuredConnection>,
    greeting: &Greeting,
    joins: Joins<'_>,
) -> Result<(), String> {
    let peer = connection.peer_id().to_owned();
    let link = connection.into_link().map_err(|error| error.to_string())?;
    let welcomed = match joins {
        Joins::Resumed(session) => {
            let joined = paths::join(inner, &session, link, greeting);
            return joined.map_err(|error| error.to_string());
        }
        Joins::New(welcomed) => welcomed,
    };
    let session = paths::begin(inner, &peer, Role::Acceptor, link, greeting)
        .map_err(|error| error.to_string())?;
    let entered = inner.enter(&session, greeting.predecessor);
    let replaced = entered.map_err(|error| match error {
        NotEntered::OtherStands(_) => "our own dial stands".to_owned(),
        NotEntered::Full => FULL.to_owned(),
    })?;
    if let Some(old) = replaced {
        if old.is_closing() {
            old.abort(); // the peer knows
        } else {
            // A peer that greets anew has nothing of the old session left.
            let now = old.core().clock.now();
            old.core().with_state(|state| state.machine.handle_session_lost(now));
            old.core().wake.raise();
        }
    }
    keep_for_accept(&mut lock(&inner.accepted), session);
    drop(welcomed); // and wakes who waits for a session
    Ok(())
}
