//! A session of the hostile peer: honest as far as it is not told otherwise.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::frame::{self, Data, Heard};
use super::hello::{HMAC, Hello, Reply, Resume, Welcome};
use super::keys::{self, Keys, Secret};
use super::record::{FRAMES_MAX, Opener, Sealer};
use super::tls::{Credentials, Tls};

pub(crate) const ALPN: &[u8] = b"dwcp/3";
/// The credit that a channel has at first, bytes.
pub(crate) const CREDIT: u64 = 65_536;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connects to the daemon.
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the daemon listens");
    limited(stream)
}

/// A socket whose calls end.
pub(crate) fn limited(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A TLS connection to the daemon, its handshake done.
pub(crate) fn secured(address: &str, credentials: &Credentials) -> Tls {
    let mut tls = Tls::client(connect(address), Some(credentials), &[ALPN]);
    tls.handshake().expect("the certificate is good");
    tls
}

/// Greets with `hello`; the reply.
pub(crate) fn greet(tls: &mut Tls, hello: &[u8]) -> io::Result<(Reply, Vec<u8>)> {
    tls.send_framed(hello)?;
    let bytes = tls.receive_framed()?;
    Ok((Reply::decode(&bytes), bytes))
}

/// What a session is known by.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) id: [u8; 16],
    pub(crate) secret: Secret,
    pub(crate) first_exporter: Secret,
}

/// One path of a session.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) seal: Sealer,
    open: Opener,
    /// Of the daemon's direction, in its first phase.
    pub(crate) their_keys: Keys,
    pub(crate) known: Known,
    /// The hello that the path came of.
    pub(crate) hello: Hello,
    /// Answers pings and acks data.
    pub(crate) is_polite: bool,
    credit: HashMap<u32, u64>,
    input: Vec<u8>,
    /// Frames of channel 0 sent so far.
    pub(crate) controls: u64,
    next_channel: u32,
    /// Frames sent on each channel so far.
    sent: HashMap<u32, u64>,
    /// Frames received on each channel so far, in order.
    received: HashMap<u32, u64>,
    inbox: HashMap<u32, VecDeque<Vec<u8>>>,
    partial: HashMap<u32, (u64, Vec<u8>)>,
    /// What was heard beside messages.
    pub(crate) heard: Vec<Heard>,
}

/// How both hellos end: what a path is made of.
pub(crate) struct Agreed<'a> {
    pub(crate) root: Secret,
    pub(crate) hello_bytes: &'a [u8],
    pub(crate) reply_bytes: &'a [u8],
    pub(crate) welcome: &'a Welcome,
    /// 0: this end has dialled the session.
    pub(crate) direction: u8,
}

