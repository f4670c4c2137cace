//! Links become paths: of a new session, of a resumed one, or by an offer on a standing one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::greeting::Greeting;
use super::watch::Watch;
use super::{Inner, random};
use crate::crypto::PathSecret;
use crate::driver::{PathIo, PathSetup, SessionCore, TooWeak};
use crate::link::{Link, LinkFeatures, PathProvider, PendingLink};
use crate::machine::{Event, Machine, Role, Settings};
use crate::session::{Offer, Session, SessionShared, Totals};
use crate::wire::{Features, PathId, PathKind};

/// Moments within a heartbeat interval at which the sessions of an endpoint probe their quiet paths together.
const HEARTBEAT_SLACKS: u32 = 8;
/// Without a pause the probes would never end.
const HEARTBEAT_MIN: Duration = Duration::from_millis(1);

/// Why a link did not become a path. It is closed then.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAttached {
    /// Its protection is too weak.
    #[error(transparent)]
    TooWeak(#[from] TooWeak),
    /// The session ended meanwhile, and its driver may be gone: nobody would close the link.
    #[error("the session is over")]
    Over,
}

/// The settings of a session. All but what both ends agree on is the endpoint's for all its life.
fn settings(inner: &Inner, role: Role, greeting: &Greeting) -> Settings {
    let given = &inner.settings;
    let mut settings = Settings::new(role, inner.pool.clone());
    settings.time_to_live = given.time_to_live;
    settings.window_bytes = given.window_bytes;
    settings.receive_budget = inner.receive_budget.clone();
    settings.send_budget = inner.send_budget.clone();
    settings.max_message_bytes = given.max_message_bytes;
    settings.peer_max_message_bytes = greeting.peer_max_message_bytes;
    settings.heartbeat_interval = given.heartbeat_interval.max(HEARTBEAT_MIN);
    settings.heartbeat_slack = settings.heartbeat_interval / HEARTBEAT_SLACKS;
    settings.timeout_multiplier = given.timeout_multiplier;
    settings.switch_timeout = given.switch_timeout;
    settings.version = greeting.agreement.version;
    settings.may_offer_paths = may_offer_paths(greeting);
    settings
}

fn may_offer_paths(greeting: &Greeting) -> bool {
    greeting.agreement.features.has(Features::HYBRID)
}

/// Begins a session over its first link.
pub(super) fn begin(
    inner: &Arc<Inner>,
    peer: &str,
    role: Role,
    link: Box<dyn Link>,
    greeting: &Greeting,
) -> Result<Session, NotAttached> {
    let settings = inner.session_settings.share(
        |last| {
            let agreed = (greeting.agreement.version, greeting.peer_max_message_bytes);
            (last.version, last.peer_max_message_bytes) == agreed
                && (last.role, last.may_offer_paths) == (role, may_offer_paths(greeting))
        },
        || settings(inner, role, greeting).into(),
    );
    let machine = Machine::new(settings);
    let peer = super::lock(&inner.registry).name(peer);
    let asked = super::lock(&inner.asked).of(inner.clock.now(), &peer);
    let core = SessionCore::new(machine, inner.pool.clone(), inner.clock, inner.settings.spin);
    let core = Arc::new(
        core.with_request_rate(inner.request_rate.clone(), asked)
            .with_gather_budget(inner.gather_budget.clone()),
    );
    let session = Session {
        shared: Arc::new(SessionShared {
            id: greeting.session,
            peer,
            peer_incarnation: greeting.peer_incarnation,
            role,
            core: core.clone(),
            totals: Totals::new(),
            secret: greeting.session_secret.clone(),
            agreement: greeting.agreement.clone(),
            offers: Default::default(),
        }),
    };
    join(inner, &session, link, greeting)?;
    let observer = Arc::new(Watch::new(inner.clone(), session.clone()));
    inner.drive(core, observer);
    Ok(session)
}

/// Adds the link of a handshake to a session, which now lives as long as that handshake's certificates.
pub(super) fn join(
    inner: &Inner,
    session: &Session,
    link: Box<dyn Link>,
    greeting: &Greeting,
) -> Result<(), NotAttached> {
    if greeting.is_held {
        // The dialer has lost all paths, also when this end has not noticed yet: the move to this one is a
        // reconnection here, too.
        session.shared.totals.is_holding.store(true, Ordering::SeqCst);
        session.core().with_state(|state| state.machine.await_move(greeting.path));
    }
    attach(inner, session, link, greeting.path, &greeting.path_secret, true)?;
    let core = session.core();
    core.with_state(|state| {
        state.machine.handle_certificates(core.clock.now(), greeting.certificates_left);
    });
    core.wake.raise();
    Ok(())
}

/// Adds a link to a session as `path`.
pub(super) fn attach(
    inner: &Inner,
    session: &Session,
    link: Box<dyn Link>,
    path: PathId,
    secret: &PathSecret,
    is_proven: bool,
) -> Result<(), NotAttached> {
    let is_trusted = link.attributes().features.has(LinkFeatures::TRUSTED_MEDIUM);
    let agreement = &session.shared.agreement;
    let suite = if is_trusted { &agreement.trusted_suite } else { &agreement.suite };
    let compression = inner.compression.as_deref();
    let setup = PathSetup {
        id: path,
        role: session.role(),
        secret,
        suite: suite.clone(),
        compression: compression.filter(|_| agreement.features.has(Features::ZSTD)),
        version: agreement.version,
    };
    let mut io = PathIo::new(link, &setup)?;
    let preference = preference(inner, io.attributes.kind);
    let attributes = io.path_attributes(is_proven, random(), preference);
    let core = session.core();
    if let Some(until) = core.rests_until() {
        io.rest(until);
    }
    let io = Arc::new(io);
    core.with_state(|state| {
        if state.machine.is_over() {
            return Err(NotAttached::Over);
        }
        state.paths.push(io.clone());
        state.paths_version += 1;
        state.machine.handle_path_up(core.clock.now(), path, attributes);
        Ok(())
    })?;
    core.wake.raise();
    Ok(())
}

