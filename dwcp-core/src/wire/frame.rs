//! Frames: docs/protocol.md section "Frames".

use super::codec::{DecodeError, Reader, Write, malformed};
use super::header::PathId;
use super::ranges::Ranges;
use crate::mem::Payload;

/// What a data frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// Whole small messages, each behind a LEB128 length.
    Batch,
    /// The first fragment of a message of `total` bytes.
    First {
        /// Bytes of the whole message.
        total: u64,
    },
    /// A further fragment of the message before it.
    Next,
    /// The first frame of a channel: priority and label.
    Open,
    /// The last frame of a channel's direction.
    Fin,
    /// One [`Control`](super::Control) message; channel 0 only.
    Control,
}

/// Where a payload can be read from by RDMA instead of travelling in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullSource {
    /// Address in the sender's registered memory.
    pub address: u64,
    /// Remote key of that memory on this path.
    pub key: u64,
    /// CRC-32 of the payload: tells when the source was changed meanwhile.
    pub crc: u32,
}

/// A frame of a channel, numbered end to end.
#[derive(Clone, Debug)]
pub struct DataFrame {
    /// The channel.
    pub channel: u32,
    /// Counts the channel's frames from 1; survives switches.
    pub seq: u64,
    /// What the payload is.
    pub kind: DataKind,
    /// The payload, after decompression. Empty when it is to be pulled.
    pub payload: Payload,
    /// Bytes of the payload, also when it is to be pulled.
    pub length: u32,
    /// Where to pull the payload from.
    pub pull: Option<PullSource>,
}

/// Frames of a channel that have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The channel.
    pub channel: u32,
    /// Every frame up to and including this one is in the receive window. `u64::MAX`: the channel is over.
    pub cumulative: u64,
    /// Frames beyond it that are there, too.
    pub ranges: Ranges,
}

/// One frame of a record.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Channel data.
    Data(DataFrame),
    /// Frames received.
    Ack(Ack),
    /// Bytes (in credit cost, absolute) the peer may send on a channel.
    Credit {
        /// The channel.
        channel: u32,
        /// The new limit; never lower than one before.
        limit: u64,
    },
    /// Records (absolute) the peer may send on this path: receives posted.
    PathCredit {
        /// The new limit; never lower than one before.
        records: u64,
    },
    /// Messages (absolute) that the application has confirmed.
    Confirm {
        /// The channel.
        channel: u32,
        /// Messages.
        messages: u64,
    },
    /// Asks for a `Pong` with the same token on the same path.
    Ping {
        /// Any number.
        token: u64,
    },
    /// Answers a `Ping`.
    Pong {
        /// The ping's number.
        token: u64,
    },
    /// Asks for proof that the peer holds this path's keys and can send on it.
    PathChallenge {
        /// Unpredictable bytes.
        token: [u8; 16],
    },
    /// The proof.
    PathResponse {
        /// The challenge's bytes.
        token: [u8; 16],
    },
    /// Data frames of `epoch` and later travel on path `to`.
    SwitchMark {
        /// The new epoch.
        epoch: u32,
        /// The path.
        to: PathId,
    },
    /// A pull ended: its source memory is free again.
    PullDone {
        /// The channel.
        channel: u32,
        /// The frame.
        seq: u64,
        /// Whether the payload arrived; if not, send it in a record.
        arrived: bool,
    },
    /// This receiver polls only every 10 ms from now on.
    Asleep,
    /// Ends the peer's sleep.
    Wake,
}

impl Frame {
    /// Whether it makes its receiver do something and costs its sender no credit: opens a channel, has an effect on the
    /// session, or wants an answer.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Data(frame) => matches!(frame.kind, DataKind::Open | DataKind::Control),
            Self::Ping { .. } | Self::PathChallenge { .. } => true,
            _ => false,
        }
    }
}

pub(super) const FLAG_COMPRESSED: u8 = 1 << 3;
pub(super) const FLAG_BODY: u8 = 1 << 4;
pub(super) const FLAG_PULL: u8 = 1 << 5;
pub(super) const TYPE_DATA: u8 = 1;

impl DataKind {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Batch => 0,
            Self::First { .. } => 1,
            Self::Next => 2,
            Self::Open => 3,
            Self::Fin => 4,
            Self::Control => 5,
        }
    }
}

impl Ack {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.channel);
        out.put_u64(self.cumulative);
        self.ranges.encode(self.cumulative, out);
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (channel, cumulative) = (input.u32()?, input.u64()?);
        Ok(Self { channel, cumulative, ranges: Ranges::decode(cumulative, input)? })
    }

    pub(crate) fn encoded_bytes(&self) -> usize {
        12 + self.ranges.encoded_bytes()
    }
}

impl Frame {
    /// Appends a frame that is not `Data` to `out`.
    ///
    /// # Panics
    /// For `Data`, which the record encoder writes, since its payload lies elsewhere.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Data(_) => unreachable!("data frames are written by the record encoder"),
            Self::Ack(ack) => {
                out.put_u8(2);
                ack.encode(out);
            }
            Self::Credit { channel, limit } => put_channel_number(3, *channel, *limit, out),
            Self::PathCredit { records } => put_number(4, *records, out),
            Self::Confirm { channel, messages } => put_channel_number(5, *channel, *messages, out),
            Self::Ping { token } => put_number(6, *token, out),
            Self::Pong { token } => put_number(7, *token, out),
            Self::PathChallenge { token } => {
                out.put_u8(8);
                out.put(token);
            }
            Self::PathResponse { token } => {
                out.put_u8(9);
                out.put(token);
            }
            Self::SwitchMark { epoch, to } => {
                out.put_u8(10);
                out.put_u32(*epoch);
                out.put_u32(to.0);
            }
            Self::PullDone { channel, seq, arrived } => {
                put_channel_number(11, *channel, *seq, out);
                out.put_u8(u8::from(*arrived));
            }
            Self::Asleep => out.put_u8(12),
            Self::Wake => out.put_u8(13),
        }
    }

    /// Reads a frame that is not `Data`; `code` is its first byte.
    pub(super) fn decode(code: u8, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match code {
            2 => Self::Ack(Ack::decode(input)?),
            3 => Self::Credit { channel: input.u32()?, limit: input.u64()? },
            4 => Self::PathCredit { records: input.u64()? },
            5 => Self::Confirm { channel: input.u32()?, messages: input.u64()? },
            6 => Self::Ping { token: input.u64()? },
            7 => Self::Pong { token: input.u64()? },
            8 => Self::PathChallenge { token: input.array()? },
            9 => Self::PathResponse { token: input.array()? },
            10 => Self::SwitchMark { epoch: input.u32()?, to: PathId(input.u32()?) },
            11 => {
                let (channel, seq, arrived) = (input.u32()?, input.u64()?, input.u8()?);
                if arrived > 1 {
                    return malformed("pull status");
                }
                Self::PullDone { channel, seq, arrived: arrived == 1 }
            }
            12 => Self::Asleep,
            13 => Self::Wake,
            _ => return malformed("frame type"),
        })
    }
}

fn put_number(code: u8, number: u64, out: &mut Vec<u8>) {
    out.put_u8(code);
    out.put_u64(number);
}

fn put_channel_number(code: u8, channel: u32, number: u64, out: &mut Vec<u8>) {
    out.put_u8(code);
    out.put_u32(channel);
    out.put_u64(number);
}
