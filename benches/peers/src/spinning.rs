//! `spin-rustls`: rustls in the caller's thread. It looks at a non-blocking socket for a short time, then sleeps in
//! `poll`: the least that TLS over TCP can cost in a round trip.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::{ClientConnection, Connection, ServerConnection};

use crate::Failure;
use crate::blocking::SPIN;
use crate::identity::NAME;
use crate::load::{Outcome, RoundTrips};
use crate::meter::Meter;
use crate::run::{Client, Serving};

struct Tls {
    connection: Connection,
    stream: TcpStream,
}

impl Tls {
    fn new(connection: Connection, stream: TcpStream) -> Result<Self, Failure> {
        stream.set_nonblocking(true)?;
        let mut tls = Self { connection, stream };
        while tls.connection.is_handshaking() {
            tls.flush()?;
            if tls.connection.wants_read() && !tls.receive()? {
                return Err("the connection ended in the handshake".into());
            }
        }
        tls.flush()?;
        Ok(tls)
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.connection.writer().write_all(message)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.sleep_until(PollFlags::OUT)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Fills `buffer`. False at the end of the stream.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, Failure> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.connection.reader().read(&mut buffer[filled..]) {
                Ok(0) => return Ok(false),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.receive()? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Takes what the socket has, or waits until it has something. False at the end of the stream.
    fn receive(&mut self) -> Result<bool, Failure> {
        let mut began = Instant::now();
        loop {
            match self.connection.read_tls(&mut self.stream) {
                Ok(0) => return Ok(false),
                Ok(_) => {
                    self.connection.process_new_packets()?;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if began.elapsed() > SPIN {
                self.sleep_until(PollFlags::IN)?;
                began = Instant::now();
            }
            std::hint::spin_loop();
        }
    }

    fn sleep_until(&self, ready: PollFlags) -> Result<(), Failure> {
        match poll(&mut [PollFd::new(&self.stream, ready)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

pub fn client(client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
    let identity = client.tls().ok_or("no identity")?;
    let connection = ClientConnection::new(identity.client_config()?, NAME.try_into()?)?;
    let mut tls = Tls::new(connection.into(), client.connect()?)?;
    let mut buffer = vec![7; client.options.size];
    let mut trips = RoundTrips::begin(client.options.duration);
    loop {
        let sent = Instant::now();
        tls.send(&buffer)?;
        if !tls.fill(&mut buffer)? {
            return Err("the server closed the connection".into());
        }
        if !trips.record(sent, meter)? {
            return Ok(trips.outcome());
        }
    }
}

pub fn server(serving: &Serving) -> Result<(), Failure> {
    let identity = serving.tls().ok_or("no identity")?;
    let connection = ServerConnection::new(identity.server_config()?)?;
    let mut tls = Tls::new(connection.into(), serving.accept()?)?;
    let mut buffer = vec![0; serving.options.size];
    // The client ends a run by going away.
    while let Ok(true) = tls.fill(&mut buffer) {
        tls.send(&buffer)?;
    }
    Ok(())
}
