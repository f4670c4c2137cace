//! One direction of an emulated link, as a state machine without I/O or clock: random loss, then a rate with a queue of
//! limited length in front of it, then a constant delay.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::demo::dataset::Noise;

/// What a link does to packets, in each of its directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSpec {
    /// Bits a second, of whole IP packets.
    pub rate_bits_per_s: u64,
    /// Round trip of an empty link: half of it each way.
    pub rtt: Duration,
    /// The share of packets that are lost, each by itself, 0 to 1.
    pub loss: f64,
    /// The most that waits for the rate, bytes: what comes then is dropped.
    pub queue_bytes: u64,
    /// Which packets are lost.
    pub seed: u64,
}

impl LinkSpec {
    /// A link with a queue of one bandwidth-delay product (and of 64 KiB at least) and seed 1.
    ///
    /// # Errors
    /// Words for people, if a value is none that a link can have.
    pub fn new(rate_bits_per_s: u64, rtt: Duration, loss: f64) -> Result<Self, String> {
        if !(100_000..=10_000_000_000).contains(&rate_bits_per_s) {
            return Err(format!(
                "a rate of {rate_bits_per_s} bit/s; give 100000 to 10000000000 (0.1 Mbit/s to 10 Gbit/s)"
            ));
        }
        if !(0.0..=0.5).contains(&loss) {
            return Err(format!("a loss of {loss}; give a share from 0 to 0.5"));
        }
        if rtt > Duration::from_secs(10) {
            return Err(format!("a round trip of {rtt:?}; give 10 s at most"));
        }
        let bdp_bytes = (rate_bits_per_s as f64 / 8.0 * rtt.as_secs_f64()) as u64;
        Ok(Self { rate_bits_per_s, rtt, loss, queue_bytes: bdp_bytes.max(64 * 1024), seed: 1 })
    }

    /// The most payload that one TCP connection can carry, bytes a second: packets of 1500 bytes with 1448 of payload
    /// (IPv4 with timestamps), each lost packet sent once more.
    pub fn payload_ceiling_bytes_per_s(&self) -> f64 {
        self.rate_bits_per_s as f64 / 8.0 * 1448.0 / 1500.0 * (1.0 - self.loss)
    }
}

impl fmt::Display for LinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, loss) = (self.rate_bits_per_s as f64 / 1e6, self.loss * 100.0);
        write!(f, "{rate} Mbit/s, {} ms, {loss} % loss", self.rtt.as_secs_f64() * 1e3)
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at the time given, ns.
    Delivered(u64),
    /// By chance.
    Lost,
    /// The queue was full.
    Dropped,
}

/// One direction. Times are nanoseconds of any clock that never goes back. `P` is the packet itself.
///
/// The rate is kept by a virtual clock: no token is counted and nothing is rounded to ticks, so what comes out has the
/// spacing that a wire of that rate would give it.
#[derive(Debug)]
pub struct Link<P> {
    rate_bits_per_s: u64,
    delay_ns: u64,
    /// Of 2^32.
    loss: u64,
    queue_ns: u64,
    noise: Noise,
    /// When the last byte taken so far has left the sender's end.
    free_ns: u64,
    under_way: VecDeque<(u64, P)>,
}

