//! Who may begin a handshake, and whose is dropped for it: a flood of strangers never keeps a peer out.
//!
//! Nobody waits at the gate. When all places are taken, or one address has more than its share, the newcomer
//! takes the place of the oldest handshake of the address that has the most under way (as the SYN cache of
//! BSD does): a peer that means it needs milliseconds, a silent one loses its place. A handshake that has proven to be
//! a peer's goes last, so that each peer has a share of those, whatever its addresses: else one peer that says nothing
//! more would leave the newcomer as the only one that can go. An address that begins more handshakes than its rate
//! allows is turned away before any work is done for it. Memory is bounded; time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::rate::Rate;

/// Handshakes under way at most, by all addresses together.
const PLACES: usize = 256;
/// What one address may have of them.
const SHARE: usize = PLACES / 4;
/// What one peer may have of them once it has proven who it is: its sessions, that all come back at once, are not as many.
const PEER_SHARE: usize = PLACES / 32;
/// Addresses whose rate is remembered.
const RATES_MAX: usize = 4_096;

/// Whom handshakes are counted for: an IPv4 address, the /64 of an IPv6 one, or all that are neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
    Other,
}

impl Source {
    /// Of a remote address as links show it, `ip:port`.
    pub(super) fn of(address: &str) -> Self {
        match address.parse().map(|address: SocketAddr| address.ip().to_canonical()) {
            Ok(IpAddr::V4(ip)) => Self::V4(ip.octets()),
            Ok(IpAddr::V6(ip)) => {
                let [network @ .., _, _, _, _, _, _, _, _] = ip.octets();
                Self::V6(network)
            }
            Err(_) => Self::Other,
        }
    }
}

/// Names a handshake under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// What the gate says to a newcomer.
#[derive(Debug)]
pub(super) enum Admission<T> {
    /// Come in; the handshake that has to go for it, if one has.
    Enter { ticket: Ticket, dropped: Option<T> },
    /// This address has begun too many.
    TooFast,
}

struct Place<T> {
    ticket: Ticket,
    source: Source,
    /// The peer that it has proven to be: it goes last.
    peer: Option<String>,
    /// How to end it.
    handle: T,
}

/// The handshakes under way of one endpoint.
pub(super) struct Gate<T> {
    rate: Option<Rate>,
    /// The oldest first.
    places: VecDeque<Place<T>>,
    /// For each address, the time at which its burst is whole again (the generic cell rate algorithm).
    rates: HashMap<Source, Instant>,
    next: u64,
}

