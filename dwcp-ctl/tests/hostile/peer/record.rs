//! docs/protocol.md, "Records": header, AES-256-GCM, and the HMAC beside the tag.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};

use super::bytes::{Put, Take};
use super::keys::{Keys, hmac};

pub(crate) const HEADER_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
/// The most bytes of a frame section.
pub(crate) const FRAMES_MAX: usize = 4_048;

/// A header, with nothing checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    /// Bits 5 to 7 of the first byte, which are to be 0.
    pub(crate) reserved: u8,
    pub(crate) phase: u8,
    pub(crate) lane: u8,
    pub(crate) length: u32,
    pub(crate) epoch: u32,
    pub(crate) number: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.u8(self.phase & 3 | (self.lane & 7) << 2 | self.reserved << 5);
        out.put(&self.length.to_le_bytes()[..3]);
        out.u32(self.epoch);
        out.u64(self.number);
        out
    }

    fn decode(bytes: &[u8]) -> Self {
        let mut take = Take(bytes);
        let first = take.u8();
        let length = take.bytes(3);
        Self {
            reserved: first >> 5,
            phase: first & 3,
            lane: first >> 2 & 7,
            length: u32::from_le_bytes([length[0], length[1], length[2], 0]),
            epoch: take.u32(),
            number: take.u64(),
        }
    }
}

/// `body | frames | length of frames`.
pub(crate) fn plaintext(body: &[u8], frames: &[u8]) -> Vec<u8> {
    let mut plain = [body, frames].concat();
    plain.u16(frames.len() as u16);
    plain
}

/// Seals `plain` under `header`, whose length is set here, by `keys`.
pub(crate) fn seal(keys: &Keys, has_hmac: bool, header: Header, plain: &[u8]) -> Vec<u8> {
    let overhead = if has_hmac { TAG_BYTES + MAC_BYTES } else { TAG_BYTES };
    let length = (plain.len() + overhead) as u32;
    let header_bytes = Header { length, ..header }.encode();
    let mut text = plain.to_vec();
    let tag = Aes256Gcm::new(&keys.key.into())
        .encrypt_inout_detached(
            &keys.nonce(header.number).into(),
            &header_bytes,
            text.as_mut_slice().into(),
        )
        .expect("a short text");
    let mut record = [&header_bytes, &text, &tag[..]].concat();
    if has_hmac {
        record.put(&hmac(&keys.mac, &[&header_bytes, &tag]));
    }
    record
}

/// One direction of a path, sending.
#[derive(Clone)]
pub(crate) struct Sealer {
    pub(crate) keys: Keys,
    pub(crate) has_hmac: bool,
    pub(crate) phase: u64,
    pub(crate) number: u64,
    pub(crate) epoch: u32,
    version: u16,
}

impl Sealer {
    pub(crate) fn new(keys: Keys, has_hmac: bool, version: u16) -> Self {
        Self { keys, has_hmac, phase: 0, number: 0, epoch: 0, version }
    }

    /// The header of the next record.
    pub(crate) fn header(&self) -> Header {
        Header {
            phase: self.phase as u8 & 3,
            epoch: self.epoch,
            number: self.number,
            ..Header::default()
        }
    }

    /// The next record, as it should be.
    pub(crate) fn seal(&mut self, body: &[u8], frames: &[u8]) -> Vec<u8> {
        self.seal_plain(&plaintext(body, frames))
    }

    pub(crate) fn seal_plain(&mut self, plain: &[u8]) -> Vec<u8> {
        let record = seal(&self.keys, self.has_hmac, self.header(), plain);
        self.number += 1;
        record
    }

    /// Moves to the next key phase.
    pub(crate) fn rekey(&mut self) {
        self.keys = self.keys.next();
        self.phase += 1;
        // From version 4 on, numbers go on.
        if self.version < 4 {
            self.number = 0;
        }
    }
}

/// One direction of a path, receiving; an ordered link.
pub(crate) struct Opener {
    keys: Keys,
    has_hmac: bool,
    phase: u64,
    number: u64,
    version: u16,
}

impl Opener {
    pub(crate) fn new(keys: Keys, has_hmac: bool, version: u16) -> Self {
        Self { keys, has_hmac, phase: 0, number: 0, version }
    }

    /// Opens the record at the start of `bytes`, if all of it is there: its epoch, its plaintext, and how long it is.
    #[track_caller]
    pub(crate) fn open(&mut self, bytes: &[u8]) -> Option<(u32, Vec<u8>, usize)> {
        let header_bytes = bytes.get(..HEADER_BYTES)?;
        let header = Header::decode(header_bytes);
        let end = HEADER_BYTES + header.length as usize;
        let sealed = bytes.get(HEADER_BYTES..end)?;
        assert_eq!((header.reserved, header.lane), (0, 0), "{header:?}");
        if header.phase != self.phase as u8 & 3 {
            self.keys = self.keys.next();
            self.phase += 1;
            if self.version < 4 {
                self.number = 0;
            }
        }
        assert_eq!((header.phase, header.number), (self.phase as u8 & 3, self.number));
        self.number += 1;
        let mac_at = sealed.len() - if self.has_hmac { MAC_BYTES } else { 0 };
        let (sealed, mac) = sealed.split_at(mac_at);
        let (text, tag) = sealed.split_at(sealed.len() - TAG_BYTES);
        if self.has_hmac {
            assert_eq!(hmac(&self.keys.mac, &[header_bytes, tag]), mac, "the daemon's HMAC");
        }
        let tag: [u8; TAG_BYTES] = tag.try_into().expect("16 bytes");
        let mut plain = text.to_vec();
        Aes256Gcm::new(&self.keys.key.into())
            .decrypt_inout_detached(
                &self.keys.nonce(header.number).into(),
                header_bytes,
                plain.as_mut_slice().into(),
                &tag.into(),
            )
            .expect("the daemon's record is authentic");
        Some((header.epoch, plain, end))
    }
}
