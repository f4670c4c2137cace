//! rustls over a tokio socket, without a byte behind the last TLS record.
//!
//! Where the peer may go on with records of its own, TLS is read record by record: header, then body. Everywhere else the peer
//! has to wait for us, so that all that has arrived is TLS, and is read at once.

use std::future::Future;
use std::io::{self, Read, Write};
use std::time::Duration;

use rustls::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::trouble::Trouble;
use super::{Side, sniff};

/// Bytes of a TLS record's header: type, version, length (RFC 8446 section 5.1).
const HEADER_BYTES: usize = 5;
/// The longest record body TLS 1.3 allows: 2^14 and 256 of encryption.
const MAX_BODY_BYTES: usize = (1 << 14) + 256;
/// The most a peer may send in the handshake and hellos: certificate chains are a few KiB.
const MAX_HANDSHAKE_BYTES: usize = 128 << 10;
/// Read at once where all that can arrive is TLS: more than the flight of a node with one certificate.
const AHEAD_BYTES: usize = 4 << 10;
/// How long a refusal waits for the peer to read it.
const FAREWELL: Duration = Duration::from_millis(500);

/// A TLS connection that never takes a byte of what comes behind it.
pub(super) struct TlsStream {
    stream: TcpStream,
    connection: Connection,
    is_dialer: bool,
    /// What was read; TLS has not had the first `filled` bytes of it.
    input: Vec<u8>,
    filled: usize,
    /// Application data decrypted and not yet taken.
    plain: Vec<u8>,
    received_bytes: usize,
    deadline: Instant,
}

impl TlsStream {
    pub(super) fn new(
        stream: TcpStream,
        connection: Connection,
        side: &Side,
        deadline: Instant,
    ) -> Self {
        let is_dialer = matches!(side, Side::Dialer { .. });
        let (input, plain) = (Vec::new(), Vec::new());
        Self { stream, connection, is_dialer, input, filled: 0, plain, received_bytes: 0, deadline }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs the handshake. The dialer's last flight is left to go with the hello: one write, and one wake-up of the peer.
    pub(super) async fn handshake(&mut self) -> Result<(), Trouble> {
        limited(self.deadline, async {
            while self.connection.is_handshaking() {
                self.flush().await?;
                if self.connection.is_handshaking() {
                    self.read_records().await?;
                }
            }
            if self.is_dialer { Ok(()) } else { self.flush().await }
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
                self.read_records().await?;
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
        if self.connection.wants_write() || !self.plain.is_empty() || self.filled > 0 {
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

    /// Whether nothing but TLS can arrive now: the dialer sends no record of its own before it has our reply, and the acceptor
    /// nothing at all between its flight and the reply to our hello.
    fn may_read_ahead(&self) -> bool {
        !self.is_dialer || self.connection.is_handshaking()
    }

    /// Reads at least one record, and hands all that are whole to TLS.
    async fn read_records(&mut self) -> Result<(), Trouble> {
        loop {
            let missing = self.record_at(0)?.saturating_sub(self.filled);
            if missing == 0 {
                break;
            }
            self.fill(missing).await?;
        }
        let mut at = 0;
        loop {
            let end = at + self.record_at(at)?;
            if end > self.filled {
                break;
            }
            self.take_record(at, end)?;
            at = end;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// The length of the record that begins at `at`; that of its header as long as that is not whole.
    fn record_at(&self, at: usize) -> Result<usize, Trouble> {
        let Some(header) = self.input[at..self.filled].first_chunk::<HEADER_BYTES>() else {
            return Ok(HEADER_BYTES);
        };
        let body = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if !matches!(header[0], 20..=23) || header[1] != 3 || body > MAX_BODY_BYTES {
            return Err(Trouble::NotTls(sniff::what_it_is(header)));
        }
        let before = self.received_bytes - (self.filled - at);
        if before + HEADER_BYTES + body > MAX_HANDSHAKE_BYTES {
            return Err(Trouble::TooMuch { bytes_max: MAX_HANDSHAKE_BYTES });
        }
        Ok(HEADER_BYTES + body)
    }

    /// Hands one record to TLS, and keeps what it holds for us.
    fn take_record(&mut self, at: usize, end: usize) -> Result<(), Trouble> {
        let mut rest = &self.input[at..end];
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

    /// Reads once: what is `missing`, or all that there is where that can be nothing but TLS.
    async fn fill(&mut self, missing: usize) -> Result<(), Trouble> {
        let room = if self.may_read_ahead() { missing.max(AHEAD_BYTES) } else { missing };
        let end = self.filled + room;
        if self.input.len() < end {
            self.input.resize(end, 0);
        }
        let read = match self.stream.read(&mut self.input[self.filled..end]).await {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        match read {
            Ok(count) => {
                self.filled += count;
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
