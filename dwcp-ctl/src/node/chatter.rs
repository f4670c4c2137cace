//! Holds back lines about what the sessions of one peer do, beyond what anybody reads: a peer may begin and end sessions as
//! fast as its handshakes are let in, and must not be able to fill the disk with the log of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// In each span of time a peer has so many lines.
const SPAN: Duration = Duration::from_secs(60);
const LINES_MAX: u32 = 200;
/// Peers that are remembered; beyond, those whose span is over are forgotten.
const PEERS_MAX: usize = 1_024;

/// What each peer's sessions had said of them lately.
#[derive(Default)]
pub(super) struct Chatter {
    peers: HashMap<String, Lines>,
}

struct Lines {
    since: Instant,
    said: u32,
    held_back: u64,
}

/// Whether a line is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// It is; so many before it were not.
    After(u64),
    /// It is not.
    Nothing,
}

impl Chatter {
    /// There is a line about `peer` to say at `now`.
    pub(super) fn note(&mut self, now: Instant, peer: &str) -> Say {
        let is_old = |lines: &Lines| now.saturating_duration_since(lines.since) >= SPAN;
        if self.peers.len() >= PEERS_MAX {
            self.peers.retain(|_, lines| !is_old(lines));
        }
        let new = || Lines { since: now, said: 0, held_back: 0 };
        let lines = self.peers.entry(peer.to_owned()).or_insert_with(new);
        let mut before = 0;
        if is_old(lines) {
            before = lines.held_back;
            *lines = new();
        }
        if lines.said < LINES_MAX {
            lines.said += 1;
            return Say::After(before);
        }
        lines.held_back += 1;
        Say::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_lines_and_then_a_count_of_those_it_had_not() {
        let (mut chatter, start) = (Chatter::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..LINES_MAX {
            assert_eq!(chatter.note(at(0), "m"), Say::After(0));
        }
        for _ in 0..1_000 {
            assert_eq!(chatter.note(at(59), "m"), Say::Nothing);
        }
        assert_eq!(chatter.note(at(59), "honest"), Say::After(0), "others have their own");
        assert_eq!(chatter.note(at(60), "m"), Say::After(1_000));
        assert_eq!(chatter.note(at(60), "m"), Say::After(0));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut chatter, start) = (Chatter::default(), Instant::now());
        for number in 0..5_000_u64 {
            chatter.note(start + Duration::from_secs(number), &number.to_string());
            assert!(chatter.peers.len() <= PEERS_MAX);
        }
    }
}
