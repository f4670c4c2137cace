//! The emulated link does what it is asked for. What a busy machine can make worse has loose bounds; what it cannot, such as a
//! packet that comes too early or a rate above the link's, has strict ones.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dwcp_benches::wan::link::LinkSpec;
use dwcp_benches::wan::{Wan, probe};

/// One after the other: they share two processors.
static TURN: Mutex<()> = Mutex::new(());

/// Notes that something cannot be tested here: it is counted and shown.
fn skip(what: &str, why: &str) {
    println!("skipped: {what}: {why}");
    if let Some(path) = std::env::var_os("DWCP_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.unwrap(), "{what}: {why}").unwrap();
    }
}

fn check(name: &str, spec: &LinkSpec) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let wan = match Wan::new(spec, Some("bbr")) {
        Ok(wan) => wan,
        Err(error) => return skip(name, &error.to_string()),
    };
    check_round_trips(&wan, spec);
    check_loss(&wan, spec);
    check_rate(&wan, spec);
    assert!(!wan.emulator.has_ended());
}

fn check_round_trips(wan: &Wan, spec: &LinkSpec) {
    let times = probe::round_trips(wan, 60).unwrap();
    let (first, median) = (times[0], times[times.len() / 2]);
    println!("{spec}: round trip min {first:?}, median {median:?} of {}", times.len());
    assert!(times.len() >= 50, "{} of 60 came back", times.len());
    assert!(first >= spec.rtt, "{first:?} is earlier than light");
    assert!(median < spec.rtt + Duration::from_millis(3), "{median:?}");
}

/// At nine tenths of the rate nothing is lost but by chance.
fn check_loss(wan: &Wan, spec: &LinkSpec) {
    let before = wan.emulator.counts()[0];
    let offered = spec.rate_bits_per_s as f64 * 0.9;
    let flow = probe::flow(wan, offered, Duration::from_secs(4)).unwrap();
    let after = wan.emulator.counts()[0];
    let (lost, dropped) = (after.lost - before.lost, after.dropped - before.dropped);
    println!("{spec}: {flow:?}, lost {lost}, dropped {dropped}");
    let (sent, p) = (flow.sent as f64, spec.loss);
    // A binomial distribution: six standard deviations, which no seed and no load reaches by chance.
    let (mean, six) = (sent * p, 6.0 * (sent * p * (1.0 - p)).sqrt());
    assert!((lost as f64 - mean).abs() <= six, "{lost} lost by chance, {mean} ± {six} asked");
    // The sockets and devices at both ends lose nothing of their own, or little on a machine that is short of time.
    let missing = (flow.sent - flow.received) as f64;
    assert!(missing >= mean - six, "{missing} missing, {mean} ± {six} asked");
    assert!(missing <= mean + six + sent * 0.02, "{missing} of {sent} missing, {mean} asked");
    assert_eq!(flow.reordered, 0);
}

/// More than the link carries comes out at its rate.
fn check_rate(wan: &Wan, spec: &LinkSpec) {
    let rate = spec.rate_bits_per_s as f64;
    let flow = probe::flow(wan, rate * 1.3, Duration::from_secs(4)).unwrap();
    let share = flow.delivered_bits_per_s / rate;
    println!("{spec}: {flow:?}, {share:.4} of the rate");
    // Packets may come out late and the last ones in time, by a few milliseconds of these seconds.
    assert!(share <= 1.02, "{share} of the rate");
    // A sender that is kept from its work offers less.
    let possible = (flow.offered_bits_per_s * (1.0 - spec.loss) / rate).min(1.0);
    assert!(share >= 0.85 * possible, "{share} of the rate, {possible} was there");
    assert_eq!(flow.reordered, 0);
}

#[test]
fn a_link_of_100_mbit_50_ms_1_percent() {
    let spec = LinkSpec::new(100_000_000, Duration::from_millis(50), 0.01).unwrap();
    check("a link of 100 Mbit/s", &spec);
}

#[test]
fn a_link_of_1_gbit_20_ms_01_percent() {
    let spec = LinkSpec::new(1_000_000_000, Duration::from_millis(20), 0.001).unwrap();
    check("a link of 1 Gbit/s", &spec);
}
