//! Control messages: the frames of channel 0, delivered reliably and in order.

use super::codec::{DecodeError, Reader, Write, malformed};
use super::frame::Ack;
use super::header::PathId;

/// The kind of transport under a path; the same names in config, metrics and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// TCP sockets.
    Tcp,
    /// RDMA verbs, RC queue pairs.
    Rdma,
    /// libfabric endpoints.
    Fabric,
}

impl PathKind {
    /// `tcp`, `rdma` or `fabric`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Rdma => "rdma",
            Self::Fabric => "fabric",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Tcp => 0,
            Self::Rdma => 1,
            Self::Fabric => 2,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        [Self::Tcp, Self::Rdma, Self::Fabric]
            .into_iter()
            .find(|kind| kind.code() == code)
            .ok_or(DecodeError { what: "path kind" })
    }
}

/// Why a session moves to another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwitchReason {
    /// It is the session's first path. Never asked for on the wire.
    FirstPath,
    /// An operator or the application asked for it.
    Requested,
    /// The policy found a better path.
    BetterPath,
    /// The old path failed or fell silent.
    PathFailed,
    /// The peer moved first.
    FollowedPeer,
}

impl SwitchReason {
    /// The name used in events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstPath => "first-path",
            Self::Requested => "requested",
            Self::BetterPath => "better-path",
            Self::PathFailed => "path-failed",
            Self::FollowedPeer => "followed-peer",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Requested => 0,
            Self::BetterPath => 1,
            Self::PathFailed => 2,
            Self::FollowedPeer => 3,
            Self::FirstPath => 255,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        [Self::Requested, Self::BetterPath, Self::PathFailed, Self::FollowedPeer]
            .into_iter()
            .find(|reason| reason.code() == code)
            .ok_or(DecodeError { what: "switch reason" })
    }
}

/// What one channel has received, in a `Fenced` message: an [`Ack`] by another name.
pub type RangeReport = Ack;

/// One control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The sender of the channel gives it up: un-acked frames will not come.
    Reset {
        /// The channel.
        channel: u32,
        /// The application's reason.
        code: u32,
    },
    /// The acceptor asks the dialer, who decides, to switch.
    SwitchRequest {
        /// The wanted path.
        path: PathId,
        /// Why.
        reason: SwitchReason,
    },
    /// A new path is offered: opaque bytes of the link's bootstrap.
    PathOffer {
        /// Its id, of the offerer's parity.
        path: PathId,
        /// Its kind.
        kind: PathKind,
        /// The initiator's nonce for the path secret.
        nonce: [u8; 32],
        /// The link's bootstrap (queue pair number, address, ...).
        bootstrap: Vec<u8>,
    },
    /// The answer to an offer; an empty bootstrap refuses it.
    PathAnswer {
        /// The offered id.
        path: PathId,
        /// The responder's nonce for the path secret.
        nonce: [u8; 32],
        /// The link's bootstrap; empty: refused.
        bootstrap: Vec<u8>,
    },
    /// The sender will not use the path again.
    PathClosed {
        /// The path.
        path: PathId,
    },
    /// Nothing that the path still carries can land in the sender's memory any more.
    Fenced {
        /// The dead path.
        path: PathId,
        /// What was received, per channel.
        received: Vec<RangeReport>,
    },
    /// The sender's process leaves: the session goes on, and new channels belong on one with its successor. From
    /// version 4 on.
    Leaving,
    /// The session ends; nothing follows.
    Close {
        /// 0 for a normal end.
        code: u32,
        /// Words for the log, at most 256 bytes.
        reason: String,
    },
}

/// The longest bootstrap of an offer.
const MAX_BOOTSTRAP_BYTES: usize = 1_024;
/// The longest reason of a close.
pub(crate) const MAX_REASON_BYTES: usize = 256;
/// Reports in one `Fenced`: it must fit one record's frame section. What is left out is acked as usual.
pub(crate) const MAX_REPORTS_BYTES: usize = 2_048;
/// The longest control message, bytes: a `Fenced` with as many reports as fit.
pub const MAX_CONTROL_BYTES: usize = 1 + 4 + MAX_REPORTS_BYTES;

