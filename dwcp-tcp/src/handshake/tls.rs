//! rustls over a tokio socket, record by record.

use std::future::Future;
use std::io::{self, Read, Write};
use std::time::Duration;

use rustls::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::sniff;
use super::trouble::Trouble;

/// Bytes of a TLS record's header: type, version, length (RFC 8446 section 5.1).
const HEADER_BYTES: usize = 5;
/// The longest record body TLS 1.3 allows: 2^14 and 256 of encryption.
const MAX_BODY_BYTES: usize = (1 << 14) + 256;
/// The most a peer may send in the handshake and hellos: certificate chains are a few KiB.
const MAX_HANDSHAKE_BYTES: usize = 128 << 10;
/// How long a refusal waits for the peer to read it.
const FAREWELL: Duration = Duration::from_millis(500);

/// A TLS connection that never reads a byte behind the record it needs.
pub(super) struct TlsStream {
    stream: TcpStream,
    connection: Connection,
    /// One record; reused.
    record: Vec<u8>,
    /// Application data decrypted and not yet taken.
    plain: Vec<u8>,
    received_bytes: usize,
    deadline: Instant,
}

impl TlsStream {
    pub(super) fn new(stream: TcpStream, connection: Connection, deadline: Instant) -> Self {
        let (record, plain) = (Vec::new(), Vec::new());
        Self { stream, connection, record, plain, received_bytes: 0, deadline }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs the handshake. When it returns, nothing is left to be sent.
    pub(super) async fn handshake(&mut self) -> Result<(), Trouble> {
        limited(self.deadline, async {
            while self.connection.is_handshaking() {
                self.flush().await?;
                if self.connection.is_handshaking() {
                    self.read_record().await?;
                }
            }
            self.flush().await
        })
        .await
    }

    /// Sends one message behind its length.
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), Trouble> {
        let length = u16::try_from(message.len()).expect("hellos are short");
        let framed = [&length.to_le_bytes(), message].concat();
        self.connection.writer().write_all(&framed).map_err(Trouble::Io)?;
        limited(self.deadline, self.flush()).await
    }

    /// Receives one message of at most `bytes_max`.
    pub(super) async fn receive(&mut self, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
        limited(self.deadline, async {
            self.flush().await?;
            loop {
                if let Some(message) = self.take_message(bytes_max)? {
                    return Ok(message);
                }
                self.read_record().await?;
            }
        })
        .await
    }

    fn take_message(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, Trouble> {
        let Some((length, rest)) = self.plain.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*length));
        if length > bytes_max {
            return Err(Trouble::TooLong { bytes: length, bytes_max });
        }
        let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.plain.drain(..2 + length);
        Ok(Some(message))
    }

    /// The socket, once nothing of TLS is left to be sent or taken.
    pub(super) fn into_socket(self) -> io::Result<std::net::TcpStream> {
        if self.connection.wants_write() || !self.plain.is_empty() {
            let what = "the handshake is not over: a message of it was not sent or not taken";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.stream.into_std()
    }

    /// Sends the alert that says why the handshake failed, and lets the peer read it: closing at once with
    /// its bytes unread would reset the connection and lose the alert.
    pub(super) async fn farewell(&mut self) {
        let until = self.deadline.max(Instant::now()).min(Instant::now() + FAREWELL);
        let _ = timeout_at(until, async {
            if self.flush().await.is_err() || self.stream.shutdown().await.is_err() {
                return;
            }
            let mut waste = [0; 4096];
            for _ in 0..MAX_HANDSHAKE_BYTES / waste.len() {
                if self.stream.read(&mut waste).await.unwrap_or(0) == 0 {
                    return;
                }
            }
        })
        .await;
    }

    /// Sends all that TLS has to say, in one write.
    async fn flush(&mut self) -> Result<(), Trouble> {
        if !self.connection.wants_write() {
            return Ok(());
        }
        let mut out = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut out).map_err(Trouble::Io)?;
        }
        self.stream.write_all(&out).await.map_err(Trouble::Io)
    }

    /// Reads exactly one record and hands it to TLS.
    async fn read_record(&mut self) -> Result<(), Trouble> {
        self.record.resize(HEADER_BYTES, 0);
        self.fill(0).await?;
        let body = usize::from(u16::from_be_bytes([self.record[3], self.record[4]]));
        if !matches!(self.record[0], 20..=23) || self.record[1] != 3 || body > MAX_BODY_BYTES {
            return Err(Trouble::NotTls(sniff::what_it_is(&self.record)));
        }
        if self.received_bytes + body > MAX_HANDSHAKE_BYTES {
            return Err(Trouble::TooMuch { bytes_max: MAX_HANDSHAKE_BYTES });
        }
        self.record.resize(HEADER_BYTES + body, 0);
        self.fill(HEADER_BYTES).await?;
        let mut rest = &self.record[..];
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest).map_err(Trouble::Io)?;
        }
        let state = self.connection.process_new_packets().map_err(Trouble::tls)?;
        let (arrived, at) = (state.plaintext_bytes_to_read(), self.plain.len());
        if state.peer_has_closed() {
            return Err(Trouble::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.plain.resize(at + arrived, 0);
        self.connection.reader().read_exact(&mut self.plain[at..]).map_err(Trouble::Io)
    }

    /// Fills `record` from `at` to its end.
    async fn fill(&mut self, at: usize) -> Result<(), Trouble> {
        match self.stream.read_exact(&mut self.record[at..]).await {
            Ok(count) => {
                self.received_bytes += count;
                Ok(())
            }
            Err(error) if self.received_bytes == 0 => Err(Trouble::Silent(error)),
            Err(error) => Err(Trouble::Io(error)),
        }
    }
}

async fn limited<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    timeout_at(deadline, work).await.unwrap_or(Err(Trouble::TimedOut))
}
