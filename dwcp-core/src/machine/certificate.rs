//! A session lives no longer than the certificates that its last handshake proved.

use std::time::Duration;

use super::*;

/// The end is announced so long before, or in the last quarter of the time there was, whichever is later.
const NOTICE: Duration = Duration::from_secs(3_600);
/// The peer's clock may be so far ahead: a session it no longer knows this shortly before the end has ended
/// for the same reason.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// When the first of both ends' certificates ends.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    ends: Time,
    /// When to tell; `None` once it is told.
    notice: Option<Time>,
}

impl Limit {
    pub(super) fn due(&self) -> Time {
        self.notice.unwrap_or(self.ends)
    }
}

impl Machine {
    /// A handshake proved certificates the first of which ends in `left`. It replaces what an earlier
    /// handshake proved: that is how a session outlives a certificate.
    pub fn handle_certificates(&mut self, now: Time, left: Duration) {
        let ends = now + left;
        let notice = now + left.saturating_sub(NOTICE.min(left / 4));
        self.certificate = Some(Limit { ends, notice: Some(notice) });
    }

    /// Time until the session ends with its certificates, if they are known.
    pub fn certificate_left(&self, now: Time) -> Option<Duration> {
        self.certificate.map(|limit| limit.ends.since(now))
    }

    /// The time at which [`check_certificates`](Self::check_certificates) has something to do.
    pub(super) fn certificate_timeout(&self) -> Option<Time> {
        self.certificate.as_ref().map(Limit::due)
    }

    /// Ends the session, or tells that its end is near. Returns whether it is over.
    pub(super) fn check_certificates(&mut self, now: Time) -> bool {
        let Some(limit) = &mut self.certificate else { return false };
        let within = limit.ends.since(now);
        if within.is_zero() {
            self.end(Closed::CertificateEnded);
            return true;
        }
        if limit.notice.take_if(|notice| *notice <= now).is_some() {
            self.events.push_back(Event::CertificateEnds { within });
        }
        false
    }

    /// Why a session is over that the peer no longer knows.
    pub(super) fn why_lost(&self, now: Time) -> Closed {
        match self.certificate_left(now) {
            Some(left) if left <= CLOCK_SLACK => Closed::CertificateEnded,
            _ => Closed::PeerRestarted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::Pool;

    const SECOND: Duration = Duration::from_secs(1);

    fn machine() -> Machine {
        Machine::new(Settings::new(Role::Dialer, Pool::new(1 << 20)))
    }

    /// Lets time pass as a driver would, and returns what was told and when, in seconds.
    fn told_until(machine: &mut Machine, end: Time) -> Vec<(u64, Event)> {
        let mut told = Vec::new();
        while let Some(due) = machine.poll_timeout().filter(|due| *due <= end) {
            machine.handle_timeout(due);
            while let Some(event) = machine.poll_event() {
                told.push((due.0 / 1_000_000_000, event));
            }
        }
        told
    }

    #[test]
    fn the_end_of_a_certificate_is_told_before_and_then_ends_the_session() {
        let mut machine = machine();
        machine.handle_certificates(Time(0), 8 * SECOND);
        let told = told_until(&mut machine, Time(0) + 20 * SECOND);
        let within = 2 * SECOND;
        let ended = Event::Closed(Closed::CertificateEnded);
        assert_eq!(told, [(6, Event::CertificateEnds { within }), (8, ended)]);
        assert!(machine.is_over());
    }

    #[test]
    fn a_long_certificate_is_told_of_an_hour_before() {
        let mut machine = machine();
        machine.handle_certificates(Time(0), 86_400 * SECOND);
        let told = told_until(&mut machine, Time(0) + 86_000 * SECOND);
        assert_eq!(told, [(82_800, Event::CertificateEnds { within: 3_600 * SECOND })]);
    }

    #[test]
    fn a_handshake_with_a_new_certificate_moves_the_end() {
        let mut machine = machine();
        machine.handle_certificates(Time(0), 8 * SECOND);
        told_until(&mut machine, Time(0) + 7 * SECOND);
        machine.handle_certificates(Time(0) + 7 * SECOND, 100 * SECOND);
        assert_eq!(told_until(&mut machine, Time(0) + 50 * SECOND), []);
        assert!(!machine.is_over());
    }

    #[test]
    fn a_peer_whose_clock_is_ahead_did_not_restart() {
        let mut machine = machine();
        machine.handle_certificates(Time(0), 100 * SECOND);
        assert_eq!(machine.why_lost(Time(0) + 90 * SECOND), Closed::PeerRestarted);
        assert_eq!(machine.why_lost(Time(0) + 96 * SECOND), Closed::CertificateEnded);
    }
}
