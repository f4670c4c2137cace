//! Two machines that talk, on a virtual clock, by a script that comes by every kind of frame of a TCP session.

use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::{
    ChecksumSuite, Direction, PathOpener, PathSealer, PathSecret, Secret, SessionSecret, Suite,
};
use dwcp_core::link::LinkFeatures;
use dwcp_core::machine::{
    ChannelKey, Event, Machine, PathAttributes, Priority, Settings, Time, TxBatch,
};
use dwcp_core::mem::{Message, Pool};
use dwcp_core::wire::{
    DecodeError, Decompress, HEADER_BYTES, PathId, PathKind, RecordEncoder, RecordHeader,
    SwitchReason, decode_record,
};
use dwcp_core::{PathCause, Role};

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Dialer,
    Acceptor,
}

impl End {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dialer => "dialer",
            Self::Acceptor => "acceptor",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }

    fn role(self) -> Role {
        match self {
            Self::Dialer => Role::Dialer,
            Self::Acceptor => Role::Acceptor,
        }
    }

    fn direction(self) -> Direction {
        match self {
            Self::Dialer => Direction::ToAcceptor,
            Self::Acceptor => Direction::ToDialer,
        }
    }
}

/// A record on its way.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) at_us: u64,
    pub(super) end: End,
    pub(super) path: u32,
    pub(super) bytes: Vec<u8>,
}

struct Plain;

impl Decompress for Plain {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), DecodeError> {
        Err(DecodeError { what: "nothing is compressed here" })
    }
}

/// The keys of a path, from secrets that never change.
fn secret(path: u32) -> PathSecret {
    let session = SessionSecret::from_exporter(&Secret::new([3; 32]), None);
    session.path(PathId(path), &[1; 32], &[2; 32], &[4; 32])
}

struct Path {
    id: u32,
    sealer: PathSealer,
    opener: PathOpener,
}

impl Path {
    fn new(end: End, id: u32, version: u16) -> Self {
        let suite: Arc<dyn Suite> = Arc::new(ChecksumSuite);
        let secret = secret(id);
        Self {
            id,
            sealer: PathSealer::new(suite.clone(), &secret, end.direction(), 0, true)
                .of_version(version),
            opener: PathOpener::new(suite, &secret, end.other().direction(), 0, true)
                .of_version(version),
        }
    }
}

/// One end: a machine, and what its application does and hears.
struct Side {
    end: End,
    version: u16,
    machine: Machine,
    pool: Pool,
    paths: Vec<Path>,
    channels: Vec<ChannelKey>,
    heard: Vec<String>,
}

const TCP: LinkFeatures = LinkFeatures::RELIABLE;

