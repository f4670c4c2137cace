//! AES-256-GCM records over either backend, with or without the HMAC beside the tag.

use std::marker::PhantomData;
use std::sync::Arc;

use dwcp_core::crypto::{KeyMaterial, NotAuthentic, Open, Protection, Seal, Suite};

use super::mac::{MAC_BYTES, RecordMac};

/// Bytes of a GCM tag.
pub(super) const TAG_BYTES: usize = 16;

/// One AES-256-GCM key in one library.
pub(super) trait Gcm: Send + Sized + 'static {
    /// The suite's names, without and with HMAC.
    const NAMES: [&'static str; 2];
    /// The suites, without and with HMAC: there once for all sessions.
    fn suites() -> &'static [Arc<dyn Suite>; 2];
    /// Takes the key over.
    fn new(key: &[u8; 32]) -> Self;
    /// Writes ciphertext of `body | trailer` and the tag to `out`, whose length is exactly theirs.
    fn seal(&self, nonce: &[u8; 12], header: &[u8], body: &[u8], trailer: &[u8], out: &mut [u8]);
    /// Checks `tag` and writes the plaintext of `ciphertext` to `out`, which is as long.
    fn open(
        &self,
        nonce: &[u8; 12],
        header: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic>;
}

/// The suite over backend `G`.
pub(super) struct GcmSuite<G, const HMAC: bool>(PhantomData<fn() -> G>);

impl<G: Gcm, const HMAC: bool> GcmSuite<G, HMAC> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// The suites over `G`, without and with HMAC.
pub(super) fn both<G: Gcm>() -> [Arc<dyn Suite>; 2] {
    [Arc::new(GcmSuite::<G, false>::new()), Arc::new(GcmSuite::<G, true>::new())]
}

/// One direction's keys.
struct GcmKeys<G, const HMAC: bool> {
    gcm: G,
    /// Present when `HMAC`.
    mac: Option<RecordMac>,
}

impl<G: Gcm, const HMAC: bool> GcmKeys<G, HMAC> {
    fn new(keys: &KeyMaterial) -> Self {
        Self { gcm: G::new(&keys.key), mac: HMAC.then(|| RecordMac::new(&keys.mac_key)) }
    }
}

impl<G: Gcm, const HMAC: bool> Suite for GcmSuite<G, HMAC> {
    fn protection(&self) -> Protection {
        Protection::Aead
    }
    fn name(&self) -> &'static str {
        G::NAMES[usize::from(HMAC)]
    }
    fn wire_name(&self) -> &'static str {
        "aes-256-gcm"
    }
    fn has_hmac(&self) -> bool {
        HMAC
    }
    fn with_hmac(&self, is_on: bool) -> Option<Arc<dyn Suite>> {
        Some(G::suites()[usize::from(is_on)].clone())
    }
    fn overhead_bytes(&self) -> usize {
        TAG_BYTES + if HMAC { MAC_BYTES } else { 0 }
    }
    fn sealer(&self, keys: &KeyMaterial) -> Box<dyn Seal> {
        Box::new(GcmKeys::<G, HMAC>::new(keys))
    }
    fn opener(&self, keys: &KeyMaterial) -> Box<dyn Open> {
        Box::new(GcmKeys::<G, HMAC>::new(keys))
    }
}

impl<G: Gcm, const HMAC: bool> Seal for GcmKeys<G, HMAC> {
    fn seal(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        body: &[u8],
        trailer: &[u8],
        out: &mut [u8],
    ) {
        let (sealed, mac_out) = out.split_at_mut(body.len() + trailer.len() + TAG_BYTES);
        self.gcm.seal(nonce, header, body, trailer, sealed);
        if let Some(mac) = &self.mac {
            let tag = &sealed[sealed.len() - TAG_BYTES..];
            mac_out.copy_from_slice(&mac.sign(&[header, tag]));
        }
    }
}

impl<G: Gcm, const HMAC: bool> Open for GcmKeys<G, HMAC> {
    fn open(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let mut sealed = sealed;
        let mut mac_in = None;
        if HMAC {
            let (front, mac) = sealed.split_last_chunk::<MAC_BYTES>().ok_or(NotAuthentic)?;
            (sealed, mac_in) = (front, Some(mac));
        }
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(NotAuthentic)?;
        if let (Some(mac), Some(expected)) = (&self.mac, mac_in) {
            mac.verify(&[header, tag], expected)?;
        }
        self.gcm.open(nonce, header, ciphertext, tag, out)
    }
}
