//! Lines about connections that came to nothing: one now and then for each cause, with what it stands for.
//! Whoever can reach a port must not be able to fill the disk with its log.

use std::time::{Duration, Instant};

/// Between two lines for the same cause.
const QUIET: Duration = Duration::from_secs(10);

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It did not secure the connection: no TLS, no certificate of ours, gone.
    NotSecured,
    /// It secured the connection, and its hello did not come or was none.
    NoHello,
    /// Its hello was understood and refused.
    Refused,
    /// It took too long.
    TimedOut,
    /// Others needed its place.
    Dropped,
    /// Its address begins too many handshakes.
    TooFast,
    /// The connection stood and could not be used.
    NotUsable,
    /// The system gave no connection: out of descriptors, say.
    NotAccepted,
}

impl Cause {
    /// How many there are.
    pub(crate) const COUNT: usize = 8;
    const ALL: [Self; Self::COUNT] = [
        Self::NotSecured,
        Self::NoHello,
        Self::Refused,
        Self::TimedOut,
        Self::Dropped,
        Self::TooFast,
        Self::NotUsable,
        Self::NotAccepted,
    ];

    /// For logs and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NotSecured => "not_secured",
            Self::NoHello => "no_hello",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Dropped => "dropped",
            Self::TooFast => "too_fast",
            Self::NotUsable => "not_usable",
            Self::NotAccepted => "not_accepted",
        }
    }
}

/// What was logged when, for each cause.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    lines: [Line; Cause::COUNT],
    totals: [u64; Cause::COUNT],
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    last: Option<Instant>,
    /// Turned away since then, without a line.
    since: u64,
}

impl Strangers {
    /// One more was turned away. If a line is due: how many had none since the last one.
    pub(super) fn count(&mut self, now: Instant, cause: Cause) -> Option<u64> {
        self.totals[cause as usize] += 1;
        let line = &mut self.lines[cause as usize];
        if line.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            line.since += 1;
            return None;
        }
        line.last = Some(now);
        Some(std::mem::take(&mut line.since))
    }

    /// How many were turned away for each cause, by its name.
    pub(super) fn totals(&self) -> [(&'static str, u64); Cause::COUNT] {
        Cause::ALL.map(|cause| (cause.name(), self.totals[cause as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_line_now_and_then_that_says_how_many_had_none() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert_eq!(strangers.count(at(0.0), Cause::NotSecured), Some(0));
        for number in 1..9_000 {
            let now = at(f64::from(number) / 1_000.0);
            assert_eq!(strangers.count(now, Cause::NotSecured), None);
        }
        assert_eq!(strangers.count(at(9.0), Cause::NotUsable), Some(0), "another cause");
        assert_eq!(strangers.count(at(10.0), Cause::NotSecured), Some(8_999));
        assert_eq!(strangers.count(at(30.0), Cause::NotSecured), Some(0));
        let totals = strangers.totals();
        assert_eq!(totals.iter().filter(|(_, total)| *total > 0).count(), 2);
        assert_eq!((totals[0], totals[6]), (("not_secured", 9_002), ("not_usable", 1)));
    }
}
