//! Little-endian fields, written and read.

use getrandom::fill;

/// Appends fields. Nothing is checked: what is written may be wrong on purpose.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);
    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    /// *short bytes*: a length of two bytes, then so many.
    fn short(&mut self, bytes: &[u8]) {
        self.u16(bytes.len() as u16);
        self.put(bytes);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads fields of what the daemon says, which is well-formed: anything else fails the test.
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    #[track_caller]
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).expect("the daemon's message is whole");
        self.0 = rest;
        taken
    }
    #[track_caller]
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().expect("N bytes")
    }
    #[track_caller]
    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }
    #[track_caller]
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    #[track_caller]
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    #[track_caller]
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        let length = self.u16();
        String::from_utf8(self.bytes(usize::from(length)).to_vec()).expect("UTF-8")
    }
}

/// Bytes that nobody can predict.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes).expect("the system has randomness");
    bytes
}
