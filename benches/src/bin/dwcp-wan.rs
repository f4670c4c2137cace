//! `dwcp-wan`: a wide area network on one machine, and DWCP beside its peers over it. Wants root.
//! Exit: 0 measured, 1 failed, 2 usage, 130 stopped.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use dwcp_benches::wan::compare::{Measurement, Options, compare, report};
use dwcp_benches::wan::data::{self, Content};
use dwcp_benches::wan::emulator::Emulator;
use dwcp_benches::wan::link::LinkSpec;
use dwcp_benches::wan::namespace::Namespace;
use dwcp_benches::wan::scenario::{Peer, Scenario};
use dwcp_benches::wan::stop::Stop;
use dwcp_benches::wan::{Wan, probe};

const USAGE: &str = "usage: dwcp-wan compare --scenario wan-incompressible|wan-compressible|wan-1g-compressible|all
           --dwcp-ctl PATH [--dwcpd PATH] [--runs 3] [--bytes 200000000] [--peers a,b] [--directory DIR] [--json FILE]
                                copies a file by DWCP and by each peer, in turns; prints the medians
       dwcp-wan data log|random BYTES FILE
                                the file that is copied
       dwcp-wan check MBIT_PER_S RTT_MS LOSS_PERCENT
                                what an emulated link really does
       dwcp-wan emulate NEAR FAR MBIT_PER_S RTT_MS LOSS_PERCENT [QUEUE_BYTES] [SEED]
                                a link between two namespaces (names of `ip netns`, or paths), until it is stopped:
                                wan0 is 10.9.0.1 in NEAR and 10.9.0.2 in FAR";

