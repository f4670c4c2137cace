//! docs/protocol.md, "Frames" and "Control messages".

use super::bytes::{Put, Take};

pub(crate) const BATCH: u8 = 0;
pub(crate) const FIRST: u8 = 1;
pub(crate) const NEXT: u8 = 2;
pub(crate) const OPEN: u8 = 3;
pub(crate) const FIN: u8 = 4;
pub(crate) const CONTROL: u8 = 5;

pub(crate) const COMPRESSED: u8 = 1 << 3;
pub(crate) const BODY: u8 = 1 << 4;
pub(crate) const PULL: u8 = 1 << 5;

/// A data frame, with nothing checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) kind: u8,
    /// [`COMPRESSED`], [`BODY`], [`PULL`], or bits that are to be 0.
    pub(crate) flags: u8,
    pub(crate) channel: u32,
    pub(crate) seq: u64,
    /// Of a First.
    pub(crate) total: Option<u64>,
    /// Of a compressed one, or one to be pulled: the declared length.
    pub(crate) declared: Option<u32>,
    pub(crate) payload: Vec<u8>,
    /// What the frame says of its payload's length, where that is a lie.
    pub(crate) length: Option<u32>,
}

impl Data {
    pub(crate) fn new(kind: u8, channel: u32, seq: u64, payload: &[u8]) -> Self {
        let payload = payload.to_vec();
        Self { kind, channel, seq, payload, ..Self::default() }
    }

    /// One message of `total` bytes begins with `payload`.
    pub(crate) fn first(channel: u32, seq: u64, total: u64, payload: &[u8]) -> Self {
        Self { total: Some(total), ..Self::new(FIRST, channel, seq, payload) }
    }

    pub(crate) fn open(channel: u32, label: &str) -> Self {
        Self::new(OPEN, channel, 1, &[&[0], label.as_bytes()].concat())
    }

    /// Whole messages in one frame.
    pub(crate) fn batch(channel: u32, seq: u64, messages: &[&[u8]]) -> Self {
        let mut payload = Vec::new();
        for message in messages {
            payload.put(&length(message.len() as u32));
            payload.put(message);
        }
        Self::new(BATCH, channel, seq, &payload)
    }

    pub(crate) fn with_flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// The frame; its payload is in it, unless it is the body or to be pulled.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![1, self.kind | self.flags];
        out.u32(self.channel);
        out.u64(self.seq);
        let is_pull = self.flags & PULL != 0;
        let here = if is_pull { 0 } else { self.payload.len() as u32 };
        out.u32(self.length.unwrap_or(here));
        if let Some(total) = self.total {
            out.u64(total);
        }
        if let Some(declared) = self.declared {
            out.u32(declared);
        }
        if is_pull {
            out.u64(0x1000);
            out.u64(7);
            out.u32(0);
        } else if self.flags & BODY == 0 {
            out.put(&self.payload);
        }
        out
    }
}

/// Unsigned LEB128.
pub(crate) fn length(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.u8(value as u8);
    out
}

pub(crate) fn ack(channel: u32, cumulative: u64, ranges: &[(u32, u32)]) -> Vec<u8> {
    let mut out = vec![2];
    out.u32(channel);
    out.u64(cumulative);
    out.u8(ranges.len() as u8);
    for (gap, length) in ranges {
        out.u32(*gap);
        out.u32(*length);
    }
    out
}

fn numbered(kind: u8, channel: u32, value: u64) -> Vec<u8> {
    let mut out = vec![kind];
    out.u32(channel);
    out.u64(value);
    out
}

pub(crate) fn credit(channel: u32, limit: u64) -> Vec<u8> {
    numbered(3, channel, limit)
}

pub(crate) fn confirm(channel: u32, messages: u64) -> Vec<u8> {
    numbered(5, channel, messages)
}

fn token(kind: u8, token: u64) -> Vec<u8> {
    let mut out = vec![kind];
    out.u64(token);
    out
}

pub(crate) fn ping(value: u64) -> Vec<u8> {
    token(6, value)
}

pub(crate) fn pong(value: u64) -> Vec<u8> {
    token(7, value)
}

pub(crate) fn switch_mark(epoch: u32, path: u32) -> Vec<u8> {
    let mut out = vec![10];
    out.u32(epoch);
    out.u32(path);
    out
}

