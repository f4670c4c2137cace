//! A load that proves itself: redis increments one counter through the forward, one at a time, and every reply must be
//! the one before plus one. What happens meanwhile is noted every [`STEP`].

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::redis::Redis;

/// Between two notes of the timeline.
pub const STEP: Duration = Duration::from_millis(100);
/// The counter.
const KEY: &str = "dwcp:demo:counter";
/// Errors that are told in full; more are only counted.
const ERRORS_TOLD: usize = 10;
/// The metric that says how much went over the session.
const SENT: &str = "dwcp_sent_bytes_total";

#[derive(Debug, Default)]
struct Counted {
    increments: u64,
    errors: u64,
    told: Vec<String>,
    replies: Vec<u64>,
    worst_us: Vec<u64>,
}

impl Counted {
    fn error(&mut self, what: String) {
        self.errors += 1;
        if self.told.len() < ERRORS_TOLD {
            self.told.push(what);
        }
    }
}

/// Increments through `forward` for `length`, while the node's metrics are read at `admin`. Returns the timeline.
///
/// Whatever goes wrong with redis is in the result: `errors`, and `told` in words.
///
/// # Errors
/// The metrics cannot be read.
pub fn run(forward: &str, admin: &str, length: Duration) -> Result<Value, String> {
    let steps = usize::try_from(length.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX).max(1);
    let (began, start) = (SystemTime::now(), Instant::now());
    let (sent, counted) = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(admin, start, steps));
        let counted = count(forward, start, steps);
        (sampler.join(), counted)
    });
    let sent =
        sent.map_err(|_| "the sampler died")?.map_err(|error| format!("{admin}: {error}"))?;
    let began_us = began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    Ok(json!({
        "began_us": began_us, "step_ms": STEP.as_millis() as u64,
        "bytes": sent, "replies": counted.replies, "worst_us": counted.worst_us,
        "increments": counted.increments, "errors": counted.errors, "told": counted.told,
    }))
}

fn count(forward: &str, start: Instant, steps: usize) -> Counted {
    let mut counted =
        Counted { replies: vec![0; steps], worst_us: vec![0; steps], ..Counted::default() };
    if let Err(error) = increments(forward, start, &mut counted) {
        counted.error(format!("after {} increments: {error}", counted.increments));
    }
    counted
}

fn increments(forward: &str, start: Instant, counted: &mut Counted) -> io::Result<()> {
    let mut redis = Redis::connect(forward)?;
    redis.command(&["DEL", KEY])?;
    loop {
        let asked = Instant::now();
        let reply = redis.command(&["INCR", KEY])?;
        let answered = Instant::now();
        counted.increments += 1;
        if reply != counted.increments.to_string() {
            counted.error(format!("increment {} was answered {reply}", counted.increments));
        }
        let step = ((answered - start).as_millis() / STEP.as_millis()) as usize;
        let Some(replies) = counted.replies.get_mut(step) else { return Ok(()) };
        *replies += 1;
        let took_us = (answered - asked).as_micros() as u64;
        counted.worst_us[step] = counted.worst_us[step].max(took_us);
    }
}

/// Bytes that went over the node's sessions in each step.
fn sample(admin: &str, start: Instant, steps: usize) -> io::Result<Vec<u64>> {
    let mut before = sent_bytes(admin)?;
    let mut sent = Vec::with_capacity(steps);
    for step in 1..=steps {
        let due = start + STEP * u32::try_from(step).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = sent_bytes(admin)?;
        sent.push(now.saturating_sub(before));
        before = now;
    }
    Ok(sent)
}

fn sent_bytes(admin: &str) -> io::Result<u64> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut page = String::new();
    stream.take(1 << 20).read_to_string(&mut page)?;
    sum_of(&page, SENT).ok_or_else(|| io::Error::other(format!("its metrics have no {SENT}")))
}

/// The sum over all labels of the metric `name` in `page`; `None` when it is not there.
fn sum_of(page: &str, name: &str) -> Option<u64> {
    let samples = page
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.fold(None, |sum: Option<u64>, value| Some(sum.unwrap_or(0) + value))
}

