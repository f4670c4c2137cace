//! Links that take a record for each receive posted: whoever reads tells the peer of new ones.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::{ChecksumSuite, Secret};
use dwcp_core::link::{
    Link, LinkAttributes, LinkFeatures, LinkReceiver, LinkSender, PathKind, Readiness,
};
use dwcp_core::mem::Pool;
use dwcp_core::wire::{HEADER_BYTES, RecordHeader};
use dwcp_core::{
    ChannelOptions, DirectSetup, PollDriver, PollSettings, Role, SessionId, block_on, block_on_for,
};

const RECEIVES: u64 = 16;

/// A datagram socket: one record a datagram, with receives that are posted by the count.
struct Datagrams(Arc<UnixDatagram>, LinkAttributes);

fn pair() -> (Datagrams, Datagrams) {
    let (one, other) = UnixDatagram::pair().expect("sockets");
    let end = |socket: UnixDatagram| {
        socket.set_nonblocking(true).expect("it can");
        let attributes = LinkAttributes {
            kind: PathKind::Fabric,
            provider: "datagrams".into(),
            features: LinkFeatures::RELIABLE
                | LinkFeatures::ORDERED
                | LinkFeatures::TRUSTED_MEDIUM
                | LinkFeatures::MESSAGE_BOUNDARIES,
            local: "one".into(),
            remote: "other".into(),
            receives_posted: RECEIVES,
            regions: Vec::new(),
            socket: None,
        };
        Datagrams(Arc::new(socket), attributes)
    };
    (end(one), end(other))
}

impl Link for Datagrams {
    fn attributes(&self) -> &LinkAttributes {
        &self.1
    }
    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>) {
        (Box::new(Tx(self.0.clone())), Box::new(Rx { socket: self.0, posted: 0 }))
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
    posted: u64,
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
}

#[test]
fn receivers_that_poll_keep_the_peer_supplied_with_receives() {
    const ROUNDS: u32 = 20 * RECEIVES as u32;
    let setup = |role| DirectSetup {
        id: SessionId([7; 16]),
        peer: "peer".into(),
        role,
        exporter: Secret::new([3; 32]),
        suite: Arc::new(ChecksumSuite),
        pool: Pool::new(16 << 20),
        // For as long as that a receiver keeps the link to itself: nobody else can look what was posted.
        spin: Duration::from_secs(600),
    };
    let driver = PollDriver::start(&PollSettings::default()).expect("threads");
    let (ours, theirs) = pair();
    let session = driver.begin(Box::new(ours), setup(Role::Dialer)).expect("trusted");
    let peer = driver.begin(Box::new(theirs), setup(Role::Acceptor)).expect("trusted");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut channel = block_on(peer.accept()).expect("a channel");
        for _ in 0..ROUNDS {
            let message = block_on(channel.receiver.recv()).expect("intact").expect("more");
            block_on(channel.sender.send(message)).expect("open");
        }
        block_on(channel.sender.acked()).expect("all arrives");
    });
    std::thread::spawn(move || {
        let mut channel = session.open("x", ChannelOptions::default()).expect("room");
        for round in 0..ROUNDS {
            block_on(channel.sender.send(round.to_le_bytes().to_vec())).expect("open");
            let back = block_on(channel.receiver.recv()).expect("intact").expect("more");
            assert!(back[..] == round.to_le_bytes());
        }
        tell.send(()).expect("the test waits");
        let _ = block_on_for(Duration::from_secs(60), session.closed());
    });
    let limit = Duration::from_secs(60);
    told.recv_timeout(limit).expect("neither end runs out of receives");
}
