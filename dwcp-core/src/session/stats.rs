//! Figures of a session at one moment.

#[cfg(feature = "tokio")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::Session;
use crate::driver::PathIo;
use crate::link::SocketFacts;
use crate::machine::{PathCause, PathState, PathView, Role};
use crate::wire::{PathId, PathKind, SessionId, SwitchReason};

/// A session at one moment. Totals count from its beginning.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionStats {
    /// The session's name.
    pub id: SessionId,
    /// The peer's node id.
    pub peer: String,
    /// Tells one life of the peer's process from the next.
    pub peer_incarnation: u64,
    /// Which end we are.
    pub role: Role,
    /// When it began.
    pub since: SystemTime,
    /// Whether it has ended.
    pub is_over: bool,
    /// Whether no switch is going on.
    pub is_steady: bool,
    /// Switches and failovers of both ends so far show in this number.
    pub epoch: u32,
    /// The path data goes to; none while the session holds.
    pub active: Option<PathId>,
    /// Every live path.
    pub paths: Vec<PathStats>,
    /// Open channels.
    pub channels: usize,
    /// Messages committed.
    pub messages_sent_total: u64,
    /// Messages the application received.
    pub messages_received_total: u64,
    /// Payload and frame bytes gathered for sending, re-sent ones included.
    pub bytes_sent_total: u64,
    /// Payload bytes the application received.
    pub bytes_received_total: u64,
    /// Messages committed and not known to have arrived.
    pub unacked_messages: u64,
    /// Whether all that was said has arrived, control messages included.
    pub is_all_acked: bool,
    /// Whether one end's process leaves: what is open goes on, new channels belong elsewhere.
    pub is_leaving: bool,
    /// Voluntary moves, and all that followed one of the peer's, whatever made the peer move.
    pub switches_total: u64,
    /// Voluntary moves that were given up; the session stayed where it was.
    pub switches_failed_total: u64,
    /// Moves because a path failed at this end.
    pub failovers_total: u64,
    /// Times the session came back after having no path.
    pub reconnects_total: u64,
    /// Messages reported as in doubt.
    pub in_doubt_total: u64,
    /// Paths that ended, by [`PathCause::index`].
    pub paths_lost_total: [u64; PathCause::NAMES.len()],
    /// Times the peer was not listened to for a while, because it asked more than its rate allows.
    pub slowed_total: u64,
    /// The last move.
    pub last_switch: Option<SwitchRecord>,
}

/// One path at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PathStats {
    /// Its id.
    pub id: PathId,
    /// Its kind.
    pub kind: PathKind,
    /// Which one of that kind.
    pub provider: String,
    /// Where it is in its life.
    pub state: PathState,
    /// Our end.
    pub local: String,
    /// The peer's end.
    pub remote: String,
    /// The options of its socket as the kernel has them.
    pub socket: Option<SocketFacts>,
    /// How its records are protected.
    pub suite: &'static str,
    /// Smoothed round trip of probes.
    pub rtt: Option<Duration>,
    /// Frames on their way.
    pub in_flight_frames: usize,
    /// Records sent.
    pub records_sent_total: u64,
    /// Records received.
    pub records_received_total: u64,
    /// Bytes given to the link.
    pub bytes_sent_total: u64,
    /// Bytes taken from the link.
    pub bytes_received_total: u64,
    /// Key phases passed in our direction.
    pub rekeys_total: u64,
    /// Payload bytes before compression, of the frames that were compressed.
    pub compressed_from_bytes_total: u64,
    /// The same after compression.
    pub compressed_to_bytes_total: u64,
}

/// A move of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwitchRecord {
    /// When.
    pub at: SystemTime,
    /// The path before, if there was one.
    pub from: Option<PathId>,
    /// The path after.
    pub to: PathId,
    /// Kind of the path after.
    pub kind: PathKind,
    /// Why.
    pub reason: SwitchReason,
}

