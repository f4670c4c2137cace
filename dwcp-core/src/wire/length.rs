//! The length before each message of a batch: LEB128 of at most three bytes, a batched message is short.

/// The longest encoding, bytes.
const LENGTH_BYTES_MAX: usize = 3;

/// Bytes of the encoding of `length`.
#[inline]
pub(crate) fn length_bytes(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        _ => LENGTH_BYTES_MAX,
    }
}

/// Hands the encoding of `length`, which is less than 2^21, to `put`.
#[inline]
pub(crate) fn write_length(length: usize, put: impl FnOnce(&[u8])) {
    debug_assert!(length < 1 << (7 * LENGTH_BYTES_MAX));
    match length_bytes(length) {
        1 => put(&[length as u8]),
        2 => put(&[length as u8 | 0x80, (length >> 7) as u8]),
        _ => put(&[length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8]),
    }
}

/// Reads a length and how many bytes it took. `None`: it leads out of `rest`.
#[inline]
pub(crate) fn read_length(rest: &[u8]) -> Option<(usize, usize)> {
    // Nearly all are short.
    if let Some(&first) = rest.first().filter(|first| **first < 0x80) {
        let length = usize::from(first);
        return (length < rest.len()).then_some((length, 1));
    }
    read_longer(rest)
}

fn read_longer(rest: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, &byte) in rest.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let used = at + 1;
            return (length <= rest.len() - used).then_some((length, used));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lead_out_of_the_batch_are_refused() {
        assert_eq!(read_length(&[2, 7, 7]), Some((2, 1)));
        assert_eq!(read_length(&[3, 7, 7]), None);
        assert_eq!(read_length(&[0x80]), None);
        assert_eq!(read_length(&[0xff, 0xff, 0xff, 1]), None);
        let mut long = vec![0x80, 1];
        long.extend([0; 128]);
        assert_eq!(read_length(&long), Some((128, 2)));
    }

    #[test]
    fn each_length_is_read_as_it_was_written() {
        for length in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff] {
            let mut bytes = Vec::new();
            write_length(length, |encoded| bytes.extend(encoded));
            let used = bytes.len();
            assert_eq!(used, length_bytes(length));
            bytes.resize(used + length, 0);
            assert_eq!(read_length(&bytes), Some((length, used)), "{length}");
        }
    }
}
