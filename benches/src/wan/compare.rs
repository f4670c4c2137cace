//! DWCP beside its peers over an emulated link: whole transfers of a file, from the start of a command to its end.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::Wan;
use super::data;
use super::peers::Hosts;
use super::scenario::{Peer, Scenario, check_tools};
use super::stop::Stop;

/// The congestion control that all have.
const CONGESTION_CONTROL: &str = "bbr";
/// Between two transfers: what the last one left on the link comes out.
const PAUSE: Duration = Duration::from_millis(300);

/// How a comparison is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program `dwcp-ctl`, of a release build.
    pub dwcp_ctl: PathBuf,
    /// The program `dwcpd`, of the same build.
    pub dwcpd: PathBuf,
    /// Transfers of each; in turns, so that a busy minute of the machine meets all.
    pub runs: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// Only these, of those that the scenario has.
    pub peers: Option<Vec<Peer>>,
    /// Where keys, files and logs go while it runs, in a directory of its own; `None`: the system's place for such.
    pub directory: Option<PathBuf>,
    /// Stops it; all that was made is removed.
    pub stop: Stop,
}

impl Options {
    /// Three transfers of 200 MB each, with the programs at `dwcp_ctl` and beside it.
    pub fn new(dwcp_ctl: PathBuf) -> Self {
        let dwcpd = dwcp_ctl.with_file_name("dwcpd");
        let (peers, directory, stop) = (None, None, Stop::default());
        Self { dwcp_ctl, dwcpd, runs: 3, bytes: 200_000_000, peers, directory, stop }
    }
}

/// DWCP beside one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The peer's name.
    pub peer: &'static str,
    /// What was measured: `bytes_per_s`, of the original file, more is better.
    pub metric: &'static str,
    /// The unit of the values.
    pub unit: &'static str,
    /// DWCP's, in the order of time.
    pub ours: Vec<f64>,
    /// The peer's, in the order of time. What is computed is there once.
    pub theirs: Vec<f64>,
}

impl Measurement {
    /// Medians: ours, theirs.
    pub fn medians(&self) -> (f64, f64) {
        (median(&self.ours), median(&self.theirs))
    }

    /// Ours by theirs, of the medians: above 1 DWCP is faster.
    pub fn ratio(&self) -> f64 {
        let (ours, theirs) = self.medians();
        ours / theirs
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (ours, theirs) = self.medians();
        json!({
            "scenario": self.scenario, "peer": self.peer, "metric": self.metric, "unit": self.unit,
            "ours": self.ours, "theirs": self.theirs,
            "ours_median": ours, "theirs_median": theirs, "ratio": self.ratio(),
        })
    }
}

/// Why a comparison ended early, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompareError(String);

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CompareError {}

