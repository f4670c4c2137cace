//! From the machine to the link: gather, seal, write.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::SessionCore;
use super::path_io::{PathCounters, PathIo, PathTx};
use super::scratch::{Scratch, with_scratch};
use crate::crypto::SealError;
use crate::machine::{PathCause, Time};
use crate::mem::Payload;
use crate::wire::{Compress, RecordEncoder};

/// A message committed this long after the last flush leaves at once; sooner ones gather. Two system calls'
/// worth: what is gathered meanwhile costs less together than apart.
pub(crate) const CORK: Duration = Duration::from_micros(20);

/// Bytes a sender gathers before it flushes by itself: one full write.
pub(crate) const CORK_BYTES: usize = 256 << 10;

/// Bodies from this size on are sent from where they lie, if the link can: less is copied sooner than looked up.
const ZERO_COPY_BYTES_MIN: usize = 4 << 10;

/// Data worth telling the compressor about, bytes a batch.
const BOTTLENECK_BYTES: usize = 16 << 10;

impl SessionCore {
    /// Sends what `path` has to send, in this thread; if another is at it, that one goes on for us.
    /// Returns whether this thread did: else the one does that has the sending half.
    pub(crate) fn flush(&self, path: &PathIo) -> bool {
        self.flush_and(path, |_| {})
    }

    /// Nothing has come or gone on `path` for a while: what only records need goes until the next one. A half that somebody
    /// has is in use, and stays as it is.
    pub(super) fn shed(&self, path: &PathIo) {
        // Whoever has the sending half sends for those who come meanwhile.
        self.flush_and(path, |tx| {
            tx.sealer.shed();
            tx.pending.shed();
        });
        if let Ok(mut rx) = path.rx.try_lock() {
            rx.opener.shed();
            rx.pulls.shed();
        }
    }

    /// As [`flush`](Self::flush), with something else to do before the half is given back.
    fn flush_and(&self, path: &PathIo, then: impl Fn(&mut PathTx)) -> bool {
        let try_take = || path.tx.try_lock().ok();
        let mut is_done = false;
        path.send_note.serve(try_take, |mut tx| {
            is_done = true;
            with_scratch(|scratch| {
                self.transmit(path, &mut tx, scratch);
                then(&mut tx);
                drop(tx);
                scratch.batch.clear(); // it may hold memory of the application's
            });
        });
        is_done
    }

    fn transmit(&self, path: &PathIo, tx: &mut PathTx, scratch: &mut Scratch) {
        let mut now = self.clock.now();
        loop {
            path.sends.fetch_add(1, Ordering::Release);
            let is_blocked = path.is_blocked.load(Ordering::SeqCst);
            if tx.is_dead || is_blocked || !self.write_pending(path, tx, now) {
                return;
            }
            // On unordered links not before the last one has arrived for certain.
            if path.wants_rekey.load(Ordering::Relaxed) && tx.sealer.rekey(now) {
                path.wants_rekey.store(false, Ordering::Relaxed);
                PathCounters::add(&path.counters.rekeys, 1);
            }
            let (is_any, is_all) = self.gather(path, now, scratch);
            if !is_any {
                return;
            }
            let is_sealed = self.seal(path, tx, scratch);
            scratch.batch.clear();
            if !is_sealed {
                self.lose_tx(path, tx, now);
            } else if is_all {
                // Nearly always: another look would find nothing.
                self.write_pending(path, tx, now);
                return;
            } else {
                now = self.clock.now();
            }
        }
    }

    /// Takes what `path` has to send now. Returns whether there is anything, and whether it is all there is.
    fn gather(&self, path: &PathIo, now: Time, scratch: &mut Scratch) -> (bool, bool) {
        let mut state = self.lock();
        let is_any = state.machine.poll_transmit(now, path.id, &mut scratch.batch);
        state.is_flush_due = false;
        state.flushed_at = now;
        let is_all = !is_any || !state.machine.wants_transmit(now, path.id);
        // Another path has something to send, too, or a timer is due before the driver looks.
        let needs_driver = state.machine.has_events()
            || (is_all && state.machine.poll_timeout().is_some_and(|due| due < state.armed));
        drop(state);
        if needs_driver {
            self.wake.raise();
        }
        (is_any, is_all)
    }

