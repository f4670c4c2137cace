//! AES-256-GCM by aws-lc-rs.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use dwcp_core::crypto::{NotAuthentic, Suite};

use super::gcm::{Gcm, TAG_BYTES, both};

/// "Less safe" because the caller chooses nonces: the path's sealer, which counts records, does. The key is
/// erased on drop by the library.
pub(super) struct AwsLc(LessSafeKey);

impl Gcm for AwsLc {
    const NAMES: [&'static str; 2] = ["aes-256-gcm (aws-lc)", "aes-256-gcm+hmac-sha256 (aws-lc)"];

    fn suites() -> &'static [Arc<dyn Suite>; 2] {
        static SUITES: LazyLock<[Arc<dyn Suite>; 2]> = LazyLock::new(both::<AwsLc>);
        &SUITES
    }

    fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key")))
    }

    fn seal(&self, nonce: &[u8; 12], header: &[u8], body: &[u8], trailer: &[u8], out: &mut [u8]) {
        // The body goes from its slot straight into the send buffer; the trailer is the cipher's second input.
        let (body_out, trailer_out) = out.split_at_mut(body.len());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(header),
                body,
                body_out,
                trailer,
                trailer_out,
            )
            .expect("a record is far below AES-GCM's limit and the lengths fit");
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        header: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(header), ciphertext, tag, out)
            .map_err(|_| NotAuthentic)
    }
}
