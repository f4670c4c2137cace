//! Raw TCP: blocking reads, or a short spin before them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

use crate::Failure;
use crate::load::{Outcome, RoundTrips};
use crate::options::{Options, What};

/// A wake-up of a sleeping thread costs about as much: longer spinning would not pay.
const SPIN: Duration = Duration::from_micros(60);

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

pub fn client(
    mut stream: TcpStream,
    is_spinning: bool,
    options: &Options,
) -> Result<Outcome, Failure> {
    let mut buffer = vec![7; options.size];
    if options.what == What::Latency {
        let mut trips = RoundTrips::begin(options.duration);
        loop {
            let sent = Instant::now();
            stream.write_all(&buffer)?;
            if !fill(&mut stream, &mut buffer, is_spinning)? {
                return Err("the server closed the connection".into());
            }
            if !trips.record(sent) {
                return Ok(trips.outcome());
            }
        }
    }
    let began = Instant::now();
    while began.elapsed() < options.duration {
        stream.write_all(&buffer)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    Ok(Outcome::Throughput {
        bytes: u64::from_be_bytes(total),
        seconds: began.elapsed().as_secs_f64(),
    })
}

pub fn server(mut stream: TcpStream, is_spinning: bool, options: &Options) -> Result<(), Failure> {
    let mut buffer = vec![0; options.size];
    if options.what == What::Latency {
        while fill(&mut stream, &mut buffer, is_spinning)? {
            stream.write_all(&buffer)?;
        }
        return Ok(());
    }
    let mut total = 0_u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            bytes => total += bytes as u64,
        }
    }
    stream.write_all(&total.to_be_bytes())?;
    Ok(())
}
