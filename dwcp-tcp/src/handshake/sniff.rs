//! What a peer speaks that does not speak TLS, from its first five bytes.

/// A noun phrase for the error.
pub(super) fn what_it_is(first: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 14] = [
        (b"HTTP/", "an HTTP answer"),
        (b"GET ", "an HTTP request"),
        (b"POST", "an HTTP request"),
        (b"HEAD", "an HTTP request"),
        (b"PUT ", "an HTTP request"),
        (b"DELET", "an HTTP request"),
        (b"PATCH", "an HTTP request"),
        (b"OPTIO", "an HTTP request"),
        (b"CONNE", "an HTTP proxy request"),
        (b"PRI *", "an HTTP/2 request"),
        (b"SSH-", "an SSH greeting"),
        (b"220", "a mail or FTP greeting"),
        (b"PROXY", "a PROXY protocol header"),
        (b"\r\n\r\n\0", "a PROXY protocol header"),
    ];
    if let Some((_, name)) = KNOWN.iter().find(|(start, _)| first.starts_with(start)) {
        return (*name).to_owned();
    }
    if let [0x80..=0xff, _, 1, ..] = first {
        return "an SSL 2 hello".to_owned();
    }
    let hex: Vec<_> = first.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("bytes that are no TLS record ({})", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_protocols_are_named_and_the_rest_is_shown() {
        assert_eq!(what_it_is(b"GET /"), "an HTTP request");
        assert_eq!(what_it_is(b"HTTP/"), "an HTTP answer");
        assert_eq!(what_it_is(b"SSH-2"), "an SSH greeting");
        assert_eq!(what_it_is(&[0x80, 0x2e, 1, 0, 2]), "an SSL 2 hello");
        assert_eq!(what_it_is(&[0; 5]), "bytes that are no TLS record (00 00 00 00 00)");
    }
}
