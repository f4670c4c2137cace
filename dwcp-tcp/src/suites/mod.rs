//! Protection suites: AES-256-GCM by two libraries, HMAC-SHA256 beside it, and HMAC-SHA256 alone.
//!
//! What a record looks like after its header (docs/protocol.md, section "Records"):
//!
//! | suite | bytes |
//! |---|---|
//! | `aes-256-gcm` | ciphertext, 16-byte tag; the header is the associated data |
//! | `aes-256-gcm+hmac-sha256` | the same, then HMAC-SHA256(header, tag), 32 bytes |
//! | `hmac-sha256` | plaintext, then HMAC-SHA256(header, nonce, plaintext), 32 bytes |
//!
//! The two AES-256-GCM backends are byte-compatible: each end may use either.

mod aws_lc;
mod gcm;
mod mac;
mod rust_crypto;

use std::sync::Arc;

use dwcp_core::crypto::Suite;

use self::aws_lc::AwsLc;
use self::gcm::Gcm;
use self::mac::MacSuite;
use self::rust_crypto::RustCrypto;

/// Which library does AES-256-GCM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// `aws-lc-rs`: assembly, out of place, three times as fast on x86-64 with VAES.
    #[default]
    AwsLc,
    /// `aes-gcm` of RustCrypto: portable Rust, builds everywhere.
    RustCrypto,
}

/// AES-256-GCM for untrusted media. With `hmac`, each record carries an HMAC-SHA256 of its header and tag
/// under a key of its own: evidence that outlives the AEAD key, not more integrity.
pub fn aes_256_gcm(backend: Backend, hmac: bool) -> Arc<dyn Suite> {
    let suites = match backend {
        Backend::AwsLc => AwsLc::suites(),
        Backend::RustCrypto => RustCrypto::suites(),
    };
    suites[usize::from(hmac)].clone()
}

/// [`aes_256_gcm`] by aws-lc-rs.
pub fn aws_lc(hmac: bool) -> Arc<dyn Suite> {
    aes_256_gcm(Backend::AwsLc, hmac)
}

/// [`aes_256_gcm`] by RustCrypto.
pub fn rust_crypto(hmac: bool) -> Arc<dyn Suite> {
    aes_256_gcm(Backend::RustCrypto, hmac)
}

/// HMAC-SHA256 over the whole record, nothing encrypted: for trusted media only.
pub fn hmac_sha256() -> Arc<dyn Suite> {
    Arc::new(MacSuite)
}

#[cfg(test)]
mod tests;
