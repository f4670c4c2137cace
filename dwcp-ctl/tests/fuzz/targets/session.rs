//! Two machines joined by links that the input makes, spoils and ends; the applications do what the input says. The model
//! knows what each channel was given, and nothing of the machine: whatever comes out is the next of that, once; and when the
//! links are good again, all of it has come out.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use dwcp_core::link::LinkFeatures;
use dwcp_core::machine::{
    ChannelKey, Event, Machine, PathAttributes, Priority, SendError, Settings, Time, TxBatch,
};
use dwcp_core::mem::{Message, Pool};
use dwcp_core::wire::{
    DataKind, DecodeError, Decompress, PathId, PathKind, RecordEncoder, SwitchReason, decode_record,
};
use dwcp_core::{PathCause, PathState, Role};

use super::input::Input;

struct Plain;

impl Decompress for Plain {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), DecodeError> {
        Err(DecodeError { what: "nothing is compressed here" })
    }
}

/// Records on their way to one end, each with its epoch.
type Way = VecDeque<(u32, Vec<u8>)>;

struct Link {
    path: u32,
    /// To the dialer, to the acceptor.
    ways: [Way; 2],
}

/// What one direction of a channel was given and gave out.
#[derive(Default)]
struct Flow {
    sent: Vec<Vec<u8>>,
    received: usize,
    /// Of the message that comes in fragments.
    partial: Option<(usize, Vec<u8>)>,
    is_finished: bool,
    has_ended: bool,
}

struct End {
    machine: Machine,
    pool: Pool,
    channels: Vec<ChannelKey>,
}

struct World {
    now: Time,
    ends: [End; 2],
    links: Vec<Link>,
    /// By channel, and by the end that sends.
    flows: HashMap<(u32, usize), Flow>,
    /// Channels that one end gave up: nothing is promised of them.
    given_up: Vec<u32>,
    next_path: u32,
}

impl World {
    fn new() -> Self {
        let end = |role| {
            let pool = Pool::new(64 << 20);
            let mut settings = Settings::new(role, pool.clone());
            settings.window_bytes = 128 << 10;
            settings.max_message_bytes = 1 << 20;
            settings.peer_max_message_bytes = 1 << 20;
            settings.heartbeat_interval = Duration::from_millis(100);
            settings.time_to_live = Duration::from_secs(1_000_000);
            End { machine: Machine::new(settings), pool, channels: Vec::new() }
        };
        let mut world = Self {
            now: Time(1),
            ends: [end(Role::Dialer), end(Role::Acceptor)],
            links: Vec::new(),
            flows: HashMap::new(),
            given_up: Vec::new(),
            next_path: 0,
        };
        world.join();
        world
    }

    /// Another path stands, proven by its handshake.
    fn join(&mut self) {
        if self.links.len() >= 4 {
            return;
        }
        let path = self.next_path;
        self.next_path += 2;
        for end in &mut self.ends {
            let attributes = PathAttributes {
                kind: PathKind::Tcp,
                features: LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
                is_proven: true,
                challenge: [path as u8; 16],
                receives_posted: 0,
                regions: Vec::new(),
                preference: 0,
            };
            end.machine.handle_path_up(self.now, PathId(path), attributes);
        }
        self.links.push(Link { path, ways: Default::default() });
    }

    /// The link is over; each end may still take what is on its way.
    fn cut(&mut self, at: usize, still: [bool; 2]) {
        if self.links.is_empty() {
            return;
        }
        let at = at % self.links.len();
        for (end, is_still_taken) in still.into_iter().enumerate() {
            while is_still_taken && self.deliver(at, end) {}
        }
        let link = self.links.remove(at);
        for end in &mut self.ends {
            end.machine.handle_path_down(self.now, PathId(link.path), PathCause::LinkFailed);
            end.machine.handle_path_fenced(PathId(link.path));
        }
        self.listen();
    }