impl Side {
    fn new(end: End, version: u16) -> Self {
        let pool = Pool::new(64 << 20);
        let mut settings = Settings::new(end.role(), pool.clone());
        settings.window_bytes = 0;
        settings.version = version;
        settings.max_message_bytes = 1 << 20;
        settings.peer_max_message_bytes = 1 << 20;
        let machine = Machine::new(settings);
        Self {
            end,
            version,
            machine,
            pool,
            paths: Vec::new(),
            channels: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn up(&mut self, now: Time, id: u32) {
        let attributes = PathAttributes {
            kind: PathKind::Tcp,
            features: TCP | LinkFeatures::ORDERED,
            is_proven: true,
            challenge: [5; 16],
            receives_posted: 0,
            regions: Vec::new(),
            preference: 0,
        };
        self.paths.push(Path::new(self.end, id, self.version));
        self.machine.handle_path_up(now, PathId(id), attributes);
    }

    fn send(&mut self, channel: usize, bytes: &[u8]) {
        let message = Message::from(bytes.to_vec());
        self.machine.send(self.channels[channel], &message).expect("there is credit");
    }

    /// What the script has this end do at `ms`.
    fn act(&mut self, ms: u64) {
        let now = Time(ms * 1_000_000);
        match (self.end, ms) {
            (_, 0) => self.up(now, 0),
            (End::Dialer, 1) => {
                let key = self.machine.open(Priority::Interactive, "greetings").expect("room");
                self.channels.push(key);
                ["one", "two", ""].iter().for_each(|word| self.send(0, word.as_bytes()));
            }
            (End::Acceptor, 5) => self.machine.confirm(self.channels[0], 3),
            (End::Acceptor, 6) => {
                let key = self.machine.open(Priority::Bulk, "files").expect("room");
                self.channels.push(key);
                self.send(1, &[7; 66_000]);
                self.send(0, b"back");
            }
            (End::Dialer, 40) => {
                self.machine.offer_path(PathKind::Rdma, [6; 32], vec![1, 2, 3]);
            }
            (_, 60) => self.up(now, 4),
            (End::Dialer, 61) => {
                self.machine
                    .request_switch(now, PathId(4), SwitchReason::Requested)
                    .expect("ready");
            }
            (End::Acceptor, 80) => self.send(0, b"by the new path"),
            (End::Dialer, 90) => {
                let key = self.machine.open(Priority::Bulk, "given up").expect("room");
                self.channels.push(key);
            }
            (End::Dialer, 95) => self.machine.reset(self.channels[2], 42),
            (End::Dialer | End::Acceptor, 100) => self.machine.finish(self.channels[0]),
            (End::Acceptor, 3_000) => self.machine.close(0, "good night"),
            (End::Dialer, 3_050) => {
                for id in [0, 4] {
                    self.machine.handle_path_down(now, PathId(id), PathCause::LinkFailed);
                }
            }
            _ => {}
        }
    }

    /// Takes a record in, as it came over the link.
    fn take(&mut self, now: Time, said: &Said) {
        let path = self.paths.iter_mut().find(|path| path.id == said.path).expect("it is up");
        let header = said.bytes.first_chunk::<HEADER_BYTES>().expect("whole");
        let header = RecordHeader::decode(header).expect("a header");
        let plain = path.opener.plain_bytes(header.length as usize).expect("long enough");
        let mut slot = self.pool.take(plain).expect("memory");
        slot.set_len(plain);
        path.opener.open(&header, &said.bytes, &mut slot).expect("authentic");
        let mut frames = Vec::new();
        decode_record(&slot.freeze(), &self.pool, &mut Plain, &mut frames).expect("well-formed");
        let taken = self.machine.handle_record(now, PathId(said.path), header.epoch, &mut frames);
        taken.expect("an honest peer");
        self.listen();
    }

    fn listen(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::ChannelOpened { channel, label, .. } => {
                    self.channels.push(channel);
                    self.heard.push(format!("opened {label}"));
                }
                Event::Readable(channel) => self.read(channel),
                Event::ChannelReset { code, .. } => self.heard.push(format!("reset {code}")),
                Event::PathOffered { path, kind, bootstrap, .. } => {
                    self.heard.push(format!("offered {} {bootstrap:?}", kind.name()));
                    self.machine.answer_path(path, [0; 32], Vec::new());
                }
                Event::PathAnswered { bootstrap, .. } => {
                    self.heard.push(format!("answered {bootstrap:?}"));
                }
                Event::Switched(switch) => self.heard.push(format!("switched to {}", switch.to.0)),
                Event::InDoubt { count, .. } => self.heard.push(format!("{count} in doubt")),
                Event::Closed(why) => self.heard.push(format!("closed {why:?}")),
                _ => {}
            }
        }
    }

    fn read(&mut self, channel: ChannelKey) {
        while let Some(frame) = self.machine.poll_message(channel) {
            let (kind, bytes) = (frame.kind, frame.payload.len());
            self.heard.push(format!("{kind:?} of {bytes} bytes"));
        }
    }

