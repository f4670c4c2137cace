//! `dwcp-clear`: one direction of a session whose records are checked and not encrypted, between two processes of this
//! machine. No TCP path of a node is like that (encryption may be left out on trusted media only): this says that the loopback
//! is one, to show what a session costs beside the encryption.
//! Prints one line of JSON, `dwcp.bench-clear/v1`. Exit: 0 measured, 1 failed, 2 usage.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use dwcp_benches::clear;

const USAGE: &str = "usage: dwcp-clear [--size BYTES] [--seconds N] [--cores A,B]";

struct Options {
    size: usize,
    seconds: f64,
    cores: Option<[usize; 2]>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.first().map(String::as_str) {
        Some("serve") => clear::serve(words.get(1).and_then(|core| core.parse().ok())),
        _ => match parse(&words) {
            Ok(options) => measure(&options),
            Err(message) => {
                eprintln!("dwcp-clear: {message}\n{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dwcp-clear: {message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options { size: 1 << 20, seconds: 2.0, cores: None };
    for pair in words.chunks(2) {
        let [word, value] = pair else { return Err(format!("'{}' needs a value", pair[0])) };
        let wrong = || format!("{word} {value}: not a number that can be");
        match word.as_str() {
            "--size" => {
                let size = value.parse().ok().filter(|size| (8..=16 << 20).contains(size));
                options.size = size.ok_or_else(wrong)?;
            }
            "--seconds" => {
                let seconds = value.parse().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
                options.seconds = seconds.ok_or_else(wrong)?;
            }
            "--cores" => {
                let (near, far) = value.split_once(',').ok_or_else(wrong)?;
                let core = |text: &str| text.parse().map_err(|_| wrong());
                options.cores = Some([core(near)?, core(far)?]);
            }
            _ => return Err(format!("unknown option '{word}'")),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some([_, far]) = options.cores {
        command.arg(far.to_string());
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next().and_then(Result::ok).ok_or("the other process ended at once")?;
    let duration = Duration::from_secs_f64(options.seconds);
    let near = options.cores.map(|[near, _]| near);
    let result = clear::measure(&first, options.size, duration, near);
    drop(child.stdin.take()); // at which it ends
    let _ = child.wait();
    println!("{}", result?);
    Ok(())
}
