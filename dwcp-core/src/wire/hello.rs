//! The two messages that start or resume a session, inside the handshake's protection.

use super::codec::{DecodeError, Reader, Write, malformed};
use super::header::PathId;

/// Names a session at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The first half names it well enough for people.
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Optional abilities; a session uses what both ends have, and the HMAC when either end wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u32);

impl Features {
    /// Frames may be compressed with zstd.
    pub const ZSTD: Self = Self(1);
    /// Records carry an HMAC beside the AEAD tag: wanted in a hello, decided in a welcome.
    pub const HMAC: Self = Self(1 << 1);
    /// Sessions may have RDMA and fabric paths.
    pub const HYBRID: Self = Self(1 << 2);

    /// Whether all of `other` is there.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without what `other` has.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What both sets have.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The dialer's claim to go on with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// The session.
    pub session: SessionId,
    /// [`SessionSecret::resume_proof`](crate::crypto::SessionSecret::resume_proof) over this handshake.
    pub proof: [u8; 32],
    /// The dialer has no other path left: the session is held until this one stands.
    pub is_held: bool,
}

/// The dialer's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest and newest wire version spoken.
    pub versions: (u16, u16),
    /// Abilities offered.
    pub features: Features,
    /// Who dials; the certificate must say so too.
    pub node_id: String,
    /// Who is dialled.
    pub peer_id: String,
    /// Counts the process's lives: a new process has a new one.
    pub incarnation: u64,
    /// For the path secret.
    pub nonce: [u8; 32],
    /// The id of the path this connection becomes.
    pub path: PathId,
    /// The largest message the dialer receives whole, bytes.
    pub max_message_bytes: u64,
    /// Names of the suites the dialer has for untrusted paths, the preferred one first; 1 to [`MAX_SUITES`].
    pub suites: Vec<String>,
    /// The same for trusted media.
    pub trusted_suites: Vec<String>,
    /// The session to go on with; else a new one.
    pub resume: Option<Resumption>,
    /// The life before this one, which still has the node's older sessions: they go on. From version 4 on.
    pub predecessor: Option<u64>,
}

/// The acceptor's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloReply {
    /// The session stands.
    Welcome {
        /// The version both speak.
        version: u16,
        /// The abilities both have.
        features: Features,
        /// Who answers.
        node_id: String,
        /// The acceptor's life.
        incarnation: u64,
        /// For the path secret.
        nonce: [u8; 32],
        /// The session's name.
        session: SessionId,
        /// The largest message the acceptor receives whole, bytes.
        max_message_bytes: u64,
        /// The suite of untrusted paths: the first of the dialer's that the acceptor has.
        suite: String,
        /// The suite of trusted media, likewise.
        trusted_suite: String,
    },
    /// It does not.
    Refused {
        /// Why, for programs.
        refusal: Refusal,
        /// Why, for people.
        reason: String,
    },
}

/// Why a session was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No wire version in common.
    Version,
    /// The node id is not among the acceptor's peers, or not what the certificate says.
    NotAPeer,
    /// The session to resume is not known here (any more).
    UnknownSession,
    /// The proof of the session to resume is wrong.
    BadProof,
    /// Both ends dialled; the other connection stands.
    OtherDialStands,
    /// No more sessions now; try later.
    Busy,
    /// The node is draining.
    Draining,
    /// The two ends have no suite in common.
    NoCommonSuite,
    /// The session to resume is one with another life of the dialer's process.
    OtherIncarnation,
    /// The node broke the protocol and is refused for a while. From version 4 on.
    Quarantined,
}

impl Refusal {
    const ALL: [Self; 10] = [
        Self::Version,
        Self::NotAPeer,
        Self::UnknownSession,
        Self::BadProof,
        Self::OtherDialStands,
        Self::Busy,
        Self::Draining,
        Self::NoCommonSuite,
        Self::OtherIncarnation,
        Self::Quarantined,
    ];

    fn code(self) -> u8 {
        Self::ALL.iter().position(|&other| other == self).expect("listed") as u8
    }
}

const MAGIC: [u8; 4] = *b"DWCP";
/// Hellos of this version and later ones name the life before.
const VERSION_WITH_PREDECESSOR: u16 = 4;
/// The longest node id, bytes.
pub const MAX_NODE_ID_BYTES: usize = 64;
/// The longest reason of a refusal, bytes.
const MAX_REASON_BYTES: usize = 255;
/// Suites in one list of a hello, at most.
pub const MAX_SUITES: usize = 4;
/// The longest name of a suite, bytes.
pub const MAX_SUITE_NAME_BYTES: usize = 32;
/// The longest hello or reply, bytes.
pub const MAX_HELLO_BYTES: usize = 1_024;

