//! Contents of messages: every byte follows from the seed, the channel, the direction and the number.

/// The words of one message.
#[derive(Clone, Copy)]
pub(super) struct Pattern(u64);

impl Pattern {
    pub(super) fn new(seed: u64, channel: u32, sender: usize, number: u64) -> Self {
        let flow = u64::from(channel) << 1 | sender as u64;
        let mixed = (seed ^ (flow << 40) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed ^ (mixed >> 29))
    }

    fn word(self, at: usize) -> u64 {
        self.0.wrapping_add((at as u64).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    pub(super) fn fill(self, out: &mut [u8]) {
        let (words, rest) = out.as_chunks_mut::<8>();
        rest.copy_from_slice(&self.word(words.len()).to_le_bytes()[..rest.len()]);
        for (at, word) in words.iter_mut().enumerate() {
            *word = self.word(at).to_le_bytes();
        }
    }

    pub(super) fn matches(self, bytes: &[u8]) -> bool {
        let (words, rest) = bytes.as_chunks::<8>();
        let is_it = |(at, word): (usize, &[u8; 8])| u64::from_le_bytes(*word) == self.word(at);
        *rest == self.word(words.len()).to_le_bytes()[..rest.len()]
            && words.iter().enumerate().all(is_it)
    }
}
