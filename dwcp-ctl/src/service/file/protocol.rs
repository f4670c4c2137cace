//! The messages of `file/1`.

use serde::{Deserialize, Serialize};

use crate::service::{ServiceError, json, parse};

/// Most bytes of file in one message: with its tag it fills one frame of 256 KiB.
pub const DATA_BYTES_MAX: usize = (256 << 10) - 1;

/// Most files and directories of one copy, those above its files included: each takes room on the receiver's
/// disk that no byte of a file tells of.
pub const ENTRIES_MAX: u64 = 100_000;

/// What to do about more of them.
pub(super) const ENTRIES_WAY_OUT: &str = "send them in parts, or as an archive";

const BEGIN: u8 = b'b';
const FILE: u8 = b'f';
const DATA: u8 = b'd';
const END: u8 = b'e';
const DIRECTORY: u8 = b'm';

/// What is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Directory below the receiver's own, `/` between parts; empty: that one itself.
    pub directory: String,
    /// Files.
    pub files: u64,
    /// Bytes in all of them.
    pub bytes: u64,
}

/// One file's beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// Its name below the directory, `/` between parts.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
}

/// A directory to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Its name below the directory of the copy, `/` between parts.
    pub name: String,
}

/// One file's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
}

/// A message of the sender: one tag byte, then JSON or bytes of the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `b`.
    Begin(Begin),
    /// `f`.
    File(FileHead),
    /// `d`.
    Data(&'a [u8]),
    /// `e`.
    End(End),
    /// `m`.
    Directory(Directory),
}

impl<'a> Frame<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`ServiceError::Malformed`].
    pub fn decode(message: &'a [u8]) -> Result<Self, ServiceError> {
        let (tag, rest) = message
            .split_first()
            .ok_or_else(|| ServiceError::Malformed("an empty message".into()))?;
        Ok(match *tag {
            BEGIN => Self::Begin(parse(rest)?),
            FILE => Self::File(parse(rest)?),
            DATA => Self::Data(rest),
            END => Self::End(parse(rest)?),
            DIRECTORY => Self::Directory(parse(rest)?),
            other => return Err(ServiceError::Malformed(format!("tag {other}"))),
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (tag, rest) = match self {
            Self::Begin(begin) => (BEGIN, json(begin)),
            Self::File(head) => (FILE, json(head)),
            Self::Data(data) => (DATA, data.to_vec()),
            Self::End(end) => (END, json(end)),
            Self::Directory(directory) => (DIRECTORY, json(directory)),
        };
        let mut bytes = Vec::with_capacity(rest.len() + 1);
        bytes.push(tag);
        bytes.extend(rest);
        bytes
    }

    /// The buffer of a data message with room for `bytes`, its tag written.
    pub fn data_buffer(bytes: usize) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(bytes + 1);
        buffer.push(DATA);
        buffer
    }
}

/// A message of the receiver, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub enum Reply {
    /// Go on.
    Ready,
    /// The file is on disk under its name, and its checksum was right.
    Saved {
        /// Its name.
        name: String,
        /// Its length.
        bytes: u64,
        /// Its checksum.
        sha256: String,
    },
    /// The directory is there, and on disk.
    Made {
        /// Its name.
        name: String,
    },
    /// The copy ends here; files that were confirmed stay.
    Failed {
        /// Why, for people.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip() {
        let head = FileHead { name: "a/b".into(), bytes: 5, mode: 0o644 };
        for frame in [
            Frame::Begin(Begin { directory: "in".into(), files: 1, bytes: 5 }),
            Frame::File(head),
            Frame::Data(b"hello"),
            Frame::Directory(Directory { name: "a/c".into() }),
            Frame::End(End { sha256: "00".repeat(32) }),
        ] {
            assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for bad in [&b""[..], b"x", b"b{", b"f[]", b"e{\"sha256\":1}"] {
            assert!(matches!(Frame::decode(bad), Err(ServiceError::Malformed(_))), "{bad:?}");
        }
        let mut long = vec![b'b'];
        long.extend(vec![b' '; crate::service::CONTROL_BYTES_MAX + 1]);
        assert!(Frame::decode(&long).is_err());
    }
}
