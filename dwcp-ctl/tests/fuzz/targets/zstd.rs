//! Any bytes as a compressed payload: it gives exactly what was declared, or nothing; and what is compressed comes back.

use dwcp_core::wire::{Compression, MAX_FRAME_BYTES};
use dwcp_tcp::{Zstd, ZstdOptions};

use super::input::Input;

pub(crate) fn target(data: &[u8]) {
    let zstd = Zstd::new(ZstdOptions::default());
    let mut input = Input::new(data);
    let declared = (usize::from(input.number()) * 8).min(MAX_FRAME_BYTES);
    let rest = input.rest();
    let mut out = vec![0; declared];
    let _ = zstd.decompressor().decompress(rest, &mut out);
    let mut compressed = Vec::new();
    if !rest.is_empty()
        && rest.len() <= MAX_FRAME_BYTES
        && zstd.compressor().compress(rest, &mut compressed)
    {
        let mut back = vec![0; rest.len()];
        zstd.decompressor().decompress(&compressed, &mut back).expect("our own");
        assert!(back == rest);
        let mut longer = vec![0; rest.len() + 1];
        assert!(
            zstd.decompressor().decompress(&compressed, &mut longer).is_err(),
            "declared longer"
        );
        let mut shorter = vec![0; rest.len() - 1];
        assert!(
            zstd.decompressor().decompress(&compressed, &mut shorter).is_err(),
            "declared shorter"
        );
    }
}
