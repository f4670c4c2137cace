//! How many copies come in at once: each has a thread and open files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most copies of all peers at once.
const COPIES_MAX: usize = 32;
/// Most of one peer.
const COPIES_MAX_PEER: usize = 8;

/// The copies that come in, by peer.
#[derive(Debug, Default)]
pub struct Places(Mutex<HashMap<String, usize>>);

/// One copy's place, free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    peer: String,
}

impl Places {
    /// A place for a copy of `peer`.
    ///
    /// # Errors
    /// Words for the peer: there are as many as may be.
    pub(super) fn take(self: &Arc<Self>, peer: &str) -> Result<Place, String> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = places.values().sum();
        let of_peer = places.get(peer).copied().unwrap_or(0);
        if of_peer >= COPIES_MAX_PEER {
            return Err(format!(
                "this node takes {COPIES_MAX_PEER} copies of one peer at once, and that many are under way: wait for one to end"
            ));
        }
        if all >= COPIES_MAX {
            return Err(format!(
                "this node takes {COPIES_MAX} copies at once, and that many are under way: wait for one to end"
            ));
        }
        *places.entry(peer.to_owned()).or_default() += 1;
        Ok(Place { places: Arc::clone(self), peer: peer.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = places.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_some_of_the_places_and_gives_them_back() {
        let places = Arc::new(Places::default());
        let take = |peer: &str| places.take(peer);
        let mut taken: Vec<_> = (0..COPIES_MAX_PEER).map(|_| take("a").unwrap()).collect();
        assert!(take("a").err().unwrap().contains("8 copies of one peer"));
        for peer in ["b", "c", "d"] {
            taken.extend((0..COPIES_MAX_PEER).map(|_| take(peer).unwrap()));
        }
        assert!(take("e").err().unwrap().contains("32 copies at once"));
        taken.remove(0);
        taken.push(take("e").unwrap());
        drop(taken);
        assert!(places.0.lock().unwrap().is_empty(), "nothing is kept of peers that are gone");
    }
}
