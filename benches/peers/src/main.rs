//! `peer-bench`: what DWCP is compared with, under the same load, in two processes over loopback.
//!
//! ```text
//! peer-bench latency|throughput|messages PEER… [--seconds N] [--size BYTES] [--congestion NAME] [--cores A,B]
//! ```
//! PEER is `std` (blocking), `spin` (60 us of non-blocking reads, then blocking), `tokio` or `tokio-rustls`
//! (TLS 1.3, both ends authenticated). Each prints one line of JSON, schema `dwcp.peer-bench/v1`.
//! Exit: 0 measured, 1 failed, 2 usage.

mod asynchronous;
mod blocking;
mod identity;
mod load;
mod options;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};

use identity::Identity;
use load::Outcome;
use options::{Options, Peer, Role};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("peer-bench: {message}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    if let Err(error) = options.own_core().map_or(Ok(()), stay_on) {
        eprintln!("peer-bench: --cores: {error}; 'nproc' tells how many there are");
        return ExitCode::FAILURE;
    }
    let result = match options.role {
        Role::Client => options.peers.iter().try_for_each(|&peer| measure(peer, &options)),
        Role::Server => serve(options.peers[0], &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stay_on(core: usize) -> rustix::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set)
}

/// The other process. It ends by itself when its standard input closes, so it never outlives this one.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(peer: Peer, options: &Options, identity: &Identity) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(options.for_server(peer))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.as_mut().ok_or("the server has no input")?;
        input.write_all(identity.to_line().as_bytes())?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("the server has no output")?)
            .read_line(&mut line)?;
        let port =
            line.trim().parse().map_err(|_| format!("the server said '{line}', not its port"))?;
        Ok(Self { child, port })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended already; there is nothing to do about a failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn measure(peer: Peer, options: &Options) -> Result<(), Failure> {
    let (ours, theirs) = identity::pair()?;
    let server = Server::start(peer, options, &theirs)?;
    let stream = TcpStream::connect(("127.0.0.1", server.port))?;
    let congestion = prepare(&stream, options)?;
    let outcome = match peer {
        Peer::Std | Peer::Spin => blocking::client(stream, peer == Peer::Spin, options)?,
        Peer::Tokio | Peer::TokioRustls => {
            asynchronous::client(stream, (peer == Peer::TokioRustls).then_some(&ours), options)?
        }
    };
    report(peer, options, &congestion, &outcome);
    Ok(())
}

fn serve(peer: Peer, options: &Options) -> Result<(), Failure> {
    let mut input = BufReader::new(std::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let identity = Identity::from_line(&line)?;
    std::thread::spawn(move || end_with_the_client(input));
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?.port());
    let (stream, _) = listener.accept()?;
    prepare(&stream, options)?;
    match peer {
        Peer::Std | Peer::Spin => blocking::server(stream, peer == Peer::Spin, options),
        Peer::Tokio | Peer::TokioRustls => {
            asynchronous::server(stream, (peer == Peer::TokioRustls).then_some(&identity), options)
        }
    }
}

/// Reads until the input closes: then nobody reads what this process could still say.
#[expect(clippy::disallowed_methods, reason = "the main thread may be blocked in a read for ever")]
fn end_with_the_client(mut input: impl Read) {
    let _ = input.read(&mut [0]);
    std::process::exit(1);
}

/// Sets what was asked for and returns the congestion control that is in force.
fn prepare(stream: &TcpStream, options: &Options) -> Result<String, Failure> {
    stream.set_nodelay(true)?;
    if let Some(name) = &options.congestion {
        rustix::net::sockopt::set_tcp_congestion(stream, name)
            .map_err(|error| format!("congestion control '{name}': {error}; sysctl net.ipv4.tcp_allowed_congestion_control names those allowed"))?;
    }
    Ok(rustix::net::sockopt::tcp_congestion(stream)?)
}

fn report(peer: Peer, options: &Options, congestion: &str, outcome: &Outcome) {
    let figures = match outcome {
        Outcome::Latency { p50_us, p99_us, count } => {
            format!("\"p50_us\":{p50_us:.2},\"p99_us\":{p99_us:.2},\"count\":{count}")
        }
        Outcome::Throughput { bytes, seconds } => {
            format!("\"bytes\":{bytes},\"bytes_per_s\":{:.0}", *bytes as f64 / seconds)
        }
        Outcome::Messages { count, seconds } => {
            format!("\"count\":{count},\"messages_per_s\":{:.0}", *count as f64 / seconds)
        }
    };
    println!(
        "{{\"schema\":\"dwcp.peer-bench/v1\",\"peer\":\"{}\",\"what\":\"{}\",\"size\":{},\"congestion\":\"{congestion}\",{figures}}}",
        peer.name(),
        options.what.name(),
        options.size
    );
}
