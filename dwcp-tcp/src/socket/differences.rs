//! What was asked of a socket and is not in force, with the remedy: shown with the path, and logged once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::options::{Congestion, FastOpen, InForce, Keepalive, TcpOptions};

/// Whether this system lets connections begin with data in their SYN: bit 1 as clients, bit 2 as servers.
const FAST_OPEN_SYSCTL: &str = "/proc/sys/net/ipv4/tcp_fastopen";
/// For so long what the system said of that holds: five system calls, on a file in /proc, are much for each connection.
const FAST_OPEN_AGE: Duration = Duration::from_secs(1);
/// Different lines that are remembered as logged.
const LOGGED_MAX: usize = 64;

/// Compares; each difference in words.
pub(crate) fn differences(asked: &TcpOptions, got: &InForce) -> Vec<String> {
    // A connection that began with data shows that the system does it, as far as it matters here.
    let is_unknown = asked.fast_open && got.fast_open != FastOpen::Used;
    let fast_open = is_unknown.then(fast_open_known).flatten();
    let found = [
        congestion(&asked.congestion, &got.congestion),
        buffer("sendBuffer", "wmem_max", asked.send_buffer_bytes, got.send_buffer_bytes),
        buffer("recvBuffer", "rmem_max", asked.recv_buffer_bytes, got.recv_buffer_bytes),
        fast_open.and_then(fast_open_problem),
        (asked.no_delay != got.no_delay).then(|| "noDelay is not as asked".to_owned()),
        keepalive(asked.keepalive, got.keepalive),
        asked
            .user_timeout
            .filter(|asked| got.user_timeout != Some(whole_millis(*asked)))
            .map(|asked| format!("userTimeout {asked:?} was asked, {:?} holds", got.user_timeout)),
        (asked.not_sent_low_water_bytes != got.not_sent_low_water_bytes).then(|| {
            let (asked, got) = (asked.not_sent_low_water_bytes, got.not_sent_low_water_bytes);
            format!("notSentLowWater {asked} was asked, {got} holds")
        }),
    ];
    found.into_iter().flatten().collect()
}

/// Whether a socket has what can be set on it after it has connected, but for its congestion control.
pub(super) fn is_as_asked(asked: &TcpOptions, got: &InForce) -> bool {
    let user_timeout = asked.user_timeout.map(whole_millis).filter(|time| !time.is_zero());
    got.no_delay == asked.no_delay
        && got.not_sent_low_water_bytes == asked.not_sent_low_water_bytes
        && got.user_timeout == user_timeout
        && got.keepalive == asked.keepalive.map(whole_seconds)
        && (got.quick_ack || !asked.quick_ack)
}

/// Logs each difference, unless the same was logged before by this process.
pub(crate) fn log_once(remote: &str, differences: &[String]) {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    for difference in differences {
        if logged.len() < LOGGED_MAX && logged.insert(difference.clone()) {
            tracing::warn!(remote, difference, "a socket is not as configured");
        }
    }
}

fn congestion(asked: &Congestion, got: &str) -> Option<String> {
    let Congestion::Named(name) = asked else { return None };
    (name != got).then(|| {
        format!(
            "congestionControl {name} was asked, {got} holds: load it (modprobe tcp_{name}) and allow it \
             (net.ipv4.tcp_allowed_congestion_control)"
        )
    })
}

/// The kernel counts twice what is asked, and grants more where less would not do.
fn buffer(key: &str, sysctl: &str, asked: Option<usize>, got: usize) -> Option<String> {
    let (asked, got) = (asked?, got / 2);
    (got < asked).then(|| {
        format!("{key} of {asked} bytes was asked, {got} hold: sysctl -w net.core.{sysctl}={asked}")
    })
}

/// What the system allows, or did a moment ago.
fn fast_open_known() -> Option<u32> {
    static KNOWN: Mutex<Option<(Instant, Option<u32>)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match *known {
        Some((at, allowed)) if at.elapsed() < FAST_OPEN_AGE => allowed,
        _ => known.insert((Instant::now(), fast_open_allowed(FAST_OPEN_SYSCTL))).1,
    }
}

/// What the system allows; `None` where it does not say.
fn fast_open_allowed(path: &str) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn fast_open_problem(allowed: u32) -> Option<String> {
    let what = match allowed & 3 {
        3 => return None,
        1 => "for connections that come in",
        2 => "for connections that go out",
        _ => "at all",
    };
    Some(format!(
        "fastOpen was asked, and this system does not do it {what}: sysctl -w net.ipv4.tcp_fastopen=3"
    ))
}

fn keepalive(asked: Option<Keepalive>, got: Option<Keepalive>) -> Option<String> {
    (asked.map(whole_seconds) != got)
        .then(|| format!("keepAlive {asked:?} was asked, {got:?} holds"))
}

fn whole_seconds(it: Keepalive) -> Keepalive {
    let seconds = |time: Duration| Duration::from_secs(time.as_secs());
    Keepalive { time: seconds(it.time), interval: seconds(it.interval), probes: it.probes }
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_open_wants_both_bits() {
        assert_eq!(fast_open_problem(3), None);
        assert_eq!(fast_open_problem(0x403), None);
        assert!(fast_open_problem(1).expect("half").contains("come in"));
        assert!(fast_open_problem(2).expect("half").contains("go out"));
        assert!(fast_open_problem(0).expect("off").contains("tcp_fastopen=3"));
    }

    #[test]
    fn a_buffer_that_the_kernel_cut_is_told_in_the_units_of_who_asked() {
        assert_eq!(buffer("sendBuffer", "wmem_max", None, 1), None);
        assert_eq!(buffer("sendBuffer", "wmem_max", Some(100_000), 200_000), None);
        assert_eq!(buffer("sendBuffer", "wmem_max", Some(1), 4_608), None, "more is no harm");
        let words = buffer("sendBuffer", "wmem_max", Some(64_000_000), 8 << 20).expect("cut");
        assert!(words.contains("4194304 hold") && words.contains("wmem_max=64000000"), "{words}");
    }

    #[test]
    fn a_congestion_control_that_was_refused_is_told() {
        assert_eq!(congestion(&Congestion::Auto, "cubic"), None);
        assert_eq!(congestion(&Congestion::Named("bbr".into()), "bbr"), None);
        let words = congestion(&Congestion::Named("bbr".into()), "cubic").expect("refused");
        assert!(words.contains("cubic holds") && words.contains("tcp_bbr"), "{words}");
    }
}