/// How it failed.
enum Failure {
    Usage(String),
    Failed(String),
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("dwcp-wan: signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match words.split_first() {
        Some((&"compare", options)) => comparison(options, &stop),
        Some((&"check", link)) => check(link),
        Some((&"data", &[content, bytes, file])) => write(content, bytes, file),
        Some((&"emulate", [near, far, link @ ..])) => emulate(near, far, link, &stop),
        _ => Err(Failure::Usage("what is to be done?".into())),
    };
    match result {
        _ if stop.is_stopped() => {
            eprintln!("dwcp-wan: stopped");
            ExitCode::from(130)
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("dwcp-wan: {message}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("dwcp-wan: {message}");
            ExitCode::FAILURE
        }
    }
}

fn number<T: FromStr>(what: &str, word: &str) -> Result<T, Failure> {
    word.parse().map_err(|_| Failure::Usage(format!("{what}: '{word}' is no such number")))
}

fn link(words: &[&str]) -> Result<LinkSpec, Failure> {
    let [rate, rtt, loss, rest @ ..] = words else {
        return Err(Failure::Usage("a link has MBIT_PER_S RTT_MS LOSS_PERCENT".into()));
    };
    let rate: f64 = number("MBIT_PER_S", rate)?;
    let rtt: f64 = number("RTT_MS", rtt)?;
    let loss: f64 = number("LOSS_PERCENT", loss)?;
    let rtt = Duration::try_from_secs_f64(rtt / 1e3)
        .map_err(|error| Failure::Usage(format!("RTT_MS: {error}")))?;
    let mut spec = LinkSpec::new((rate * 1e6) as u64, rtt, loss / 100.0).map_err(Failure::Usage)?;
    match rest {
        [] => {}
        [queue] => spec.queue_bytes = number("QUEUE_BYTES", queue)?,
        [queue, seed] => {
            spec.queue_bytes = number("QUEUE_BYTES", queue)?;
            spec.seed = number("SEED", seed)?;
        }
        _ => return Err(Failure::Usage(format!("'{}' is too much", rest[2]))),
    }
    Ok(spec)
}

fn write(content: &str, bytes: &str, file: &str) -> Result<(), Failure> {
    let content = match content {
        "log" => Content::Log,
        "random" => Content::Random,
        _ => return Err(Failure::Usage(format!("'{content}': it is log or random"))),
    };
    let written = data::write(Path::new(file), content, number("BYTES", bytes)?);
    written.map(drop).map_err(|error| Failure::Failed(format!("{file}: {error}")))
}

fn emulate(near: &str, far: &str, words: &[&str], stop: &Stop) -> Result<(), Failure> {
    let spec = link(words)?;
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    let [near, far] = [near, far].map(Namespace::open);
    let emulator = Emulator::start(&spec, &near.map_err(failed)?, &far.map_err(failed)?);
    let emulator = emulator.map_err(failed)?;
    eprintln!("dwcp-wan: {spec}, queue {} bytes; Ctrl-C ends it", spec.queue_bytes);
    while !stop.is_stopped() && !emulator.has_ended() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let [forth, back] = emulator.counts();
    eprintln!("dwcp-wan: near to far {forth:?}, far to near {back:?}");
    if stop.is_stopped() { Ok(()) } else { Err(Failure::Failed("a device has gone".into())) }
}

fn check(words: &[&str]) -> Result<(), Failure> {
    let spec = link(words)?;
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    let wan = Wan::new(&spec, None).map_err(failed)?;
    let times = probe::round_trips(&wan, 60).map_err(failed)?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (first, last) = (times[0], times[times.len() - 1]);
    println!("asked: {spec}");
    println!(
        "round trip, ms: min {:.3}, median {:.3}, max {:.3} of {}",
        ms(first),
        ms(times[times.len() / 2]),
        ms(last),
        times.len()
    );
    for share in [0.5, 0.9, 1.3] {
        let rate = spec.rate_bits_per_s as f64 * share;
        let flow = probe::flow(&wan, rate, Duration::from_secs(3)).map_err(failed)?;
        println!(
            "offered {:.1} Mbit/s: delivered {:.1} Mbit/s, {:.3} % of {} lost, {} reordered",
            flow.offered_bits_per_s / 1e6,
            flow.delivered_bits_per_s / 1e6,
            100.0 - flow.received as f64 * 100.0 / flow.sent as f64,
            flow.sent,
            flow.reordered
        );
    }
    println!("near to far: {:?}", wan.emulator.counts()[0]);
    Ok(())
}

fn comparison(words: &[&str], stop: &Stop) -> Result<(), Failure> {
    let (mut scenarios, mut json) = (None, None);
    let mut options = Options::new(PathBuf::new());
    options.stop = stop.clone();
    let mut dwcpd = None;
    let mut words = words.iter();
    while let Some(&key) = words.next() {
        let value = *words.next().ok_or_else(|| Failure::Usage(format!("{key} wants a value")))?;
        match key {
            "--scenario" => scenarios = Some(Scenario::named(value).map_err(Failure::Usage)?),
            "--dwcp-ctl" => {
                options = Options {
                    dwcpd: PathBuf::from(value).with_file_name("dwcpd"),
                    dwcp_ctl: value.into(),
                    ..options
                };
            }
            "--dwcpd" => dwcpd = Some(PathBuf::from(value)),
            "--runs" => options.runs = number("--runs", value)?,
            "--bytes" => options.bytes = number("--bytes", value)?,
            "--directory" => options.directory = Some(value.into()),
            "--json" => json = Some(value),
            "--peers" => {
                let peers = value.split(',').map(Peer::named).collect::<Result<_, _>>();
                options.peers = Some(peers.map_err(Failure::Usage)?);
            }
            _ => return Err(Failure::Usage(format!("'{key}' is no option"))),
        }
    }
    options.dwcpd = dwcpd.unwrap_or(options.dwcpd);
    let scenarios = scenarios.ok_or_else(|| Failure::Usage("--scenario is missing".into()))?;
    if options.dwcp_ctl.as_os_str().is_empty() || options.runs == 0 {
        return Err(Failure::Usage("--dwcp-ctl is missing, or --runs is 0".into()));
    }
    let mut measurements = Vec::new();
    for scenario in &scenarios {
        let found = compare(scenario, &options, &mut |line| eprintln!("{line}"));
        measurements.extend(found.map_err(|error| Failure::Failed(error.to_string()))?);
    }
    table(&measurements);
    let report = report(&scenarios, &options, &measurements);
    match json {
        None => Ok(()),
        Some(path) => std::fs::write(path, format!("{report:#}\n"))
            .map_err(|error| Failure::Failed(format!("{path}: {error}"))),
    }
}

fn table(measurements: &[Measurement]) {
    println!(
        "{:<20} {:<16} {:>10} {:>10} {:>7}",
        "scenario", "peer", "DWCP MB/s", "peer MB/s", "ratio"
    );
    for measurement in measurements {
        let (ours, theirs) = measurement.medians();
        println!(
            "{:<20} {:<16} {:>10.2} {:>10.2} {:>6.2}x",
            measurement.scenario,
            measurement.peer,
            ours / 1e6,
            theirs / 1e6,
            measurement.ratio()
        );
    }
}
