//! `dwcp-demo`: the parts of `make demo` that are not the product. Called by `.ci/demo`.
//! Exit: 0 done, 1 something is wrong, 2 usage.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use dwcp_benches::demo::{dataset, events, load, picture, report, table};
use serde_json::Value;

const USAGE: &str = "usage: dwcp-demo dataset DIR BYTES     makes a set of files
       dwcp-demo verify ORIGINAL COPY    compares by SHA-256; prints the facts 'bytes' and 'sha256_ok'
       dwcp-demo ports COUNT             prints so many free TCP ports of 127.0.0.1
       dwcp-demo pick KEY POINTER        prints 'KEY number' from the JSON on standard input
       dwcp-demo load FORWARD ADMIN SECONDS
                                         counts in redis through FORWARD; prints the timeline as JSON
       dwcp-demo audit REDIS LOAD REQUESTS
                                         compares with what redis has seen; prints the fact 'redis_errors'
       dwcp-demo report FACTS LOAD LOG REPORT
                                         writes the report, prints the table, judges the run
       dwcp-demo picture REPORT SVG      draws the report";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["dataset", directory, bytes] => dataset(directory, bytes),
        ["verify", original, copy] => verify(original, copy),
        ["ports", count] => ports(count),
        ["pick", key, pointer] => pick(key, pointer),
        ["load", forward, admin, seconds] => count(forward, admin, seconds),
        ["audit", redis, load, requests] => audit(redis, load, requests),
        ["report", facts, load, log, report] => judge(facts, load, log, report),
        ["picture", report, svg] => draw(report, svg),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dwcp-demo: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dataset(directory: &str, bytes: &str) -> Result<(), String> {
    let bytes = bytes.parse().map_err(|_| format!("'{bytes}' is not a number of bytes"))?;
    dataset::make(Path::new(directory), bytes, 1).map_err(|error| {
        format!("{directory}: {error}; free space, or name another place in DWCP_DEMO_DIR")
    })?;
    Ok(())
}

fn verify(original: &str, copy: &str) -> Result<(), String> {
    let found = dataset::compare(Path::new(original), Path::new(copy))
        .map_err(|error| format!("{copy}: {error}"))?;
    let is_whole = u8::from(found.differences.is_empty());
    println!("files {}\nbytes {}\nsha256_ok {is_whole}", found.files, found.bytes);
    if found.differences.is_empty() { Ok(()) } else { Err(found.differences.join("\n")) }
}

/// All are held until all are found, so that no two are the same.
fn ports(count: &str) -> Result<(), String> {
    let count: usize = count.parse().map_err(|_| format!("'{count}' is not a count"))?;
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no free port: {error}"))?;
    for listener in &held {
        println!("{}", listener.local_addr().map_err(|error| error.to_string())?.port());
    }
    Ok(())
}

fn pick(key: &str, pointer: &str) -> Result<(), String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
    println!("{key} {}", report::pick(&text, pointer)?);
    Ok(())
}

fn count(forward: &str, admin: &str, seconds: &str) -> Result<(), String> {
    let seconds: u64 =
        seconds.parse().map_err(|_| format!("'{seconds}' is not a number of seconds"))?;
    println!("{}", load::run(forward, admin, Duration::from_secs(seconds))?);
    Ok(())
}

fn audit(redis: &str, load: &str, requests: &str) -> Result<(), String> {
    let requests = requests.parse().map_err(|_| format!("'{requests}' is not a count"))?;
    let load = json(load)?;
    let differences = load::audit(redis, &load, requests)?;
    let told = load["told"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for fault in told.chain(differences.iter().map(String::as_str)) {
        eprintln!("dwcp-demo: redis: {fault}");
    }
    let errors = load["errors"].as_u64().unwrap_or(1) + differences.len() as u64;
    println!("redis_errors {errors}\nredis_requests {}", 2 * requests);
    Ok(())
}

fn judge(facts: &str, load: &str, log: &str, path: &str) -> Result<(), String> {
    let facts = report::parse(&read(facts)?)?;
    let load = json(load)?;
    let cuts = events::cuts(&read(log)?, load["began_us"].as_u64().unwrap_or(0));
    let report = report::report(&facts, &load, &cuts)?;
    std::fs::write(path, format!("{report:#}\n")).map_err(|error| format!("{path}: {error}"))?;
    println!("{}", table::table(&facts, &report)?);
    let faults = report::faults(&facts);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn draw(report: &str, path: &str) -> Result<(), String> {
    let svg = picture::svg(&json(report)?)?;
    std::fs::write(path, svg).map_err(|error| format!("{path}: {error}"))
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn json(path: &str) -> Result<Value, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{path}: {error}"))
}
