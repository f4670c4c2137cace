//! `Checksum` protection: CRC-32 over nonce, header and plaintext.

use super::{KeyMaterial, NotAuthentic, Open, Protection, Seal, Suite};

/// CRC-32 (IEEE) over nonce, header, body and trailer, little-endian after them. Finds accidents on trusted media;
/// it holds no key and promises nothing against an attacker.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChecksumSuite;

const CRC_BYTES: usize = 4;

impl Suite for ChecksumSuite {
    fn protection(&self) -> Protection {
        Protection::Checksum
    }
    fn name(&self) -> &'static str {
        "crc32"
    }
    fn wire_name(&self) -> &'static str {
        "crc32"
    }
    fn overhead_bytes(&self) -> usize {
        CRC_BYTES
    }
    fn sealer(&self, _: &KeyMaterial) -> Box<dyn Seal> {
        Box::new(Self)
    }
    fn opener(&self, _: &KeyMaterial) -> Box<dyn Open> {
        Box::new(Self)
    }
}

impl Seal for ChecksumSuite {
    fn seal(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        body: &[u8],
        trailer: &[u8],
        out: &mut [u8],
    ) {
        let (plain, crc) = out.split_at_mut(body.len() + trailer.len());
        plain[..body.len()].copy_from_slice(body);
        plain[body.len()..].copy_from_slice(trailer);
        crc.copy_from_slice(&sum(nonce, header, [plain, &[]]));
    }

    fn tag(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        body: &[u8],
        trailer: &[u8],
        tag: &mut [u8],
    ) -> bool {
        tag.copy_from_slice(&sum(nonce, header, [body, trailer]));
        true
    }
}

impl Open for ChecksumSuite {
    fn open(
        &mut self,
        nonce: &[u8; 12],
        header: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let (plain, crc) = sealed.split_last_chunk::<CRC_BYTES>().ok_or(NotAuthentic)?;
        if *crc != sum(nonce, header, [plain, &[]]) {
            return Err(NotAuthentic);
        }
        out.copy_from_slice(plain);
        Ok(())
    }
}

/// The nonce is summed too, so that a record of another path or number is an error here as well.
fn sum(nonce: &[u8; 12], header: &[u8], plain: [&[u8]; 2]) -> [u8; CRC_BYTES] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(nonce);
    crc.update(header);
    plain.into_iter().for_each(|part| crc.update(part));
    crc.finalize().to_le_bytes()
}
