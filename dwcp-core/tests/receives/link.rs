//! A datagram socket as a link: one record a datagram, receives that are posted by the count, pulls, and
//! bodies that are sent from where they lie.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use dwcp_core::link::{
    Fence, Link, LinkAttributes, LinkFeatures, LinkReceiver, LinkSender, PathKind, Pulled,
    Readiness,
};
use dwcp_core::mem::{Payload, SlotMut};
use dwcp_core::wire::{HEADER_BYTES, PullSource, RecordHeader};

pub(crate) const RECEIVES: u64 = 16;

/// What becomes of memory that a link was given to write to.
#[derive(Clone)]
pub(crate) enum Pulls {
    /// It is filled with the low byte of the source's address.
    Arrive,
    /// Nothing comes, and once this says so nothing will any more.
    Stop(Arc<AtomicBool>),
    /// Nothing comes, and it will never be known whether it still may.
    Unknown,
}

pub(crate) struct Datagrams {
    pub(crate) socket: Arc<UnixDatagram>,
    attributes: LinkAttributes,
    pulls: Pulls,
    /// The bodies that were sent from where they lie, kept as a device would.
    pub(crate) bodies: Bodies,
}

pub(crate) type Bodies = Arc<Mutex<Vec<Payload>>>;

pub(crate) fn pair(pulls: &Pulls) -> (Datagrams, Datagrams) {
    let (one, other) = UnixDatagram::pair().expect("sockets");
    let end = |socket: UnixDatagram| {
        socket.set_nonblocking(true).expect("it can");
        let attributes = LinkAttributes {
            kind: PathKind::Fabric,
            provider: "datagrams".into(),
            features: LinkFeatures::RELIABLE
                | LinkFeatures::ORDERED
                | LinkFeatures::TRUSTED_MEDIUM
                | LinkFeatures::MESSAGE_BOUNDARIES
                | LinkFeatures::PULL
                | LinkFeatures::ZERO_COPY_TX,
            local: "one".into(),
            remote: "other".into(),
            receives_posted: RECEIVES,
            regions: Vec::new(),
            socket: None,
        };
        Datagrams {
            socket: Arc::new(socket),
            attributes,
            pulls: pulls.clone(),
            bodies: Bodies::default(),
        }
    };
    (end(one), end(other))
}

impl Link for Datagrams {
    fn attributes(&self) -> &LinkAttributes {
        &self.attributes
    }
    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>) {
        let Self { socket, pulls, bodies, .. } = *self;
        let rx = Rx { socket: socket.clone(), pulls, posted: 0, targets: Vec::new() };
        (Box::new(Tx { socket, bodies }), Box::new(rx))
    }
}

struct Tx {
    socket: Arc<UnixDatagram>,
    bodies: Bodies,
}

impl LinkSender for Tx {
    fn try_send(&mut self, records: &[u8]) -> io::Result<usize> {
        let header = records.first_chunk::<HEADER_BYTES>().expect("whole records");
        let length = RecordHeader::decode(header).expect("a good one").length as usize;
        self.socket.send(&records[..HEADER_BYTES + length])
    }
    fn try_send_parts(&mut self, head: &[u8], body: &Payload, tail: &[u8]) -> io::Result<()> {
        // What a device gathers by itself.
        let record = [head, body, tail].concat();
        self.socket.send(&record)?;
        self.bodies.lock().expect("no panic").push(body.clone());
        Ok(())
    }
    fn readiness(&self) -> Readiness {
        let socket: Arc<dyn AsFd + Send + Sync> = self.socket.clone();
        Readiness::Fd(socket)
    }
    fn shut_down(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

struct Rx {
    socket: Arc<UnixDatagram>,
    pulls: Pulls,
    posted: u64,
    targets: Vec<(u64, SlotMut)>,
}

impl LinkReceiver for Rx {
    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.recv(buffer)?;
        self.posted += 1; // the receive is posted anew at once
        Ok(count)
    }
    fn readiness(&self) -> Readiness {
        let socket: Arc<dyn AsFd + Send + Sync> = self.socket.clone();
        Readiness::Fd(socket)
    }
    fn take_posted(&mut self) -> u64 {
        std::mem::take(&mut self.posted)
    }
    fn start_pull(
        &mut self,
        token: u64,
        source: PullSource,
        length: u32,
        mut target: SlotMut,
    ) -> io::Result<()> {
        target.set_len(length as usize);
        target.fill(source.address as u8);
        self.targets.push((token, target));
        Ok(())
    }
    fn poll_pulled(&mut self) -> Option<Pulled> {
        let arrives = matches!(self.pulls, Pulls::Arrive);
        let (token, slot) = arrives.then(|| self.targets.pop()).flatten()?;
        Some(Pulled { token, slot: Ok(slot) })
    }
    fn poll_fenced(&mut self) -> Fence {
        match &self.pulls {
            Pulls::Arrive => Fence::Done,
            Pulls::Stop(is_still) if !is_still.load(Ordering::Acquire) => Fence::Pending,
            Pulls::Stop(_) => {
                self.targets.clear();
                Fence::Done
            }
            Pulls::Unknown => Fence::Failed,
        }
    }
}
