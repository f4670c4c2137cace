//! `dwcp-bench-peers`: DWCP beside its peers, in one run. Called by `.ci/bench-peers` and `.ci/bench-base`.
//! Exit: 0 measured, 1 something could not be measured, 2 usage; with `--base`: 3 slower than the other revision.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use dwcp_benches::beside::rows::{Row, metric, report};
use dwcp_benches::beside::run::{Programs, our_figure, output, their_figure};
use dwcp_benches::beside::scenario::{CPU_MESSAGE, Metric, Program, SCENARIOS, Scenario};
use dwcp_benches::beside::{picture, quiet, table};
use serde_json::{Value, json};

const USAGE: &str = "usage: dwcp-bench-peers [OPTION...]
  --ctl FILE, --clear FILE   programs of ours (default: beside this one)
  --peer-bench FILE          the peers' program
  --wan FILE                 dwcp-wan, for what goes over a wide area network; without it that is left out
  --base FILE                another dwcp-ctl, in the place of all peers: is this one slower?
  --out DIR                  for peers.json, peers.md and peers.svg (default: target/bench)
  --document FILE            whose table is replaced
  --only NAME,...            scenarios (default: all)
  --rounds N                 each measured so often, interleaved (default 5)
  --seconds N                each time (default 2)
  --cores A,B                processors of both ends (default 0,1)
  --realtime                 before all other work of those processors; needs root
  --impatient                do not wait for an idle machine";

struct Options {
    programs: Programs,
    wan: Option<PathBuf>,
    base: Option<PathBuf>,
    out: PathBuf,
    document: Option<PathBuf>,
    only: Option<Vec<String>>,
    rounds: u32,
    is_impatient: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&words) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("dwcp-bench-peers: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(&options) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("dwcp-bench-peers: {message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[String]) -> Result<Options, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = |name: &str| own.with_file_name(name);
    let mut options = Options {
        programs: Programs {
            ctl: beside("dwcp-ctl"),
            clear: beside("dwcp-clear"),
            peers: beside("peer-bench"),
            seconds: 2.0,
            cores: [0, 1],
            is_realtime: false,
        },
        wan: None,
        base: None,
        out: "target/bench".into(),
        document: None,
        only: None,
        rounds: 5,
        is_impatient: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--realtime" => options.programs.is_realtime = true,
            "--impatient" => options.is_impatient = true,
            _ => {
                let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
                set(&mut options, word, value)?;
            }
        }
    }
    Ok(options)
}

fn set(options: &mut Options, word: &str, value: &str) -> Result<(), String> {
    let wrong = || format!("{word} {value}: not a number that can be");
    match word {
        "--ctl" => options.programs.ctl = value.into(),
        "--clear" => options.programs.clear = value.into(),
        "--peer-bench" => options.programs.peers = value.into(),
        "--wan" => options.wan = Some(value.into()),
        "--base" => options.base = Some(value.into()),
        "--out" => options.out = value.into(),
        "--document" => options.document = Some(value.into()),
        "--only" => options.only = Some(value.split(',').map(str::to_owned).collect()),
        "--rounds" => {
            let rounds = value.parse().ok().filter(|rounds| (1..=100).contains(rounds));
            options.rounds = rounds.ok_or_else(wrong)?;
        }
        "--seconds" => {
            let seconds = value.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
            options.programs.seconds = seconds.ok_or_else(wrong)?;
        }
        "--cores" => {
            let (near, far) = value.split_once(',').ok_or_else(wrong)?;
            let core = |text: &str| text.parse().map_err(|_| wrong());
            options.programs.cores = [core(near)?, core(far)?];
        }
        _ => return Err(format!("unknown option '{word}'")),
    }
    Ok(())
}

impl Options {
    fn scenarios(&self) -> impl Iterator<Item = &'static Scenario> {
        let has_base = self.base.is_some();
        SCENARIOS.iter().filter(move |one| {
            let is_ours = !has_base || (one.program == Program::Ctl && one.rounds_max == 0);
            is_ours && self.wants(one.name)
        })
    }

    fn wants(&self, scenario: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == scenario))
    }
}

