//! The messages of `file/1`, in its two versions: the second asks what the receiver has, and goes on from there.

use serde::{Deserialize, Serialize};

use crate::service::{ServiceError, json, parse};

/// Most bytes of file in one message: with its tag it fills one frame of 256 KiB.
pub const DATA_BYTES_MAX: usize = (256 << 10) - 1;

/// Most files and directories of one copy, those above its files included: each takes room on the receiver's
/// disk that no byte of a file tells of.
pub const ENTRIES_MAX: u64 = 100_000;

/// The version of `file/1` that this node speaks. A peer that names none speaks 1.
pub const VERSION: u32 = 2;

fn first_version() -> u32 {
    1
}

/// What to do about more of them.
pub(super) const ENTRIES_WAY_OUT: &str = "send them in parts, or as an archive";

const BEGIN: u8 = b'b';
const FILE: u8 = b'f';
const DATA: u8 = b'd';
const END: u8 = b'e';
const DIRECTORY: u8 = b'm';
const OFFER: u8 = b'o';
const PREFIX: u8 = b'p';
const ABANDON: u8 = b'x';
const LINK: u8 = b'l';

/// What is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Directory below the receiver's own, `/` between parts; empty: that one itself.
    pub directory: String,
    /// Files.
    pub files: u64,
    /// Bytes in all of them.
    pub bytes: u64,
    /// The sender's [`VERSION`].
    #[serde(default = "first_version")]
    pub version: u32,
    /// Read each file back from the disk before it gets its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verify: bool,
}

/// One file's beginning, and of version 2 an offer of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// Its name below the directory, `/` between parts.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last written, nanoseconds since 1970, from version 2 on. With it, what came of the file may be
    /// kept when the copy breaks off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<i64>,
    /// Bytes that the receiver has already: the first data comes after them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// What the sender's file begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// The file, as it was offered.
    #[serde(flatten)]
    pub head: FileHead,
    /// So many bytes of it: as many as the receiver said it has.
    pub held: u64,
    /// Their SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// A symbolic link to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name below the directory of the copy.
    pub name: String,
    /// What it says: a relative path that stays below the first part of `name`.
    pub target: String,
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
    /// `o`: what do you have of this file? Version 2.
    Offer(FileHead),
    /// `p`: is that what you have? Version 2.
    Prefix(Prefix),
    /// `x`: no more of the file under way will come. Version 2.
    Abandon,
    /// `l`. Version 2.
    Link(Link),
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
            OFFER => Self::Offer(parse(rest)?),
            PREFIX => Self::Prefix(parse(rest)?),
            ABANDON if rest.is_empty() => Self::Abandon,
            LINK => Self::Link(parse(rest)?),
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
            Self::Offer(head) => (OFFER, json(head)),
            Self::Prefix(prefix) => (PREFIX, json(prefix)),
            Self::Abandon => (ABANDON, Vec::new()),
            Self::Link(link) => (LINK, json(link)),
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
    Ready {
        /// The receiver's [`VERSION`]: the lower one of both holds.
        #[serde(default = "first_version")]
        version: u32,
        /// Bytes that files may take on the receiver's disk, from version 2 on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_bytes: Option<u64>,
    },
    /// Of the file that was offered there are so many bytes, of whatever content. Version 2.
    Has {
        /// Its name.
        name: String,
        /// Bytes.
        bytes: u64,
    },
    /// They are the sender's: go on after them. Version 2.
    Same {
        /// Its name.
        name: String,
    },
    /// They are not: begin at 0. Version 2.
    Differs {
        /// Its name.
        name: String,
    },
    /// This file, directory or link is not taken; the copy goes on. Version 2.
    Refused {
        /// Its name.
        name: String,
        /// Why, for people.
        message: String,
    },
    /// The file is on disk under its name, and its checksum was right.
    Saved {
        /// Its name.
        name: String,
        /// Its length.
        bytes: u64,
        /// Its checksum.
        sha256: String,
    },
    /// The directory or link is there, and on disk.
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

impl Reply {
    /// What it is about.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Has { name, .. }
            | Self::Same { name }
            | Self::Differs { name }
            | Self::Refused { name, .. }
            | Self::Saved { name, .. }
            | Self::Made { name } => Some(name),
            Self::Ready { .. } | Self::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip() {
        let (name, mtime_ns) = ("a/b".to_owned(), Some(-1));
        let head = FileHead { name, bytes: 5, mode: 0o644, mtime_ns, from: 0 };
        let (sha256, target) = ("00".repeat(32), "../b".to_owned());
        for frame in [
            Frame::Begin(Begin {
                directory: "in".into(),
                files: 1,
                bytes: 5,
                version: VERSION,
                verify: true,
            }),
            Frame::File(FileHead { from: 3, ..head.clone() }),
            Frame::Offer(head.clone()),
            Frame::Prefix(Prefix { head, held: 3, sha256 }),
            Frame::Abandon,
            Frame::Link(Link { name: "a/l".into(), target }),
            Frame::Data(b"hello"),
            Frame::Directory(Directory { name: "a/c".into() }),
            Frame::End(End { sha256: "00".repeat(32) }),
        ] {
            assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
        }
    }

    #[test]
    fn what_version_1_says_is_still_understood() {
        let begin = Frame::decode(br#"b{"directory":"in","files":1,"bytes":5}"#).unwrap();
        assert!(matches!(begin, Frame::Begin(Begin { version: 1, verify: false, .. })));
        let head = Frame::decode(br#"f{"name":"a","bytes":5,"mode":420}"#).unwrap();
        assert!(matches!(head, Frame::File(FileHead { mtime_ns: None, from: 0, .. })));
        let ready: Reply = serde_json::from_str(r#"{"reply":"ready"}"#).unwrap();
        assert_eq!(ready, Reply::Ready { version: 1, room_bytes: None });
    }

    #[test]
    fn other_bytes_are_refused() {
        for bad in [&b""[..], b"z", b"xy", b"b{", b"f[]", b"e{\"sha256\":1}"] {
            assert!(matches!(Frame::decode(bad), Err(ServiceError::Malformed(_))), "{bad:?}");
        }
        let mut long = vec![b'b'];
        long.extend(vec![b' '; crate::service::CONTROL_BYTES_MAX + 1]);
        assert!(Frame::decode(&long).is_err());
    }
}
