//! `raw-std` and `raw-spin`: TCP with blocking reads, or a short spin before them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

use crate::Failure;
use crate::load::{Outcome, RoundTrips};
use crate::meter::Meter;
use crate::options::Options;
use crate::peer::What;
use crate::run::{Client, Serving};

/// A wake-up of a sleeping thread costs about as much: longer spinning would not pay.
pub const SPIN: Duration = Duration::from_micros(60);

/// Fills `buffer`. False at the end of the stream.
fn fill(stream: &mut TcpStream, buffer: &mut [u8], is_spinning: bool) -> Result<bool, Failure> {
    let mut filled = 0;
    while filled < buffer.len() {
        if is_spinning {
            filled += spin(stream, &mut buffer[filled..])?;
            if filled == buffer.len() {
                break;
            }
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(false),
            bytes => filled += bytes,
        }
    }
    Ok(true)
}

/// Bytes that came within the time of a spin.
fn spin(stream: &TcpStream, buffer: &mut [u8]) -> Result<usize, Failure> {
    let began = Instant::now();
    loop {
        match recv(stream, &mut *buffer, RecvFlags::DONTWAIT) {
            // The end of the stream: the blocking read will see it again.
            Ok((_, bytes)) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if began.elapsed() > SPIN {
            return Ok(0);
        }
        std::hint::spin_loop();
    }
}

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    let stream = client.connect()?;
    if client.options.what == What::Latency {
        return ping(stream, client.peer.spins(), client.options, meter);
    }
    pour(stream, client.options, meter)
}

fn ping(
    mut stream: TcpStream,
    is_spinning: bool,
    options: &Options,
    meter: &mut Meter,
) -> Result<Outcome, Failure> {
    let mut buffer = vec![7; options.size];
    let mut trips = RoundTrips::begin(options.duration);
    loop {
        let sent = Instant::now();
        stream.write_all(&buffer)?;
        if !fill(&mut stream, &mut buffer, is_spinning)? {
            return Err("the server closed the connection".into());
        }
        if !trips.record(sent, meter)? {
            return Ok(trips.outcome());
        }
    }
}

fn pour(mut stream: TcpStream, options: &Options, meter: &mut Meter) -> Result<Outcome, Failure> {
    let buffer = vec![7; options.size];
    meter.begin()?;
    while meter.elapsed() < options.duration {
        stream.write_all(&buffer)?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(Outcome::Bytes(meter.end_with_total()?))
}

pub fn server(serving: &Serving) -> Result<(), Failure> {
    let mut stream = serving.accept()?;
    let mut buffer = vec![0; serving.options.size];
    if serving.options.what == What::Latency {
        while fill(&mut stream, &mut buffer, serving.peer.spins())? {
            stream.write_all(&buffer)?;
        }
        return Ok(());
    }
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            bytes => total += bytes as u64,
        }
    }
    serving.took(total);
    Ok(())
}