/// What only events tell, counted as they pass.
pub(crate) struct Totals {
    pub(crate) since: SystemTime,
    /// Moves and losses take a round trip at the least: no session lives for four thousand million of them.
    pub(crate) switches: AtomicU32,
    pub(crate) switches_failed: AtomicU32,
    pub(crate) failovers: AtomicU32,
    pub(crate) reconnects: AtomicU32,
    pub(crate) paths_lost: [AtomicU32; PathCause::NAMES.len()],
    pub(crate) in_doubt: AtomicU64,
    /// The session has no path, here or at the dialer: the next one brings it back.
    #[cfg(feature = "tokio")]
    pub(crate) is_holding: AtomicBool,
    pub(crate) last_switch: Mutex<Option<SwitchRecord>>,
}

impl Totals {
    pub(crate) fn new() -> Self {
        Self {
            since: SystemTime::now(),
            switches: AtomicU32::new(0),
            switches_failed: AtomicU32::new(0),
            failovers: AtomicU32::new(0),
            reconnects: AtomicU32::new(0),
            in_doubt: AtomicU64::new(0),
            paths_lost: Default::default(),
            #[cfg(feature = "tokio")]
            is_holding: AtomicBool::new(false),
            last_switch: Mutex::new(None),
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn set_last_switch(&self, record: SwitchRecord) {
        *self.last_switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count(counter: &AtomicU32) -> u64 {
    counter.load(Ordering::Relaxed).into()
}

pub(super) fn collect(session: &Session) -> SessionStats {
    let shared = &session.shared;
    let totals = &shared.totals;
    let state = shared.core.lock();
    let machine = &state.machine;
    let path = |view: PathView| {
        let io = state.paths.iter().find(|path| path.id == view.id)?;
        Some(path_stats(&view, io))
    };
    SessionStats {
        id: shared.id,
        peer: shared.peer.to_string(),
        peer_incarnation: shared.peer_incarnation,
        role: shared.role,
        since: totals.since,
        is_over: machine.is_over(),
        is_steady: machine.is_steady(),
        epoch: machine.epoch(),
        active: machine.active_path(),
        paths: machine.paths().filter_map(path).collect(),
        channels: machine.channel_count(),
        messages_sent_total: machine.messages_committed(),
        messages_received_total: get(&shared.core.counters.messages_received),
        bytes_sent_total: get(&shared.core.counters.bytes_sent),
        bytes_received_total: get(&shared.core.counters.bytes_received),
        unacked_messages: machine.unacked_messages(),
        is_all_acked: machine.is_all_acked(),
        is_leaving: machine.is_leaving(),
        switches_total: count(&totals.switches),
        switches_failed_total: count(&totals.switches_failed),
        failovers_total: count(&totals.failovers),
        reconnects_total: count(&totals.reconnects),
        in_doubt_total: get(&totals.in_doubt),
        paths_lost_total: totals.paths_lost.each_ref().map(count),
        slowed_total: get(&shared.core.counters.slowed),
        last_switch: totals.last_switch.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

fn path_stats(view: &PathView, io: &PathIo) -> PathStats {
    let counters = &io.counters;
    PathStats {
        id: view.id,
        kind: view.kind,
        provider: io.attributes.provider.to_string(),
        state: view.state,
        local: io.attributes.local.to_string(),
        remote: io.attributes.remote.to_string(),
        socket: io.attributes.socket.as_deref().cloned(),
        suite: io.suite,
        rtt: view.rtt,
        in_flight_frames: view.in_flight,
        records_sent_total: get(&counters.records_sent),
        records_received_total: get(&counters.records_received),
        bytes_sent_total: get(&counters.bytes_sent),
        bytes_received_total: get(&counters.bytes_received),
        rekeys_total: get(&counters.rekeys),
        compressed_from_bytes_total: get(&counters.compress_in),
        compressed_to_bytes_total: get(&counters.compress_out),
    }
}