    /// Paths that a machine has given up by itself end at both ends.
    fn end_dead_links(&mut self) {
        for at in (0..self.links.len()).rev() {
            let id = PathId(self.links[at].path);
            let is_live = |end: &End| {
                let mut paths = end.machine.paths();
                paths.any(|path| path.id == id && !matches!(path.state, PathState::Fencing(_)))
            };
            if !self.ends.iter().all(is_live) {
                self.cut(at, [false, false]);
            }
        }
    }

    /// Both ends say what they have to say.
    fn transmit(&mut self) {
        let mut batch = TxBatch::default();
        for (from, end) in self.ends.iter_mut().enumerate() {
            for link in &mut self.links {
                loop {
                    batch.clear();
                    end.machine.poll_transmit(self.now, PathId(link.path), &mut batch);
                    if batch.is_empty() {
                        break;
                    }
                    for record in batch.records() {
                        let mut encoder = RecordEncoder::default();
                        encoder.put_frames(batch.frames(record));
                        for data in batch.data(record) {
                            encoder.put_data(&data.frame, None);
                        }
                        let (body, trailer) = encoder.finish();
                        link.ways[1 - from].push_back((record.epoch, [body, trailer].concat()));
                    }
                }
            }
        }
        self.listen();
    }

    /// One record of a link arrives at `to`; false if none is on its way.
    fn deliver(&mut self, link: usize, to: usize) -> bool {
        let Some(link) = self.links.get_mut(link) else { return false };
        let Some((epoch, bytes)) = link.ways[to].pop_front() else { return false };
        let (end, path) = (&mut self.ends[to], PathId(link.path));
        let mut slot = end.pool.take(bytes.len()).expect("memory");
        slot.set_len(bytes.len());
        slot.copy_from_slice(&bytes);
        let mut frames = Vec::new();
        decode_record(&slot.freeze(), &end.pool, &mut Plain, &mut frames).expect("well-formed");
        let taken = end.machine.handle_record(self.now, path, epoch, &mut frames);
        taken.expect("an honest peer breaks no rule");
        self.listen();
        true
    }

    fn listen(&mut self) {
        for end in &mut self.ends {
            while let Some(event) = end.machine.poll_event() {
                match event {
                    Event::ChannelOpened { channel, .. } => end.channels.push(channel),
                    Event::InDoubt { .. } => panic!("both ends live, and the time is not over"),
                    Event::Closed(why) => panic!("nobody closed it: {why:?}"),
                    _ => {}
                }
            }
        }
    }

    /// The application at `to` takes what there is on one of its channels.
    fn receive(&mut self, to: usize, at: usize) {
        let end = &mut self.ends[to];
        if end.channels.is_empty() {
            return;
        }
        let key = end.channels[at % end.channels.len()];
        while let Some(frame) = end.machine.poll_message(key) {
            let flow = self.flows.entry((key.id(), 1 - to)).or_default();
            match frame.kind {
                DataKind::Batch => messages(&frame.payload).for_each(|message| flow.take(message)),
                DataKind::First { total } => {
                    flow.partial = Some((total as usize, frame.payload.to_vec()));
                    flow.complete();
                }
                DataKind::Next => {
                    let (_, bytes) = flow.partial.as_mut().expect("behind its first fragment");
                    bytes.extend_from_slice(&frame.payload);
                    flow.complete();
                }
                DataKind::Fin => flow.has_ended = true,
                DataKind::Open | DataKind::Control => panic!("not for applications"),
            }
        }
        self.listen();
    }

    fn send(&mut self, from: usize, at: usize, bytes: Vec<u8>) {
        let end = &mut self.ends[from];
        if end.channels.is_empty() {
            return;
        }
        let key = end.channels[at % end.channels.len()];
        let flow = self.flows.entry((key.id(), from)).or_default();
        match end.machine.send(key, &Message::from(bytes.clone())) {
            Ok(()) => {
                assert!(!flow.is_finished, "nothing follows the end");
                flow.sent.push(bytes);
            }
            Err(SendError::Closed) => {
                assert!(flow.is_finished || self.given_up.contains(&key.id()), "it is open");
            }
            Err(SendError::Window | SendError::Pool) => {}
            Err(error) => panic!("{error}"),
        }
        self.listen();
    }

