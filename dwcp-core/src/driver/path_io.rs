//! One path's link with its keys: the sending and the receiving half, each behind a lock of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::carry::{Ahead, Carry};
use super::facts::PathFacts;
use super::notes::{ReceiveNote, SendNote};
use super::outbox::Outbox;
use super::starved::Starved;
use crate::crypto::{Direction, PathOpener, PathSealer, PathSecret, Protection, Suite};
use crate::link::{Link, LinkFeatures, LinkReceiver, LinkSender, Readiness};
use crate::machine::{PathAttributes, PullRequest, Role, Seldom, Time};
use crate::mem::Slot;
use crate::sync::Mutex;
use crate::wire::{Compress, Compression, Decompress, PathId};

/// A live path. Whoever has something to send or to wait for takes the half it needs.
pub(crate) struct PathIo {
    pub(crate) id: PathId,
    pub(crate) attributes: PathFacts,
    pub(crate) suite: &'static str,
    pub(super) tx: Mutex<PathTx>,
    pub(super) rx: Mutex<PathRx>,
    /// Of those who wanted to send while the sending half was taken: its holder goes on for them.
    pub(super) send_note: SendNote,
    /// The same for the receiving half: its holder wakes the driver when it leaves.
    pub(super) receive_note: ReceiveNote,
    /// How often somebody has read all that had arrived.
    pub(super) looks: AtomicU64,
    /// How often somebody has begun to look for what is to be sent.
    pub(super) sends: AtomicU64,
    /// The next record is to be sealed under a new key phase, as soon as there may be one.
    pub(super) wants_rekey: AtomicBool,
    /// The link takes nothing now; the driver waits for it.
    pub(super) is_blocked: AtomicBool,
    /// How to wait for each half, known without taking it.
    pub(super) rx_ready: Readiness,
    pub(super) tx_ready: Readiness,
    pub(crate) counters: PathCounters,
}

/// Totals of one path.
#[derive(Default)]
pub(crate) struct PathCounters {
    pub(crate) records_sent: AtomicU64,
    pub(crate) records_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) rekeys: AtomicU64,
    /// Payload bytes before and after compression, of the frames that were compressed.
    pub(crate) compress_in: AtomicU64,
    pub(crate) compress_out: AtomicU64,
}

impl PathCounters {
    /// Records that have gone and come.
    pub(super) fn records(&self) -> u64 {
        self.records_sent.load(Ordering::Relaxed) + self.records_received.load(Ordering::Relaxed)
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

pub(super) struct PathTx {
    pub(super) sealer: PathSealer,
    pub(super) link: Box<dyn LinkSender>,
    pub(super) compress: Option<Box<dyn Compress>>,
    /// Something in the last batch could have been compressed.
    pub(super) may_compress: bool,
    pub(super) pending: Outbox,
    /// The link sends bodies from where they lie.
    pub(super) is_zero_copy: bool,
    pub(super) is_dead: bool,
}

pub(super) struct PathRx {
    pub(super) opener: PathOpener,
    pub(super) link: Box<dyn LinkReceiver>,
    pub(super) decompress: Box<dyn Decompress>,
    /// What was read and not opened yet.
    pub(super) carry: Carry,
    /// A record for whose frames there was no memory: it comes first.
    pub(super) opened: Option<Box<Opened>>,
    /// Pulls under way, by token.
    pub(super) pulls: Seldom<(u64, PullRequest)>,
    pub(super) next_token: u64,
    pub(super) is_ended: bool,
    /// The peer asked too much: it is not listened to until then.
    pub(super) rests_until: Time,
    /// There was no memory for what has arrived.
    pub(super) starved: Option<Box<Starved>>,
    /// What was read makes something to send on this path.
    pub(super) is_flush_wanted: bool,
}

/// A record that was opened.
pub(super) struct Opened {
    pub(super) plain: Slot,
    pub(super) epoch: u32,
    pub(super) number: u64,
    /// It lies in the [last memory](crate::mem::Pool::last).
    pub(super) is_last: bool,
}

/// What makes a link a path: its name, its keys, who we are.
pub(crate) struct PathSetup<'a> {
    pub(crate) id: PathId,
    pub(crate) role: Role,
    pub(crate) secret: &'a PathSecret,
    pub(crate) suite: Arc<dyn Suite>,
    pub(crate) compression: Option<&'a dyn Compression>,
    /// Of the session.
    pub(crate) version: u16,
}

/// The link may not be protected as little as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an untrusted {kind} link needs aead protection, but the suite gives {}", protection.name())]
pub struct TooWeak {
    /// Kind of the link.
    pub kind: &'static str,
    /// What the suite gives.
    pub protection: Protection,
}

/// Refuses every compressed frame: the session has agreed on no compression.
struct NoCompression;

impl Decompress for NoCompression {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), crate::wire::DecodeError> {
        Err(crate::wire::DecodeError { what: "compressed frame: no compression was agreed on" })
    }
}

