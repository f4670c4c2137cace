//! Keys that have had their time, and what an HMAC makes of its key, are in no memory of the process any more.
//!
//! To look for a key without having it, another process derives the same keys from the same exporter and tells them under
//! a mask; what is compared is masked, too.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use dwcp_core::crypto::{
    Direction, KeyMaterial, Open, PathOpener, PathSealer, PathSecret, Protection, Seal, Secret,
    SessionSecret, Suite,
};
use dwcp_core::machine::Time;
use dwcp_core::wire::{HEADER_BYTES, PathId, RecordHeader};
use dwcp_tcp::suites;

const MASK: u8 = 0x5a;
/// Set for the process that tells the keys.
const TELLS: &str = "DWCP_TEST_TELLS_MASKED_KEYS";
/// The exporter of both processes, masked.
const EXPORTER: [u8; 32] = *b"an exporter of no handshake ever";

fn path() -> PathSecret {
    let session =
        SessionSecret::from_exporter(&Secret::new(EXPORTER.map(|byte| byte ^ MASK)), None);
    session.path(PathId(0), &[1; 32], &[2; 32], &[3; 32])
}

/// The inner and the outer state of HMAC-SHA256 as they lie in memory: with them alone anybody makes the MAC, so that they
/// are worth as much as the key.
fn mac_states(key: &[u8; 32]) -> [[u8; 32]; 2] {
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    [0x36, 0x5c].map(|pad| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut state = START;
        sha2::block_api::compress256(&mut state, &[block]);
        let mut bytes = [0; 32];
        let (words, _) = bytes.as_chunks_mut();
        words.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_ne_bytes());
        bytes
    })
}

/// Keeps what a suite is given, and what it makes of that.
struct Spy(Mutex<Vec<String>>);

impl Spy {
    fn note(&self, keys: &KeyMaterial) {
        let mut kept = self.0.lock().unwrap();
        let [inner, outer] = mac_states(&keys.mac_key);
        for secret in [&keys.key, &keys.mac_key, &inner, &outer] {
            kept.push(secret.iter().map(|byte| format!("{:02x}", byte ^ MASK)).collect());
        }
    }
}

impl Suite for Spy {
    fn protection(&self) -> Protection {
        Protection::Aead
    }
    fn name(&self) -> &'static str {
        "spy"
    }
    fn wire_name(&self) -> &'static str {
        "spy"
    }
    fn has_hmac(&self) -> bool {
        true
    }
    fn overhead_bytes(&self) -> usize {
        48
    }
    fn sealer(&self, keys: &KeyMaterial) -> Box<dyn Seal> {
        self.note(keys);
        suites::aws_lc(true).sealer(keys)
    }
    fn opener(&self, keys: &KeyMaterial) -> Box<dyn Open> {
        self.note(keys);
        suites::aws_lc(true).opener(keys)
    }
}

/// Three key phases, at both ends.
struct Ends {
    sealer: PathSealer,
    opener: PathOpener,
}

impl Ends {
    fn new(suite: &Arc<dyn Suite>) -> Self {
        let path = path();
        let there = Direction::ToAcceptor;
        Self {
            sealer: PathSealer::new(suite.clone(), &path, there, 0, true),
            opener: PathOpener::new(suite.clone(), &path, there, 0, true),
        }
    }

    fn exchange(&mut self) {
        let mut record = Vec::new();
        self.sealer.seal(0, b"a message", &[0, 0], &mut record).unwrap();
        let header = RecordHeader::decode(record.first_chunk::<HEADER_BYTES>().unwrap()).unwrap();
        let mut plain = vec![0; self.opener.plain_bytes(header.length as usize).unwrap()];
        self.opener.open(&header, &record, &mut plain).unwrap();
        assert_eq!(&plain[..9], b"a message");
    }

    fn rekey(&mut self, round: u64) {
        assert!(self.sealer.rekey(Time(round * 100_000_000_000)));
        self.exchange();
    }
}