    /// Seals the batch into the path's pending bytes. False: the key is used up.
    fn seal(&self, path: &PathIo, tx: &mut PathTx, scratch: &mut Scratch) -> bool {
        let Scratch { batch, encoder, .. } = scratch;
        let phase = tx.sealer.usage().phase;
        tx.pending.start();
        tx.may_compress = false;
        for record in batch.records() {
            encoder.clear();
            encoder.put_frames(batch.frames(record));
            for data in batch.data(record) {
                let compress = tx.compress.as_deref_mut().filter(|_| data.may_compress);
                tx.may_compress |= data.may_compress;
                encoder.put_data(&data.frame, compress.map(|codec| codec as &mut dyn Compress));
            }
            let before = encoder.compressed_from();
            let sealed = seal_record(tx, encoder, record.epoch);
            let Ok(body) = sealed else {
                encoder.clear();
                return false;
            };
            if let Some(before) = before {
                PathCounters::add(&path.counters.compress_in, before as u64);
                PathCounters::add(&path.counters.compress_out, body as u64);
            }
        }
        encoder.clear(); // it holds the last payload
        let counters = &path.counters;
        PathCounters::add(&counters.records_sent, batch.records().len() as u64);
        PathCounters::add(&counters.rekeys, tx.sealer.usage().phase - phase);
        PathCounters::add(&self.counters.bytes_sent, batch.bytes() as u64);
        true
    }

    /// Writes sealed bytes. False: the link takes no more now, or is dead.
    fn write_pending(&self, path: &PathIo, tx: &mut PathTx, now: Time) -> bool {
        let offered = tx.pending.bytes();
        while !tx.pending.is_empty() {
            match tx.pending.write(&mut *tx.link) {
                Ok(count) => PathCounters::add(&path.counters.bytes_sent, count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    path.is_blocked.store(true, Ordering::SeqCst);
                    note_bottleneck(tx, offered, true);
                    self.wake.raise();
                    return false;
                }
                Err(error) => {
                    tracing::debug!(path = path.id.0, %error, "sending failed");
                    self.lose_tx(path, tx, now);
                    return false;
                }
            }
        }
        note_bottleneck(tx, offered, false);
        tx.pending.finish();
        true
    }

    fn lose_tx(&self, path: &PathIo, tx: &mut PathTx, now: Time) {
        tx.is_dead = true;
        self.with_state(|state| {
            state.machine.handle_path_down(now, path.id, PathCause::LinkFailed);
        });
    }

    /// The link takes bytes again.
    pub(super) fn unblock(&self, path: &PathIo) {
        path.is_blocked.store(false, Ordering::SeqCst);
        self.flush(path);
    }
}

/// Seals what the encoder holds. Returns the bytes of its body.
fn seal_record(
    tx: &mut PathTx,
    encoder: &mut RecordEncoder,
    epoch: u32,
) -> Result<usize, SealError> {
    let is_large = |body: &&Payload| tx.is_zero_copy && body.len() >= ZERO_COPY_BYTES_MIN;
    let lying = encoder.plain_body().filter(is_large).cloned();
    let (body, trailer) = encoder.finish();
    let count = body.len();
    if let Some(lying) = lying {
        let bytes = tx.sealer.sealed_bytes(trailer.len());
        if tx.sealer.seal_around(epoch, body, trailer, tx.pending.room(bytes))? {
            tx.pending.put_around(bytes, lying);
            return Ok(count);
        }
    }
    let bytes = tx.sealer.sealed_bytes(count + trailer.len());
    tx.sealer.seal_into(epoch, body, trailer, tx.pending.room(bytes))?;
    tx.pending.put(bytes);
    Ok(count)
}

fn note_bottleneck(tx: &mut PathTx, offered: usize, is_blocked: bool) {
    if offered < BOTTLENECK_BYTES || !tx.may_compress {
        return;
    }
    if let Some(compress) = &mut tx.compress {
        // What the kernel has not sent yet tells as much as a refusal.
        let is_queued = tx.link.unsent_bytes().is_some_and(|bytes| bytes as usize > offered);
        compress.note_bottleneck(is_blocked || is_queued);
    }
}
