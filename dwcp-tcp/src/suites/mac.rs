//! HMAC-SHA256: beside the GCM tag, or alone over the whole record.

use dwcp_core::crypto::{KeyMaterial, NotAuthentic, Open, Protection, Seal, Suite};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a MAC.
pub(super) const MAC_BYTES: usize = 32;

/// HMAC-SHA256 with its key absorbed: each record clones this state (a copy of some 200 bytes) instead of
/// hashing the key again.
pub(super) struct RecordMac(Hmac<Sha256>);

impl RecordMac {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(<Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any key length"))
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac
    }

    /// The MAC of `parts`, one behind the other. Those before the plaintext have lengths that are fixed for the suite.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub(super) fn verify(
        &self,
        parts: &[&[u8]],
        expected: &[u8; MAC_BYTES],
    ) -> Result<(), NotAuthentic> {
        self.over(parts).verify_slice(expected).map_err(|_| NotAuthentic)
    }
}

/// `hmac-sha256`: authenticated, in the clear.
pub(super) struct MacSuite;

impl Suite for MacSuite {
    fn protection(&self) -> Protection {
        Protection::MacOnly
    }
    fn name(&self) -> &'static str {
        "hmac-sha256"
    }
    fn wire_name(&self) -> &'static str {
        "hmac-sha256"
    }
    fn overhead_bytes(&self) -> usize {
        MAC_BYTES
    }
    fn sealer(&self, keys: &KeyMaterial) -> Box<dyn Seal> {
        Box::new(RecordMac::new(&keys.mac_key))
    }
    fn opener(&self, keys: &KeyMaterial) -> Box<dyn Open> {
        Box::new(RecordMac::new(&keys.mac_key))
    }
}

impl Seal for RecordMac {
    fn seal(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        body: &[u8],
        trailer: &[u8],
        out: &mut [u8],
    ) {
        let (plain, mac) = out.split_at_mut(body.len() + trailer.len());
        plain[..body.len()].copy_from_slice(body);
        plain[body.len()..].copy_from_slice(trailer);
        mac.copy_from_slice(&self.sign(&[header, nonce, plain]));
    }

    fn tag(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        body: &[u8],
        trailer: &[u8],
        tag: &mut [u8],
    ) -> bool {
        tag.copy_from_slice(&self.sign(&[header, nonce, body, trailer]));
        true
    }
}

impl Open for RecordMac {
    fn open(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let (plain, mac) = sealed.split_last_chunk::<MAC_BYTES>().ok_or(NotAuthentic)?;
        self.verify(&[header, nonce, plain], mac)?;
        out.copy_from_slice(plain);
        Ok(())
    }
}
