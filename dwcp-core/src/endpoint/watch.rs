//! What happens to one session, told to its endpoint.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::conduct::Offence;
use super::dial::Mending;
use super::offering::Offering;
use super::pace::Pace;
use super::{Inner, dial, lock, paths, spawn};
use crate::driver::SessionObserver;
use crate::machine::{Closed, Event, Role, Switch};
use crate::session::{Session, SessionEvent, SwitchRecord};
use crate::wire::{PathKind, SwitchReason};

/// Observes one session.
pub(super) struct Watch {
    inner: Arc<Inner>,
    session: Session,
    /// The dialer's part, where it can dial.
    mending: Option<Arc<Mending>>,
    /// The dialer's part, where there are other kinds of path than TCP to offer.
    offering: Option<Arc<Offering>>,
}

impl Watch {
    pub(super) fn new(inner: Arc<Inner>, session: Session) -> Self {
        let is_dialer = session.role() == Role::Dialer;
        let mending = || {
            let pace = Pace::new(Instant::now(), inner.settings.reconnect_delay_max);
            let (pace, is_going_on) = (Mutex::new(pace), AtomicBool::new(false));
            Arc::new(Mending { pace, hurry: Notify::new(), is_going_on })
        };
        Self {
            mending: (is_dialer && inner.dialer.is_some()).then(mending),
            offering: (is_dialer && !inner.providers.is_empty()).then(Offering::new),
            inner,
            session,
        }
    }

    fn publish(&self, event: SessionEvent) {
        let session = &self.session;
        self.inner.hub.publish(session.peer_id(), Some(session.id()), event);
    }

    fn note_offence(&self, offence: Offence) {
        let record = self.session.core().lock().offending.take().map(|record| *record);
        self.inner.note_offence(self.session.peer_id(), Some(self.session.id()), offence, record);
    }

    /// Offers kinds of path that the session lacks, after a pause.
    fn offer_again(&self) {
        if let Some(offering) = &self.offering {
            offering.begin(&self.inner, &self.session);
        }
    }

    /// Sees to it that the session gets the path it lacks. The dialer's part.
    fn mend(&self) {
        let Some(mending) = &self.mending else { return };
        if !dial::is_path_wanted(&self.session) || mending.is_going_on.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let (inner, session, mending) = (self.inner.clone(), self.session.clone(), mending.clone());
        spawn(&self.inner, async move {
            loop {
                dial::mend(inner.clone(), session.clone(), mending.clone()).await;
                mending.is_going_on.store(false, Ordering::SeqCst);
                // What was lost between the last look and the store is this task's, too.
                if !dial::is_path_wanted(&session)
                    || mending.is_going_on.swap(true, Ordering::SeqCst)
                {
                    return;
                }
            }
        });
    }

    /// Counts a move and tells of it. An end that failed over by itself still hears of the peer's
    /// epoch for the same path: that is no second move.
    fn note_switch(&self, switch: &Switch) {
        let totals = &self.session.shared.totals;
        let was_holding = totals.is_holding.swap(false, Ordering::SeqCst);
        if !was_holding && switch.from.is_none() && switch.reason == SwitchReason::FollowedPeer {
            return;
        }
        let counter = match (switch.reason, switch.from) {
            (SwitchReason::FirstPath, _) => None,
            _ if was_holding => Some(&totals.reconnects),
            (SwitchReason::PathFailed, _) => Some(&totals.failovers),
            _ => Some(&totals.switches),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let kind =
            self.session.core().path(switch.to).map_or(PathKind::Tcp, |path| path.attributes.kind);
        totals.set_last_switch(SwitchRecord {
            at: SystemTime::now(),
            from: switch.from,
            to: switch.to,
            kind,
            reason: switch.reason,
        });
        self.publish(SessionEvent::Switched(switch.clone()));
    }
}

impl SessionObserver for Watch {
    fn observe(&self, event: &Event) {
        match event {
            Event::PathValidated(path) => {
                let Some(io) = self.session.core().path(*path) else { return };
                let (kind, provider) = (io.attributes.kind, io.attributes.provider.to_string());
                self.publish(SessionEvent::PathUp { path: *path, kind, provider });
            }
            Event::PathDown { path, cause } => {
                let lost = &self.session.shared.totals.paths_lost;
                lost[cause.index()].fetch_add(1, Ordering::Relaxed);
                self.publish(SessionEvent::PathDown { path: *path, cause: *cause });
                if let Some(offence) = Offence::of_cause(*cause) {
                    self.note_offence(offence);
                }
                let path = self.session.core().path(*path);
                if path.is_some_and(|path| path.attributes.kind != PathKind::Tcp) {
                    // TCP may be under repair without haste, because it only stood by.
                    if let Some(mending) = &self.mending {
                        mending.hurry.notify_one();
                    }
                    self.offer_again();
                }
                self.mend();
            }
            Event::Switched(switch) => self.note_switch(switch),
            Event::SwitchFailed { to, cause } => {
                let totals = &self.session.shared.totals;
                totals.switches_failed.fetch_add(1, Ordering::Relaxed);
                self.publish(SessionEvent::SwitchFailed { to: *to, cause: *cause });
            }
            &Event::InDoubt { channel, from, count } => {
                let totals = &self.session.shared.totals;
                totals.in_doubt.fetch_add(count, Ordering::Relaxed);
                self.publish(SessionEvent::InDoubt { channel, from, count });
            }
            Event::CertificateEnds { within } => {
                self.publish(SessionEvent::CertificateEnds { within: *within });
                if self.session.role() == Role::Dialer && self.inner.dialer.is_some() {
                    let renewal = dial::renew(self.inner.clone(), self.session.clone());
                    spawn(&self.inner, renewal);
                }
            }
            Event::PeerLeaves => {
                let (peer, id) = (self.session.peer_id(), self.session.id());
                let oldest = lock(&self.inner.registry).retire(peer, id);
                if let Some(oldest) = oldest {
                    oldest.abort();
                }
                self.inner.changed.notify_waiters();
                self.publish(SessionEvent::PeerLeaves);
            }
            Event::Closed(why) => {
                lock(&self.inner.registry).remove(self.session.peer_id(), self.session.id());
                drop(lock(&self.session.shared.offers).take());
                self.inner.changed.notify_waiters();
                if let Closed::PeerViolated(violation) = why {
                    self.note_offence(Offence::Violation(*violation));
                }
                self.publish(SessionEvent::Closed(why.clone()));
            }
            _ => {}
        }
    }

    fn path_needed(&self) {
        self.session.shared.totals.is_holding.store(true, Ordering::SeqCst);
        self.publish(SessionEvent::Holding);
        self.mend();
    }

    fn path_bootstrap(&self, event: Event) {
        // A provider may look for the runtime, and this may be a thread of the poll driver.
        let _runtime = self.inner.runtime.enter();
        paths::handle_bootstrap(&self.inner, &self.session, event);
        if paths::lacks_kind(&self.inner, &self.session) {
            self.offer_again(); // it was refused, or did not connect
        }
    }
}
