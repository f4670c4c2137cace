//! A record's plaintext: `body | frames | u16 length of frames`.
//!
//! The body is the payload of at most one data frame and comes first, straight from its slot; everything
//! else gathers in the frame section behind it. A sealer can so take both without copying the body.

use super::codec::{DecodeError, Reader, Write, malformed};
use super::frame::{
    DataFrame, DataKind, FLAG_BODY, FLAG_COMPRESSED, FLAG_PULL, Frame, PullSource, TYPE_DATA,
};
use super::{MAX_FRAME_BYTES, MAX_FRAMES_BYTES};
use crate::mem::{Payload, Pool, Slot};

/// Makes a payload smaller. One for each path and direction; big contexts and buffers belong to the thread
/// that runs it, and nothing of one payload enters the next (CRIME, and re-sending on another path).
pub trait Compress: Send {
    /// Appends the compressed `input` to `out` and returns true, or returns false (and leaves `out` as it
    /// was) when compressing does not pay.
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool;
    /// Tells which end of the pipe was the bottleneck since the last call: the link (it took less than it was
    /// offered) or the processor. The level may follow.
    fn note_bottleneck(&mut self, is_link: bool) {
        let _ = is_link;
    }
}

/// A compression algorithm that both ends of a session have agreed on.
pub trait Compression: Send + Sync {
    /// A name for status and logs, such as `zstd`.
    fn name(&self) -> &'static str;
    /// For the sending direction of one path.
    fn compressor(&self) -> Box<dyn Compress>;
    /// For the receiving direction of one path.
    fn decompressor(&self) -> Box<dyn Decompress>;
}

/// Undoes [`Compress`].
pub trait Decompress: Send {
    /// Fills `out`, whose length is the declared size.
    ///
    /// # Errors
    /// [`DecodeError`] unless `input` decompresses to exactly `out.len()` bytes.
    fn decompress(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), DecodeError>;
}

/// The largest expansion a compressed frame may declare: beyond it, a peer makes us work more than it did.
const MAX_RATIO: usize = 1_024;

/// A frame pins at most so many times the memory that it costs credit.
const PINNED_RATIO: usize = 8;
const COST_MIN: usize = crate::machine::FRAME_COST_MIN as usize;

/// Builds the frame section of one record. Keep one and reuse its memory.
#[derive(Default)]
pub struct RecordEncoder {
    frames: Vec<u8>,
    compressed: Vec<u8>,
    compressed_from: Option<usize>,
    body: Option<Payload>,
}

/// Bytes a data frame takes in the frame section, without its payload, at most.
const DATA_HEADER_BYTES: usize = 1 + 1 + 4 + 8 + 4 + 8 + 4 + 20;

impl RecordEncoder {
    /// Starts a new record.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.compressed.clear();
        self.compressed_from = None;
        self.body = None;
    }

    /// Bytes of the body before compression, if it was compressed.
    pub fn compressed_from(&self) -> Option<usize> {
        self.compressed_from
    }

    /// The body, if there is one that goes out as it is.
    pub fn plain_body(&self) -> Option<&Payload> {
        self.body.as_ref().filter(|_| self.compressed_from.is_none())
    }

    /// Whether nothing was added since [`clear`](Self::clear).
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends encoded frames (not data).
    pub fn put_frames(&mut self, frames: &[u8]) {
        self.frames.put(frames);
    }

    /// Whether `frame` fits this record; the first data frame always does.
    pub fn has_room(&self, frame: &DataFrame) -> bool {
        let is_inline = self.body.is_some() && frame.pull.is_none();
        let inline = if is_inline { frame.payload.len() } else { 0 };
        self.frames.len() + DATA_HEADER_BYTES + inline + 2 <= MAX_FRAMES_BYTES
    }

    /// Adds a data frame. Its payload becomes the body if the record has none yet, else it is copied.
    ///
    /// # Panics
    /// If it does not [fit](Self::has_room).
    pub fn put_data(&mut self, frame: &DataFrame, compress: Option<&mut dyn Compress>) {
        assert!(self.has_room(frame), "the caller asked for room");
        let is_body = self.body.is_none() && frame.pull.is_none();
        let compressed = is_body
            && compress.is_some_and(|codec| codec.compress(&frame.payload, &mut self.compressed))
            // The peer refuses more; a frame of nothing but zeros goes as it is.
            && frame.payload.len() <= self.compressed.len().saturating_mul(MAX_RATIO);
        let wire_bytes = match (compressed, frame.pull) {
            (true, _) => self.compressed.len(),
            (false, Some(_)) => 0,
            (false, None) => frame.payload.len(),
        };
        let mut flags = frame.kind.code();
        flags |= if compressed { FLAG_COMPRESSED } else { 0 };
        flags |= if is_body { FLAG_BODY } else { 0 };
        flags |= if frame.pull.is_some() { FLAG_PULL } else { 0 };
        let out = &mut self.frames;
        out.put_u8(TYPE_DATA);
        out.put_u8(flags);
        out.put_u32(frame.channel);
        out.put_u64(frame.seq);
        out.put_u32(wire_bytes as u32);
        if let DataKind::First { total } = frame.kind {
            out.put_u64(total);
        }
        if compressed {
            self.compressed_from = Some(frame.payload.len());
            out.put_u32(frame.payload.len() as u32);
        }
        if let Some(pull) = frame.pull {
            out.put_u32(frame.length);
            out.put_u64(pull.address);
            out.put_u64(pull.key);
            out.put_u32(pull.crc);
        }
        if is_body {
            self.body = Some(if compressed { Payload::default() } else { frame.payload.clone() });
        } else if frame.pull.is_none() {
            out.put(&frame.payload);
        }
    }

    /// Ends the frame section. Returns what to seal: body and trailer.
    pub fn finish(&mut self) -> (&[u8], &[u8]) {
        let length = self.frames.len();
        assert!(length <= MAX_FRAMES_BYTES, "the frame section is within its limit");
        self.frames.put_u16(length as u16);
        let body: &[u8] = match &self.body {
            _ if self.compressed_from.is_some() => &self.compressed,
            Some(body) => body,
            None => &[],
        };
        (body, &self.frames)
    }
}

