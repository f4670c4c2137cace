//! Keeps a session to peers that forwards go through, so that the first connection need not wait for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dwcp_core::Endpoint;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

/// The first pause after a failed attempt; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(30);

/// One task for each kept peer.
pub(super) struct Keepers {
    endpoint: Endpoint,
    tasks: Mutex<HashMap<String, JoinHandle<()>>>,
    away: Arc<Mutex<HashMap<String, Away>>>,
}

/// A kept peer without a session.
struct Away {
    since: Instant,
    why: String,
}

impl Keepers {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, tasks: Mutex::default(), away: Arc::default() }
    }

    /// Keeps sessions to `peers` from now on, and no others.
    pub(super) fn set(&self, peers: &[String]) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|peer, task| {
            let stays = peers.contains(peer);
            if !stays {
                task.abort();
                lock(&self.away).remove(peer);
            }
            stays
        });
        for peer in peers {
            if !tasks.contains_key(peer) {
                let task = keep(self.endpoint.clone(), peer.clone(), self.away.clone());
                tasks.insert(peer.clone(), tokio::spawn(task));
            }
        }
    }

    /// Kept peers that are away: name, for how long, why.
    pub(super) fn away(&self) -> Vec<(String, Duration, String)> {
        let away = lock(&self.away);
        let mut all: Vec<_> = away
            .iter()
            .map(|(peer, away)| (peer.clone(), away.since.elapsed(), away.why.clone()))
            .collect();
        all.sort();
        all
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        lock(&self.tasks).values().for_each(JoinHandle::abort);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep(endpoint: Endpoint, peer: String, away: Arc<Mutex<HashMap<String, Away>>>) {
    let mut pause = PAUSE_FIRST;
    loop {
        match endpoint.connect(&peer).await {
            Ok(session) => {
                lock(&away).remove(&peer);
                pause = PAUSE_FIRST;
                if session.is_leaving() {
                    // There is none with its successor yet.
                    tokio::time::sleep(PAUSE_FIRST).await;
                    continue;
                }
                session.left().await;
                if !session.is_over() {
                    continue; // its process leaves: the next one is wanted at once
                }
                note(&away, &peer, "the session ended".into());
            }
            Err(error) => {
                let why = crate::exit::chain(&error);
                // The same trouble again is no news.
                if note(&away, &peer, why.clone()) {
                    warn!(peer, error = why, "no session; trying again");
                } else {
                    debug!(peer, error = why, "still no session");
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

/// Notes why `peer` is away; returns whether that is new.
fn note(away: &Mutex<HashMap<String, Away>>, peer: &str, why: String) -> bool {
    let mut away = lock(away);
    match away.get_mut(peer) {
        Some(known) if known.why == why => false,
        Some(known) => {
            known.why = why;
            true
        }
        None => {
            away.insert(peer.to_owned(), Away { since: Instant::now(), why });
            true
        }
    }
}
