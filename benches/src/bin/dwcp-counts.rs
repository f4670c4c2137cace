//! `dwcp-counts`: pieces of the hot path, to be counted by `.ci/counts` under callgrind. Instructions are the same on a busy
//! machine and on a quiet one, which times are not.
//!
//! ```text
//! dwcp-counts NAME     runs that piece; callgrind collects inside `counted_NAME` alone
//! dwcp-counts --list   prints `NAME units` of each: how many of what the piece does in all
//! ```
//! Exit: 0 done, 2 usage.

use std::process::ExitCode;

use dwcp_benches::counts::PIECES;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => {
            for piece in PIECES {
                println!("{} {}", piece.name, piece.units);
            }
            ExitCode::SUCCESS
        }
        [name] if PIECES.iter().any(|piece| piece.name == name) => {
            PIECES.iter().filter(|piece| piece.name == name).for_each(|piece| (piece.run)());
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: dwcp-counts NAME | --list");
            ExitCode::from(2)
        }
    }
}
