//! What a link really does: round trips and one-way flows of UDP packets, each counted by itself.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Wan;
use super::emulator::{FAR, MTU_BYTES, NEAR};

const IP_AND_UDP_BYTES: usize = 28;
/// What the receiver may leave unread on a busy machine: half a second at 1 Gbit/s.
const SOCKET_BYTES: usize = 128 << 20;
/// A sender that was kept from its work does not make up for more than that: it would fill the link's queue.
const BURST: Duration = Duration::from_millis(2);

/// Round trips of 64-byte packets, one after the other; those that are lost are left out. Sorted.
///
/// # Errors
/// What the sockets say; if none of `count` came back.
pub fn round_trips(wan: &Wan, count: u32) -> io::Result<Vec<Duration>> {
    let (near, far) = sockets(wan)?;
    let is_over = AtomicBool::new(false);
    near.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut times = thread::scope(|scope| {
        scope.spawn(|| {
            let mut packet = [0; 64];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok(bytes) = far.recv(&mut packet) {
                    let _ = far.send(&packet[..bytes]);
                }
            }
        });
        let times = (0..count).filter_map(|number| round_trip(&near, number).transpose());
        let times = times.collect::<io::Result<Vec<_>>>();
        is_over.store(true, Ordering::Relaxed);
        times
    })?;
    times.sort_unstable();
    if times.is_empty() {
        return Err(io::Error::other(format!("none of {count} packets came back")));
    }
    Ok(times)
}

fn round_trip(near: &UdpSocket, number: u32) -> io::Result<Option<Duration>> {
    let mut packet = [0; 64];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    let began = Instant::now();
    near.send(&packet)?;
    let mut answer = [0; 64];
    loop {
        match near.recv(&mut answer) {
            Ok(_) if answer == packet => return Ok(Some(began.elapsed())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// What was offered to the near end, and what came out at the far one.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Bits of whole IP packets a second.
    pub offered_bits_per_s: f64,
    /// The same, from the first packet that came out to the last.
    pub delivered_bits_per_s: f64,
    /// Packets that came out after a later one.
    pub reordered: u64,
}

/// Sends packets of 1500 bytes for `time`, evenly, at `rate_bits_per_s` if this machine can.
///
/// # Errors
/// What the sockets say.
pub fn flow(wan: &Wan, rate_bits_per_s: f64, time: Duration) -> io::Result<Flow> {
    let (near, far) = sockets(wan)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| count(&far, &is_over));
        let sent = send(&near, rate_bits_per_s, time);
        is_over.store(true, Ordering::Relaxed);
        let (received, seconds, reordered) = receiver.join().expect("it does not panic")?;
        let (sent, sent_seconds) = sent?;
        let bits = (MTU_BYTES * 8) as f64;
        Ok(Flow {
            sent,
            received,
            offered_bits_per_s: sent as f64 * bits / sent_seconds,
            // The first one was on its way before that time began.
            delivered_bits_per_s: received.saturating_sub(1) as f64 * bits / seconds,
            reordered,
        })
    })
}

fn send(near: &UdpSocket, rate_bits_per_s: f64, time: Duration) -> io::Result<(u64, f64)> {
    let gap = Duration::from_secs_f64((MTU_BYTES * 8) as f64 / rate_bits_per_s);
    let mut packet = [0; MTU_BYTES - IP_AND_UDP_BYTES];
    let (began, mut sent) = (Instant::now(), 0_u64);
    let mut due = began;
    loop {
        let now = Instant::now();
        if now - began >= time {
            return Ok((sent, (now - began).as_secs_f64()));
        }
        due = due.max(now.checked_sub(BURST).unwrap_or(now));
        while due <= now {
            packet[..8].copy_from_slice(&sent.to_be_bytes());
            near.send(&packet)?;
            sent += 1;
            due += gap;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// Packets, seconds from the first to the last, packets out of order; until a second after `is_over` nothing came.
fn count(far: &UdpSocket, is_over: &AtomicBool) -> io::Result<(u64, f64, u64)> {
    let mut packet = [0; MTU_BYTES];
    let (mut received, mut reordered, mut last) = (0, 0, 0);
    let mut times: Option<(Instant, Instant)> = None;
    loop {
        match far.recv(&mut packet) {
            Ok(_) => {
                let number = u64::from_be_bytes(packet[..8].try_into().expect("eight bytes"));
                reordered += u64::from(number < last);
                last = number.max(last);
                received += 1;
                let now = Instant::now();
                times = Some((times.map_or(now, |(first, _)| first), now));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if is_over.load(Ordering::Relaxed) {
                    let seconds = times.map_or(f64::INFINITY, |(a, b)| (b - a).as_secs_f64());
                    return Ok((received, seconds, reordered));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// A socket at each end, connected to the other.
fn sockets(wan: &Wan) -> io::Result<(UdpSocket, UdpSocket)> {
    let bind = |address| move || UdpSocket::bind(SocketAddr::from((address, 0)));
    let (near, far) = (wan.near.run(bind(NEAR))?, wan.far.run(bind(FAR))?);
    near.connect(far.local_addr()?)?;
    far.connect(near.local_addr()?)?;
    for socket in [&near, &far] {
        rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BYTES)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    }
    Ok((near, far))
}