/// Reads the frames of a record's plaintext into `frames` (appended). Payloads share the record's slot, or
/// lie in a slot of their own: after decompression, and when they are much smaller than the record's.
///
/// # Errors
/// [`DecodeError`] if anything in the record is malformed; `frames` may then hold its first frames, which
/// the caller drops with the path. After [`DecodeError::OUT_OF_MEMORY`] it drops them and reads the record again
/// later.
pub fn decode_record(
    plain: &Slot,
    pool: &Pool,
    decompress: &mut dyn Decompress,
    frames: &mut Vec<Frame>,
) -> Result<(), DecodeError> {
    let Some((rest, length)) = plain.split_last_chunk::<2>() else {
        return malformed("record");
    };
    let length = usize::from(u16::from_le_bytes(*length));
    let Some(body) = rest.len().checked_sub(length) else { return malformed("record") };
    if length > MAX_FRAMES_BYTES {
        return malformed("frame section");
    }
    let mut room = RecordReader { plain, pool, decompress, body, body_used: body == 0 };
    let mut input = Reader::new(&rest[body..], "frame");
    while !input.is_empty() {
        let frame = match input.u8()? {
            TYPE_DATA => {
                let at = rest.len() - input.remaining();
                Frame::Data(room.data(&mut input, at)?)
            }
            code => Frame::decode(code, &mut input)?,
        };
        frames.push(frame);
    }
    if room.body_used { Ok(()) } else { malformed("record body without a frame") }
}

struct RecordReader<'a> {
    plain: &'a Slot,
    pool: &'a Pool,
    decompress: &'a mut dyn Decompress,
    body: usize,
    body_used: bool,
}

impl RecordReader<'_> {
    /// Reads a data frame whose fields start at `at` of the plaintext.
    fn data(&mut self, input: &mut Reader<'_>, at: usize) -> Result<DataFrame, DecodeError> {
        let start = input.remaining();
        let flags = input.u8()?;
        let (channel, seq, wire_bytes) = (input.u32()?, input.u64()?, input.u32()? as usize);
        let kind = match flags & 7 {
            0 => DataKind::Batch,
            1 => DataKind::First { total: input.u64()? },
            2 => DataKind::Next,
            3 => DataKind::Open,
            4 => DataKind::Fin,
            5 => DataKind::Control,
            _ => return malformed("data kind"),
        };
        let (in_body, is_pull) = (flags & FLAG_BODY != 0, flags & FLAG_PULL != 0);
        let is_compressed = flags & FLAG_COMPRESSED != 0;
        let bad_flags = is_pull && (in_body || is_compressed || wire_bytes != 0);
        if bad_flags || flags & 0xc0 != 0 || seq == 0 || seq == u64::MAX {
            return malformed("data frame");
        }
        let declared = if is_compressed || is_pull { input.u32()? as usize } else { wire_bytes };
        if declared > MAX_FRAME_BYTES {
            return malformed("frame length");
        }
        let pull = if is_pull {
            Some(PullSource { address: input.u64()?, key: input.u64()?, crc: input.u32()? })
        } else {
            None
        };
        let place = if in_body {
            if wire_bytes != self.body || (self.body_used && self.body > 0) {
                return malformed("record body");
            }
            self.body_used = true;
            0
        } else {
            let place = at + (start - input.remaining());
            input.bytes(wire_bytes)?;
            place
        };
        let payload = if is_compressed {
            self.inflate(place, wire_bytes, declared)?
        } else {
            self.payload(place, wire_bytes)
        };
        Ok(DataFrame { channel, seq, kind, payload, length: declared as u32, pull })
    }

    /// The payload at `at`. It shares the record's slot, unless that is so much larger that the credit for the
    /// payload would not pay for it: then it gets a slot of its own.
    fn payload(&self, at: usize, bytes: usize) -> Payload {
        if bytes == 0 {
            return Payload::default();
        }
        let room = self.plain.capacity();
        if room > PINNED_RATIO * bytes.max(COST_MIN)
            && let Some(mut slot) = self.pool.take_for_receive(bytes)
            && slot.capacity() < room
        {
            slot.extend(&self.plain[at..at + bytes]);
            return Payload::Slot(slot.freeze().into());
        }
        Payload::Slot(self.plain.slice(at, bytes))
    }

    fn inflate(
        &mut self,
        at: usize,
        bytes: usize,
        declared: usize,
    ) -> Result<Payload, DecodeError> {
        if declared > bytes.saturating_mul(MAX_RATIO) {
            return malformed("compression ratio");
        }
        // The peer is held to its credit, so an empty pool is our own limit: the record can be read later.
        let Some(mut slot) = self.pool.take_for_receive(declared) else {
            return Err(DecodeError::OUT_OF_MEMORY);
        };
        slot.set_len(declared);
        self.decompress.decompress(&self.plain[at..at + bytes], &mut slot)?;
        Ok(Payload::Slot(slot.freeze().into()))
    }
}
