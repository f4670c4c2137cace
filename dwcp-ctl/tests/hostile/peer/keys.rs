//! docs/protocol.md, "Keys": HKDF-SHA256 from the exporter to the keys of one direction of one path.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub(crate) type Secret = [u8; 32];

/// `Expand(secret, parts..., L)`.
fn expand<const L: usize>(secret: &Secret, parts: &[&[u8]]) -> [u8; L] {
    let info = hash(parts);
    let mut out = [0; L];
    let expansion = Hkdf::<Sha256>::from_prk(secret).expect("32 bytes");
    expansion.expand(&info, &mut out).expect("a short output");
    out
}

fn extract(salt: Option<&[u8]>, input: &Secret) -> Secret {
    Hkdf::<Sha256>::extract(salt, input).0.into()
}

/// SHA-256 over each part behind its length, as u32.
pub(crate) fn hash(parts: &[&[u8]]) -> Secret {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The session secret, from the exporter of the first connection. These nodes share no cluster key.
pub(crate) fn session_secret(exporter: &Secret) -> Secret {
    extract(None, exporter)
}

/// The path root of a connection that resumes.
pub(crate) fn resumed_root(session: &Secret, exporter: &Secret) -> Secret {
    extract(Some(session), exporter)
}

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Secret {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The proof that a session is known, over the exporter of the new connection.
pub(crate) fn resume_proof(session: &Secret, exporter: &Secret) -> Secret {
    hmac(&expand::<32>(session, &[b"dwcp resume"]), &[exporter])
}

/// The secret of a path. `initiator` and `responder` are the nonces of both hellos.
pub(crate) fn path_secret(
    root: &Secret,
    path: u32,
    initiator: &[u8; 32],
    responder: &[u8; 32],
    transcript: &Secret,
) -> Secret {
    expand(root, &[b"dwcp path", &path.to_le_bytes(), initiator, responder, transcript])
}

/// Which way records go: 0 from the session's dialer, 1 to it.
pub(crate) type Direction = u8;

/// The keys of one direction in one phase.
#[derive(Clone)]
pub(crate) struct Keys {
    secret: Secret,
    pub(crate) key: Secret,
    pub(crate) iv: [u8; 12],
    pub(crate) mac: Secret,
}

impl Keys {
    pub(crate) fn first(path: &Secret, direction: Direction, lane: u8) -> Self {
        Self::of(expand(path, &[b"dwcp lane", &[direction, lane]]))
    }

    /// Those of the next phase.
    pub(crate) fn next(&self) -> Self {
        Self::of(expand(&self.secret, &[b"dwcp next phase"]))
    }

    fn of(secret: Secret) -> Self {
        Self {
            key: expand(&secret, &[b"dwcp key"]),
            iv: expand(&secret, &[b"dwcp iv"]),
            mac: expand(&secret, &[b"dwcp mac"]),
            secret,
        }
    }

    /// The IV with the record number, big-endian, XORed into its last 8 bytes.
    pub(crate) fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}
