//! Records: sealing and opening them, and the frames in them.

use std::hint::black_box;

use dwcp_core::crypto::{Direction, PathOpener, PathSealer, Secret, SessionSecret};
use dwcp_core::machine::{TxBatch, TxRecord};
use dwcp_core::mem::{Pool, Slot};
use dwcp_core::wire::{
    DecodeError, Decompress, Frame, HEADER_BYTES, PathId, RecordEncoder, RecordHeader,
    decode_record,
};
use dwcp_tcp::suites::{Backend, aes_256_gcm};

use super::ROUNDS;
use super::machines::Ends;

/// Bytes of a record that is sealed.
const RECORD_BYTES: usize = 1 << 10;

fn ends() -> (PathSealer, PathOpener) {
    let suite = aes_256_gcm(Backend::AwsLc, true);
    let session = SessionSecret::from_exporter(&Secret::new([1; 32]), None);
    let path = session.path(PathId(0), &[2; 32], &[3; 32], &[4; 32]);
    let direction = Direction::ToAcceptor;
    let sealer = PathSealer::new(suite.clone(), &path, direction, 0, true);
    (sealer, PathOpener::new(suite, &path, direction, 0, true))
}

pub(super) fn seal() {
    let (mut sealer, _) = ends();
    let body = [7; RECORD_BYTES];
    let mut record = vec![0; sealer.sealed_bytes(body.len())];
    for _ in 0..ROUNDS {
        counted_seal(&mut sealer, &body, &mut record);
    }
    black_box(record);
}

#[inline(never)]
fn counted_seal(sealer: &mut PathSealer, body: &[u8], record: &mut [u8]) {
    sealer.seal_into(0, body, &[], record).expect("the key is fresh");
}

pub(super) fn open() {
    let (mut sealer, mut opener) = ends();
    let (body, mut plain) = ([7; RECORD_BYTES], [0; RECORD_BYTES]);
    let mut record = vec![0; sealer.sealed_bytes(body.len())];
    for _ in 0..ROUNDS {
        sealer.seal_into(0, &body, &[], &mut record).expect("the key is fresh");
        counted_open(&mut opener, &record, &mut plain);
    }
    assert_eq!(plain, body);
}

#[inline(never)]
fn counted_open(opener: &mut PathOpener, record: &[u8], plain: &mut [u8]) {
    let header = record.first_chunk::<HEADER_BYTES>().expect("a header");
    let header = RecordHeader::decode(header).expect("ours");
    opener.open(&header, record, plain).expect("untouched");
}

pub(super) fn frame() {
    let mut ends = Ends::new();
    let mut encoder = RecordEncoder::default();
    for _ in 0..ROUNDS {
        ends.commit();
        while ends.transmit() {
            counted_frame(&mut encoder, &ends.batch);
            ends.carry();
        }
        ends.settle();
    }
}

#[inline(never)]
fn counted_frame(encoder: &mut RecordEncoder, batch: &TxBatch) {
    for record in batch.records() {
        black_box(encode(encoder, batch, record));
    }
}

/// Puts a record into `encoder`; returns its body and what follows.
fn encode<'a>(
    encoder: &'a mut RecordEncoder,
    batch: &TxBatch,
    record: &TxRecord,
) -> (&'a [u8], &'a [u8]) {
    encoder.clear();
    encoder.put_frames(batch.frames(record));
    for data in batch.data(record) {
        encoder.put_data(&data.frame, None);
    }
    encoder.finish()
}

/// A record's plaintext as it lies in memory when it has been opened.
pub(super) fn plain(
    encoder: &mut RecordEncoder,
    batch: &TxBatch,
    record: &TxRecord,
    pool: &Pool,
) -> Slot {
    let (body, trailer) = encode(encoder, batch, record);
    let mut slot = pool.take(body.len() + trailer.len()).expect("there is memory");
    slot.set_len(body.len() + trailer.len());
    slot[..body.len()].copy_from_slice(body);
    slot[body.len()..].copy_from_slice(trailer);
    slot.freeze()
}

/// Nothing is compressed here.
pub(super) struct Never;

impl Decompress for Never {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), DecodeError> {
        Err(DecodeError { what: "compressed frame" })
    }
}

pub(super) fn decode() {
    let mut ends = Ends::new();
    let mut frames = Vec::new();
    for _ in 0..ROUNDS {
        ends.commit();
        while ends.transmit() {
            for plain in ends.plains() {
                counted_decode(&plain, &ends.pool, &mut frames);
                ends.take(&mut frames);
            }
        }
        ends.settle();
    }
}

#[inline(never)]
fn counted_decode(plain: &Slot, pool: &Pool, frames: &mut Vec<Frame>) {
    decode_record(plain, pool, &mut Never, frames).expect("ours");
}
