//! AES-256-GCM by RustCrypto.

use std::sync::{Arc, LazyLock};

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use dwcp_core::crypto::{NotAuthentic, Suite};

use super::gcm::{Gcm, TAG_BYTES, both};

/// The key schedule is erased on drop (feature `zeroize`).
pub(super) struct RustCrypto(Aes256Gcm);

impl Gcm for RustCrypto {
    const NAMES: [&'static str; 2] =
        ["aes-256-gcm (rust-crypto)", "aes-256-gcm+hmac-sha256 (rust-crypto)"];

    fn suites() -> &'static [Arc<dyn Suite>; 2] {
        static SUITES: LazyLock<[Arc<dyn Suite>; 2]> = LazyLock::new(both::<RustCrypto>);
        &SUITES
    }

    fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    fn seal(&self, nonce: &[u8; 12], header: &[u8], body: &[u8], trailer: &[u8], out: &mut [u8]) {
        // This library takes one input, so the two parts are first laid together: a tenth of its own cost.
        let (text, tag_out) = out.split_at_mut(body.len() + trailer.len());
        text[..body.len()].copy_from_slice(body);
        text[body.len()..].copy_from_slice(trailer);
        let tag = self
            .0
            .encrypt_inout_detached(nonce.into(), header, text.into())
            .expect("a record is far below AES-GCM's limit");
        tag_out.copy_from_slice(&tag);
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        header: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let text = InOutBuf::new(ciphertext, out).map_err(|_| NotAuthentic)?;
        self.0
            .decrypt_inout_detached(nonce.into(), header, text, tag.into())
            .map_err(|_| NotAuthentic)
    }
}
