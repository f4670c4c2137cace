//! A datagram socket as a link: one record a datagram, receives that are posted by the count, and pulls.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dwcp_core::link::{
    Fence, Link, LinkAttributes, LinkFeatures, LinkReceiver, LinkSender, PathKind, Pulled,
    Readiness,
};
use dwcp_core::mem::SlotMut;
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
}

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
                | LinkFeatures::PULL,
            local: "one".into(),
            remote: "other".into(),
            receives_posted: RECEIVES,
            regions: Vec::new(),
            socket: None,
        };
        Datagrams { socket: Arc::new(socket), attributes, pulls: pulls.clone() }
    };
    (end(one), end(other))
}

impl Link for Datagrams {
    fn attributes(&self) -> &LinkAttributes {
        &self.attributes
    }
    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>) {
        let Self { socket, pulls, .. } = *self;
        let rx = Rx { socket: socket.clone(), pulls, posted: 0, targets: Vec::new() };
        (Box::new(Tx(socket)), Box::new(rx))
    }
}

struct Tx(Arc<UnixDatagram>);

impl LinkSender for Tx {
    fn try_send(&mut self, records: &[u8]) -> io::Result<usize> {
        let header = records.first_chunk::<HEADER_BYTES>().expect("whole records");
        let length = RecordHeader::decode(header).expect("a good one").length as usize;
        self.0.send(&records[..HEADER_BYTES + length])
    }
    fn readiness(&self) -> Readiness {
        let socket: Arc<dyn AsFd + Send + Sync> = self.0.clone();
        Readiness::Fd(socket)
    }
    fn shut_down(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
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