    /// Time passes.
    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        for end in &mut self.ends {
            if end.machine.poll_timeout().is_some_and(|due| due <= self.now) {
                end.machine.handle_timeout(self.now);
            }
        }
        self.listen();
        self.end_dead_links();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (side, at) = (usize::from(input.byte() % 2), usize::from(input.byte()));
        match input.byte() % 16 {
            0 => {
                let priority = [Priority::Interactive, Priority::Bulk][at % 2];
                if self.ends[side].channels.len() < 6
                    && let Ok(key) = self.ends[side].machine.open(priority, "fuzzed")
                {
                    self.ends[side].channels.push(key);
                }
            }
            1 | 2 => self.send(side, at, vec![input.byte(); usize::from(input.byte())]),
            3 => {
                let bytes = usize::from(input.number()) * 4;
                self.send(side, at, vec![input.byte(); bytes]);
            }
            4 | 5 => self.receive(side, at),
            6 => self.cut(at, [input.byte().is_multiple_of(2), input.byte().is_multiple_of(2)]),
            7 => self.join(),
            8 => self.wait(Duration::from_micros(u64::from(input.number()) * 50)),
            9 => {
                let end = &mut self.ends[side];
                let standby = end.machine.paths().nth(at % 4).map(|path| path.id);
                if let Some(path) = standby {
                    let _ = end.machine.request_switch(self.now, path, SwitchReason::Requested);
                }
            }
            10 => {
                let end = &mut self.ends[side];
                if let Some(&key) = end.channels.get(at % 6) {
                    end.machine.finish(key);
                    self.flows.entry((key.id(), side)).or_default().is_finished = true;
                }
            }
            11 if at > 200 => {
                let end = &mut self.ends[side];
                if let Some(&key) = end.channels.get(at % 6) {
                    end.machine.reset(key, 1);
                    self.given_up.push(key.id());
                }
            }
            12 => self.ends[side].machine.leave(),
            13 => self.transmit(),
            _ => {
                self.transmit();
                for _ in 0..=at % 8 {
                    self.deliver(at, side);
                }
            }
        }
        self.listen();
        self.end_dead_links();
    }

    /// Good links, eager applications: everything comes out.
    fn settle(&mut self) {
        for round in 0..20_000 {
            if self.links.is_empty() {
                self.join();
            }
            self.transmit();
            for link in 0..self.links.len() {
                for to in 0..2 {
                    while self.deliver(link, to) {}
                }
            }
            for to in 0..2 {
                (0..self.ends[to].channels.len()).for_each(|at| self.receive(to, at));
            }
            self.wait(Duration::from_millis(1));
            let is_all_acked = self.ends.iter().all(|end| end.machine.is_all_acked());
            if round > 50 && is_all_acked {
                break;
            }
        }
        for ((channel, from), flow) in &self.flows {
            if !self.given_up.contains(channel) {
                assert_eq!(flow.received, flow.sent.len(), "channel {channel} from {from}");
                assert_eq!(flow.has_ended, flow.is_finished, "channel {channel} from {from}");
            }
        }
    }
}

impl Flow {
    fn take(&mut self, message: &[u8]) {
        assert!(!self.has_ended, "behind the end");
        let wanted = self.sent.get(self.received).expect("somebody sent it");
        assert!(wanted == message, "message {} is another", self.received);
        self.received += 1;
    }

    fn complete(&mut self) {
        if self.partial.as_ref().is_some_and(|(total, bytes)| bytes.len() >= *total) {
            let (total, bytes) = self.partial.take().expect("just seen");
            assert_eq!(bytes.len(), total);
            self.take(&bytes);
        }
    }
}

/// The messages of a batch: each behind its length, 7 bits a byte, the lowest first.
fn messages(mut batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let (&byte, rest) = batch.split_first()?;
            batch = rest;
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        let (message, rest) = batch.split_at(length);
        batch = rest;
        Some(message)
    })
}

pub(crate) fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..400 {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.settle();
}
