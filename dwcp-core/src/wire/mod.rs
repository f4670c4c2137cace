//! The wire format: records, frames, control messages. docs/protocol.md is its specification.
//!
//! Nothing here reads a clock or a socket. Decoding takes bytes of a peer: it never panics, and allocates no more
//! than a frame in memory for each frame of the input (some 30 times its shortest bytes; a section has 4 KiB), and
//! for compressed payloads what they declare, at most 256 KiB each and 1,024 times their bytes.

mod codec;
mod control;
mod frame;
mod header;
mod hello;
mod length;
mod ranges;
mod record;

pub use codec::DecodeError;
pub(crate) use control::MAX_REASON_BYTES;
pub use control::{Control, MAX_CONTROL_BYTES, PathKind, RangeReport, SwitchReason};
pub use frame::{Ack, DataFrame, DataKind, Frame, PullSource};
pub use header::{HEADER_BYTES, PathId, RecordHeader};
pub use hello::{
    Features, Hello, HelloReply, MAX_HELLO_BYTES, MAX_NODE_ID_BYTES, MAX_SUITE_NAME_BYTES,
    MAX_SUITES, Refusal, Resumption, SessionId, valid_node_id,
};
pub(crate) use length::{length_bytes, read_length, write_length};
pub use ranges::{MAX_RANGES, Ranges};
pub use record::{Compress, Compression, Decompress, RecordEncoder, decode_record};

/// Version of the wire format spoken by this build.
pub const VERSION: u16 = 4;
/// The oldest version it still speaks. There is none before 3 yet.
pub const VERSION_MIN: u16 = 3;
/// The most payload bytes one data frame carries, before compression.
pub const MAX_FRAME_BYTES: usize = 256 << 10;
/// The payload our sender puts in a frame: larger ones gain nothing (docs/performance.md).
pub const FRAME_BYTES: usize = 64 << 10;
/// The most bytes of frame section in one record.
pub const MAX_FRAMES_BYTES: usize = (4 << 10) - crate::crypto::MAX_OVERHEAD_BYTES;
/// The most bytes after a record's header: a full body, a full frame section and its length, sealed by the
/// suite that adds most.
pub const MAX_RECORD_BYTES: usize =
    MAX_FRAME_BYTES + MAX_FRAMES_BYTES + TRAILER_BYTES + crate::crypto::MAX_OVERHEAD_BYTES;
/// The length of the frame section, behind it.
const TRAILER_BYTES: usize = 2;
/// Channels that one end may have opened and not closed at once.
pub const MAX_CHANNELS: usize = 4_096;
/// The longest label of a channel, bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 128;