/// What has been measured, and what could not be.
#[derive(Default)]
struct Found {
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Found {
    fn put(&mut self, scenario: &str, peer: &str, metric: Metric, ours: f64, theirs: f64) {
        let is_it =
            |row: &&mut Row| row.scenario == scenario && row.peer == peer && row.metric == metric;
        let row = match self.rows.iter_mut().find(is_it) {
            Some(row) => row,
            None => {
                let (scenario, peer) = (scenario.to_owned(), peer.to_owned());
                let (ours, theirs) = (Vec::new(), Vec::new());
                self.rows.push(Row { scenario, peer, metric, ours, theirs });
                self.rows.last_mut().expect("just pushed")
            }
        };
        row.ours.push(ours);
        row.theirs.push(theirs);
    }

    fn fail(&mut self, message: String) {
        eprintln!("  {message}");
        self.failures.push(message);
    }
}

fn measure(options: &Options) -> Result<ExitCode, String> {
    let mut say = |text: &str| eprintln!("{text}");
    let load = if options.is_impatient { quiet::load() } else { quiet::wait(&mut say) };
    let is_noisy = !matches!(load.partial_cmp(&quiet::LOAD_MAX), Some(std::cmp::Ordering::Less));
    if is_noisy {
        say(&format!("load {load}: the machine is not idle; the report says so"));
    }
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let (began, mut found) = (Instant::now(), Found::default());
    for round in 0..options.rounds {
        for scenario in options.scenarios() {
            if scenario.rounds_max == 0 || round < scenario.rounds_max {
                let (round, of) = (round + 1, options.rounds);
                let seconds = began.elapsed().as_secs();
                say(&format!("[{seconds:4} s] round {round} of {of}: {}", scenario.name));
                one_round(options, scenario, &mut found);
            }
        }
    }
    if let Some(wan) = &options.wan {
        over_wan(options, wan, &mut found);
    }
    let machine = machine(options, load, is_noisy);
    write(options, &report(&machine, &found.rows), &found.rows)?;
    println!("{}", table::markdown(&found.rows));
    println!("{} s, {} rows{}", began.elapsed().as_secs(), found.rows.len(), noisy(is_noisy));
    found.failures.iter().for_each(|failure| println!("not measured: {failure}"));
    Ok(judge(options, &found))
}

fn noisy(is_noisy: bool) -> &'static str {
    if is_noisy { "; NOISY: other work ran on this machine" } else { "" }
}

/// With another revision of ours: whether this one is slower, beyond what rounds differ by.
fn judge(options: &Options, found: &Found) -> ExitCode {
    if !found.failures.is_empty() || found.rows.is_empty() {
        return ExitCode::FAILURE;
    }
    let is_slower = |row: &&Row| {
        let band = row.spread().max(0.05);
        !row.reaches(match row.metric.better {
            dwcp_benches::beside::scenario::Better::Higher => 1.0 - band,
            dwcp_benches::beside::scenario::Better::Lower => 1.0 + band,
        })
    };
    let slower: Vec<&Row> = match options.base {
        Some(_) => found.rows.iter().filter(is_slower).collect(),
        None => Vec::new(),
    };
    for row in &slower {
        let (name, ratio, band) = (row.metric.name, row.ratio(), row.spread() * 100.0);
        println!(
            "slower: {} {name}: {ratio:.3} times the base, rounds differ by {band:.0} %",
            row.scenario
        );
    }
    if slower.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// Ours, then each peer, once.
fn one_round(options: &Options, scenario: &Scenario, found: &mut Found) {
    let ours = match options.programs.ours(scenario, &[]) {
        Ok(ours) => ours,
        Err(error) => return found.fail(format!("{}: {error}", scenario.name)),
    };
    let peers: &[&str] = if options.base.is_some() { &["base"] } else { scenario.peers };
    for peer in peers {
        let theirs = match &options.base {
            None => options.programs.theirs(scenario, peer),
            Some(base) => {
                Programs { ctl: base.clone(), ..options.programs.clone() }.ours(scenario, &[])
            }
        };
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(error) => {
                found.fail(format!("{} beside {peer}: {error}", scenario.name));
                continue;
            }
        };
        let figure = |metric| match &options.base {
            None => their_figure(metric, &theirs),
            Some(_) => our_figure(metric, &theirs),
        };
        for &metric in scenario.metrics {
            match (our_figure(metric, &ours), figure(metric)) {
                (Some(one), Some(other)) => found.put(scenario.name, peer, metric, one, other),
                _ => found.fail(format!("{} beside {peer}: no {}", scenario.name, metric.name)),
            }
        }
        if scenario.name == "pingpong-64" && *peer == "tokio-rustls" {
            equal_load(options, scenario, peer, &theirs, found);
        }
    }
}

