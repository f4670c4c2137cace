//! A peer without a machine: it seals what it likes.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::{Direction, PathSealer, SessionSecret};
use dwcp_core::mem::{CLASS_BYTES, Payload, Pool, SlotMut};
use dwcp_core::wire::{DataFrame, DataKind, Frame, PathId, RecordEncoder};
use dwcp_core::{DirectSetup, PollDriver, PollSettings, Role, Session, block_on_for};
use sha2::{Digest, Sha256};

use crate::link::{Pulls, pair};
use crate::setup;

/// How long a test waits for what has to come.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A dialer that seals what it likes, and the session it talks to.
pub(crate) struct ByHand {
    pub(crate) socket: Arc<UnixDatagram>,
    sealer: PathSealer,
    pub(crate) session: Session,
    pub(crate) pool: Pool,
    _driver: PollDriver,
}

impl ByHand {
    pub(crate) fn new(pulls: &Pulls) -> Self {
        let (ours, theirs) = pair(pulls);
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
        Self { socket: ours.socket, sealer, session, pool, _driver: driver }
    }

    /// Sends frame `seq` of channel 2, a message of 9,000 bytes; the first opens the channel.
    pub(crate) fn send(&mut self, seq: u64) {
        let (kind, bytes) = match seq {
            1 => (DataKind::Open, vec![1, b'x']),
            _ => (DataKind::First { total: 9_000 }, vec![seq as u8; 9_000]),
        };
        let length = bytes.len() as u32;
        let payload = Payload::Bytes(bytes.into());
        self.put(&DataFrame { channel: 2, seq, kind, payload, length, pull: None });
    }

    /// Sends a record with this frame.
    pub(crate) fn put(&mut self, frame: &DataFrame) {
        let mut encoder = RecordEncoder::default();
        encoder.put_data(frame, None);
        self.seal(&mut encoder);
    }

    /// Sends a record that only makes the peer look.
    pub(crate) fn ping(&mut self) {
        let (mut encoder, mut frames) = (RecordEncoder::default(), Vec::new());
        Frame::Ping { token: 1 }.encode(&mut frames);
        encoder.put_frames(&frames);
        self.seal(&mut encoder);
    }

    fn seal(&mut self, encoder: &mut RecordEncoder) {
        let (body, trailer) = encoder.finish();
        let mut record = Vec::new();
        self.sealer.seal(0, body, trailer, &mut record).expect("a young key");
        self.socket.send(&record).expect("room");
    }

    /// Takes all memory but the last. Returns it.
    pub(crate) fn exhaust(&self) -> Vec<SlotMut> {
        let sizes = CLASS_BYTES.iter().rev();
        sizes
            .flat_map(|&bytes| std::iter::from_fn(move || self.pool.take_for_receive(bytes)))
            .collect()
    }

    /// Waits until the session holds at least so many bytes.
    pub(crate) fn until_used(&self, bytes: usize) {
        let began = std::time::Instant::now();
        while self.pool.stats().used_bytes < bytes {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", self.pool.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn is_over_within(&self, limit: Duration) -> bool {
        block_on_for(limit, self.session.closed()).is_some()
    }
}