/// Whether `id` may name a node: 1 to 64 letters, digits, `.`, `_` or `-`, with a letter or digit at both ends.
pub fn valid_node_id(id: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let bytes = id.as_bytes();
    bytes.len() <= MAX_NODE_ID_BYTES
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(is_allowed)
}

impl Hello {
    /// The message's bytes, without the length that precedes it on a stream.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.put(&MAGIC);
        out.put_u16(self.versions.0);
        out.put_u16(self.versions.1);
        out.put_u32(self.features.0);
        out.put_short_bytes(self.node_id.as_bytes());
        out.put_short_bytes(self.peer_id.as_bytes());
        out.put_u64(self.incarnation);
        out.put(&self.nonce);
        out.put_u32(self.path.0);
        out.put_u64(self.max_message_bytes);
        put_names(&self.suites, &mut out);
        put_names(&self.trusted_suites, &mut out);
        match &self.resume {
            None => out.put_u8(0),
            Some(resume) => {
                out.put_u8(if resume.is_held { 2 } else { 1 });
                out.put(&resume.session.0);
                out.put(&resume.proof);
            }
        }
        if self.versions.1 >= VERSION_WITH_PREDECESSOR {
            out.put_u8(u8::from(self.predecessor.is_some()));
            out.put_u64(self.predecessor.unwrap_or(0));
        }
        out
    }

    /// Reads a hello. Bytes after it are ignored: a later version may say more.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes, "hello");
        if input.array()? != MAGIC {
            return malformed("hello: not DWCP");
        }
        let versions = (input.u16()?, input.u16()?);
        Ok(Self {
            versions,
            features: Features(input.u32()?),
            node_id: input.text(MAX_NODE_ID_BYTES)?.to_owned(),
            peer_id: input.text(MAX_NODE_ID_BYTES)?.to_owned(),
            incarnation: input.u64()?,
            nonce: input.array()?,
            path: PathId(input.u32()?),
            max_message_bytes: input.u64()?,
            suites: names(&mut input)?,
            trusted_suites: names(&mut input)?,
            resume: match input.u8()? {
                0 => None,
                kind @ (1 | 2) => Some(Resumption {
                    session: SessionId(input.array()?),
                    proof: input.array()?,
                    is_held: kind == 2,
                }),
                _ => return malformed("hello"),
            },
            predecessor: match versions.1 >= VERSION_WITH_PREDECESSOR {
                false => None,
                true => match (input.u8()?, input.u64()?) {
                    (0, _) => None,
                    (1, incarnation) => Some(incarnation),
                    _ => return malformed("hello"),
                },
            },
        })
    }

    /// The version to speak with the sender of this hello: the newest both know.
    pub fn common_version(&self, ours: (u16, u16)) -> Option<u16> {
        let (oldest, newest) = (self.versions.0.max(ours.0), self.versions.1.min(ours.1));
        (oldest <= newest).then_some(newest)
    }
}

impl HelloReply {
    /// The message's bytes, without the length that precedes it on a stream.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        match self {
            Self::Welcome {
                version,
                features,
                node_id,
                incarnation,
                nonce,
                session,
                max_message_bytes,
                suite,
                trusted_suite,
            } => {
                out.put_u8(0);
                out.put_u16(*version);
                out.put_u32(features.0);
                out.put_short_bytes(node_id.as_bytes());
                out.put_u64(*incarnation);
                out.put(nonce);
                out.put(&session.0);
                out.put_u64(*max_message_bytes);
                out.put_short_bytes(suite.as_bytes());
                out.put_short_bytes(trusted_suite.as_bytes());
            }
            Self::Refused { refusal, reason } => {
                out.put_u8(1);
                out.put_u8(refusal.code());
                out.put_short_bytes(clipped(reason).as_bytes());
            }
        }
        out
    }

    /// Reads a reply. Bytes after it are ignored: a later version may say more.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes, "hello reply");
        Ok(match input.u8()? {
            0 => Self::Welcome {
                version: input.u16()?,
                features: Features(input.u32()?),
                node_id: input.text(MAX_NODE_ID_BYTES)?.to_owned(),
                incarnation: input.u64()?,
                nonce: input.array()?,
                session: SessionId(input.array()?),
                max_message_bytes: input.u64()?,
                suite: name(&mut input)?,
                trusted_suite: name(&mut input)?,
            },
            1 => {
                let code = usize::from(input.u8()?);
                let Some(&refusal) = Refusal::ALL.get(code) else { return malformed("refusal") };
                Self::Refused { refusal, reason: input.text(MAX_REASON_BYTES)?.to_owned() }
            }
            _ => return malformed("hello reply"),
        })
    }
}

fn put_names(names: &[String], out: &mut Vec<u8>) {
    debug_assert!((1..=MAX_SUITES).contains(&names.len()), "the builder of endpoints saw to it");
    out.put_u8(names.len() as u8);
    names.iter().for_each(|name| out.put_short_bytes(name.as_bytes()));
}