/// Processor time for each message at the rate that the peer had: whoever is faster does more in the same time.
fn equal_load(
    options: &Options,
    scenario: &Scenario,
    peer: &str,
    theirs: &Value,
    found: &mut Found,
) {
    let number = |name: &str| theirs[name].as_f64();
    let Some((count, seconds)) = number("count").zip(number("seconds")) else {
        return found.fail(format!("{}: {peer} tells no rate to compare at", scenario.name));
    };
    let rate = format!("{:.0}", count / seconds);
    match options.programs.ours(scenario, &["--rate".to_owned(), rate]) {
        Ok(ours) => {
            if let (Some(one), Some(other)) =
                (our_figure(CPU_MESSAGE, &ours), their_figure(CPU_MESSAGE, theirs))
            {
                found.put(scenario.name, peer, CPU_MESSAGE, one, other);
            } else {
                found.fail(format!("{} at the rate of {peer}: no figure", scenario.name));
            }
        }
        Err(error) => found.fail(format!("{} at the rate of {peer}: {error}", scenario.name)),
    }
}

fn over_wan(options: &Options, program: &Path, found: &mut Found) {
    const LIMIT: Duration = Duration::from_secs(1_200);
    for scenario in ["wan-incompressible", "wan-compressible", "wan-1g-compressible"] {
        if !options.wants(scenario) {
            continue;
        }
        eprintln!("{scenario}: three rounds");
        // What it starts is many processes, and none of them is to come before all others.
        let mut command = Command::new("chrt");
        command.args(["-o", "0"]).arg(program);
        let file = options.out.join(format!("{scenario}.json"));
        command.args(["compare", "--scenario", scenario, "--runs", "3", "--json"]).arg(&file);
        command.arg("--dwcp-ctl").arg(&options.programs.ctl);
        let written = output(command, LIMIT).and_then(|_| {
            let text = std::fs::read_to_string(&file);
            text.map_err(|error| format!("{}: {error}", file.display()))
        });
        let text = match written {
            Ok(text) => text,
            Err(error) => {
                found.fail(format!("{scenario}: {error}"));
                continue;
            }
        };
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let measurements = value["measurements"].as_array().cloned().unwrap_or_default();
        if measurements.is_empty() {
            found.fail(format!("{scenario}: no figures in {}", file.display()));
        }
        for one in measurements {
            let figures = |name: &str| -> Vec<f64> {
                let list = one[name].as_array().cloned().unwrap_or_default();
                list.iter().filter_map(Value::as_f64).collect()
            };
            let (peer, name) = (one["peer"].as_str(), one["metric"].as_str());
            let (Some(peer), Some(metric)) = (peer, name.and_then(metric)) else {
                found.fail(format!("{scenario}: a figure without peer or known metric: {one}"));
                continue;
            };
            for (ours, theirs) in figures("ours").into_iter().zip(figures("theirs")) {
                found.put(scenario, peer, metric, ours, theirs);
            }
        }
    }
}

/// Where it was measured: figures without it mean nothing.
fn machine(options: &Options, load: f64, is_noisy: bool) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let version = Command::new(&options.programs.ctl).arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    json!({
        "cpu": model,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "congestion": "cubic on the loopback, bbr over wide area networks",
        "cores": options.programs.cores,
        "realtime": options.programs.is_realtime,
        "seconds": options.programs.seconds,
        "rounds": options.rounds,
        "load_before": if load.is_nan() { Value::Null } else { json!(load) },
        "noisy": is_noisy,
        "dwcp": version.unwrap_or_default(),
    })
}

fn write(options: &Options, report: &Value, rows: &[Row]) -> Result<(), String> {
    let failed = |path: &Path, error: &std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&options.out).map_err(|error| failed(&options.out, &error))?;
    let table = table::markdown(rows);
    let picture = picture::svg("DWCP beside its peers: further right is better for DWCP", rows);
    let pretty = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
    for (name, text) in
        [("peers.json", pretty), ("peers.md", table.clone()), ("peers.svg", picture)]
    {
        let path = options.out.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    }
    if let Some(document) = &options.document {
        let text = std::fs::read_to_string(document).map_err(|error| failed(document, &error))?;
        let text = table::replace(&text, &table)
            .map_err(|error| format!("{}: {error}", document.display()))?;
        std::fs::write(document, text).map_err(|error| failed(document, &error))?;
    }
    Ok(())
}
