//! The files that are copied: the same bytes on every machine.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::demo::dataset::Noise;

const PIECE_BYTES: usize = 256 * 1024;

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Noise, which no compressor makes smaller.
    Random,
    /// A service's log, one JSON object a line, which `zstd -1` makes 6.6 times smaller.
    Log,
}

/// Writes a file of `bytes`; returns its SHA-256.
///
/// # Errors
/// What the file system says.
pub fn write(path: &Path, content: Content, bytes: u64) -> io::Result<[u8; 32]> {
    let (mut noise, mut hash) = (Noise(1), Sha256::new());
    let mut file = BufWriter::new(File::create(path)?);
    let (mut piece, mut left, mut line) = (Vec::with_capacity(2 * PIECE_BYTES), bytes, 0);
    while left > 0 {
        piece.clear();
        while piece.len() < PIECE_BYTES {
            match content {
                Content::Random => piece.extend_from_slice(&noise.next().to_le_bytes()),
                Content::Log => {
                    log_line(&mut noise, line, &mut piece)?;
                    line += 1;
                }
            }
        }
        let taken = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        hash.update(&piece[..taken]);
        file.write_all(&piece[..taken])?;
        left -= taken as u64;
    }
    file.flush()?;
    Ok(hash.finalize().into())
}

/// One request, as a web service logs it: few values for most keys, one in which every line differs.
fn log_line(noise: &mut Noise, line: u64, piece: &mut Vec<u8>) -> io::Result<()> {
    const METHODS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
    const PATHS: [&str; 8] = [
        "/api/v1/orders",
        "/api/v1/users/profile",
        "/api/v1/search",
        "/api/v1/cart/items",
        "/healthz",
        "/api/v1/inventory/stock",
        "/api/v1/payments/authorize",
        "/static/app.js",
    ];
    const CLIENTS: [&str; 4] = ["web/24.11.2", "ios/5.2.1", "android/5.2.0", "partner-api/3"];
    let (a, b) = (noise.next(), noise.next());
    let pick = |shift: u32, of: usize| (a >> shift) as usize % of;
    let status = if pick(40, 16) == 0 { 404 } else { 200 };
    let level = if status == 200 { "info" } else { "warn" };
    let time_ms = 1_760_000_000_000 + line * 3 + (a & 3);
    writeln!(
        piece,
        "{{\"timestamp_ms\":{time_ms},\"level\":\"{level}\",\"service\":\"checkout-{:02}\",\
         \"host\":\"node-{:03}.eu-west-1.example.com\",\"method\":\"{}\",\"path\":\"{}\",\
         \"status\":{status},\"duration_us\":{},\"bytes_sent\":{},\"client\":\"{}\",\
         \"trace_id\":\"{:016x}{:016x}\",\"span_id\":\"{:016x}\",\"message\":\"done\"}}",
        pick(2, 8),
        pick(5, 64),
        METHODS[pick(11, 4)],
        PATHS[pick(13, 8)],
        200 + (b & 0x3FFF),
        500 + (b >> 14 & 0x7F) * 64,
        CLIENTS[pick(16, 4)],
        noise.next(),
        noise.next(),
        noise.next(),
    )
}

/// The SHA-256 of a file.
///
/// # Errors
/// What the file system says.
pub fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_length_and_the_same_bytes_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let told = write(&a, Content::Log, 1_000_001).unwrap();
        assert_eq!(std::fs::metadata(&a).unwrap().len(), 1_000_001);
        assert_eq!(
            (told, told),
            (write(&b, Content::Log, 1_000_001).unwrap(), digest(&a).unwrap())
        );
        assert_ne!(told, write(&c, Content::Random, 1_000_001).unwrap());
        let text = std::fs::read_to_string(&a).unwrap();
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert!(first["duration_us"].is_u64() && first["service"].is_string(), "{first}");
    }
}