fn names(input: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = usize::from(input.u8()?);
    if !(1..=MAX_SUITES).contains(&count) {
        return malformed("suites of the hello");
    }
    (0..count).map(|_| name(input)).collect()
}

fn name(input: &mut Reader<'_>) -> Result<String, DecodeError> {
    match input.text(MAX_SUITE_NAME_BYTES)? {
        "" => malformed("name of a suite"),
        name => Ok(name.to_owned()),
    }
}

/// As much of a refusal's reason as the peer reads.
fn clipped(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellos_round_trip_and_truncations_are_refused() {
        let resume = Resumption { session: SessionId([1; 16]), proof: [2; 32], is_held: true };
        for resume in [None, Some(resume)] {
            let hello = Hello {
                versions: (3, 4),
                features: Features::ZSTD.with(Features::HMAC),
                node_id: "a".into(),
                peer_id: "b".into(),
                incarnation: 9,
                nonce: [8; 32],
                path: PathId(2),
                max_message_bytes: 1 << 26,
                suites: vec!["aes-256-gcm".into()],
                trusted_suites: vec!["hmac-sha256".into(), "aes-256-gcm".into()],
                predecessor: resume.is_none().then_some(8),
                resume,
            };
            let bytes = hello.encode();
            assert_eq!(Hello::decode(&bytes), Ok(hello));
            assert!((0..bytes.len()).all(|end| Hello::decode(&bytes[..end]).is_err()));
        }
    }

    #[test]
    fn what_version_3_does_not_know_is_left_out_of_its_hello() {
        let hello = Hello { versions: (3, 3), predecessor: Some(5), ..largest() };
        let bytes = hello.encode();
        assert_eq!(bytes.len() + 9, largest().encode().len());
        assert_eq!(Hello::decode(&bytes).map(|hello| hello.predecessor), Ok(None));
    }

    #[test]
    fn replies_round_trip_and_truncations_are_refused() {
        let mut all: Vec<_> = Refusal::ALL
            .map(|refusal| HelloReply::Refused { refusal, reason: "no".into() })
            .to_vec();
        all.push(HelloReply::Welcome {
            version: 3,
            features: Features::HYBRID,
            node_id: "b".into(),
            incarnation: 7,
            nonce: [4; 32],
            session: SessionId([6; 16]),
            max_message_bytes: 5,
            suite: "aes-256-gcm".into(),
            trusted_suite: "crc32".into(),
        });
        for reply in all {
            let bytes = reply.encode();
            assert_eq!(HelloReply::decode(&bytes), Ok(reply));
            assert!((0..bytes.len()).all(|end| HelloReply::decode(&bytes[..end]).is_err()));
        }
    }

    fn largest() -> Hello {
        let long = |bytes| "n".repeat(bytes);
        Hello {
            versions: (3, 4),
            features: Features::HMAC,
            node_id: long(MAX_NODE_ID_BYTES),
            peer_id: long(MAX_NODE_ID_BYTES),
            incarnation: 1,
            nonce: [1; 32],
            path: PathId(0),
            max_message_bytes: 1,
            suites: vec![long(MAX_SUITE_NAME_BYTES); MAX_SUITES],
            trusted_suites: vec![long(MAX_SUITE_NAME_BYTES); MAX_SUITES],
            resume: Some(Resumption {
                session: SessionId([1; 16]),
                proof: [2; 32],
                is_held: false,
            }),
            predecessor: Some(u64::MAX),
        }
    }

    #[test]
    fn the_longest_hello_fits_its_limit() {
        assert!(largest().encode().len() <= MAX_HELLO_BYTES);
    }

    #[test]
    fn lists_of_suites_have_limits() {
        let at =
            largest().encode().len() - 9 - 49 - 2 * (1 + MAX_SUITES * (2 + MAX_SUITE_NAME_BYTES));
        for count in [0, MAX_SUITES as u8 + 1, 255] {
            let mut bytes = largest().encode();
            assert_eq!(usize::from(bytes[at]), MAX_SUITES);
            bytes[at] = count;
            assert!(Hello::decode(&bytes).is_err(), "{count} suites");
        }
        for name in [String::new(), "n".repeat(MAX_SUITE_NAME_BYTES + 1)] {
            let hello = Hello { suites: vec![name], ..largest() };
            assert!(Hello::decode(&hello.encode()).is_err());
        }
    }

    #[test]
    fn a_long_reason_is_clipped_to_what_the_peer_reads() {
        let reason = "é".repeat(200);
        let reply = HelloReply::Refused { refusal: Refusal::NoCommonSuite, reason };
        let Ok(HelloReply::Refused { reason, .. }) = HelloReply::decode(&reply.encode()) else {
            panic!("it decodes");
        };
        assert_eq!(reason, "é".repeat(127));
    }
}