impl Peer {
    /// A new session, by `hello`.
    pub(crate) fn begin(address: &str, credentials: &Credentials, hello: &Hello) -> Self {
        Self::try_begin(address, credentials, hello).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same; the error is the refusal.
    pub(crate) fn try_begin(
        address: &str,
        credentials: &Credentials,
        hello: &Hello,
    ) -> Result<Self, String> {
        let mut tls = secured(address, credentials);
        let bytes = hello.encode();
        let (reply, reply_bytes) = greet(&mut tls, &bytes).map_err(|error| error.to_string())?;
        let welcome = match reply {
            Reply::Welcome(welcome) => welcome,
            Reply::Refused { refusal, reason } => return Err(format!("{refusal}: {reason}")),
        };
        let exporter = tls.exporter();
        let secret = keys::session_secret(&exporter);
        let known = Known { id: welcome.session, secret, first_exporter: exporter };
        let agreed = Agreed {
            root: secret,
            hello_bytes: &bytes,
            reply_bytes: &reply_bytes,
            welcome: &welcome,
            direction: 0,
        };
        Ok(Self::over(tls.stream, known, hello, &agreed))
    }

    /// A path over `stream`, whose TLS is done.
    pub(crate) fn over(
        stream: TcpStream,
        known: Known,
        hello: &Hello,
        agreed: &Agreed<'_>,
    ) -> Self {
        let transcript = keys::hash(&[agreed.hello_bytes, agreed.reply_bytes]);
        let welcome = agreed.welcome;
        let (root, nonces) = (&agreed.root, (&hello.nonce, &welcome.nonce));
        let path = keys::path_secret(root, hello.path, nonces.0, nonces.1, &transcript);
        let has_hmac = welcome.features & HMAC != 0;
        let (ours, theirs) = (agreed.direction, 1 - agreed.direction);
        Self {
            stream,
            seal: Sealer::new(Keys::first(&path, ours, 0), has_hmac, welcome.version),
            their_keys: Keys::first(&path, theirs, 0),
            open: Opener::new(Keys::first(&path, theirs, 0), has_hmac, welcome.version),
            known,
            hello: hello.clone(),
            is_polite: true,
            credit: HashMap::new(),
            input: Vec::new(),
            controls: 0,
            next_channel: if agreed.direction == 0 { 2 } else { 1 },
            sent: HashMap::new(),
            received: HashMap::new(),
            inbox: HashMap::new(),
            partial: HashMap::new(),
            heard: Vec::new(),
        }
    }

    /// A hello that resumes this session as path `path` over a connection with `exporter`.
    pub(crate) fn resumption(&self, path: u32, exporter: &Secret) -> Hello {
        let mut hello = self.hello.clone();
        hello.nonce = super::bytes::random();
        hello.path = path;
        if self.seal.has_hmac {
            hello.features |= HMAC;
        }
        let proof = keys::resume_proof(&self.known.secret, exporter);
        hello.resume = Some(Resume { code: 1, session: self.known.id, proof });
        hello
    }

    /// Another path of the same session.
    pub(crate) fn resume(&self, address: &str, credentials: &Credentials, path: u32) -> Self {
        let mut tls = secured(address, credentials);
        let exporter = tls.exporter();
        let hello = self.resumption(path, &exporter);
        let bytes = hello.encode();
        let (reply, reply_bytes) = greet(&mut tls, &bytes).expect("an answer");
        let Reply::Welcome(welcome) = reply else { panic!("{reply:?}") };
        let agreed = Agreed {
            root: keys::resumed_root(&self.known.secret, &exporter),
            hello_bytes: &bytes,
            reply_bytes: &reply_bytes,
            welcome: &welcome,
            direction: 0,
        };
        let mut peer = Self::over(tls.stream, self.known.clone(), &hello, &agreed);
        peer.controls = self.controls;
        peer.next_channel = self.next_channel;
        (peer.sent, peer.received) = (self.sent.clone(), self.received.clone());
        peer
    }

    /// Sends bytes as they are. A daemon that has had enough closes the connection: that is no error here.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a record with `frames`.
    pub(crate) fn send(&mut self, frames: &[u8]) -> bool {
        let record = self.seal.seal(&[], frames);
        self.send_raw(&record)
    }

    /// Sends one data frame, its payload as the body.
    pub(crate) fn send_body(&mut self, data: &Data) -> bool {
        let frames = data.clone().with_flags(data.flags | frame::BODY).encode();
        let record = self.seal.seal(&data.payload, &frames);
        self.send_raw(&record)
    }

    /// Sends as many records as `frames` take, each as full as may be.
    pub(crate) fn send_all(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) -> bool {
        let mut section = Vec::new();
        for frame in frames {
            if section.len() + frame.len() > FRAMES_MAX {
                if !self.send(&section) {
                    return false;
                }
                section.clear();
            }
            section.extend_from_slice(&frame);
        }
        self.send(&section)
    }

    /// The next control message's frame.
    pub(crate) fn control(&mut self, message: &[u8]) -> Vec<u8> {
        self.controls += 1;
        Data::new(frame::CONTROL, 0, self.controls, message).encode()
    }

    /// A channel that has not been opened yet.
    pub(crate) fn new_channel(&mut self) -> u32 {
        self.next_channel += 2;
        self.next_channel - 2
    }

    /// Opens a channel for `label`.
    pub(crate) fn open(&mut self, label: &str) -> u32 {
        let channel = self.new_channel();
        self.sent.insert(channel, 1);
        self.send(&Data::open(channel, label).encode());
        channel
    }

    /// The number of the next frame of `channel`.
    pub(crate) fn next_seq(&mut self, channel: u32) -> u64 {
        let sent = self.sent.entry(channel).or_default();
        *sent += 1;
        *sent
    }

    /// Sends one message.
    pub(crate) fn message(&mut self, channel: u32, message: &[u8]) -> bool {
        let seq = self.next_seq(channel);
        self.send(&Data::batch(channel, seq, &[message]).encode())
    }

    /// Reads what there is until `until` is true, or the end of the connection; says whether it was true.
    pub(crate) fn read_until(&mut self, mut until: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + PATIENCE;
        while !until(self) {
            assert!(Instant::now() < end, "nothing within {PATIENCE:?}: {:?}", self.heard.last());
            match self.read_some() {
                Ok(0) => return until(self),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return until(self),
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    fn read_some(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 64 << 10];
        let count = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..count]);
        while let Some((_, plain, used)) = self.open.open(&self.input) {
            self.input.drain(..used);
            let mut answer = Vec::new();
            for heard in frame::decode(&plain) {
                self.hear(heard, &mut answer);
            }
            if self.is_polite && !answer.is_empty() {
                self.send_all(answer);
            }
        }
        Ok(count)
    }

    fn hear(&mut self, heard: Heard, answer: &mut Vec<Vec<u8>>) {
        match heard {
            Heard::Ping(token) => answer.push(frame::pong(token)),
            Heard::SwitchMark { epoch } => self.seal.epoch = epoch,
            Heard::Data(data) => {
                let received = self.received.entry(data.channel).or_default();
                if data.seq == *received + 1 {
                    *received += 1;
                    let (channel, cumulative) = (data.channel, *received);
                    self.take_in(data);
                    answer.push(frame::ack(channel, cumulative, &[]));
                }
            }
            Heard::Credit { channel, limit } => {
                self.credit.insert(channel, limit);
            }
            Heard::Other => {}
            other => self.heard.push(other),
        }
    }

    fn take_in(&mut self, data: Data) {
        let inbox = self.inbox.entry(data.channel).or_default();
        match (data.kind, data.total) {
            (frame::BATCH, _) => inbox.extend(frame::messages(&data.payload)),
            (frame::FIRST, Some(total)) if total == data.payload.len() as u64 => {
                inbox.push_back(data.payload);
            }
            (frame::FIRST, Some(total)) => {
                self.partial.insert(data.channel, (total, data.payload));
            }
            (frame::NEXT, _) => {
                let (total, bytes) = self.partial.get_mut(&data.channel).expect("a First before");
                bytes.extend_from_slice(&data.payload);
                if bytes.len() as u64 == *total {
                    let (_, bytes) = self.partial.remove(&data.channel).expect("it is there");
                    inbox.push_back(bytes);
                }
            }
            _ => self.heard.push(Heard::Data(data)),
        }
    }

    /// The next message of `channel`; `None` when the connection ends before.
    pub(crate) fn receive(&mut self, channel: u32) -> Option<Vec<u8>> {
        let has = |peer: &mut Self| peer.inbox.get(&channel).is_some_and(|inbox| !inbox.is_empty());
        self.read_until(has).then(|| self.inbox.get_mut(&channel)?.pop_front()).flatten()
    }

    /// The credit of `channel`, as far as it was heard.
    pub(crate) fn credit_of(&self, channel: u32) -> u64 {
        self.credit.get(&channel).copied().unwrap_or(CREDIT)
    }

    /// Whether the daemon answers a ping on this path.
    pub(crate) fn is_alive(&mut self) -> bool {
        let token = u64::from_le_bytes(super::bytes::random());
        self.send(&frame::ping(token));
        let is_it = |heard: &Heard| matches!(heard, Heard::Pong(other) if *other == token);
        self.read_until(|peer| peer.heard.iter().any(is_it))
    }

    /// Whether a channel of `bench/latency` gives back what it is sent.
    pub(crate) fn has_service(&mut self) -> bool {
        let channel = self.open("bench/latency");
        self.message(channel, b"{}");
        let message = [&0_u64.to_le_bytes()[..], b"and back"].concat();
        self.message(channel, &message);
        self.receive(channel) == Some(message)
    }

    /// Reads until the daemon ends the connection.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) {
        assert!(!self.read_until(|_| false));
    }
}
