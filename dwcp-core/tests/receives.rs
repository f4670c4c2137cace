//! Links that take a record for each receive posted: whoever reads tells the peer of new ones, and what is read finds
//! memory when it is what others wait for.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::{ChecksumSuite, Direction, PathSealer, Secret, SessionSecret};
use dwcp_core::link::{
    Link, LinkAttributes, LinkFeatures, LinkReceiver, LinkSender, PathKind, Readiness,
};
use dwcp_core::mem::{CLASS_BYTES, Payload, Pool, SlotMut};
use dwcp_core::wire::{DataFrame, DataKind, HEADER_BYTES, PathId, RecordEncoder, RecordHeader};
use dwcp_core::{
    ChannelOptions, DirectSetup, PollDriver, PollSettings, Role, Session, SessionId, block_on,
    block_on_for,
};
use sha2::{Digest, Sha256};

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

fn setup(role: Role, pool: Pool) -> DirectSetup {
    DirectSetup {
        id: SessionId([7; 16]),
        peer: "peer".into(),
        role,
        exporter: Secret::new([3; 32]),
        suite: Arc::new(ChecksumSuite),
        pool,
        // For as long as that a receiver keeps the link to itself: nobody else can look what was posted.
        spin: Duration::from_secs(600),
    }
}

#[test]
fn receivers_that_poll_keep_the_peer_supplied_with_receives() {
    const ROUNDS: u32 = 20 * RECEIVES as u32;
    let driver = PollDriver::start(&PollSettings::default()).expect("threads");
    let (ours, theirs) = pair();
    let session =
        driver.begin(Box::new(ours), setup(Role::Dialer, Pool::new(16 << 20))).expect("trusted");
    let peer = driver
        .begin(Box::new(theirs), setup(Role::Acceptor, Pool::new(16 << 20)))
        .expect("trusted");
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

/// A dialer that seals what it likes, and the session it talks to.
struct ByHand {
    socket: Arc<UnixDatagram>,
    sealer: PathSealer,
    session: Session,
    pool: Pool,
    _driver: PollDriver,
}

impl ByHand {
    fn new() -> Self {
        let (ours, theirs) = pair();
        let pool = Pool::new(256 << 10);
        let theirs_setup =
            DirectSetup { spin: Duration::ZERO, ..setup(Role::Acceptor, pool.clone()) };
        let driver = PollDriver::start(&PollSettings::default()).expect("threads");
        let secret = SessionSecret::from_exporter(&theirs_setup.exporter, None);
        let id = theirs_setup.id.0;
        let hash = Sha256::new().chain_update(b"dwcp direct").chain_update(id).finalize();
        let keys = secret.path(PathId(0), &[0; 32], &[0; 32], &hash.into());
        let suite = theirs_setup.suite.clone();
        let sealer = PathSealer::new(suite, &keys, Direction::ToAcceptor, 0, true);
        let session = driver.begin(Box::new(theirs), theirs_setup).expect("trusted");
        Self { socket: ours.0, sealer, session, pool, _driver: driver }
    }

    /// Sends frame `seq` of channel 0 of the dialer's, a message of 9,000 bytes; the first opens the channel.
    fn send(&mut self, seq: u64) {
        let (kind, bytes) = match seq {
            1 => (DataKind::Open, vec![1, b'x']),
            _ => (DataKind::First { total: 9_000 }, vec![seq as u8; 9_000]),
        };
        let length = bytes.len() as u32;
        let payload = Payload::Bytes(bytes.into());
        let mut encoder = RecordEncoder::default();
        encoder.put_data(&DataFrame { channel: 2, seq, kind, payload, length, pull: None }, None);
        let (body, trailer) = encoder.finish();
        let mut record = Vec::new();
        self.sealer.seal(0, body, trailer, &mut record).expect("a young key");
        self.socket.send(&record).expect("room");
    }

    /// Takes all memory but the last. Returns it.
    fn exhaust(&self) -> Vec<SlotMut> {
        let sizes = CLASS_BYTES.iter().rev();
        sizes
            .flat_map(|&bytes| std::iter::from_fn(move || self.pool.take_for_receive(bytes)))
            .collect()
    }

    /// Waits until the session holds at least so many bytes.
    fn until_used(&self, bytes: usize) {
        let began = std::time::Instant::now();
        while self.pool.stats().used_bytes < bytes {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", self.pool.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_over_within(&self, limit: Duration) -> bool {
        block_on_for(limit, self.session.closed()).is_some()
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_others_wait_for_finds_memory_when_they_hold_all_of_it() {
    let mut peer = ByHand::new();
    peer.send(3);
    peer.until_used(9_000);
    let _all = peer.exhaust();
    peer.send(1);
    peer.send(2);
    let mut channel =
        block_on_for(LONG, peer.session.accept()).expect("it opens").expect("a channel");
    for seq in [2, 3] {
        let message = block_on_for(LONG, channel.receiver.recv()).expect("it is here");
        assert_eq!(message.expect("intact").expect("more")[..], [seq; 9_000]);
    }
}

#[test]
fn what_has_to_wait_too_ends_the_path_when_memory_is_gone() {
    let mut peer = ByHand::new();
    peer.send(3);
    peer.until_used(9_000);
    let _all = peer.exhaust();
    peer.send(4);
    assert!(peer.is_over_within(LONG), "the path ends, and with it a session that has no other");
}

#[test]
fn without_anything_that_waits_a_record_stays_where_it_is_until_there_is_memory() {
    let mut peer = ByHand::new();
    peer.send(1);
    let mut channel =
        block_on_for(LONG, peer.session.accept()).expect("it opens").expect("a channel");
    let all = peer.exhaust();
    peer.send(2);
    assert!(!peer.is_over_within(Duration::from_millis(300)));
    assert!(block_on_for(Duration::from_millis(1), channel.receiver.recv()).is_none());
    drop(all);
    let message = block_on_for(LONG, channel.receiver.recv()).expect("it is here");
    assert_eq!(message.expect("intact").expect("more")[..], [2; 9_000]);
}
