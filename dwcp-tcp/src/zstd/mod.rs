//! Zstandard for single frames.
//!
//! Each frame is a Zstandard frame of its own with its size declared: nothing of one enters the next. The big
//! contexts belong to the thread that runs them; what belongs to a path is a few counters.

mod effort;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use ::zstd::bulk::{Compressor, Decompressor};
use ::zstd::zstd_safe::{self, CParameter, DParameter};
use dwcp_core::wire::{Compress, Compression, DecodeError, Decompress};

use self::effort::{Effort, Sampler};

/// How hard to compress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Follows the bottleneck of the path: harder while the link is, easier and finally not at all while the
    /// processor is.
    #[default]
    Auto,
    /// This one, -7 (fastest) to 19.
    Fixed(i32),
}

/// The levels that [`Level::Fixed`] may have.
const LEVELS: std::ops::RangeInclusive<i32> = -7..=19;

/// What is asked of [`Zstd`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZstdOptions {
    /// How hard to compress.
    pub level: Level,
    /// Shorter payloads are left alone, bytes.
    pub min_size_bytes: usize,
}

impl Default for ZstdOptions {
    fn default() -> Self {
        Self { level: Level::Auto, min_size_bytes: 256 }
    }
}

/// The compression algorithm `zstd`.
#[derive(Clone, Debug)]
pub struct Zstd(Arc<ZstdOptions>);

impl Zstd {
    /// With these options.
    ///
    /// # Panics
    /// If a fixed level is not within -7 to 19.
    pub fn new(options: ZstdOptions) -> Self {
        if let Level::Fixed(level) = options.level {
            assert!(LEVELS.contains(&level), "zstd level {level} is not within -7 to 19");
        }
        Self(Arc::new(options))
    }
}

impl Default for Zstd {
    fn default() -> Self {
        Self::new(ZstdOptions::default())
    }
}

impl Compression for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }
    fn compressor(&self) -> Box<dyn Compress> {
        Box::new(PathCompressor::new(&self.0))
    }
    fn decompressor(&self) -> Box<dyn Decompress> {
        Box::new(PathDecompressor)
    }
}

/// One thread's context, and the level it is set to.
struct ThreadCompressor {
    context: Compressor<'static>,
    level: i32,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<ThreadCompressor>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// One path's sending direction.
struct PathCompressor {
    min_size_bytes: usize,
    effort: Effort,
    sampler: Sampler,
}

impl PathCompressor {
    fn new(options: &ZstdOptions) -> Self {
        let effort = Effort::new(options.level);
        Self { min_size_bytes: options.min_size_bytes, effort, sampler: Sampler::default() }
    }
}

/// Bytes a compressed payload of `bytes` may have: it must save a sixteenth to be worth the peer's work.
fn worthwhile_bytes(bytes: usize) -> usize {
    bytes - bytes / 16
}

impl Compress for PathCompressor {
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(level) = self.effort.level() else { return false };
        if input.len() < self.min_size_bytes.max(1) || !self.sampler.is_due() {
            return false;
        }
        let at = out.len();
        // The buffer is no longer than what pays, so zstd itself gives up on the rest.
        out.resize(at + worthwhile_bytes(input.len()), 0);
        let count = compress_on_this_thread(level, input, &mut out[at..]);
        out.truncate(at + count.unwrap_or(0));
        self.sampler.note(count.is_some());
        count.is_some()
    }

    fn note_bottleneck(&mut self, is_link: bool) {
        self.effort.note(is_link);
    }
}

/// The length of the frame, or nothing if it does not fit `out` (or zstd has no memory).
fn compress_on_this_thread(level: i32, input: &[u8], out: &mut [u8]) -> Option<usize> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            let mut context = Compressor::new(level).ok()?;
            context.set_parameter(CParameter::ContentSizeFlag(true)).ok()?;
            context.set_parameter(CParameter::ChecksumFlag(false)).ok()?;
            *slot = Some(ThreadCompressor { context, level });
        }
        let thread = slot.as_mut().expect("made above");
        if thread.level != level {
            thread.context.set_compression_level(level).ok()?;
            thread.level = level;
        }
        thread.context.compress_to_buffer(input, out).ok()
    })
}

/// The receiving direction keeps nothing.
struct PathDecompressor;

/// 2^19 bytes: frames are at most 256 KiB, so no honest window is longer.
const WINDOW_LOG_MAX: u32 = 19;

/// Whether the window of a frame is within its limit. Zstandard looks at that only where it decompresses piece by piece;
/// the head of a frame is as in RFC 8878, section 3.1.1.1.
fn is_window_good(frame: &[u8]) -> bool {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    match frame.get(4..6) {
        Some(&[descriptor, _]) if descriptor & SINGLE_SEGMENT != 0 => true, // the window is the content
        Some(&[_, window]) => {
            let base = 1_u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7) <= 1 << WINDOW_LOG_MAX
        }
        _ => false,
    }
}

impl Decompress for PathDecompressor {
    fn decompress(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
        let error = DecodeError { what: "compressed frame" };
        // One frame, nothing behind it, and the size that the record declares: before any work is done.
        let declared = zstd_safe::get_frame_content_size(input).ok().flatten();
        let length = zstd_safe::find_frame_compressed_size(input).ok();
        if declared != Some(out.len() as u64)
            || length != Some(input.len())
            || !is_window_good(input)
        {
            return Err(error);
        }
        DECOMPRESSOR.with_borrow_mut(|slot| {
            let context = made(slot, context)?;
            match context.decompress_to_buffer(input, out) {
                Ok(count) if count == out.len() => Ok(()),
                _ => Err(error),
            }
        })
    }
}

/// A thread's context for what comes.
fn context() -> io::Result<Decompressor<'static>> {
    let mut context = Decompressor::new()?;
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
    Ok(context)
}

/// What is in `slot`, made if it is not there. Nothing that a peer says keeps it from being made: this node lacks the memory,
/// and looks for it again.
fn made<T>(
    slot: &mut Option<T>,
    make: impl FnOnce() -> io::Result<T>,
) -> Result<&mut T, DecodeError> {
    match slot {
        Some(made) => Ok(made),
        None => Ok(slot.insert(make().map_err(|_| DecodeError::OUT_OF_MEMORY)?)),
    }
}

#[cfg(test)]
mod tests;
