//! What each peer has asked for, whatever session it was in: one that greets anew owes what it owed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::machine::Time;
use crate::rate::Asked;

/// Peers whose debts are remembered: those that owe nothing are forgotten first, then those without a session.
const PEERS_MAX: usize = 4_096;

/// The debts of all peers.
#[derive(Debug, Default)]
pub(super) struct AskedByPeer {
    peers: HashMap<Arc<str>, Arc<Asked>>,
}

impl AskedByPeer {
    /// What `peer` has asked for, for a session of it to add to.
    pub(super) fn of(&mut self, now: Time, peer: &Arc<str>) -> Arc<Asked> {
        if let Some(asked) = self.peers.get(peer) {
            return asked.clone();
        }
        self.make_room(now);
        self.peers.entry(peer.clone()).or_default().clone()
    }

    /// With `peers: any` there may be many.
    fn make_room(&mut self, now: Time) {
        if self.peers.len() < PEERS_MAX {
            return;
        }
        let has_session = |asked: &Arc<Asked>| Arc::strong_count(asked) > 1;
        self.peers.retain(|_, asked| has_session(asked) || asked.whole() > now);
        if self.peers.len() < PEERS_MAX {
            return;
        }
        // Many at once: each further peer would look at all of them otherwise.
        let key = |peer: &Arc<str>, asked| (has_session(asked), asked.whole(), peer.clone());
        let mut all: Vec<_> = self.peers.iter().map(|(peer, asked)| key(peer, asked)).collect();
        all.sort_unstable();
        for (_, _, peer) in all.into_iter().take(PEERS_MAX / 8) {
            self.peers.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;

    const RATE: Rate = Rate { per_second: 10, burst: 5 };

    #[test]
    fn a_peer_owes_what_it_owed_before_it_left() {
        let (mut asked, now) = (AskedByPeer::default(), Time(0));
        assert!(asked.of(now, &"m".into()).note(now, RATE, 50).is_some());
        assert!(asked.of(now, &"m".into()).rests_until(now, RATE).is_some());
        assert_eq!(asked.of(now, &"honest".into()).rests_until(now, RATE), None);
        assert_eq!(
            asked.of(now, &"m".into()).rests_until(Time(9_000_000_000), RATE),
            None,
            "it has paid"
        );
    }

    #[test]
    fn memory_is_bounded_and_who_owes_is_remembered() {
        let (mut asked, now) = (AskedByPeer::default(), Time(0));
        asked.of(now, &"owes".into()).note(now, RATE, 1_000);
        let stays = asked.of(now, &"stays".into());
        for number in 0..2 * PEERS_MAX {
            asked.of(now, &format!("n{number}").into()).note(now, RATE, 1 + (number % 3) as u32);
            assert!(asked.peers.len() <= PEERS_MAX);
        }
        assert!(asked.of(now, &"owes".into()).rests_until(now, RATE).is_some());
        assert!(Arc::ptr_eq(&stays, &asked.of(now, &"stays".into())), "its session adds to it");
    }
}
