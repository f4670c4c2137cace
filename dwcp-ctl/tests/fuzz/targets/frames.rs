//! Any bytes as the plaintext of a record.

use dwcp_core::mem::Pool;
use dwcp_core::wire::{Compression, Frame, MAX_FRAME_BYTES, RecordEncoder, decode_record};
use dwcp_tcp::{Zstd, ZstdOptions};

pub(crate) fn target(data: &[u8]) {
    let pool = Pool::new(64 << 20);
    let zstd = Zstd::new(ZstdOptions::default());
    let decode = |bytes: &[u8]| {
        let mut slot = pool.take(bytes.len()).expect("memory");
        slot.set_len(bytes.len());
        slot.copy_from_slice(bytes);
        let mut frames = Vec::new();
        let mut decompress = zstd.decompressor();
        decode_record(&slot.freeze(), &pool, &mut *decompress, &mut frames).map(|()| frames)
    };
    if data.len() > 300_000 {
        return;
    }
    let Ok(frames) = decode(data) else { return };
    let mut encoder = RecordEncoder::default();
    let mut all_fit = true;
    for frame in &frames {
        match frame {
            Frame::Data(frame) => {
                assert!(frame.payload.len() <= MAX_FRAME_BYTES);
                all_fit &= encoder.has_room(frame);
                if all_fit {
                    encoder.put_data(frame, None);
                }
            }
            other => {
                let mut bytes = Vec::new();
                other.encode(&mut bytes);
                encoder.put_frames(&bytes);
            }
        }
    }
    // Decompressed payloads take more room than the record they came in.
    if !all_fit {
        return;
    }
    let (body, trailer) = encoder.finish();
    let again = decode(&[body, trailer].concat()).expect("what we say, we take");
    assert_eq!(format!("{again:?}"), format!("{frames:?}"));
}
