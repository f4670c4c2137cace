//! Kinds of path that a session has lost are offered again while it goes on over others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, lock, paths, spawn};
use crate::machine::Role;
use crate::session::Session;

/// What has just failed is left alone for so long; each further time doubles it.
const OFFER_PAUSE: Duration = Duration::from_secs(5);
const OFFER_PAUSE_MAX: Duration = Duration::from_secs(300);
/// Nothing was lost for so long: the pauses begin anew.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// The dialer's offers of one session.
pub(super) struct Offering {
    is_going_on: AtomicBool,
    /// The next pause, and when the last offer was made.
    pause: Mutex<(Duration, Option<Instant>)>,
}

impl Offering {
    pub(super) fn new() -> Arc<Self> {
        let pause = Mutex::new((OFFER_PAUSE, None));
        Arc::new(Self { is_going_on: AtomicBool::new(false), pause })
    }

    /// A path was lost or refused: offers what the session lacks, after a pause.
    pub(super) fn begin(self: &Arc<Self>, inner: &Arc<Inner>, session: &Session) {
        if session.role() != Role::Dialer || self.is_going_on.swap(true, Ordering::SeqCst) {
            return;
        }
        let (offering, room, session) = (self.clone(), inner.clone(), session.clone());
        spawn(inner, async move {
            loop {
                tokio::time::sleep(offering.next_pause(Instant::now())).await;
                let is_reachable = session.core().lock().machine.active_path().is_some();
                if is_reachable && paths::lacks_kind(&room, &session) {
                    paths::offer_all(&room, &session);
                }
                offering.is_going_on.store(false, Ordering::SeqCst);
                // What could not be offered now, or was lost between the last look and the store, is this
                // task's, too.
                if !paths::lacks_kind(&room, &session)
                    || offering.is_going_on.swap(true, Ordering::SeqCst)
                {
                    return;
                }
            }
        });
    }

    fn next_pause(&self, now: Instant) -> Duration {
        let (pause, last) = &mut *lock(&self.pause);
        if last.is_some_and(|last| now >= last + *pause + GOOD_LIFE) {
            *pause = OFFER_PAUSE;
        }
        let next = *pause;
        *last = Some(now);
        *pause = (*pause * 2).min(OFFER_PAUSE_MAX);
        next
    }
}