impl PathIo {
    /// Joins `link` with the keys of a path.
    ///
    /// # Errors
    /// [`TooWeak`]: an untrusted medium below `Aead`.
    pub(crate) fn new(link: Box<dyn Link>, setup: &PathSetup<'_>) -> Result<Self, TooWeak> {
        let attributes = PathFacts::new(link.attributes());
        let PathSetup { id, role, secret, suite, compression, version } = setup;
        let protection = suite.protection();
        let is_trusted = attributes.features.has(LinkFeatures::TRUSTED_MEDIUM);
        if !is_trusted && protection < Protection::Aead {
            return Err(TooWeak { kind: attributes.kind.name(), protection });
        }
        let (sending, receiving) = match role {
            Role::Dialer => (Direction::ToAcceptor, Direction::ToDialer),
            Role::Acceptor => (Direction::ToDialer, Direction::ToAcceptor),
        };
        let is_ordered = attributes.features.has(LinkFeatures::ORDERED);
        let sealer = PathSealer::new(suite.clone(), secret, sending, 0, is_ordered);
        let opener = PathOpener::new(suite.clone(), secret, receiving, 0, is_ordered);
        let (sealer, opener) = (sealer.of_version(*version), opener.of_version(*version));
        let is_zero_copy = attributes.features.has(LinkFeatures::ZERO_COPY_TX);
        let (tx_link, rx_link) = link.split();
        Ok(Self {
            id: *id,
            suite: suite.name(),
            is_blocked: AtomicBool::new(false),
            send_note: SendNote::default(),
            receive_note: ReceiveNote::default(),
            looks: AtomicU64::new(0),
            sends: AtomicU64::new(0),
            wants_rekey: AtomicBool::new(false),
            rx_ready: rx_link.readiness(),
            tx_ready: tx_link.readiness(),
            counters: PathCounters::default(),
            attributes,
            tx: Mutex::new(PathTx {
                sealer,
                link: tx_link,
                compress: compression.map(|codec| codec.compressor()),
                may_compress: false,
                pending: Outbox::default(),
                is_zero_copy,
                is_dead: false,
            }),
            rx: Mutex::new(PathRx {
                opener,
                link: rx_link,
                decompress: compression
                    .map_or_else(|| Box::new(NoCompression) as _, |codec| codec.decompressor()),
                carry: Carry::new(Ahead::of_process()),
                opened: None,
                pulls: Seldom::default(),
                next_token: 1,
                is_ended: false,
                rests_until: Time(0),
                starved: None,
                is_flush_wanted: false,
            }),
        })
    }

    /// Nothing is read of it until then: its peer has asked too much elsewhere.
    #[cfg(feature = "tokio")]
    pub(crate) fn rest(&mut self, until: Time) {
        let rx = self.rx.get_mut();
        rx.unwrap_or_else(std::sync::PoisonError::into_inner).rests_until = until;
    }

    /// What the machine has to know of the path.
    pub(crate) fn path_attributes(
        &self,
        is_proven: bool,
        challenge: [u8; 16],
        preference: u8,
    ) -> PathAttributes {
        let link = &self.attributes;
        let regions = link.regions.iter().map(|one| (one.region, one.address, one.key));
        PathAttributes {
            regions: regions.collect(),
            receives_posted: link.receives_posted,
            preference,
            ..PathAttributes::plain(link.kind, link.features, is_proven, challenge)
        }
    }

    /// Whether a thread may usefully poll the link by itself for a while.
    pub(crate) fn is_spinnable(&self) -> bool {
        matches!(self.rx_ready, Readiness::Fd(_))
    }
}
