//! One run of one peer in two processes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::Failure;
use crate::identity::{self, Identity};
use crate::load::WARM_UP;
use crate::meter::Meter;
use crate::options::Options;
use crate::peer::{Peer, What};
use crate::schedule::{Usage, Watchdog};

/// What a peer's client is given.
pub struct Client<'a> {
    pub peer: Peer,
    pub options: &'a Options,
    pub port: u16,
    identity: Identity,
}

impl Client<'_> {
    pub fn connect(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        prepare(&stream, self.options)?;
        Ok(stream)
    }

    /// The identity, for peers that encrypt.
    pub fn tls(&self) -> Option<&Identity> {
        self.peer.is_encrypted().then_some(&self.identity)
    }
}

/// What a peer's server is given.
pub struct Serving {
    pub peer: Peer,
    pub options: Options,
    identity: Identity,
    progress: Arc<Progress>,
}

impl Serving {
    pub fn tls(&self) -> Option<&Identity> {
        self.peer.is_encrypted().then_some(&self.identity)
    }

    /// Listens, and tells the client where.
    pub fn listen(&self) -> Result<TcpListener, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        self.announce(listener.local_addr()?.port());
        Ok(listener)
    }

    /// Listens for the one connection of a run.
    pub fn accept(&self) -> Result<TcpStream, Failure> {
        let (stream, _) = self.listen()?.accept()?;
        prepare(&stream, &self.options)?;
        Ok(stream)
    }

    pub fn announce(&self, port: u16) {
        say(&port.to_string());
    }

    /// All that the client sent is here: so many bytes, or messages.
    pub fn took(&self, total: u64) {
        self.progress.set(total);
    }
}

/// How much the server took in all, once it knows.
#[derive(Default)]
struct Progress {
    total: Mutex<Option<u64>>,
    changed: Condvar,
}

impl Progress {
    fn set(&self, total: u64) {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) = Some(total);
        self.changed.notify_all();
    }

    fn wait(&self) -> u64 {
        let total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let total = self.changed.wait_while(total, |total| total.is_none());
        total.unwrap_or_else(PoisonError::into_inner).unwrap_or_default()
    }
}

/// Runs one peer and returns the line that tells of it.
pub fn measure(peer: Peer, options: &Options) -> Result<String, Failure> {
    let _watchdog = Watchdog::start(expected(options), options.is_realtime);
    let (ours, theirs) = identity::pair()?;
    let (mut meter, port) = Meter::start(peer, options, &theirs)?;
    let client = Client { peer, options, port, identity: ours };
    let outcome = peer.client(&client, &mut meter)?;
    let congestion = congestion(peer, options)?;
    crate::report::line(peer, options, &congestion, &outcome, &meter.measured()?)
}

/// The other process. Ends when its input closes.
pub fn serve(peer: Peer, options: &Options) -> Result<(), Failure> {
    let _watchdog = Watchdog::start(expected(options), options.is_realtime);
    let mut input = BufReader::new(std::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let progress = Arc::new(Progress::default());
    let serving = Serving {
        peer,
        options: options.clone(),
        identity: Identity::from_line(&line)?,
        progress: progress.clone(),
    };
    std::thread::spawn(move || {
        if let Err(error) = peer.server(Arc::new(serving)) {
            say(&format!("failed: {error}"));
        }
    });
    loop {
        line.clear();
        input.read_line(&mut line)?;
        match line.trim() {
            "" => return Ok(()),
            "total" => {
                let total = progress.wait();
                say(&format!("{total} {}", Usage::now()?.to_line()));
            }
            _ => say(&Usage::now()?.to_line()),
        }
    }
}

/// A line to the client, which may have gone.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// How long a run should take at most.
fn expected(options: &Options) -> Duration {
    match options.what {
        // Slow machines make some hundred connections a second.
        What::Idle => Duration::from_millis(10 * options.sessions as u64),
        _ => WARM_UP + options.duration,
    }
}

/// Sets what was asked for.
pub fn prepare(stream: &TcpStream, options: &Options) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    set_congestion(stream, options)
}

pub fn set_congestion(stream: impl AsFd, options: &Options) -> Result<(), Failure> {
    let Some(name) = &options.congestion else { return Ok(()) };
    rustix::net::sockopt::set_tcp_congestion(stream, name)
        .map_err(|error| format!("congestion control '{name}': {error}; sysctl net.ipv4.tcp_allowed_congestion_control names those allowed").into())
}

/// The congestion control that is in force.
fn congestion(peer: Peer, options: &Options) -> Result<String, Failure> {
    if let Some(name) = &options.congestion {
        return Ok(name.clone());
    }
    if let Some(name) = peer.own_congestion() {
        return Ok(name.into());
    }
    let path = "/proc/sys/net/ipv4/tcp_congestion_control";
    Ok(std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?.trim().into())
}
