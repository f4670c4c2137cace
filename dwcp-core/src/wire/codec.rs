//! Reading and writing little-endian fields.

/// Why bytes of a peer do not decode. Inside an authentic record it is the peer's violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct DecodeError {
    /// The part that was being read.
    pub what: &'static str,
}

impl DecodeError {
    /// No fault of the bytes: there is no memory now for what they unfold to.
    pub const OUT_OF_MEMORY: Self = Self { what: "frame: receive memory is exhausted" };
}

pub(crate) fn malformed<T>(what: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError { what })
}

/// A cursor over received bytes. Every read checks the length.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((bytes, rest)) = self.rest.split_at_checked(count) else {
            return malformed(self.what);
        };
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.bytes(N)?.try_into().expect("N bytes were read"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Bytes behind a u16 length.
    pub(crate) fn short_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.u16()?;
        self.bytes(usize::from(count))
    }

    /// UTF-8 behind a u16 length.
    pub(crate) fn text(&mut self, bytes_max: usize) -> Result<&'a str, DecodeError> {
        let bytes = self.short_bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.len() <= bytes_max => Ok(text),
            _ => malformed(self.what),
        }
    }

    /// Refuses bytes left over.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { malformed(self.what) }
    }
}

/// Appends little-endian fields.
pub(crate) trait Write {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    /// Bytes behind a u16 length.
    ///
    /// # Panics
    /// If there are more than 65,535.
    fn put_short_bytes(&mut self, bytes: &[u8]) {
        self.put_u16(u16::try_from(bytes.len()).expect("short bytes are short"));
        self.put(bytes);
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
