//! docs/protocol.md, "Hello": what dialer and acceptor say first.

use super::bytes::{Put, Take, random};

pub(crate) const ZSTD: u32 = 1;
pub(crate) const HMAC: u32 = 2;
pub(crate) const HYBRID: u32 = 4;

/// A dialer's hello, every field of it open to be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) magic: [u8; 4],
    pub(crate) versions: (u16, u16),
    pub(crate) features: u32,
    pub(crate) node: Vec<u8>,
    pub(crate) peer: Vec<u8>,
    pub(crate) incarnation: u64,
    pub(crate) nonce: [u8; 32],
    pub(crate) path: u32,
    pub(crate) largest_message: u64,
    pub(crate) suites: Vec<Vec<u8>>,
    pub(crate) trusted_suites: Vec<Vec<u8>>,
    pub(crate) resume: Option<Resume>,
    /// From version 4 on.
    pub(crate) predecessor: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Resume {
    /// 1, or 2 where no path is left.
    pub(crate) code: u8,
    pub(crate) session: [u8; 16],
    pub(crate) proof: [u8; 32],
}

fn names(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|name| name.as_bytes().to_vec()).collect()
}

impl Hello {
    /// An honest one from `node` to `peer` for a new session.
    pub(crate) fn new(node: &str, peer: &str) -> Self {
        Self {
            magic: *b"DWCP",
            versions: (3, 4),
            features: 0,
            node: node.into(),
            peer: peer.into(),
            incarnation: u64::from_le_bytes(random()),
            nonce: random(),
            path: 0,
            largest_message: 64 << 20,
            suites: names(&["aes-256-gcm"]),
            trusted_suites: names(&["aes-256-gcm", "hmac-sha256", "crc32"]),
            resume: None,
            predecessor: None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.u16(self.versions.0);
        out.u16(self.versions.1);
        out.u32(self.features);
        out.short(&self.node);
        out.short(&self.peer);
        out.u64(self.incarnation);
        out.put(&self.nonce);
        out.u32(self.path);
        out.u64(self.largest_message);
        for list in [&self.suites, &self.trusted_suites] {
            out.u8(list.len() as u8);
            list.iter().for_each(|name| out.short(name));
        }
        match &self.resume {
            None => out.u8(0),
            Some(resume) => {
                out.u8(resume.code);
                out.put(&resume.session);
                out.put(&resume.proof);
            }
        }
        if self.versions.1 >= 4 {
            // Without a session to resume and without a predecessor, their fields are there all the same, and ignored.
            out.u8(u8::from(self.predecessor.is_some()));
            out.u64(self.predecessor.unwrap_or_default());
        }
        out
    }

    /// Reads the daemon's hello.
    #[track_caller]
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut take = Take(bytes);
        let magic = take.array();
        let versions = (take.u16(), take.u16());
        let features = take.u32();
        let (node, peer) = (take.text().into_bytes(), take.text().into_bytes());
        let (incarnation, nonce) = (take.u64(), take.array());
        let (path, largest_message) = (take.u32(), take.u64());
        let mut list = || (0..take.u8()).map(|_| take.text().into_bytes()).collect();
        let (suites, trusted_suites) = (list(), list());
        let code = take.u8();
        let resume =
            (code > 0).then(|| Resume { code, session: take.array(), proof: take.array() });
        let names_predecessor = versions.1 >= 4 && take.u8() == 1;
        let predecessor = names_predecessor.then(|| take.u64());
        Self {
            magic,
            versions,
            features,
            node,
            peer,
            incarnation,
            nonce,
            path,
            largest_message,
            suites,
            trusted_suites,
            resume,
            predecessor,
        }
    }
}

/// An acceptor's answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Welcome(Welcome),
    Refused { refusal: u8, reason: String },
}

#[derive(Clone, Debug)]
pub(crate) struct Welcome {
    pub(crate) version: u16,
    pub(crate) features: u32,
    pub(crate) node: Vec<u8>,
    pub(crate) incarnation: u64,
    pub(crate) nonce: [u8; 32],
    pub(crate) session: [u8; 16],
    pub(crate) largest_message: u64,
    pub(crate) suite: Vec<u8>,
    pub(crate) trusted_suite: Vec<u8>,
}

impl Welcome {
    /// An honest answer of `node` to `hello`.
    pub(crate) fn to(hello: &Hello, node: &str) -> Self {
        Self {
            version: hello.versions.1,
            features: hello.features & HMAC,
            node: node.into(),
            incarnation: u64::from_le_bytes(random()),
            nonce: random(),
            session: hello.resume.as_ref().map_or_else(random, |resume| resume.session),
            largest_message: 64 << 20,
            suite: hello.suites[0].clone(),
            trusted_suite: hello.trusted_suites[0].clone(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0];
        out.u16(self.version);
        out.u32(self.features);
        out.short(&self.node);
        out.u64(self.incarnation);
        out.put(&self.nonce);
        out.put(&self.session);
        out.u64(self.largest_message);
        out.short(&self.suite);
        out.short(&self.trusted_suite);
        out
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut take = Take(bytes);
        match take.u8() {
            0 => Self::Welcome(Welcome {
                version: take.u16(),
                features: take.u32(),
                node: take.text().into_bytes(),
                incarnation: take.u64(),
                nonce: take.array(),
                session: take.array(),
                largest_message: take.u64(),
                suite: take.text().into_bytes(),
                trusted_suite: take.text().into_bytes(),
            }),
            1 => Self::Refused { refusal: take.u8(), reason: take.text() },
            other => panic!("a reply begins with {other}"),
        }
    }
}
