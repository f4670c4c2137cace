//! What a protection algorithm has to offer.

use std::sync::Arc;

use super::KeyMaterial;

/// The most bytes a suite may add to a record: a 16-byte tag and a 32-byte MAC.
pub const MAX_OVERHEAD_BYTES: usize = 48;

/// How the records of a path are protected. Ordered: more is safer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// A checksum: finds accidents, not attackers. Trusted media only.
    Checksum,
    /// Authenticated, not encrypted. Trusted media only.
    MacOnly,
    /// Encrypted and authenticated. The only protection an untrusted medium may have.
    Aead,
}

impl Protection {
    /// The name used in config, metrics and on the wire's hello.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::MacOnly => "mac-only",
            Self::Aead => "aead",
        }
    }
}

/// The record did not come from the holder of the key, or was changed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record is not authentic")]
pub struct NotAuthentic;

/// Seals records with one key. Shaped for out-of-place work, so that the only pass over the payload is the
/// one that protects it.
pub trait Seal: Send {
    /// Writes `protect(body | trailer)` and the tag to `out`, whose length is exactly
    /// `body.len() + trailer.len() + overhead`. `header` is authenticated with it.
    fn seal(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        body: &[u8],
        trailer: &[u8],
        out: &mut [u8],
    );
    /// For a suite that leaves the plaintext as it is: writes only what [`seal`](Self::seal) would put behind
    /// `body | trailer`, and returns true. The body is sent from where it lies. False: it does not; nothing is written.
    fn tag(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        body: &[u8],
        trailer: &[u8],
        tag: &mut [u8],
    ) -> bool {
        let _ = (nonce, header, body, trailer, tag);
        false
    }
}

/// Opens records with one key.
pub trait Open: Send {
    /// Checks `sealed` (protected bytes and tag) and `header`, and writes the plaintext to `out`, whose
    /// length is exactly `sealed.len() - overhead`. On error `out` holds no plaintext worth reading.
    ///
    /// # Errors
    /// [`NotAuthentic`] if the check fails.
    fn open(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic>;
}

/// A protection algorithm: makes sealers and openers from key material.
pub trait Suite: Send + Sync {
    /// What it protects against.
    fn protection(&self) -> Protection;
    /// A name for status and logs, such as `aes-256-gcm+hmac-sha256 (aws-lc)`.
    fn name(&self) -> &'static str;
    /// The name it is negotiated by (docs/protocol.md, section "Records"): the same whichever library does
    /// the work, with and without the HMAC; 1 to 32 bytes.
    fn wire_name(&self) -> &'static str;
    /// Whether records carry an HMAC beside the tag. An endpoint that is given such a suite asks for it.
    fn has_hmac(&self) -> bool {
        false
    }
    /// The same suite with or without the HMAC beside the tag. `None`: it has no other form. Asked only of
    /// `Aead` suites; below, there is no tag to stand beside.
    fn with_hmac(&self, is_on: bool) -> Option<Arc<dyn Suite>> {
        let _ = is_on;
        None
    }
    /// Bytes it adds to a record, at most [`MAX_OVERHEAD_BYTES`].
    fn overhead_bytes(&self) -> usize;
    /// A sealer for one direction, lane and key phase.
    fn sealer(&self, keys: &KeyMaterial) -> Box<dyn Seal>;
    /// The opener that matches it.
    fn opener(&self, keys: &KeyMaterial) -> Box<dyn Open>;
}
