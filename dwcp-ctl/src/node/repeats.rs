//! Holds back log lines that say the same again and again: anybody who can reach a port can cause them.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long a line is not said again.
const SPAN: Duration = Duration::from_secs(10);
/// Causes that are told apart; beyond, only places in the program are.
const CAUSES_MAX: usize = 256;
/// Most bytes of what tells causes apart.
const WORDS_MAX: usize = 400;
/// Target of lines that are said every time.
pub(super) const EVERY_TIME: &str = "dwcp::every_time";
/// What differs from one stranger to the next and is no other cause.
const NO_CAUSE: [&str; 5] = ["address", "from", "path", "remote", "session"];

/// What makes two lines the same: the place in the program, and its words without what only says who.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Cause {
    place: Identifier,
    words: String,
}

struct Said {
    since: Instant,
    again: u64,
    message: String,
}

/// Lines that were held back, said as one.
#[derive(Debug, PartialEq, Eq)]
struct Again {
    times: u64,
    message: String,
}

/// Knows what was said lately.
#[derive(Default)]
pub(super) struct Repeats {
    said: Mutex<HashMap<Cause, Said>>,
}

/// Lets the first warning or error of each cause through in each span of time, and counts the others.
pub(super) struct RepeatFilter {
    repeats: Arc<Repeats>,
    now: fn() -> Instant,
}

impl RepeatFilter {
    pub(super) fn new(repeats: Arc<Repeats>) -> Self {
        Self { repeats, now: Instant::now }
    }
}

impl<S: Subscriber> Layer<S> for RepeatFilter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == EVERY_TIME {
            return true;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let cause = Cause { place: metadata.callsite(), words: words.cause };
        self.repeats.is_news(cause, words.message, (self.now)())
    }
}

impl Repeats {
    fn is_news(&self, mut cause: Cause, message: String, now: Instant) -> bool {
        let mut said = self.lock();
        if said.len() >= CAUSES_MAX && !said.contains_key(&cause) {
            cause.words.clear();
        }
        match said.get_mut(&cause) {
            Some(known) if now.saturating_duration_since(known.since) < SPAN => {
                known.again += 1;
                false
            }
            Some(known) => {
                known.since = now;
                true
            }
            None => {
                said.insert(cause, Said { since: now, again: 0, message });
                true
            }
        }
    }

    /// What was held back of causes whose span is over at `now`. They are forgotten.
    fn take(&self, now: Instant) -> Vec<Again> {
        let mut all = Vec::new();
        self.lock().retain(|_, said| {
            let is_over = now.saturating_duration_since(said.since) >= SPAN;
            if is_over && said.again > 0 {
                let message = std::mem::take(&mut said.message);
                all.push(Again { times: said.again, message });
            }
            !is_over
        });
        all
    }

    /// Says from time to time what was held back.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn report(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SPAN / 2).await;
            self.say(Instant::now());
        }
    }

    /// Says all that is held back: the log ends here.
    pub(super) fn report_last(&self) {
        self.say(Instant::now() + SPAN);
    }

    fn say(&self, now: Instant) {
        for Again { times, message } in self.take(now) {
            warn!(target: EVERY_TIME, times, "again, and not shown each time: {message}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Cause, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a line's fields.
#[derive(Default)]
struct Words {
    message: String,
    cause: String,
}

impl Words {
    fn note(&mut self, name: &str, value: &str) {
        let is_text = name == "message" || name == "error";
        if name == "message" {
            self.message = value.to_owned();
        }
        if NO_CAUSE.contains(&name) || self.cause.len() > WORDS_MAX {
            return;
        }
        // Numbers in running text are addresses, ports and counts of this one time.
        let _ = write!(self.cause, "{name}=");
        let kept = value.chars().filter(|c| !(is_text && c.is_ascii_digit()));
        self.cause.extend(kept.take(WORDS_MAX));
        self.cause.push(';');
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::LazyLock;

    use tracing::info;
    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One moment, however long the test takes.
    fn moment() -> Instant {
        static MOMENT: LazyLock<Instant> = LazyLock::new(Instant::now);
        *MOMENT
    }

    #[test]
    fn the_first_of_each_cause_is_said_and_the_others_are_counted() {
        let (page, repeats) = (Page::default(), Arc::<Repeats>::default());
        let writer = page.clone();
        let layer = fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let filter = RepeatFilter { repeats: repeats.clone(), now: moment };
        let log = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::with_default(log, || {
            for port in 0..100 {
                let error = format!("10.0.0.1:{port}: no hello");
                warn!(address = port, error, "turned away");
                info!("information is not held back");
                warn!(target: EVERY_TIME, "nor is this");
            }
            for peer in ["b", "c"] {
                warn!(peer, "another cause");
            }
            assert!(repeats.take(moment()).is_empty(), "not yet");
            repeats.report_last();
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
        assert_eq!(count("turned away error") + count("turned away address"), 1, "{text}");
        assert_eq!(count("information"), 100);
        assert_eq!(count("nor is this"), 100);
        assert_eq!(count("another cause"), 2);
        assert_eq!(count("not shown each time: turned away times=99"), 1, "{text}");
    }

    #[test]
    fn a_flood_of_causes_is_bounded_and_a_later_span_begins_anew() {
        let repeats = Repeats::default();
        let place = || Identifier(&CALLSITE);
        let cause = |number: usize| Cause { place: place(), words: number.to_string() };
        let now = Instant::now();
        let news = (0..10_000).filter(|number| repeats.is_news(cause(*number), "x".into(), now));
        assert_eq!(news.count(), CAUSES_MAX + 1);
        assert_eq!(repeats.lock().len(), CAUSES_MAX + 1);
        let later = now + SPAN;
        assert!(repeats.is_news(cause(0), "x".into(), later));
        let held = repeats.take(later);
        let wanted = Again { times: 10_000 - CAUSES_MAX as u64 - 1, message: "x".into() };
        assert_eq!(held, [wanted]);
        assert_eq!(repeats.lock().len(), 1, "only what was said just now");
    }

    static CALLSITE: Place = Place;
    struct Place;
    impl tracing::Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &tracing::Metadata<'_> {
            unreachable!("only its address counts")
        }
    }
}