impl<T> Gate<T> {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, places: VecDeque::new(), rates: HashMap::new(), next: 0 }
    }

    /// A connection came in from `source`. `handle` comes back if its handshake has to be dropped.
    pub(super) fn enter(&mut self, now: Instant, source: Source, handle: T) -> Admission<T> {
        if !self.is_in_rate(now, source) {
            return Admission::TooFast;
        }
        let unproven = |place: &Place<T>| place.source == source && place.peer.is_none();
        let victim = if self.places.iter().filter(|place| unproven(place)).count() >= SHARE {
            self.places.iter().position(unproven)
        } else if self.places.len() >= PLACES {
            Some(self.oldest_of_the_most())
        } else {
            None
        };
        let dropped = victim.and_then(|at| self.places.remove(at)).map(|place| place.handle);
        let ticket = Ticket(self.next);
        self.next += 1;
        self.places.push_back(Place { ticket, source, peer: None, handle });
        Admission::Enter { ticket, dropped }
    }

    /// The handshake has proven to be that of `peer`, one that may have a session; it goes on. Returns the handle of
    /// the peer's own oldest one, if that has to go for it.
    pub(super) fn prove(&mut self, ticket: Ticket, peer: &str) -> Option<T> {
        let at = self.places.iter().position(|place| place.ticket == ticket)?;
        let is_peers = |place: &Place<T>| place.peer.as_deref() == Some(peer);
        let count = self.places.iter().filter(|place| is_peers(place)).count();
        let oldest = self.places.iter().position(is_peers).filter(|_| count >= PEER_SHARE);
        self.places[at].peer = Some(peer.to_owned());
        oldest.and_then(|at| self.places.remove(at)).map(|place| place.handle)
    }

    /// The handshake is over, well or not. One that was dropped is gone already.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.places.retain(|place| place.ticket != ticket);
    }

    /// Handshakes under way.
    #[cfg(test)]
    fn under_way(&self) -> usize {
        self.places.len()
    }

    fn oldest_of_the_most(&self) -> usize {
        let mut counts = HashMap::new();
        for place in self.places.iter().filter(|place| place.peer.is_none()) {
            *counts.entry(place.source).or_insert(0_usize) += 1;
        }
        let most = counts.values().max();
        let is_of_the_most =
            |place: &Place<T>| place.peer.is_none() && counts.get(&place.source) == most;
        // None is left unproven only where all are proven: then the oldest goes.
        self.places.iter().position(is_of_the_most).unwrap_or(0)
    }

    fn is_in_rate(&mut self, now: Instant, source: Source) -> bool {
        let Some(rate) = self.rate else { return true };
        let whole = self.rates.get(&source).map_or(now, |whole| (*whole).max(now));
        if whole + rate.interval() > now + rate.interval() * rate.burst.max(1) {
            return false;
        }
        if self.rates.len() >= RATES_MAX && !self.rates.contains_key(&source) {
            self.forget_rates(now);
        }
        self.rates.insert(source, whole + rate.interval());
        true
    }

    /// Makes room: addresses whose burst is whole again need no memory; else the nearest to it goes.
    fn forget_rates(&mut self, now: Instant) {
        self.rates.retain(|_, whole| *whole > now);
        if self.rates.len() >= RATES_MAX
            && let Some(next) = self.rates.iter().min_by_key(|(_, whole)| **whole)
        {
            let source = *next.0;
            self.rates.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(number: u32) -> Source {
        Source::V4(number.to_be_bytes())
    }

    fn dropped(admission: &Admission<u32>) -> Option<u32> {
        match admission {
            Admission::Enter { dropped, .. } => *dropped,
            Admission::TooFast => panic!("no rate was given"),
        }
    }

    fn ticket<T>(admission: &Admission<T>) -> Ticket {
        match admission {
            Admission::Enter { ticket, .. } => *ticket,
            Admission::TooFast => panic!("it may come in"),
        }
    }

    #[test]
    fn an_address_with_its_share_under_way_loses_its_own_oldest() {
        let (mut gate, now) = (Gate::new(None), Instant::now());
        assert_eq!(dropped(&gate.enter(now, source(2), 999)), None);
        for number in 0..SHARE as u32 {
            assert_eq!(dropped(&gate.enter(now, source(1), number)), None);
        }
        assert_eq!(dropped(&gate.enter(now, source(1), 1_000)), Some(0));
        assert_eq!(dropped(&gate.enter(now, source(1), 1_001)), Some(1));
        assert_eq!(dropped(&gate.enter(now, source(2), 1_002)), None, "others are not touched");
        assert_eq!(gate.under_way(), SHARE + 2);
    }

    #[test]
    fn when_all_places_are_taken_the_address_with_the_most_loses_its_oldest() {
        let (mut gate, now) = (Gate::new(None), Instant::now());
        // One honest handshake is the oldest of all; 16 addresses fill the rest, one of them twice.
        gate.enter(now, source(7), u32::MAX);
        for number in 0..PLACES as u32 - 2 {
            assert_eq!(dropped(&gate.enter(now, source(100 + number % 16), number)), None);
        }
        gate.enter(now, source(100), 5_000);
        for round in 0..1_000 {
            let lost = dropped(&gate.enter(now, source(100 + round % 16), 10_000 + round));
            assert!(lost.is_some_and(|lost| lost != u32::MAX), "round {round}");
            assert_eq!(gate.under_way(), PLACES);
        }
    }

    #[test]
    fn who_has_proven_itself_goes_last() {
        let (mut gate, now) = (Gate::new(None), Instant::now());
        let proven = ticket(&gate.enter(now, source(1), 7));
        assert_eq!(gate.prove(proven, "a"), None);
        for number in 0..PLACES as u32 * 3 {
            assert_ne!(dropped(&gate.enter(now, source(number % 2), 100 + number)), Some(7));
        }
        // With nobody else to drop, it is the oldest that goes.
        let mut gate = Gate::new(None);
        for number in 0..PLACES as u32 {
            let ticket = ticket(&gate.enter(now, source(number), number));
            assert_eq!(gate.prove(ticket, &format!("n{number}")), None);
        }
        assert_eq!(dropped(&gate.enter(now, source(9_999), 1)), Some(0));
    }

    #[test]
    fn a_peer_with_its_share_proven_loses_its_own_oldest_and_keeps_no_newcomer_out() {
        let (mut gate, now) = (Gate::new(None), Instant::now());
        let newcomer = ticket(&gate.enter(now, source(2), u32::MAX));
        for number in 0..PLACES as u32 * 2 {
            let admission = gate.enter(now, source(number % 2), number);
            assert_eq!(dropped(&admission), None, "{number}");
            let ousted = gate.prove(ticket(&admission), "greedy");
            assert_eq!(ousted, number.checked_sub(PEER_SHARE as u32), "its own oldest");
        }
        assert_eq!(gate.under_way(), PEER_SHARE + 1);
        assert_eq!(gate.prove(newcomer, "honest"), None);
        gate.leave(newcomer);
        assert_eq!(gate.prove(newcomer, "greedy"), None, "one that is gone ousts none");
        assert_eq!(gate.under_way(), PEER_SHARE);
    }

    #[test]
    fn who_leaves_makes_room() {
        let (mut gate, now) = (Gate::new(None), Instant::now());
        let tickets: Vec<_> =
            (0..PLACES as u32).map(|n| ticket(&gate.enter(now, source(n), n))).collect();
        gate.leave(tickets[3]);
        gate.leave(tickets[3]);
        assert_eq!(dropped(&gate.enter(now, source(1), 1)), None);
    }

    #[test]
    fn an_address_may_begin_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 10, burst: 5 };
        let (mut gate, start) = (Gate::new(Some(rate)), Instant::now());
        let mut may = |millis, source| {
            let now = start + Duration::from_millis(millis);
            matches!(gate.enter(now, source, ()), Admission::Enter { .. })
        };
        assert!((0..5).all(|_| may(0, source(1))));
        assert!(!may(0, source(1)) && !may(99, source(1)));
        assert!(may(99, source(2)), "others are not touched");
        assert!(may(100, source(1)) && !may(100, source(1)));
        assert!(may(200, source(1)) && !may(299, source(1)));
        assert!((0..5).all(|_| may(60_000, source(1))), "the burst comes back");
        assert!(!may(60_000, source(1)), "and no more than that");
    }

    #[test]
    fn memory_is_bounded_and_a_busy_address_is_not_forgotten_for_it() {
        let rate = Rate { per_second: 1, burst: 100 };
        let (mut gate, now) = (Gate::new(Some(rate)), Instant::now());
        for _ in 0..100 {
            assert!(matches!(gate.enter(now, source(0), ()), Admission::Enter { .. }));
        }
        for number in 1..5_000 {
            assert!(matches!(gate.enter(now, source(number), ()), Admission::Enter { .. }));
            assert!(gate.rates.len() <= RATES_MAX && gate.under_way() <= PLACES);
        }
        assert!(matches!(gate.enter(now, source(0), ()), Admission::TooFast));
    }

    #[test]
    fn an_address_is_its_network_under_ipv6() {
        assert_eq!(Source::of("[2001:db8::1]:5"), Source::of("[2001:db8::ffff:9]:6"));
        assert_ne!(Source::of("[2001:db8::1]:5"), Source::of("[2001:db8:0:1::1]:5"));
        assert_eq!(Source::of("10.0.0.1:5"), Source::of("[::ffff:10.0.0.1]:6"));
        assert_ne!(Source::of("10.0.0.1:5"), Source::of("10.0.0.2:5"));
        assert_eq!(Source::of("memory"), Source::Other);
    }
}