pub(crate) const WAKE: u8 = 13;

pub(crate) fn reset(channel: u32, code: u32) -> Vec<u8> {
    let mut out = vec![1];
    out.u32(channel);
    out.u32(code);
    out
}

pub(crate) fn switch_request(path: u32) -> Vec<u8> {
    let mut out = vec![2];
    out.u32(path);
    out.u8(0);
    out
}

pub(crate) fn path_offer(path: u32) -> Vec<u8> {
    let mut out = vec![3];
    out.u32(path);
    out.u8(1);
    out.put(&[7; 32]);
    out.short(b"nowhere");
    out
}

pub(crate) fn path_answer(path: u32) -> Vec<u8> {
    let mut out = vec![4];
    out.u32(path);
    out.put(&[7; 32]);
    out.short(b"nowhere");
    out
}

pub(crate) fn path_closed(path: u32) -> Vec<u8> {
    let mut out = vec![5];
    out.u32(path);
    out
}

/// A Fenced with one report.
pub(crate) fn fenced(path: u32, channel: u32, cumulative: u64) -> Vec<u8> {
    let mut out = vec![6];
    out.u32(path);
    out.put(&ack(channel, cumulative, &[])[1..]);
    out
}

pub(crate) fn close(code: u32, reason: &[u8]) -> Vec<u8> {
    let mut out = vec![7];
    out.u32(code);
    out.short(reason);
    out
}

/// What the daemon says.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Data(Data),
    Credit {
        channel: u32,
        limit: u64,
    },
    Ping(u64),
    Pong(u64),
    SwitchMark {
        epoch: u32,
    },
    /// What the peer need not know.
    Other,
}

/// Reads the plaintext of a record.
#[track_caller]
pub(crate) fn decode(plain: &[u8]) -> Vec<Heard> {
    let (rest, length) = plain.split_last_chunk::<2>().expect("a length of frames");
    let length = usize::from(u16::from_le_bytes(*length));
    let (body, frames) = rest.split_at(rest.len() - length);
    let mut take = Take(frames);
    let mut heard = Vec::new();
    while !take.0.is_empty() {
        heard.push(match take.u8() {
            1 => Heard::Data(data(&mut take, body)),
            2 => {
                take.bytes(12);
                for _ in 0..take.u8() {
                    take.bytes(8);
                }
                Heard::Other
            }
            3 => Heard::Credit { channel: take.u32(), limit: take.u64() },
            6 => Heard::Ping(take.u64()),
            7 => Heard::Pong(take.u64()),
            10 => {
                let epoch = take.u32();
                take.bytes(4);
                Heard::SwitchMark { epoch }
            }
            kind => {
                take.bytes(match kind {
                    4 => 8,
                    5 => 12,
                    8 | 9 => 16,
                    11 => 13,
                    12 | 13 => 0,
                    other => panic!("frame type {other}"),
                });
                Heard::Other
            }
        });
    }
    heard
}

#[track_caller]
fn data(take: &mut Take<'_>, body: &[u8]) -> Data {
    let bits = take.u8();
    let (kind, flags) = (bits & 7, bits & 0xf8);
    let (channel, seq, bytes) = (take.u32(), take.u64(), take.u32() as usize);
    let total = (kind == FIRST).then(|| take.u64());
    let declared = (flags & COMPRESSED != 0).then(|| take.u32());
    assert_eq!(flags & PULL, 0, "nothing is pulled over TCP");
    let payload = if flags & BODY != 0 {
        assert_eq!(bytes, body.len());
        body
    } else {
        take.bytes(bytes)
    };
    let payload = match declared {
        Some(declared) => zstd::bulk::decompress(payload, declared as usize).expect("Zstandard"),
        None => payload.to_vec(),
    };
    Data { kind, flags, channel, seq, total, declared, payload, length: None }
}

/// The messages of a batch.
pub(crate) fn messages(mut batch: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !batch.is_empty() {
        let (mut value, mut shift) = (0_usize, 0);
        loop {
            let byte = batch[0];
            batch = &batch[1..];
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        all.push(batch[..value].to_vec());
        batch = &batch[value..];
    }
    all
}
