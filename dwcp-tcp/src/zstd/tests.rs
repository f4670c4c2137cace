//! Round trips, refusals, and what is left alone.

use super::*;

fn random(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn text(count: usize) -> Vec<u8> {
    let line =
        |at: usize| format!("{{\"level\":\"info\",\"request\":{},\"status\":200}}\n", at * 7919);
    (0..).flat_map(|at| line(at).into_bytes()).take(count).collect()
}

fn fixed(level: i32) -> Zstd {
    Zstd::new(ZstdOptions { level: Level::Fixed(level), ..ZstdOptions::default() })
}

fn decompress(input: &[u8], declared: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![0; declared];
    PathDecompressor.decompress(input, &mut out).map(|()| out)
}

#[test]
fn frames_of_all_sizes_and_levels_come_back() {
    for level in [-7, -1, 1, 3, 19] {
        let mut compressor = fixed(level).compressor();
        for bytes in [256, 1_000, 65_536, 256 << 10] {
            let input = text(bytes);
            let mut out = b"before".to_vec();
            assert!(compressor.compress(&input, &mut out), "level {level}, {bytes} bytes");
            assert!(out.len() - 6 <= bytes - bytes / 16);
            assert_eq!(&out[..6], b"before");
            assert_eq!(decompress(&out[6..], bytes), Ok(input));
        }
    }
}

#[test]
fn what_does_not_pay_is_left_as_it_was() {
    let mut compressor = Zstd::default().compressor();
    let mut out = b"before".to_vec();
    assert!(!compressor.compress(&random(65_536, 1), &mut out));
    assert!(!compressor.compress(&text(255), &mut out), "below the minimum size");
    assert!(!compressor.compress(&[], &mut out));
    // 5 % of zeros in random bytes saves less than a sixteenth.
    let mut input = random(65_536, 2);
    input[..3_276].fill(0);
    assert!(!compressor.compress(&input, &mut out));
    assert_eq!(out, b"before");
}

#[test]
fn a_stream_of_random_frames_is_sampled_and_text_is_found_again() {
    let mut compressor = Zstd::default().compressor();
    let (noise, text, mut out) = (random(4_096, 3), text(4_096), Vec::new());
    (0..10_000).for_each(|_| assert!(!compressor.compress(&noise, &mut out)));
    let compressed = (0..1_000)
        .filter(|_| {
            out.clear();
            compressor.compress(&text, &mut out)
        })
        .count();
    assert!(compressed > 1_000 - 256, "{compressed} of 1,000");
}

#[test]
fn anything_but_one_frame_of_the_declared_size_is_refused() {
    let (input, mut good) = (text(10_000), Vec::new());
    assert!(fixed(1).compressor().compress(&input, &mut good));
    assert!(decompress(&good, 10_000).is_ok());
    for declared in [0, 1, 9_999, 10_001, 256 << 10] {
        assert!(decompress(&good, declared).is_err(), "declared {declared}");
    }
    assert!(decompress(&good[..good.len() - 1], 10_000).is_err(), "cut short");
    assert!(decompress(&[&good[..], b"x"].concat(), 10_000).is_err(), "a byte behind");
    assert!(decompress(&good.repeat(2), 20_000).is_err(), "two frames");
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &good].concat();
    assert!(decompress(&skippable, 10_000).is_err(), "a skippable frame before");
    assert!(decompress(b"", 0).is_err());
}

#[test]
fn frames_without_a_declared_size_are_refused() {
    let (input, mut out) = (text(10_000), vec![0; 20_000]);
    let mut context = Compressor::new(1).unwrap();
    context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
    let count = context.compress_to_buffer(&input, &mut out[..]).unwrap();
    assert!(decompress(&out[..count], 10_000).is_err());
}

#[test]
fn changed_frames_never_panic_or_leave_the_buffer() {
    let (input, mut good) = (text(3_000), Vec::new());
    assert!(fixed(3).compressor().compress(&input, &mut good));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            // Without a checksum zstd may give other bytes; the record's tag is what finds changes.
            let _ = decompress(&bad, 3_000);
        }
    }
    for seed in 0..2_000 {
        let _ = decompress(&random(64, seed), 3_000);
    }
}

#[test]
fn paths_with_different_levels_share_a_threads_context() {
    let (mut fast, mut hard) = (fixed(-7).compressor(), fixed(19).compressor());
    let input = text(65_536);
    let mut sizes = Vec::new();
    for _ in 0..2 {
        for compressor in [&mut fast, &mut hard] {
            let mut out = Vec::new();
            assert!(compressor.compress(&input, &mut out));
            sizes.push(out.len());
        }
    }
    assert_eq!(sizes[..2], sizes[2..], "nothing of one frame enters the next");
    assert!(sizes[1] < sizes[0], "the level is the path's own");
}

#[test]
#[should_panic(expected = "zstd level 20 is not within -7 to 19")]
fn levels_out_of_range_are_refused() {
    fixed(20);
}

#[test]
fn a_node_without_memory_for_a_context_blames_nobody_and_makes_it_later() {
    let mut slot = None;
    let failed = made(&mut slot, || Err(io::ErrorKind::OutOfMemory.into())).err();
    assert_eq!(failed, Some(DecodeError::OUT_OF_MEMORY));
    assert!(made(&mut slot, context).is_ok());
    assert!(made(&mut slot, || panic!("it is there")).is_ok());
}