    /// What this end has to say now.
    fn say(&mut self, now: Time) -> Vec<Said> {
        let mut all = Vec::new();
        let mut batch = TxBatch::default();
        for path in &mut self.paths {
            loop {
                batch.clear();
                self.machine.poll_transmit(now, PathId(path.id), &mut batch);
                if batch.is_empty() {
                    break;
                }
                for record in batch.records() {
                    let mut encoder = RecordEncoder::default();
                    encoder.put_frames(batch.frames(record));
                    batch.data(record).iter().for_each(|data| encoder.put_data(&data.frame, None));
                    let (body, trailer) = encoder.finish();
                    let mut bytes = Vec::new();
                    path.sealer.seal(record.epoch, body, trailer, &mut bytes).expect("few records");
                    all.push(Said { at_us: now.0 / 1_000, end: self.end, path: path.id, bytes });
                }
            }
        }
        self.listen();
        all
    }

    fn wake(&mut self, now: Time) {
        if self.machine.poll_timeout().is_some_and(|due| due <= now) {
            self.machine.handle_timeout(now);
        }
        self.listen();
    }
}

/// The last moment of the script, milliseconds.
const LAST_MS: u64 = 3_100;

/// Two machines that talk.
pub(super) struct Conversation {
    sides: [Side; 2],
    said: Vec<Said>,
}

impl Conversation {
    pub(super) fn new(version: u16) -> Self {
        let sides = [End::Dialer, End::Acceptor].map(|end| Side::new(end, version));
        Self { sides, said: Vec::new() }
    }

    pub(super) fn run(&mut self) {
        for ms in 0..=LAST_MS {
            let now = Time(ms * 1_000_000);
            self.sides.iter_mut().for_each(|side| {
                side.act(ms);
                side.wake(now);
            });
            // What is said arrives in half a millisecond: the answers are said in the next one.
            let [dialer, acceptor] = &mut self.sides;
            let (out, back) = (dialer.say(now), acceptor.say(now));
            let later = now + Duration::from_micros(500);
            out.iter().for_each(|said| acceptor.take(later, said));
            back.iter().for_each(|said| dialer.take(later, said));
            self.said.extend(out);
            self.said.extend(back);
        }
    }

    pub(super) fn said(&self) -> &[Said] {
        &self.said
    }

    /// What each end's application came by.
    pub(super) fn heard(&self) -> [Vec<String>; 2] {
        [self.sides[0].heard.clone(), self.sides[1].heard.clone()]
    }
}

/// Plays what one end `said` to a machine of today at the other end. Returns what the application there came by.
pub(super) fn replay(version: u16, said: &[Said]) -> Vec<String> {
    let mut side = Side::new(said[0].end.other(), version);
    let mut left = said.iter().peekable();
    for ms in 0..=LAST_MS {
        let now = Time(ms * 1_000_000);
        side.act(ms);
        side.wake(now);
        side.say(now);
        while let Some(one) = left.next_if(|one| one.at_us <= ms * 1_000) {
            side.take(now + Duration::from_micros(500), one);
        }
    }
    assert!(left.next().is_none(), "all was played");
    side.heard
}

/// What the applications of both ends come by, the dialer's first.
pub(super) fn expected() -> [Vec<String>; 2] {
    let words = |text: &[&str]| text.iter().map(|&line| line.to_owned()).collect();
    let dialer = [
        "switched to 0",
        "Batch of 5 bytes",
        "opened files",
        "First { total: 66000 } of 65536 bytes",
        "Next of 464 bytes",
        "answered []",
        "switched to 4",
        "Batch of 16 bytes",
        "Fin of 0 bytes",
        "closed ByPeer { code: 0, reason: \"good night\" }",
    ];
    let acceptor = [
        "switched to 0",
        "opened greetings",
        "Batch of 9 bytes",
        "offered rdma [1, 2, 3]",
        "switched to 4",
        "opened given up",
        "reset 42",
        "Fin of 0 bytes",
        "closed ByUs",
    ];
    [words(&dialer), words(&acceptor)]
}
