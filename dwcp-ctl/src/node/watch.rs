//! Watches the endpoint: serves each session's channels, and puts what happens in the log.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dwcp_core::{Endpoint, EndpointEvent, Events, Session, SessionEvent, SessionId};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::chatter::{Chatter, Say};
use super::evidence::EvidenceLog;
use super::ledger::Ledger;
use super::repeats::EVERY_TIME;
use crate::service::Services;

/// Serves the channels of every session of `endpoint`, whoever dialled it, until the endpoint ends. What `events` have of evidence is kept.
pub(super) fn watch(
    endpoint: Endpoint,
    services: Arc<Services>,
    evidence: Arc<EvidenceLog>,
    events: Events,
) -> impl Future<Output = ()> {
    // Looking at all sessions takes a while where there are many, and meanwhile events are overwritten. What is said
    // and served can be made up for, evidence cannot: it has a subscription and a task of its own.
    let seen = endpoint.subscribe();
    async move {
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(evidence, events));
        serve(endpoint, services, seen).await;
        keeper.join_all().await;
    }
}

/// Writes the evidence among `events`, and counts what was overwritten before it could be looked at.
async fn keep(evidence: Arc<EvidenceLog>, mut events: Events) {
    let mut missed = 0;
    while let Some(event) = events.recv().await {
        let more = events.missed() - missed;
        if more > 0 {
            missed += more;
            evidence.miss(more);
        }
        evidence.note(&event);
    }
}

async fn serve(endpoint: Endpoint, services: Arc<Services>, mut events: Events) {
    let (mut served, mut chatter) = (HashSet::new(), Chatter::default());
    let begin = |served: &mut HashSet<SessionId>, session: Session| {
        if !served.insert(session.id()) {
            return;
        }
        if services.under_way.is_closed() {
            session.close(0, "the node drains");
        } else {
            tokio::spawn(services.clone().serve(session));
        }
    };
    loop {
        // An event may have been missed: what counts is which sessions there are.
        let (missed, sessions) = (events.missed(), endpoint.sessions());
        let ids: HashSet<_> = sessions.iter().map(Session::id).collect();
        served.retain(|id| ids.contains(id));
        sessions.into_iter().for_each(|session| begin(&mut served, session));
        // As long as none is, the one that is told of is enough: each of many would have to be looked at for each that comes.
        while events.missed() == missed {
            let Some(event) = events.recv().await else { return };
            log(&event, &mut chatter);
            match (&event.event, event.session) {
                (SessionEvent::Up { .. }, Some(id)) => {
                    let session = endpoint.session(&event.peer, id);
                    session.into_iter().for_each(|session| begin(&mut served, session));
                }
                (SessionEvent::Closed(_), Some(id)) => {
                    served.remove(&id);
                }
                _ => {}
            }
        }
    }
}

/// Takes the sessions that peers begin, so that they do not pile up: [`watch`] serves them.
pub(super) async fn accept(endpoint: Endpoint) {
    while endpoint.accept().await.is_some() {}
}

/// Settles the ledger from time to time: doubt is noticed and ended sessions are let go where nobody looks.
pub(super) async fn settle(endpoint: Endpoint, ledger: Arc<Ledger>) {
    const PAUSE: Duration = Duration::from_secs(30);
    loop {
        tokio::time::sleep(PAUSE).await;
        ledger.look(&endpoint.sessions());
    }
}

/// What a peer can make happen again and again without breaking a rule. What is rare, or wrong, is told each time, or as
/// often as warnings are.
fn is_ordinary(event: &SessionEvent) -> bool {
    matches!(
        event,
        SessionEvent::Up { .. }
            | SessionEvent::PathUp { .. }
            | SessionEvent::PathDown { .. }
            | SessionEvent::Switched(_)
            | SessionEvent::PeerLeaves
            | SessionEvent::Closed(_)
    )
}

/// The session of an event, for the log.
struct Named(Option<SessionId>);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(session) => session.fmt(f),
            None => f.write_str("none"),
        }
    }
}

fn log(event: &EndpointEvent, chatter: &mut Chatter) {
    let peer = &event.peer;
    if is_ordinary(&event.event) {
        match chatter.note(Instant::now(), peer) {
            Say::Nothing => return,
            Say::After(0) => {}
            Say::After(lines) => {
                info!(peer, lines, "said no more of this peer's sessions for a while");
            }
        }
    }
    // Written only where somebody reads the log.
    let session = Named(event.session);
    match &event.event {
        SessionEvent::Up { role } => info!(peer, %session, ?role, "session up"),
        SessionEvent::PathUp { path, kind, provider } => {
            info!(peer, %session, %path, kind = kind.name(), provider, "path up");
        }
        SessionEvent::PathDown { path, cause } => {
            info!(peer, %session, %path, cause = cause.name(), "path down");
        }
        SessionEvent::Switched(switch) => {
            info!(peer, %session, to = %switch.to, epoch = switch.epoch, reason = switch.reason.name(), "switched");
        }
        SessionEvent::SwitchFailed { to, cause } => {
            warn!(peer, %session, %to, ?cause, "switch given up");
        }
        SessionEvent::Holding => warn!(peer, %session, "no path is left; messages wait"),
        SessionEvent::InDoubt { channel, from, count } => {
            // Each is needed to find out what became of them.
            warn!(target: EVERY_TIME, peer, %session, channel, from, count, "messages in doubt: delivered at most once, perhaps not");
        }
        SessionEvent::CertificateEnds { within } => {
            warn!(peer, %session, seconds = within.as_secs(), "the session ends with a certificate: renew it and reload");
        }
        SessionEvent::Offended { offence, record, reputation, quarantine } => {
            let remote = record.as_ref().map(|record| record.remote.as_str());
            warn!(peer, %session, remote, offence = offence.name(), what = %offence, reputation, "the peer broke the protocol");
            if let Some(time) = quarantine {
                warn!(target: EVERY_TIME, peer, seconds = time.as_secs(), "the peer is in quarantine: its sessions end, and it is refused");
            }
        }
        SessionEvent::PeerLeaves => {
            info!(peer, %session, "the peer's process leaves; what is open goes on");
        }
        SessionEvent::QuarantineLifted => info!(peer, "the quarantine was lifted"),
        SessionEvent::Closed(why) => info!(peer, %session, ?why, "session over"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use dwcp_core::EndpointSettings;

    use super::*;

    #[tokio::test]
    async fn events_that_were_overwritten_are_evidence_that_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let evidence = Arc::<EvidenceLog>::default();
        evidence.set(Some(evidence.open(&directory.path().join("e.log")).unwrap()));
        let mut settings = EndpointSettings::default();
        settings.reconnect_delay_max = Duration::from_millis(1);
        let (a, b) = Endpoint::pair_with(&settings);
        // Nobody reads the first while the second counts what there is.
        let (events, mut seen) = (b.subscribe(), b.subscribe());
        let mut told = 0;
        while told < 1_500 {
            let session = a.connect("b").await.unwrap();
            let far = b.accept().await.unwrap();
            for end in [session, far] {
                end.abort();
                end.closed().await;
            }
            while !matches!(seen.recv().await.unwrap().event, SessionEvent::Closed(_)) {
                told += 1;
            }
        }
        assert_eq!((seen.missed(), evidence.trouble()), (0, None));
        let keeper = tokio::spawn(keep(evidence.clone(), events));
        tokio::time::timeout(Duration::from_secs(60), async {
            while evidence.trouble().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("it is noticed");
        let (lost, why) = evidence.trouble().unwrap();
        assert!(lost >= 400 && why.contains("faster"), "{lost}: {why}");
        keeper.abort();
    }
}