impl Control {
    /// Appends the encoding to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Reset { channel, code } => {
                out.put_u8(1);
                out.put_u32(*channel);
                out.put_u32(*code);
            }
            Self::SwitchRequest { path, reason } => {
                out.put_u8(2);
                out.put_u32(path.0);
                out.put_u8(reason.code());
            }
            Self::PathOffer { path, kind, nonce, bootstrap } => {
                out.put_u8(3);
                out.put_u32(path.0);
                out.put_u8(kind.code());
                out.put(nonce);
                out.put_short_bytes(bootstrap);
            }
            Self::PathAnswer { path, nonce, bootstrap } => {
                out.put_u8(4);
                out.put_u32(path.0);
                out.put(nonce);
                out.put_short_bytes(bootstrap);
            }
            Self::PathClosed { path } => {
                out.put_u8(5);
                out.put_u32(path.0);
            }
            Self::Fenced { path, received } => encode_fenced(*path, received, out),
            Self::Close { code, reason } => {
                out.put_u8(7);
                out.put_u32(*code);
                out.put_short_bytes(reason.as_bytes());
            }
            Self::Leaving => out.put_u8(8),
        }
    }

    /// Reads one control message.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but exactly one well-formed message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes, "control message");
        let control = match input.u8()? {
            1 => Self::Reset { channel: input.u32()?, code: input.u32()? },
            2 => Self::SwitchRequest {
                path: PathId(input.u32()?),
                reason: SwitchReason::from_code(input.u8()?)?,
            },
            3 => Self::PathOffer {
                path: PathId(input.u32()?),
                kind: PathKind::from_code(input.u8()?)?,
                nonce: input.array()?,
                bootstrap: bootstrap(&mut input)?,
            },
            4 => Self::PathAnswer {
                path: PathId(input.u32()?),
                nonce: input.array()?,
                bootstrap: bootstrap(&mut input)?,
            },
            5 => Self::PathClosed { path: PathId(input.u32()?) },
            6 if bytes.len() > MAX_REPORTS_BYTES => return malformed("report of a fence"),
            6 => {
                let path = PathId(input.u32()?);
                let mut received = Vec::new();
                while !input.is_empty() {
                    received.push(Ack::decode(&mut input)?);
                }
                Self::Fenced { path, received }
            }
            7 => {
                Self::Close { code: input.u32()?, reason: input.text(MAX_REASON_BYTES)?.to_owned() }
            }
            8 => Self::Leaving,
            _ => return malformed("control message"),
        };
        input.end()?;
        Ok(control)
    }
}

fn encode_fenced(path: PathId, received: &[RangeReport], out: &mut Vec<u8>) {
    let start = out.len();
    out.put_u8(6);
    out.put_u32(path.0);
    for report in received {
        if out.len() - start + report.encoded_bytes() > MAX_REPORTS_BYTES {
            break;
        }
        report.encode(out);
    }
}

fn bootstrap(input: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let bytes = input.short_bytes()?;
    if bytes.len() > MAX_BOOTSTRAP_BYTES {
        return malformed("path bootstrap");
    }
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::Ranges;
    use super::*;

    #[test]
    fn a_report_of_a_fence_is_as_long_as_it_may_be_and_no_longer() {
        let report = |channel| Ack { channel, cumulative: 1, ranges: Ranges::default() };
        let received: Vec<_> = (0..1_000).map(report).collect();
        let mut bytes = Vec::new();
        Control::Fenced { path: PathId(1), received }.encode(&mut bytes);
        assert!(bytes.len() <= MAX_REPORTS_BYTES && bytes.len() + 13 > MAX_REPORTS_BYTES);
        let Ok(Control::Fenced { received, .. }) = Control::decode(&bytes) else {
            panic!("what is sent is taken");
        };
        bytes.resize(5, 0);
        while bytes.len() <= MAX_REPORTS_BYTES {
            received[0].encode(&mut bytes);
        }
        assert!(Control::decode(&bytes).is_err());
    }

    #[test]
    fn control_messages_round_trip_and_every_truncation_is_refused() {
        let report = Ack { channel: 4, cumulative: 9, ranges: Ranges(vec![(11, 12), (20, 40)]) };
        let all = [
            Control::Reset { channel: 7, code: 8 },
            Control::SwitchRequest { path: PathId(3), reason: SwitchReason::BetterPath },
            Control::PathOffer {
                path: PathId(2),
                kind: PathKind::Rdma,
                nonce: [5; 32],
                bootstrap: vec![1, 2],
            },
            Control::PathAnswer { path: PathId(2), nonce: [6; 32], bootstrap: vec![3] },
            Control::PathClosed { path: PathId(1) },
            Control::Fenced { path: PathId(1), received: vec![report] },
            Control::Close { code: 1, reason: "bye".into() },
            Control::Leaving,
        ];
        for control in all {
            let mut bytes = Vec::new();
            control.encode(&mut bytes);
            assert_eq!(Control::decode(&bytes).as_ref(), Ok(&control));
            for end in 0..bytes.len() {
                assert_ne!(Control::decode(&bytes[..end]).as_ref(), Ok(&control));
            }
            bytes.push(0);
            assert!(Control::decode(&bytes).is_err());
        }
    }
}