/// Compares what redis itself, asked without the forward, has seen with what `load` and redis-benchmark (`requests` of
/// `SET` and of `GET`) were answered. Returns one line for each difference.
///
/// # Errors
/// Redis cannot be asked, or `load` is no result of [`run`].
pub fn audit(redis: &str, load: &Value, requests: u64) -> Result<Vec<String>, String> {
    let say = |error: io::Error| format!("{redis}: {error}");
    let mut redis_direct = Redis::connect(redis).map_err(say)?;
    let info = redis_direct.command(&["INFO", "all"]).map_err(say)?;
    let counter = redis_direct.command(&["GET", KEY]).map_err(say)?;
    let number =
        |name: &str| load[name].as_u64().ok_or_else(|| format!("the load noted no {name}"));
    Ok(differences(&info, &counter, number("increments")?, requests))
}

fn differences(info: &str, counter: &str, increments: u64, requests: u64) -> Vec<String> {
    let calls = |command: &str| {
        let line =
            info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0_u64)
    };
    let mut differences = Vec::new();
    if counter != increments.to_string() {
        differences.push(format!("the counter is {counter} after {increments} replies"));
    }
    for (command, answered) in [("incr", increments), ("set", requests), ("get", requests)] {
        let done = calls(command);
        if done != answered {
            differences.push(format!("redis did {done} {command}, {answered} were answered"));
        }
    }
    let refused = info.lines().find_map(|line| line.trim().strip_prefix("total_error_replies:"));
    if let Some(refused) = refused.filter(|count| *count != "0") {
        differences.push(format!("redis answered {refused} commands with an error"));
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    const INFO: &str = "# Commandstats\r\ncmdstat_set:calls=5,usec=9\r\ncmdstat_get:calls=5,usec=1\r\n\
        cmdstat_incr:calls=9,usec=1\r\ntotal_error_replies:0\r\n";

    #[test]
    fn a_clean_run_has_no_difference_and_each_fault_is_named() {
        assert_eq!(differences(INFO, "9", 9, 5), [""; 0]);
        for (info, counter, increments, requests, named) in [
            (INFO, "8", 9, 5, "the counter is 8 after 9 replies"),
            (INFO, "", 9, 5, "the counter is  after 9"),
            (INFO, "9", 9, 4, "redis did 5 set, 4 were answered"),
            (&INFO.replace("replies:0", "replies:2"), "9", 9, 5, "2 commands with an error"),
        ] {
            let found = differences(info, counter, increments, requests).join("\n");
            assert!(found.contains(named), "{named} in {found}");
        }
    }

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "# TYPE dwcp_sent_bytes counter\ndwcp_sent_bytes_total{peer=\"a\"} 5\n\
            dwcp_sent_bytes_total{peer=\"b\"} 7\ndwcp_sent_bytes_total_more{peer=\"b\"} 100\n";
        assert_eq!(sum_of(page, SENT), Some(12));
        assert_eq!(sum_of("", SENT), None);
    }

    /// A redis that answers increments from `first` on, and closes after `replies` of them.
    fn counter(first: u64, replies: u64) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let mut next = first;
            for line in lines {
                match line.as_str() {
                    "DEL" => stream.write_all(b":0\r\n").unwrap(),
                    "INCR" if next == first + replies => return,
                    "INCR" => {
                        write!(stream, ":{next}\r\n").unwrap();
                        next += 1;
                    }
                    _ => {}
                }
            }
        });
        address
    }

    #[test]
    fn a_reply_out_of_order_and_a_lost_connection_are_errors() {
        let lost = count(&counter(1, 3), Instant::now(), 50);
        assert_eq!((lost.increments, lost.errors), (3, 1), "{:?}", lost.told);
        assert!(lost.told[0].starts_with("after 3 increments"), "{:?}", lost.told);
        assert_eq!(lost.replies.iter().sum::<u64>(), 3);

        let skipped = count(&counter(2, 2), Instant::now(), 50);
        assert_eq!(skipped.told[0], "increment 1 was answered 2");
        assert_eq!(skipped.errors, 3, "{:?}", skipped.told);
    }
}
