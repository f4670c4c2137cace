//! `dwcp-demo`: the parts of `make demo` that are not the product. Called by `.ci/demo`.
//! Exit: 0 done, 1 something is wrong, 2 usage.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use dwcp_benches::demo::{dataset, report};

const USAGE: &str = "usage: dwcp-demo dataset DIR BYTES     makes a set of files
       dwcp-demo verify ORIGINAL COPY    compares by SHA-256; prints the facts 'bytes' and 'sha256_ok'
       dwcp-demo ports COUNT             prints so many free TCP ports of 127.0.0.1
       dwcp-demo pick KEY POINTER        prints 'KEY number' from the JSON on standard input
       dwcp-demo report FACTS REPORT     writes the report, prints the table, judges the run";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["dataset", directory, bytes] => dataset(directory, bytes),
        ["verify", original, copy] => verify(original, copy),
        ["ports", count] => ports(count),
        ["pick", key, pointer] => pick(key, pointer),
        ["report", facts, report] => judge(facts, report),
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
    println!("bytes {}\nsha256_ok {}", found.bytes, u8::from(found.differences.is_empty()));
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

fn judge(facts: &str, path: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(facts).map_err(|error| format!("{facts}: {error}"))?;
    let facts = report::parse(&text)?;
    let json = format!("{:#}\n", report::report(&facts)?);
    std::fs::write(path, json).map_err(|error| format!("{path}: {error}"))?;
    println!("{}", report::table(&facts)?);
    let faults = report::faults(&facts);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
