//! The link between two namespaces: a TUN device in each, and a thread that carries packets from one to the other.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Resource, getrlimit, setrlimit};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::link::{Fate, Link, LinkSpec};
use super::namespace::Namespace;

/// The address of the near end.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The address of the far end.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Bytes of the largest IP packet.
pub const MTU_BYTES: usize = 1500;

/// While packets come it looks at them so often, so that one turn carries several: at 1 Gbit/s, four.
const TURN: Duration = Duration::from_micros(50);
/// The most that one turn takes from one end: the other one has its turn, too.
const TURN_PACKETS: usize = 256;
/// Above all that is measured, below the kernel's own threads of priority 99.
const PRIORITY: u8 = 50;
/// The watchdog. The kernel ends a process of which a real-time thread has not slept for so much processor time.
const AWAKE_US_MAX: u64 = 400_000;
/// The devices' own queues must hold what comes within a turn: drops are the link's alone.
const DEVICE_QUEUE_PACKETS: u32 = 20_000;

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came out, or will.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Found the queue full.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Near to far, then far to near; each in the order of [`Counts`].
    counts: [[AtomicU64; 3]; 2],
}

/// A link that carries packets until it is dropped.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Emulator {
    /// Puts the device `wan0` into both namespaces, [`NEAR`] and [`FAR`], and joins them.
    ///
    /// Sets the process's limit `RLIMIT_RTTIME`, which binds real-time threads only.
    ///
    /// # Errors
    /// What the kernel says; it wants root, `/dev/net/tun` and the right to real-time priority.
    pub fn start(spec: &LinkSpec, near: &Namespace, far: &Namespace) -> io::Result<Self> {
        let devices = [near.run(|| device(NEAR))?, far.run(|| device(FAR))?];
        let shared = Arc::new(Shared::default());
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let limit = getrlimit(Resource::Rttime);
        setrlimit(
            Resource::Rttime,
            rustix::process::Rlimit { current: Some(AWAKE_US_MAX), maximum: limit.maximum },
        )?;
        let carrier = Carrier {
            devices,
            links: [Link::new(spec, 0), Link::new(spec, 1)],
            spare: Vec::new(),
            epoch: Instant::now(),
            shared: shared.clone(),
            bell: bell.clone(),
        };
        let (told, ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("link".into()).spawn(move || {
            let raised = raise();
            let is_raised = raised.is_ok();
            let _ = told.send(raised);
            if is_raised { carrier.run() } else { Ok(()) }
        })?;
        ready.recv().map_err(io::Error::other)??;
        Ok(Self { shared, bell, thread: Some(thread) })
    }

    /// What became of the packets so far: near to far, far to near.
    pub fn counts(&self) -> [Counts; 2] {
        self.shared.counts.each_ref().map(|direction| {
            let [delivered, lost, dropped] =
                direction.each_ref().map(|count| count.load(Ordering::Relaxed));
            Counts { delivered, lost, dropped }
        })
    }

    /// Whether it carries no more: only an error of a device ends it.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the emulated link ended early: {error}");
        }
    }
}

fn device(address: Ipv4Addr) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name("wan0")
        .ipv4(address, 24, None)
        .mtu(MTU_BYTES as u16)
        .packet_information(false)
        .tx_queue_len(DEVICE_QUEUE_PACKETS)
        .build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

/// Real-time priority and timers that are exact to a microsecond, for the calling thread.
fn raise() -> io::Result<()> {
    let slack_ns = std::num::NonZeroU64::new(1_000);
    rustix::thread::set_current_timer_slack(slack_ns)?;
    let priority = ThreadPriority::Crossplatform(PRIORITY.try_into().map_err(io::Error::other)?);
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    set_thread_priority_and_policy(thread_native_id(), priority, policy)
        .map_err(|error| io::Error::other(format!("real-time priority (CAP_SYS_NICE): {error:?}")))
}

struct Packet {
    bytes: Box<[u8; MTU_BYTES]>,
    len: usize,
}

struct Carrier {
    devices: [SyncDevice; 2],
    links: [Link<Packet>; 2],
    spare: Vec<Packet>,
    epoch: Instant,
    shared: Arc<Shared>,
    bell: Arc<OwnedFd>,
}

impl Carrier {
    fn run(mut self) -> io::Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut moved = 0;
            for side in 0..2 {
                moved += self.deliver(side);
            }
            for side in 0..2 {
                moved += self.take(side)?;
            }
            self.wait(moved > 0)?;
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Puts out what has come through the direction that begins at `side`.
    fn deliver(&mut self, side: usize) -> usize {
        let (now_ns, mut moved) = (self.now_ns(), 0);
        while let Some(packet) = self.links[side].take_due(now_ns) {
            // The kernel may be short of memory, as a host at the end of a real link may be.
            let _ = self.devices[1 - side].send(&packet.bytes[..packet.len]);
            self.spare.push(packet);
            moved += 1;
        }
        moved
    }

    /// Takes what `side` sends.
    fn take(&mut self, side: usize) -> io::Result<usize> {
        for taken in 0..TURN_PACKETS {
            let mut packet = self
                .spare
                .pop()
                .unwrap_or_else(|| Packet { bytes: Box::new([0; MTU_BYTES]), len: 0 });
            packet.len = match self.devices[side].recv(&mut packet.bytes[..]) {
                Ok(len) => len,
                Err(error) => {
                    self.spare.push(packet);
                    return match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(taken),
                        _ => Err(error),
                    };
                }
            };
            let (now_ns, len) = (self.now_ns(), packet.len);
            let (fate, back) = self.links[side].offer(now_ns, len, packet);
            self.spare.extend(back);
            let count = match fate {
                Fate::Delivered(_) => 0,
                Fate::Lost => 1,
                Fate::Dropped => 2,
            };
            self.shared.counts[side][count].fetch_add(1, Ordering::Relaxed);
        }
        Ok(TURN_PACKETS)
    }

    /// Sleeps, always: after packets for a turn, else until the next one comes or is due.
    fn wait(&self, is_busy: bool) -> io::Result<()> {
        let due_ns = self.links.iter().filter_map(Link::next_due_ns).min();
        let until_due =
            due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(self.now_ns())));
        let time = if is_busy { Some(TURN) } else { until_due };
        let time = time.map(|time| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let bell = PollFd::new(&*self.bell, PollFlags::IN);
        let [near, far] = self.devices.each_ref().map(|device| {
            // A poll must not return at once for ever, for what is not read.
            PollFd::from_borrowed_fd(descriptor(device), PollFlags::IN)
        });
        let result = if is_busy {
            poll(&mut [bell], time.as_ref())
        } else {
            poll(&mut [bell, near, far], time.as_ref())
        };
        match result {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn descriptor(device: &SyncDevice) -> BorrowedFd<'_> {
    device.as_fd()
}