/// The keys of phases 0, 1 and 2, each with its MAC key and the two states of the MAC, masked.
fn masked_keys() -> Vec<Vec<u8>> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keys_of_the_past_are_in_no_memory", "--nocapture"])
        .env(TELLS, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("masked "));
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let keys: Vec<Vec<u8>> =
        lines.map(|hex| (0..64).step_by(2).map(|at| byte(hex, at)).collect()).collect();
    assert_eq!(keys.len(), 12, "{text}");
    keys
}

/// The other process's part.
fn tell_masked_keys() {
    let spy = Arc::new(Spy(Mutex::default()));
    let suite: Arc<dyn Suite> = spy.clone();
    let mut ends = Ends::new(&suite);
    ends.exchange();
    (1..3).for_each(|round| ends.rekey(round));
    let mut told = Vec::new();
    for key in spy.0.lock().unwrap().iter() {
        if !told.contains(key) {
            println!("masked {key}");
            told.push(key.clone());
        }
    }
}

/// Looks through all memory that this process may write.
struct Search {
    buffer: Vec<u8>,
}

impl Search {
    fn new() -> Self {
        Self { buffer: vec![0; 1 << 20] }
    }

    /// How often each key is found, once the thread's stack has been used for something else: what a call leaves there is
    /// overwritten by the next ones.
    fn count(&mut self, masked: &[Vec<u8>]) -> Vec<usize> {
        std::hint::black_box(use_stack());
        let mut found = vec![0; masked.len()];
        let mut is_first = [false; 256];
        masked.iter().for_each(|key| is_first[usize::from(key[0] ^ MASK)] = true);
        let memory = File::open("/proc/self/mem").unwrap();
        let own = self.buffer.as_ptr() as usize..self.buffer.as_ptr() as usize + self.buffer.len();
        for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            if !rest.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let number = |hex| usize::from_str_radix(hex, 16).unwrap();
            let (mut at, to) = (number(from), number(to));
            while at < to {
                let count = (to - at).min(self.buffer.len());
                let read = memory.read_at(&mut self.buffer[..count], at as u64).unwrap_or(0);
                let read = &self.buffer[..read];
                for offset in 0..read.len().saturating_sub(31) {
                    if !is_first[usize::from(read[offset])] || own.contains(&(at + offset)) {
                        continue;
                    }
                    let is_it =
                        |key: &Vec<u8>| read[offset..].iter().zip(key).all(|(a, b)| a ^ MASK == *b);
                    for number in (0..masked.len()).filter(|&number| is_it(&masked[number])) {
                        found[number] += 1;
                        // For whoever has to find out whose it is.
                        println!("key {number} at {:x} of {line}", at + offset);
                    }
                }
                // Blocks overlap by the length of a key.
                at += if at + count == to { count } else { count - 31 };
            }
        }
        // What was read is a copy of everything.
        self.buffer.fill(0);
        found
    }
}

#[inline(never)]
fn use_stack() -> u8 {
    let mut stack = [0_u8; 256 << 10];
    std::hint::black_box(&mut stack).fill(1);
    stack[stack.len() / 2]
}

#[test]
fn keys_of_the_past_are_in_no_memory() {
    if std::env::var_os(TELLS).is_some() {
        return tell_masked_keys();
    }
    let masked = masked_keys();
    let mut search = Search::new();
    for suite in [suites::aws_lc(true), suites::rust_crypto(true)] {
        let name = suite.name();
        let mut ends = Ends::new(&suite);
        ends.exchange();
        let now = search.count(&masked);
        // The key itself, and the states of the MAC: its own key is erased at once.
        let is_found = now[0] > 0 && now[2] > 0 && now[3] > 0;
        assert!(is_found, "{name}: the search finds what is in use: {now:?}");
        (1..3).for_each(|round| ends.rekey(round));
        let later = search.count(&masked);
        assert_eq!(later[..4], [0; 4], "{name}: the first phase is over: {later:?}");
        drop(ends);
        let after = search.count(&masked);
        assert_eq!(after, [0; 12], "{name}: the path is gone");
    }
}