/// Compares in one scenario. Tells what it does by `progress`, a line each time.
///
/// # Errors
/// [`CompareError`]: it is not root, a program is missing, a transfer failed, a file arrived changed, or it was stopped.
pub fn compare(
    scenario: &Scenario,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Measurement>, CompareError> {
    measure(scenario, options, progress)
        .map_err(|error| CompareError(format!("{}: {error}", scenario.name)))
}

fn measure(
    scenario: &Scenario,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Measurement>, String> {
    let is_wanted = |peer: &Peer| options.peers.as_ref().is_none_or(|only| only.contains(peer));
    let peers: Vec<_> = scenario.peers.iter().copied().filter(is_wanted).collect();
    check_tools(&peers)?;
    for program in [&options.dwcp_ctl, &options.dwcpd] {
        if !program.is_file() {
            return Err(format!(
                "no {}; build it: cargo build --release -p dwcp-ctl",
                program.display()
            ));
        }
    }
    let link = scenario.link();
    let wan = Wan::new(&link, Some(CONGESTION_CONTROL)).map_err(|error| error.to_string())?;
    let mut directory = tempfile::Builder::new();
    let directory = match &options.directory {
        Some(place) => directory.prefix("dwcp-wan-").tempdir_in(place),
        None => directory.prefix("dwcp-wan-").tempdir(),
    };
    let directory = directory.map_err(|error| format!("a directory for the files: {error}"))?;
    let hosts = Hosts::start(&wan, options, &peers, directory.path())?;
    progress(&format!("{}: {link}, {CONGESTION_CONTROL}, {} bytes", scenario.name, options.bytes));
    let digest = data::write(&hosts.original(), scenario.content, options.bytes);
    let digest = digest.map_err(|error| format!("{}: {error}", hosts.original().display()))?;
    let timing = Timing { scenario, options, hosts: &hosts, digest };
    let mut measurements: Vec<_> = peers.iter().map(|peer| timing.empty(*peer)).collect();
    for run in 1..=options.runs {
        let ours = timing.rate("dwcp", run, progress, |hosts| hosts.dwcp())?;
        for (peer, measurement) in peers.iter().zip(&mut measurements) {
            measurement.ours.push(ours);
            match peer {
                Peer::PayloadCeiling => {
                    measurement.theirs = vec![link.payload_ceiling_bytes_per_s()];
                }
                peer => {
                    let send = |hosts: &Hosts<'_>| hosts.peer(*peer);
                    measurement.theirs.push(timing.rate(peer.name(), run, progress, send)?);
                }
            }
        }
    }
    Ok(measurements)
}

struct Timing<'a> {
    scenario: &'a Scenario,
    options: &'a Options,
    hosts: &'a Hosts<'a>,
    digest: [u8; 32],
}

impl Timing<'_> {
    fn empty(&self, peer: Peer) -> Measurement {
        Measurement {
            scenario: self.scenario.name,
            peer: peer.name(),
            metric: "bytes_per_s",
            unit: "B/s",
            ours: Vec::new(),
            theirs: Vec::new(),
        }
    }

    /// One transfer, and its proof outside the time taken. Bytes of the original a second.
    fn rate(
        &self,
        name: &str,
        run: usize,
        progress: &mut dyn FnMut(&str),
        send: impl FnOnce(&Hosts<'_>) -> Result<f64, String>,
    ) -> Result<f64, String> {
        if self.options.stop.is_stopped() {
            return Err("stopped".into());
        }
        let received = self.hosts.received();
        // What is there already would not be sent.
        let _ = fs::remove_file(&received);
        std::thread::sleep(PAUSE);
        let seconds = send(self.hosts).map_err(|error| format!("{name}: {error}"))?;
        let found = data::digest(&received)
            .map_err(|error| format!("{name}: {}: {error}", received.display()))?;
        if found != self.digest {
            return Err(format!("{name}: the file arrived changed"));
        }
        let _ = fs::remove_file(&received);
        let rate = self.options.bytes as f64 / seconds;
        let (megabytes, runs) = (rate / 1e6, self.options.runs);
        progress(&format!("  {run}/{runs} {name}: {seconds:.2} s, {megabytes:.2} MB/s"));
        Ok(rate)
    }
}

/// The result of several scenarios, for programs: `dwcp.bench-wan/v1`. `link` has an entry for each scenario.
pub fn report(scenarios: &[Scenario], options: &Options, measurements: &[Measurement]) -> Value {
    let links = scenarios.iter().map(|scenario| {
        let link = scenario.link();
        let value = json!({
            "rate_bits_per_s": link.rate_bits_per_s, "rtt_ms": link.rtt.as_secs_f64() * 1e3,
            "loss": link.loss, "queue_bytes": link.queue_bytes,
            "congestion_control": CONGESTION_CONTROL,
            "payload_ceiling_bytes_per_s": link.payload_ceiling_bytes_per_s(),
        });
        (scenario.name.to_owned(), value)
    });
    json!({
        "schema": "dwcp.bench-wan/v1",
        "bytes": options.bytes, "runs": options.runs,
        "link": links.collect::<serde_json::Map<_, _>>(),
        "measurements": measurements.iter().map(Measurement::json).collect::<Vec<_>>(),
    })
}

/// The middle one, or the mean of the two in the middle; NaN of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let measurement = Measurement {
            scenario: "s",
            peer: "p",
            metric: "bytes_per_s",
            unit: "B/s",
            ours: vec![9.0, 1.0, 6.0],
            theirs: vec![2.0, 4.0],
        };
        assert_eq!(measurement.medians(), (6.0, 3.0));
        assert_eq!(measurement.ratio(), 2.0);
        assert!(median(&[]).is_nan());
        let scenarios = Scenario::named("all").unwrap();
        let report = report(&scenarios, &Options::new("ctl".into()), &[measurement]);
        assert_eq!(report["schema"], "dwcp.bench-wan/v1");
        assert_eq!(report["measurements"][0]["ratio"], 2.0);
        assert_eq!(report["link"]["wan-compressible"]["queue_bytes"], 625_000);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let scenario = Scenario::named("wan-incompressible").unwrap()[0];
        let options = Options::new("/nowhere/dwcp-ctl".into());
        let error = compare(&scenario, &options, &mut |_| {}).unwrap_err().to_string();
        let is_told = error.contains("/nowhere/dwcp-ctl") || error.contains("apt-get install");
        assert!(is_told && error.contains("wan-incompressible"), "{error}");
    }
}
