//! The key schedule: session secret -> path secret -> per direction, lane and phase: keys.
//!
//! All of it is HKDF-SHA256 (RFC 5869); docs/protocol.md section "Keys" has the labels.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::wire::PathId;

/// Which way a record travels in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the dialer of the session to its acceptor.
    ToAcceptor,
    /// From the acceptor to the dialer.
    ToDialer,
}

impl Direction {
    fn label(self) -> u8 {
        match self {
            Self::ToAcceptor => 0,
            Self::ToDialer => 1,
        }
    }
}

/// 32 secret bytes, erased on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub(crate) [u8; 32]);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for whoever has to hand them to another process of the same node. They are the caller's to erase.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn expand(&self, label: &[&[u8]]) -> Self {
        let mut out = Self([0; 32]);
        expand(self, label, &mut out.0);
        out
    }
}

/// The secret that one handshake (or resumption) gives a session.
#[derive(Clone)]
pub struct SessionSecret(Secret);

impl SessionSecret {
    /// Extracts the session secret from the TLS exporter's 32 bytes, salted with the cluster key if the nodes
    /// share one: then neither a stolen certificate nor the cluster key alone is enough.
    pub fn from_exporter(exporter: &Secret, cluster_key: Option<&Secret>) -> Self {
        let salt = cluster_key.map(|key| &key.0[..]);
        Self(extract(salt, exporter))
    }

    /// What the keys of a resumed connection's path are derived from: the session's secret and the new
    /// handshake's exporter are both needed. The session's secret itself stays as it is.
    pub fn resumed(&self, exporter: &Secret) -> Self {
        Self(extract(Some(&self.0.0), exporter))
    }

    /// Proves, over the new handshake's exporter, that a dialer holds this session: HMAC-SHA256 under the
    /// resume secret.
    pub fn resume_proof(&self, exporter: &Secret) -> [u8; 32] {
        use hmac::{Hmac, KeyInit, Mac};
        let key = self.0.expand(&[b"dwcp resume"]);
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key.0).expect("any key length");
        mac.update(&exporter.0);
        mac.finalize().into_bytes().into()
    }

    /// The secret of one path.
    ///
    /// `handshake_hash` is the SHA-256 of everything the two ends said to agree on the path.
    pub fn path(
        &self,
        path: PathId,
        initiator_nonce: &[u8; 32],
        responder_nonce: &[u8; 32],
        handshake_hash: &[u8; 32],
    ) -> PathSecret {
        let id = path.0.to_le_bytes();
        let label: [&[u8]; 5] =
            [b"dwcp path", &id, initiator_nonce, responder_nonce, handshake_hash];
        PathSecret(self.0.expand(&label))
    }
}

/// The secret of one path, from which each direction's and lane's first phase is derived.
#[derive(Clone)]
pub struct PathSecret(Secret);

impl PathSecret {
    pub(super) fn lane(&self, direction: Direction, lane: u8) -> LaneSecret {
        LaneSecret(self.0.expand(&[b"dwcp lane", &[direction.label(), lane]]))
    }
}

/// The secret of one direction and lane in its present phase.
pub(super) struct LaneSecret(Secret);

impl LaneSecret {
    /// The keys of the present phase, in a place of their own: what is moved leaves a copy behind that nobody erases.
    pub(super) fn keys(&self) -> Box<KeyMaterial> {
        let mut keys = Box::new(KeyMaterial { key: [0; 32], iv: [0; 12], mac_key: [0; 32] });
        expand(&self.0, &[b"dwcp key"], &mut keys.key);
        expand(&self.0, &[b"dwcp iv"], &mut keys.iv);
        expand(&self.0, &[b"dwcp mac"], &mut keys.mac_key);
        keys
    }

    /// The secret of the phase after this one. The present one cannot be computed from it.
    pub(super) fn next(&self) -> Self {
        Self(self.0.expand(&[b"dwcp next phase"]))
    }
}

/// Keys for one direction, lane and phase. Erased on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyMaterial {
    /// AEAD key.
    pub key: [u8; 32],
    /// Mixed with the record number into the nonce.
    pub iv: [u8; 12],
    /// HMAC-SHA256 key.
    pub mac_key: [u8; 32],
}

impl KeyMaterial {
    /// The nonce of record `number`: the IV with the number, big-endian, XORed into its last 8 bytes
    /// (as RFC 8446 section 5.3 does).
    pub fn nonce(iv: &[u8; 12], number: u64) -> [u8; 12] {
        let mut nonce = *iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

fn extract(salt: Option<&[u8]>, input: &Secret) -> Secret {
    let (mut prk, _) = Hkdf::<Sha256>::extract(salt, &input.0);
    let secret = Secret(prk.as_slice().try_into().expect("SHA-256 gives 32 bytes"));
    prk.as_mut_slice().zeroize();
    secret
}

/// HKDF-Expand with info = the SHA-256 of the length-prefixed parts of the label, so that no two labels of
/// different parts collide.
fn expand(secret: &Secret, label: &[&[u8]], out: &mut [u8]) {
    let mut info = Sha256::new();
    for part in label {
        info.update((part.len() as u32).to_le_bytes());
        info.update(part);
    }
    let info = info.finalize();
    let hkdf = Hkdf::<Sha256>::from_prk(&secret.0).expect("32 bytes are a PRK");
    hkdf.expand(info.as_slice(), out).expect("a short output");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionSecret {
        SessionSecret::from_exporter(&Secret([7; 32]), None)
    }

    #[test]
    fn every_path_direction_lane_and_phase_has_keys_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for path in [PathId(0), PathId(2)] {
            let path = session().path(path, &[1; 32], &[2; 32], &[3; 32]);
            for direction in [Direction::ToAcceptor, Direction::ToDialer] {
                for lane in 0..2 {
                    let first = path.lane(direction, lane);
                    assert!(seen.insert(first.keys().key));
                    assert!(seen.insert(first.next().keys().key));
                }
            }
        }
        assert_eq!(seen.len(), 16);
    }

    #[test]
    fn the_cluster_key_changes_the_session_secret() {
        let exporter = Secret([7; 32]);
        let with = SessionSecret::from_exporter(&exporter, Some(&Secret([9; 32])));
        assert_ne!(with.0.0, session().0.0);
    }

    #[test]
    fn resumption_needs_both_secrets() {
        let (a, b) = (Secret([1; 32]), Secret([2; 32]));
        assert_ne!(session().resumed(&a).0.0, session().resumed(&b).0.0);
        assert_ne!(session().resume_proof(&a), session().resume_proof(&b));
    }

    #[test]
    fn nonces_differ_by_record_number() {
        let iv = [0xaa; 12];
        assert_eq!(KeyMaterial::nonce(&iv, 0), iv);
        assert_eq!(KeyMaterial::nonce(&iv, 1)[11], 0xab);
        assert_eq!(KeyMaterial::nonce(&iv, 1 << 56)[4], 0xab);
    }
}
