//! `zeromq`: libzmq, in clear. DEALER to DEALER for round trips, which spares REQ/REP's envelope; PUSH to PULL for the
//! rest. One I/O thread: a connection has no use for a second. Its high-water marks are set by bytes: the default of 1000
//! messages is little for small ones.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::net::getpeername;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use zmq::{Context, Message, Socket, SocketType};

use crate::Failure;
use crate::load::{MESSAGES_PER_LOOK, Outcome, RoundTrips};
use crate::meter::Meter;
use crate::options::Options;
use crate::peer::What;
use crate::run::{Client, Serving, set_congestion};

/// What a queue may hold at each end.
const QUEUE_BYTES: usize = 32 << 20;
const QUEUE_MESSAGES_MIN: usize = 64;

fn socket(kind: SocketType, options: &Options) -> Result<Socket, Failure> {
    let socket = Context::new().socket(kind)?;
    let messages = i32::try_from((QUEUE_BYTES / options.size).max(QUEUE_MESSAGES_MIN))?;
    socket.set_sndhwm(messages)?;
    socket.set_rcvhwm(messages)?;
    Ok(socket)
}

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    let options = client.options;
    let is_latency = options.what == What::Latency;
    let socket = socket(if is_latency { zmq::DEALER } else { zmq::PUSH }, options)?;
    socket.connect(&format!("tcp://127.0.0.1:{}", client.port))?;
    if options.congestion.is_some() {
        set_congestion(connection(client.port)?, options)?;
    }
    if is_latency {
        return ping(&socket, options, meter);
    }
    let buffer = vec![7; options.size];
    meter.begin()?;
    while meter.elapsed() < options.duration {
        for _ in 0..MESSAGES_PER_LOOK.min(1 + (1 << 20) / options.size) {
            socket.send(&buffer[..], 0)?;
        }
    }
    // No message of a run is empty: this one ends it.
    socket.send(&b""[..], 0)?;
    let total = meter.end_with_total()?;
    Ok(match options.what {
        What::Messages => Outcome::Messages(total),
        _ => Outcome::Bytes(total * options.size as u64),
    })
}

fn ping(socket: &Socket, options: &Options, meter: &mut Meter) -> Result<Outcome, Failure> {
    let buffer = vec![7; options.size];
    let mut message = Message::new();
    let mut trips = RoundTrips::begin(options.duration);
    loop {
        let sent = Instant::now();
        socket.send(&buffer[..], 0)?;
        socket.recv(&mut message, 0)?;
        if !trips.record(sent, meter)? {
            return Ok(trips.outcome());
        }
    }
}

pub fn server(serving: &Serving) -> Result<(), Failure> {
    let is_latency = serving.options.what == What::Latency;
    let socket = socket(if is_latency { zmq::DEALER } else { zmq::PULL }, &serving.options)?;
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket.get_last_endpoint()?.map_err(|_| "an endpoint that is no text")?;
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    serving.announce(port.parse()?);
    let mut message = Message::new();
    if is_latency {
        loop {
            socket.recv(&mut message, 0)?;
            socket.send(&message[..], 0)?;
        }
    }
    let mut total = 0;
    loop {
        socket.recv(&mut message, 0)?;
        match message.len() {
            0 => break,
            size => total += u64::from(size == serving.options.size),
        }
    }
    serving.took(total);
    Ok(())
}

/// The library's own connection to `port`, of which it has no way to set the congestion control: found among this
/// process's files once it is there. Only the sender's matters.
fn connection(port: u16) -> Result<OwnedFd, Failure> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        for entry in fs::read_dir("/proc/self/fd")? {
            let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // It may have been closed in between.
            let Ok(file) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else { continue };
            if port_of(&file) == Some(port) {
                return Ok(file);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("--congestion: no connection of libzmq appeared".into())
}

/// The port at the other end of a connected socket.
fn port_of(file: &OwnedFd) -> Option<u16> {
    let peer = getpeername(file).ok().flatten()?;
    SocketAddr::try_from(peer).ok().map(|address| address.port())
}
