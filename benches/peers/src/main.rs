//! `peer-bench`: what DWCP is compared with, under the same load, in two processes over loopback.
//!
//! ```text
//! peer-bench latency|throughput|messages|handshake|idle PEER… [OPTION…]
//! peer-bench list
//! ```
//! | peer | what it is | security |
//! |---|---|---|
//! | `raw-std` | std's TCP, blocking | clear |
//! | `raw-spin` | 60 us of non-blocking reads, then blocking | clear |
//! | `spin-rustls` | rustls in the caller's thread, waiting like `raw-spin` | tls13 |
//! | `tokio`, `tokio-rustls` | a runtime of one thread | clear, tls13 |
//! | `length-delimited`, `rustls-framed` | the same with tokio-util's codec, `feed`, a boundary of 64 KiB | clear, tls13 |
//! | `zeromq` | libzmq: DEALER to DEALER, PUSH to PULL | clear |
//! | `quinn` | QUIC: one stream, its windows raised; `messages` by the same codec | tls13 |
//! | `tonic` | gRPC with messages of bare bytes: unary calls, a client stream; windows of 16 and 32 MiB | clear |
//!
//! `tls13` is TLS 1.3 by aws-lc-rs with AES-256-GCM, both ends authenticated by P-256 certificates, nothing resumed.
//!
//! Each peer prints one line of JSON, schema `dwcp.peer-bench/v2`. `seconds` is the measured part; `cpu_us_client` and
//! `cpu_us_server` are the processor time, user and system, of all threads of both processes in it. By measurement:
//!
//! | measurement | figures |
//! |---|---|
//! | `latency` | `rtt_p50_us`, `rtt_p99_us`, `count` of round trips, `cpu_us_per_message` (a round trip is two) |
//! | `throughput` | `bytes`, `bytes_per_s`, `cpu_ns_per_byte` |
//! | `messages` | `count`, `messages_per_s`, `bytes_per_s`, `cpu_us_per_message` |
//! | `handshake` | `count`, `handshakes_per_s`, `cpu_us_per_handshake`: connect, TLS unless clear, one echo of 64 bytes, close |
//! | `idle` | `sessions`, `bytes_per_session_client` and `_server`: growth of VmRSS, without the kernel's memory |
//!
//! Processor time is that of both ends together unless it says so. Exit: 0 measured, 1 failed, 2 usage.

mod asynchronous;
mod blocking;
mod framed;
#[cfg(feature = "tonic")]
mod grpc;
mod handshake;
mod identity;
mod idle;
mod load;
mod meter;
mod options;
mod peer;
#[cfg(feature = "quinn")]
mod quic;
mod report;
mod run;
mod schedule;
mod spinning;
#[cfg(feature = "zeromq")]
mod zeromq;

use std::io::Write;
use std::process::ExitCode;

use options::{Options, Role};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["list"] {
        return ended(std::io::stdout().write_all(options::list().as_bytes()).map_err(Into::into));
    }
    match Options::parse(words.into_iter()) {
        Ok(options) => ended(carry_out(&options)),
        Err(message) => {
            eprintln!("peer-bench: {message}\n\n{}", options::USAGE);
            ExitCode::from(2)
        }
    }
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(options: &Options) -> Result<(), Failure> {
    if let Some(core) = options.own_core() {
        schedule::stay_on(core)?;
    }
    if options.is_realtime {
        schedule::realtime()?;
    }
    if options.role == Role::Server {
        return run::serve(options.peers[0], options);
    }
    for &peer in &options.peers {
        let line =
            run::measure(peer, options).map_err(|error| format!("{}: {error}", peer.name()))?;
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