/// The order of the providers is the order of preference; what needs none comes last.
fn preference(inner: &Inner, kind: PathKind) -> u8 {
    let place = inner.providers.iter().position(|provider| provider.kind() == kind);
    place.map_or(0, |place| (inner.providers.len() - place).min(255) as u8)
}

/// Offers the peer a path of every kind this node has besides.
pub(super) fn offer_all(inner: &Inner, session: &Session) {
    if !session.shared.agreement.features.has(Features::HYBRID) {
        return;
    }
    for provider in &inner.providers {
        let kind = provider.kind();
        let is_offered = super::lock(&session.shared.offers).iter().any(|one| one.kind == kind);
        let is_there =
            || session.core().lock().paths.iter().any(|path| path.attributes.kind == kind);
        if is_offered || is_there() {
            continue;
        }
        match provider.prepare() {
            Ok(pending) => offer(session, kind, pending),
            Err(error) => tracing::warn!(kind = kind.name(), %error, "cannot prepare a path"),
        }
    }
    session.core().wake.raise();
}

/// Whether there is a kind of path that could be offered: this node has it, the session has it not, and no
/// offer of it waits for its answer.
pub(super) fn lacks_kind(inner: &Inner, session: &Session) -> bool {
    if !session.shared.agreement.features.has(Features::HYBRID) {
        return false;
    }
    let offered: Vec<_> =
        super::lock(&session.shared.offers).iter().map(|offer| offer.kind).collect();
    let state = session.core().lock();
    let has = |kind| state.paths.iter().any(|path| path.attributes.kind == kind);
    let mut kinds = inner.providers.iter().map(|provider| provider.kind());
    !state.machine.is_over() && kinds.any(|kind| !has(kind) && !offered.contains(&kind))
}

fn offer(session: &Session, kind: PathKind, pending: Box<dyn PendingLink>) {
    let nonce = random();
    let bootstrap = pending.bootstrap().to_vec();
    let mut offers = super::lock(&session.shared.offers);
    let path = session.core().with_state(|state| state.machine.offer_path(kind, nonce, bootstrap));
    match path {
        Some(path) => offers.push(Offer { path, kind, nonce, pending }),
        None => tracing::info!(kind = kind.name(), "offers enough wait for their answer"),
    }
}

/// What both ends bind a path's keys to: its kind and both bootstraps.
fn bootstrap_hash(kind: PathKind, offer: &[u8], answer: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [kind.name().as_bytes(), offer, answer] {
        hash.update((part.len() as u32).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Acts on the peer's offer, or on its answer to ours.
pub(super) fn handle_bootstrap(inner: &Inner, session: &Session, event: Event) {
    match event {
        Event::PathOffered { path, kind, nonce, bootstrap } => {
            let provider = inner.providers.iter().find(|provider| provider.kind() == kind);
            let accepted = provider
                .and_then(|provider| accept(&**provider, session, path, kind, &nonce, &bootstrap));
            let core = session.core();
            match accepted {
                Some((link, secret, our_nonce, answer)) => {
                    core.with_state(|state| state.machine.answer_path(path, our_nonce, answer));
                    report(attach(inner, session, link, path, &secret, false));
                }
                None => {
                    core.with_state(|state| state.machine.answer_path(path, [0; 32], Vec::new()));
                }
            }
            core.wake.raise();
        }
        Event::PathAnswered { path, nonce, bootstrap } => {
            let offer = {
                let mut offers = super::lock(&session.shared.offers);
                let Some(at) = offers.iter().position(|offer| offer.path == path) else { return };
                offers.swap_remove(at)
            };
            if bootstrap.is_empty() {
                tracing::info!(peer = session.peer_id(), kind = offer.kind.name(), "path refused");
                return;
            }
            let hash = bootstrap_hash(offer.kind, offer.pending.bootstrap(), &bootstrap);
            let secret = session.shared.secret.path(path, &offer.nonce, &nonce, &hash);
            match offer.pending.connect(&bootstrap) {
                Ok(link) => report(attach(inner, session, link, path, &secret, false)),
                Err(error) => tracing::warn!(kind = offer.kind.name(), %error, "cannot connect"),
            }
        }
        _ => {}
    }
}

type Accepted = (Box<dyn Link>, PathSecret, [u8; 32], Vec<u8>);

fn accept(
    provider: &dyn PathProvider,
    session: &Session,
    path: PathId,
    kind: PathKind,
    nonce: &[u8; 32],
    bootstrap: &[u8],
) -> Option<Accepted> {
    let made = provider.prepare().and_then(|pending| {
        let answer = pending.bootstrap().to_vec();
        pending.connect(bootstrap).map(|link| (link, answer))
    });
    match made {
        Ok((link, answer)) => {
            let our_nonce = random();
            let hash = bootstrap_hash(kind, bootstrap, &answer);
            let secret = session.shared.secret.path(path, nonce, &our_nonce, &hash);
            Some((link, secret, our_nonce, answer))
        }
        Err(error) => {
            tracing::warn!(kind = kind.name(), %error, "cannot take the path offered");
            None
        }
    }
}

fn report(attached: Result<(), NotAttached>) {
    if let Err(error) = attached {
        tracing::error!(%error, "the path was not used");
    }
}
