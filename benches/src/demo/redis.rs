//! As much of the redis protocol (RESP 2) as a proof needs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Far above what a cut costs; below it a hang would be taken for a wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest value that is read: `INFO` has a few KiB.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// A connection to redis: one command at a time.
#[derive(Debug)]
pub(super) struct Redis {
    stream: BufReader<TcpStream>,
}

impl Redis {
    /// # Errors
    /// What the network says.
    pub(super) fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The reply to `words`, without its type mark.
    ///
    /// # Errors
    /// A broken connection, an error that redis answers, a reply that is none.
    pub(super) fn command(&mut self, words: &[&str]) -> io::Result<String> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(command.as_bytes())?;
        let line = self.line()?;
        match line.split_at_checked(1) {
            Some((":" | "+", value)) => Ok(value.to_owned()),
            Some(("$", "-1")) => Ok(String::new()),
            Some(("$", bytes)) => self.value(bytes),
            Some(("-", error)) => Err(io::Error::other(format!("redis says: {error}"))),
            _ => Err(io::Error::other(format!("not a reply: '{line}'"))),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let limit = VALUE_BYTES_MAX as u64;
        if (&mut self.stream).take(limit).read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
        }
        Ok(line.trim_end().to_owned())
    }

    fn value(&mut self, bytes: &str) -> io::Result<String> {
        let bytes = bytes.parse().ok().filter(|bytes| *bytes <= VALUE_BYTES_MAX);
        let bytes = bytes.ok_or_else(|| io::Error::other("a reply of impossible length"))?;
        let mut value = vec![0; bytes + 2];
        self.stream.read_exact(&mut value)?;
        value.truncate(bytes);
        String::from_utf8(value).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers each command with the next of `replies`, then closes.
    fn server(replies: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut sink = [0; 256];
            for reply in replies {
                let _ = stream.read(&mut sink).unwrap();
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn replies_are_read_by_their_type() {
        let replies =
            &[":7\r\n", "+OK\r\n", "$5\r\na\r\nbc\r\n", "$-1\r\n", "-ERR no\r\n", "?\r\n"];
        let mut redis = Redis::connect(&server(replies)).unwrap();
        let mut ask = || redis.command(&["X"]).map_err(|error| error.to_string());
        assert_eq!(ask().unwrap(), "7");
        assert_eq!(ask().unwrap(), "OK");
        assert_eq!(ask().unwrap(), "a\r\nbc");
        assert_eq!(ask().unwrap(), "");
        assert_eq!(ask().unwrap_err(), "redis says: ERR no");
        assert_eq!(ask().unwrap_err(), "not a reply: '?'");
        assert!(ask().is_err(), "a closed connection is an error");
    }

    #[test]
    fn a_length_beyond_reason_is_refused() {
        let mut redis = Redis::connect(&server(&["$99999999999\r\n"])).unwrap();
        assert!(redis.command(&["X"]).unwrap_err().to_string().contains("impossible length"));
    }
}
