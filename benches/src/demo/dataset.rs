//! A set of files like those that services move, made from a seed, and the proof that a copy is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Small files in the set, as a service's settings and thumbnails are.
const SMALL_FILES: u64 = 64;
const SMALL_FILE_BYTES: u64 = 2_000;
const PIECE_BYTES: usize = 64 * 1024;

/// splitmix64: enough to be incompressible, and the same on every machine.
#[derive(Debug)]
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

/// Writes at least `bytes` below `directory`: half log lines, half noise, some small files and an empty one.
///
/// # Errors
/// What the file system says; `directory` must be new or empty.
pub fn make(directory: &Path, bytes: u64, seed: u64) -> io::Result<u64> {
    fs::create_dir_all(directory)?;
    let mut noise = Noise(seed);
    let mut total =
        write(&directory.join("events.log"), bytes / 2, |piece| log_lines(&mut noise, piece))?;
    for file in 0..SMALL_FILES {
        let path = directory.join(format!("part-{file:02}.bin"));
        total += write(&path, SMALL_FILE_BYTES, |piece| random(&mut noise, piece))?;
    }
    total += write(&directory.join("empty"), 0, |_| ())?;
    total += write(&directory.join("image.bin"), bytes.saturating_sub(total), |piece| {
        random(&mut noise, piece);
    })?;
    Ok(total)
}

fn write(path: &Path, bytes: u64, mut fill: impl FnMut(&mut Vec<u8>)) -> io::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut piece = Vec::with_capacity(2 * PIECE_BYTES);
    let mut left = bytes;
    while left > 0 {
        piece.clear();
        fill(&mut piece);
        let taken = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&piece[..taken])?;
        left -= taken as u64;
    }
    file.flush()?;
    Ok(bytes)
}

fn random(noise: &mut Noise, piece: &mut Vec<u8>) {
    while piece.len() < PIECE_BYTES {
        piece.extend_from_slice(&noise.next().to_le_bytes());
    }
}

fn log_lines(noise: &mut Noise, piece: &mut Vec<u8>) {
    const PATHS: [&str; 4] = ["/v1/orders", "/v1/users", "/v1/search", "/healthz"];
    while piece.len() < PIECE_BYTES {
        let word = noise.next();
        let path = PATHS[(word % 4) as usize];
        let (user, time_us) = (word >> 8 & 0xFFFF, word >> 24 & 0xFFFFF);
        let line = format!(
            "{{\"level\":\"info\",\"path\":\"{path}\",\"user\":{user},\"status\":200,\"time_us\":{time_us}}}\n"
        );
        piece.extend_from_slice(line.as_bytes());
    }
}

/// What two directories have in common and what not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Files of the original.
    pub files: usize,
    /// Bytes of the original.
    pub bytes: u64,
    /// `path: what is wrong`, one for each difference.
    pub differences: Vec<String>,
}

/// Compares every file of `copy` with `original` by SHA-256.
///
/// # Errors
/// A directory or file that cannot be read.
pub fn compare(original: &Path, copy: &Path) -> io::Result<Comparison> {
    let (wanted, mut found) = (digests(original)?, digests(copy)?);
    let mut comparison = Comparison { files: wanted.len(), ..Comparison::default() };
    for (name, (bytes, digest)) in wanted {
        comparison.bytes += bytes;
        let difference = match found.remove(&name) {
            None => "is missing in the copy".to_owned(),
            Some((length, _)) if length != bytes => {
                format!("has {length} bytes in place of {bytes}")
            }
            Some((_, other)) if other != digest => "differs in content".to_owned(),
            Some(_) => continue,
        };
        comparison.differences.push(format!("{}: {difference}", name.display()));
    }
    let strangers = found.keys().map(|name| format!("{}: is not in the original", name.display()));
    comparison.differences.extend(strangers);
    Ok(comparison)
}

type Digests = BTreeMap<PathBuf, (u64, [u8; 32])>;

fn digests(directory: &Path) -> io::Result<Digests> {
    let mut digests = Digests::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        digests.insert(entry.file_name().into(), digest(&entry.path())?);
    }
    Ok(digests)
}

fn digest(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((bytes, hash.finalize().into())),
            read => {
                hash.update(&piece[..read]);
                bytes += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_proved_and_each_damage_named() {
        let folder = tempfile::tempdir().unwrap();
        let (original, copy) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(make(&original, 1_000_000, 7).unwrap(), 1_000_000);
        make(&copy, 1_000_000, 7).unwrap();
        let same = compare(&original, &copy).unwrap();
        assert_eq!((same.bytes, same.files), (1_000_000, 67));
        assert_eq!(same.differences, [""; 0]);

        fs::remove_file(copy.join("empty")).unwrap();
        fs::write(copy.join("part-00.bin"), "short").unwrap();
        let mut image = fs::read(copy.join("image.bin")).unwrap();
        image[5] ^= 1;
        fs::write(copy.join("image.bin"), image).unwrap();
        fs::write(copy.join("image.bin.partial"), "").unwrap();
        let damaged = compare(&original, &copy).unwrap().differences.join("\n");
        for named in
            ["empty: is missing", "part-00.bin: has 5", "image.bin: differs", "partial: is not"]
        {
            assert!(damaged.contains(named), "{named} in {damaged}");
        }
    }
}
