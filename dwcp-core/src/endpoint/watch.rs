//! What happens to one session, told to its endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::{Inner, dial, lock, paths, spawn};
use crate::driver::SessionObserver;
use crate::machine::{Event, Role, Switch};
use crate::session::{Session, SessionEvent, SwitchRecord};
use crate::wire::{PathKind, SwitchReason};

/// Observes one session.
pub(super) struct Watch {
    inner: Arc<Inner>,
    session: Session,
    is_reconnecting: Arc<AtomicBool>,
    /// The session has no path: the next one brings it back.
    is_holding: AtomicBool,
}

impl Watch {
    pub(super) fn new(inner: Arc<Inner>, session: Session) -> Self {
        Self { inner, session, is_reconnecting: Arc::default(), is_holding: AtomicBool::new(false) }
    }

    fn publish(&self, event: SessionEvent) {
        let session = &self.session;
        self.inner.hub.publish(session.peer_id(), session.id(), event);
    }

    fn count_switch(&self, switch: &Switch) {
        let totals = &self.session.shared.totals;
        let was_holding = self.is_holding.swap(false, Ordering::SeqCst);
        let counter = match (switch.reason, switch.from) {
            (SwitchReason::FirstPath, _) => None,
            _ if was_holding => Some(&totals.reconnects),
            (SwitchReason::PathFailed, _) | (_, None) => Some(&totals.failovers),
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
    }
}

impl SessionObserver for Watch {
    fn observe(&self, event: &Event) {
        match event {
            Event::PathValidated(path) => {
                let Some(io) = self.session.core().path(*path) else { return };
                let (kind, provider) = (io.attributes.kind, io.attributes.provider.clone());
                self.publish(SessionEvent::PathUp { path: *path, kind, provider });
            }
            Event::PathDown { path, cause } => {
                self.publish(SessionEvent::PathDown { path: *path, cause: *cause });
            }
            Event::Switched(switch) => {
                self.count_switch(switch);
                self.publish(SessionEvent::Switched(switch.clone()));
            }
            Event::SwitchFailed { to, cause } => {
                self.publish(SessionEvent::SwitchFailed { to: *to, cause: *cause });
            }
            Event::InDoubt { channel, from, count } => {
                let totals = &self.session.shared.totals;
                totals.in_doubt.fetch_add(*count, Ordering::Relaxed);
                let (channel, from, count) = (*channel, *from, *count);
                self.publish(SessionEvent::InDoubt { channel, from, count });
            }
            Event::Closed(why) => {
                lock(&self.inner.registry).remove(self.session.peer_id(), self.session.id());
                lock(&self.session.shared.offers).clear();
                self.inner.changed.notify_waiters();
                self.publish(SessionEvent::Closed(why.clone()));
            }
            _ => {}
        }
    }

    fn path_needed(&self) {
        self.is_holding.store(true, Ordering::SeqCst);
        self.publish(SessionEvent::Holding);
        if self.session.role() != Role::Dialer || self.is_reconnecting.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let (inner, session) = (self.inner.clone(), self.session.clone());
        let is_reconnecting = self.is_reconnecting.clone();
        spawn(&self.inner, async move {
            loop {
                dial::reconnect(inner.clone(), session.clone()).await;
                is_reconnecting.store(false, Ordering::SeqCst);
                // The new path may be lost already: whoever asked for another found the flag up.
                let is_needed = session.core().lock().paths.is_empty() && !session.is_over();
                if !is_needed || is_reconnecting.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    fn path_bootstrap(&self, event: Event) {
        // A provider may look for the runtime, and this may be a thread of the poll driver.
        let _runtime = self.inner.runtime.enter();
        paths::handle_bootstrap(&self.inner, &self.session, event);
    }
}