impl<P> Link<P> {
    /// One direction of a link; the two directions of a link have different numbers, and lose different packets.
    pub fn new(spec: &LinkSpec, direction: u64) -> Self {
        let loss = (spec.loss * (1_u64 << 32) as f64).round() as u64;
        Self {
            rate_bits_per_s: spec.rate_bits_per_s,
            delay_ns: ns(spec.rtt) / 2,
            loss,
            queue_ns: wire_ns(spec.queue_bytes, spec.rate_bits_per_s),
            noise: Noise(spec.seed.wrapping_mul(2).wrapping_add(direction)),
            free_ns: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Takes a packet of `bytes`. Gives it back if it goes no further.
    pub fn offer(&mut self, now_ns: u64, bytes: usize, packet: P) -> (Fate, Option<P>) {
        if self.noise.next() >> 32 < self.loss {
            return (Fate::Lost, Some(packet));
        }
        let begin_ns = self.free_ns.max(now_ns);
        let end_ns = begin_ns + wire_ns(bytes as u64, self.rate_bits_per_s);
        // The packet that is on the wire waits no longer; all behind it has to fit.
        if begin_ns > now_ns && end_ns - now_ns > self.queue_ns {
            return (Fate::Dropped, Some(packet));
        }
        self.free_ns = end_ns;
        let due_ns = end_ns + self.delay_ns;
        self.under_way.push_back((due_ns, packet));
        (Fate::Delivered(due_ns), None)
    }

    /// The next packet that has come out by `now_ns`; in the order in which they were taken.
    pub fn take_due(&mut self, now_ns: u64) -> Option<P> {
        let is_due = self.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns);
        if is_due { self.under_way.pop_front().map(|(_, packet)| packet) } else { None }
    }

    /// When the next packet comes out, ns.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.under_way.front().map(|(due_ns, _)| *due_ns)
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How long `bytes` take at that rate.
fn wire_ns(bytes: u64, rate_bits_per_s: u64) -> u64 {
    let ns = u128::from(bytes) * 8_000_000_000 / u128::from(rate_bits_per_s);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// 100 Mbit/s, 25 ms each way, a packet of 1500 bytes takes 120 us; the queue holds 10 ms, 83 packets.
    fn spec(loss: f64) -> LinkSpec {
        let spec = LinkSpec::new(100_000_000, Duration::from_millis(50), loss).unwrap();
        LinkSpec { queue_bytes: 125_000, ..spec }
    }

    #[test]
    fn a_lone_packet_takes_its_wire_time_and_the_delay() {
        let mut link = Link::new(&spec(0.0), 0);
        assert_eq!(link.offer(7, 1500, 'a'), (Fate::Delivered(7 + 120_000 + 25 * MS), None));
        assert_eq!(link.next_due_ns(), Some(25_120_007));
        assert_eq!(link.take_due(25_120_006), None);
        assert_eq!(link.take_due(25_120_007), Some('a'));
        assert_eq!((link.take_due(u64::MAX), link.next_due_ns()), (None, None));
        // After a pause the wire is free again, and no rate was saved up.
        assert_eq!(link.offer(90 * MS, 750, 'b').0, Fate::Delivered(115 * MS + 60_000));
        assert_eq!(link.offer(90 * MS, 750, 'c').0, Fate::Delivered(115 * MS + 120_000));
    }

    #[test]
    fn a_burst_comes_out_in_order_at_the_rate() {
        let mut link = Link::new(&spec(0.0), 0);
        for number in 0..80 {
            assert!(matches!(link.offer(0, 1500, number), (Fate::Delivered(_), None)));
        }
        for number in 0..80 {
            let due_ns = link.next_due_ns().unwrap();
            assert_eq!(due_ns, 25 * MS + (number + 1) * 120_000);
            assert_eq!(link.take_due(due_ns - 1), None);
            assert_eq!(link.take_due(due_ns), Some(number));
        }
    }

    #[test]
    fn the_queue_holds_what_it_should_and_drops_the_tail() {
        let mut link = Link::new(&spec(0.0), 0);
        let fates: Vec<_> = (0..100).map(|number| link.offer(0, 1500, number).0).collect();
        let taken = fates.iter().take_while(|fate| matches!(fate, Fate::Delivered(_))).count();
        assert_eq!(taken, 83, "10 ms of 120 us");
        assert!(fates[83..].iter().all(|fate| *fate == Fate::Dropped), "{fates:?}");
        // A packet's time later there is room for one, and not for two.
        assert!(matches!(link.offer(120_000, 1500, 0).0, Fate::Delivered(_)));
        assert_eq!(link.offer(120_000, 1500, 0), (Fate::Dropped, Some(0)));
        // A queue that is too small for any packet still has the wire.
        let mut wire = Link::new(&LinkSpec { queue_bytes: 0, ..spec(0.0) }, 0);
        assert!(matches!(wire.offer(0, 1500, 0).0, Fate::Delivered(_)));
        assert_eq!(wire.offer(0, 1500, 0).0, Fate::Dropped);
    }

    #[test]
    fn what_is_offered_above_the_rate_comes_out_at_the_rate() {
        let mut link = Link::new(&spec(0.0), 0);
        // 130 Mbit/s for a second.
        let delivered = (0..10_833_u64)
            .filter(|number| matches!(link.offer(number * 92_308, 1500, ()).0, Fate::Delivered(_)))
            .count();
        let bits = delivered as f64 * 12_000.0;
        assert!(
            (bits - 101e6).abs() < 0.2e6,
            "{bits}: the rate and what the queue holds at the end"
        );
    }

    #[test]
    fn the_seed_decides_what_is_lost() {
        let lost = |seed, direction| {
            let mut link = Link::new(&LinkSpec { seed, ..spec(0.01) }, direction);
            let is_lost = |number: &u64| link.offer(number * MS, 100, ()).0 == Fate::Lost;
            (0..100_000).filter(is_lost).collect::<Vec<_>>()
        };
        let first = lost(1, 0);
        // Five standard deviations of 100,000 at 1 %.
        assert!(first.len().abs_diff(1000) < 158, "{}", first.len());
        assert_eq!(first, lost(1, 0));
        assert_ne!(first, lost(1, 1));
        assert_ne!(first, lost(2, 0));
        let mut none = Link::new(&spec(0.0), 0);
        assert!((0..10_000).all(|number| none.offer(number * MS, 100, ()).0 != Fate::Lost));
    }

    #[test]
    fn values_that_no_link_has_are_refused_by_name() {
        let rtt = Duration::from_millis(50);
        assert!(LinkSpec::new(0, rtt, 0.0).unwrap_err().contains("rate of 0 bit/s"));
        assert!(LinkSpec::new(1_000_000, rtt, 0.9).unwrap_err().contains("loss of 0.9"));
        assert!(LinkSpec::new(1_000_000, rtt, f64::NAN).is_err());
        assert!(LinkSpec::new(1_000_000, rtt * 1000, 0.0).unwrap_err().contains("round trip"));
        let spec = LinkSpec::new(100_000_000, rtt, 0.01).unwrap();
        assert_eq!(spec.queue_bytes, 625_000);
        assert!((spec.payload_ceiling_bytes_per_s() - 11_946_000.0).abs() < 1.0);
        assert_eq!(spec.to_string(), "100 Mbit/s, 50 ms, 1 % loss");
    }
}
