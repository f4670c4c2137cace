//! A cable between two nodes that can be spoiled in every way, and a server behind them that says everything again.
#![allow(dead_code, missing_docs)] // each test file uses a part of it

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::PATIENCE;

/// A server that says everything again, until the test's process ends; where it listens.
pub(crate) fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut copy = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut copy, &mut stream);
            });
        }
    });
    address
}

/// Says `word` to an echo and waits until it has come back.
pub(crate) fn say(stream: &mut TcpStream, word: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(word)?;
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back)?;
    assert!(back == word, "another answer");
    Ok(())
}

/// One connection through the cable.
struct Strand {
    near: TcpStream,
    far: TcpStream,
    /// Nothing passes, and nobody is told.
    is_mute: Arc<AtomicBool>,
}

/// Carries connections to an address.
pub(crate) struct Cable {
    /// Where to connect to.
    pub(crate) address: String,
    strands: Arc<Mutex<Vec<Strand>>>,
    /// New connections are let through.
    is_plugged: Arc<AtomicBool>,
    /// The last byte of the 127.0.0.x that new connections come from.
    source: Arc<AtomicU8>,
}

impl Cable {
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cable = Self {
            address,
            strands: Arc::default(),
            is_plugged: Arc::new(AtomicBool::new(true)),
            source: Arc::new(AtomicU8::new(1)),
        };
        let (strands, is_plugged, source) =
            (cable.strands.clone(), cable.is_plugged.clone(), cable.source.clone());
        let target: SocketAddr = target.parse().unwrap();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                if !is_plugged.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = connect(source.load(Ordering::SeqCst), target) else { continue };
                let is_mute = Arc::<AtomicBool>::default();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let ends = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let is_mute = is_mute.clone();
                    std::thread::spawn(move || carry(ends.0, ends.1, &is_mute));
                }
                strands.lock().unwrap().push(Strand { near, far, is_mute });
            }
        });
        cable
    }

    /// Breaks all connections: each end is reset.
    pub(crate) fn reset(&self) {
        for strand in self.strands.lock().unwrap().drain(..) {
            for end in [&strand.near, &strand.far] {
                let end = socket2::SockRef::from(end);
                let _ = end.set_linger(Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// Ends all connections for those who dialled; the others are told nothing.
    pub(crate) fn half_open(&self) {
        for strand in self.strands.lock().unwrap().iter() {
            strand.is_mute.store(true, Ordering::SeqCst);
            let _ = strand.near.shutdown(Shutdown::Both);
        }
    }

    /// Nothing passes any more on the connections there are, and nobody is told.
    pub(crate) fn black_hole(&self) {
        for strand in self.strands.lock().unwrap().iter() {
            strand.is_mute.store(true, Ordering::SeqCst);
        }
    }

    /// Whether new connections are let through.
    pub(crate) fn plug(&self, is_plugged: bool) {
        self.is_plugged.store(is_plugged, Ordering::SeqCst);
    }

    /// New connections come from 127.0.0.`last`.
    pub(crate) fn move_to(&self, last: u8) {
        self.source.store(last, Ordering::SeqCst);
    }
}

fn connect(source: u8, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, source)), 0);
    socket.bind(&from.into())?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_mute: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).unwrap_or(0);
        if is_mute.load(Ordering::SeqCst) {
            if count == 0 {
                return;
            }
            continue; // it is lost
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
