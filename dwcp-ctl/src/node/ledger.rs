//! What was carried to and from each peer since the daemon began, over all sessions with it: figures that
//! only grow.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dwcp_core::machine::PathCause;
use dwcp_core::wire::SessionId;
use dwcp_core::{Endpoint, Session, SessionStats};

/// How long an ended session is asked for its figures: those of its end are counted a moment after it.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Figures of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) messages_sent: u64,
    pub(super) messages_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) switches: u64,
    pub(super) switches_failed: u64,
    pub(super) failovers: u64,
    pub(super) reconnects: u64,
    pub(super) in_doubt: u64,
    pub(super) slowed: u64,
    pub(super) paths_lost: [u64; PathCause::NAMES.len()],
}

impl Totals {
    fn add(&mut self, stats: &SessionStats) {
        self.messages_sent += stats.messages_sent_total;
        self.messages_received += stats.messages_received_total;
        self.bytes_sent += stats.bytes_sent_total;
        self.bytes_received += stats.bytes_received_total;
        self.switches += stats.switches_total;
        self.switches_failed += stats.switches_failed_total;
        self.failovers += stats.failovers_total;
        self.reconnects += stats.reconnects_total;
        self.in_doubt += stats.in_doubt_total;
        self.slowed += stats.slowed_total;
        for (total, more) in self.paths_lost.iter_mut().zip(stats.paths_lost_total) {
            *total += more;
        }
    }
}

/// Messages to a peer whose fate is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The peer.
    pub peer: String,
    /// How many, since the daemon began.
    pub messages: u64,
    /// How long ago the last of them were reported.
    pub ago: Duration,
}

/// Keeps the figures.
#[derive(Default)]
pub(super) struct Ledger {
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Sessions that count by what they say now: those that stand, and those that have just ended.
    live: HashMap<SessionId, Live>,
    /// What ended sessions came to.
    ended: BTreeMap<String, Totals>,
    /// Messages in doubt: how many were seen, and when the last.
    doubts: BTreeMap<String, (u64, Instant)>,
}

impl Books {
    fn enter(&mut self, sessions: &[Session]) {
        for session in sessions {
            let live = || Live { session: session.clone(), over_since: None };
            self.live.entry(session.id()).or_insert_with(live);
        }
    }
}

struct Live {
    session: Session,
    over_since: Option<Instant>,
}

impl Ledger {
    /// One that every session of `endpoint` is entered in from now on.
    pub(super) fn of(endpoint: &Endpoint) -> Arc<Self> {
        let ledger = Arc::<Self>::default();
        let books = ledger.clone();
        endpoint.observe_sessions(Box::new(move |session| books.enter(session)));
        ledger
    }

    /// Takes a session into the books, so that it counts even if nobody looks before its end. Cheap: it asks it nothing.
    pub(super) fn enter(&self, session: &Session) {
        self.lock().enter(std::slice::from_ref(session));
    }

    /// Takes `sessions` into the books; returns the figures of every peer there ever was.
    pub(super) fn look(&self, sessions: &[Session]) -> BTreeMap<String, Totals> {
        let now = Instant::now();
        let mut books = self.lock();
        let books = &mut *books;
        books.enter(sessions);
        books.live.retain(|_, live| {
            if live.session.is_over() {
                let since = *live.over_since.get_or_insert(now);
                if now.duration_since(since) >= AFTERMATH {
                    let peer = live.session.peer_id().to_owned();
                    books.ended.entry(peer).or_default().add(&live.session.stats());
                    return false;
                }
            }
            true
        });
        let mut totals = books.ended.clone();
        for live in books.live.values() {
            totals.entry(live.session.peer_id().to_owned()).or_default().add(&live.session.stats());
        }
        for (peer, totals) in &totals {
            if totals.in_doubt > books.doubts.get(peer).map_or(0, |(seen, _)| *seen) {
                books.doubts.insert(peer.clone(), (totals.in_doubt, now));
            }
        }
        totals
    }

    /// Messages in doubt, as of the last [`look`](Self::look).
    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let books = self.lock();
        let doubts = books.doubts.iter();
        doubts
            .map(|(peer, (messages, last))| Doubt {
                peer: peer.clone(),
                messages: *messages,
                ago: last.elapsed(),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dwcp_core::ChannelOptions;

    use super::*;

    /// Nobody looks between its beginning and its end.
    #[tokio::test(start_paused = true)]
    async fn a_session_that_only_came_and_went_counts() {
        let (a, b) = Endpoint::pair();
        let ledger = Ledger::of(&a);
        assert!(!a.observe_sessions(Box::new(|_| ())), "there is one");
        let session = a.connect("b").await.unwrap();
        let far = b.accept().await.unwrap();
        far.abort();
        session.closed().await;
        assert!(a.sessions().is_empty());
        assert_eq!(ledger.look(&[])["b"].paths_lost.iter().sum::<u64>(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn figures_outlive_their_session() {
        let (a, b) = Endpoint::pair();
        let ledger = Ledger::default();
        let mut before = 0;
        for round in 1..=2 {
            let session = a.connect("b").await.unwrap();
            let far = b.accept().await.unwrap();
            let mut channel = session.open("x", ChannelOptions::default()).unwrap();
            channel.sender.send("hello").await.unwrap();
            channel.sender.flush();
            let mut incoming = far.accept().await.unwrap();
            incoming.receiver.recv().await.unwrap();
            assert_eq!(ledger.look(&a.sessions())["b"].messages_sent, round);
            session.abort();
            session.closed().await;
            far.abort();
            far.closed().await;
            let totals = ledger.look(&a.sessions())["b"];
            assert_eq!(totals.messages_sent, round, "after the end");
            assert!(totals.bytes_sent > before);
            before = totals.bytes_sent;
        }
    }
}
