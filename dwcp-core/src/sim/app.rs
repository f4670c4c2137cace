//! The application at one end: sends, reads, confirms, finishes as its plan says.

use std::time::Duration;

use super::coverage::Coverage;
use super::oracle::Oracle;
use super::random::Random;
use super::scenario::{ChannelPlan, Reader, Side};
use crate::machine::{ChannelEnd, ChannelKey, Machine, SendError, Time};
use crate::mem::{Message, Pool};
use crate::wire::{DataFrame, DataKind};

/// One channel as one application sees it.
pub(super) struct AppChannel {
    pub(super) key: ChannelKey,
    plan: usize,
    sent: u64,
    send_at: Time,
    next_bytes: Option<u64>,
    /// A message was refused for want of memory: the next try leaves all there is to it.
    spares_memory: bool,
    may_send: bool,
    may_read: bool,
    frames_read: u64,
    read_at: Time,
    received: u64,
    confirmed: u64,
    long: Option<(Vec<u8>, u64)>,
    is_finished: bool,
    pub(super) is_at_end: bool,
    pub(super) is_released: bool,
}

/// The application at one end.
pub(super) struct App {
    side: Side,
    pub(super) channels: Vec<AppChannel>,
    /// The faults are over: no more dawdling.
    pub(super) hurries: bool,
}

/// What the application works with in one step.
pub(super) struct Desk<'a> {
    pub(super) now: Time,
    pub(super) machine: &'a mut Machine,
    pub(super) oracle: &'a mut Oracle,
    pub(super) random: &'a mut Random,
    pub(super) coverage: &'a mut Coverage,
    pub(super) pool: &'a Pool,
    pub(super) plans: &'a [ChannelPlan],
}

impl App {
    pub(super) fn new(side: Side) -> Self {
        Self { side, channels: Vec::new(), hurries: false }
    }

    pub(super) fn add(&mut self, now: Time, key: ChannelKey, plan: usize) {
        self.channels.push(AppChannel {
            key,
            plan,
            sent: 0,
            send_at: now,
            next_bytes: None,
            spares_memory: false,
            may_send: true,
            may_read: true,
            frames_read: 0,
            read_at: now,
            received: 0,
            confirmed: 0,
            long: None,
            is_finished: false,
            is_at_end: false,
            is_released: false,
        });
    }

    pub(super) fn wake(&mut self, key: ChannelKey, reads: bool) {
        for channel in self.channels.iter_mut().filter(|channel| channel.key == key) {
            if reads {
                channel.may_read = true;
            } else {
                channel.may_send = true;
            }
        }
    }

    /// Does what is due. Returns when to call again.
    pub(super) fn step(&mut self, desk: &mut Desk<'_>) -> Option<Time> {
        let (side, hurries) = (self.side, self.hurries);
        let mut next = None;
        for channel in self.channels.iter_mut().filter(|channel| !channel.is_released) {
            let again = [channel.send(side, hurries, desk), channel.read(side, hurries, desk)];
            next = again.into_iter().flatten().chain(next).min();
            channel.end(side, desk);
        }
        next
    }

    /// Reads everything there is, after the session's end.
    pub(super) fn read_rest(&mut self, desk: &mut Desk<'_>) {
        for channel in self.channels.iter_mut().filter(|channel| !channel.is_released) {
            channel.may_read = true;
            channel.read(self.side, true, desk);
        }
    }

    /// Whether all of the plan was committed.
    pub(super) fn is_done(&self, plans: &[ChannelPlan]) -> bool {
        self.channels.iter().all(|channel| {
            channel.is_released
                || channel.is_at_end
                || channel.sent == plans[channel.plan].flows[self.side].messages
        })
    }
}

impl AppChannel {
    fn send(&mut self, side: Side, hurries: bool, desk: &mut Desk<'_>) -> Option<Time> {
        let plan = &desk.plans[self.plan].flows[side];
        while self.may_send && self.sent < plan.messages {
            if desk.now < self.send_at && !hurries {
                return Some(self.send_at);
            }
            let bytes = match self.next_bytes {
                Some(bytes) => bytes,
                None => desk.random.below(plan.bytes_max + 1),
            };
            self.next_bytes = Some(bytes);
            match self.send_one(side, bytes as usize, desk) {
                Ok(()) => {
                    self.next_bytes = None;
                    self.spares_memory = false;
                    self.sent += 1;
                    self.send_at = desk.now + plan.gap;
                }
                Err(SendError::Window) => self.may_send = false,
                Err(SendError::Pool) => {
                    // Other channels' acks make room, of which nobody tells this one.
                    desk.coverage.note("memory short for sending");
                    self.spares_memory = true;
                    return Some(desk.now + Duration::from_millis(2));
                }
                Err(SendError::Closed) => self.sent = plan.messages,
                Err(error) => desk.oracle.fail(format!("a message was refused: {error}")),
            }
        }
        None
    }

    /// Messages that this application has confirmed.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    fn send_one(&self, side: Side, bytes: usize, desk: &mut Desk<'_>) -> Result<(), SendError> {
        let id = self.key.id();
        let pattern = desk.oracle.next_pattern(id, side);
        // Every other message lies in registered memory, unless that is so short that its copy finds none.
        let is_registered = self.sent.is_multiple_of(2) && bytes > 0 && !self.spares_memory;
        let slot = is_registered.then(|| desk.pool.take(bytes)).flatten();
        let message = match slot {
            Some(mut slot) => {
                slot.set_len(bytes);
                pattern.fill(&mut slot);
                Message::from(slot)
            }
            None => {
                let mut content = vec![0; bytes];
                pattern.fill(&mut content);
                Message::from(content)
            }
        };
        desk.machine.send(self.key, &message)?;
        desk.oracle.committed(id, side, bytes);
        Ok(())
    }

    fn read(&mut self, side: Side, hurries: bool, desk: &mut Desk<'_>) -> Option<Time> {
        let plan = &desk.plans[self.plan].flows[1 - side];
        while self.may_read {
            match plan.reader {
                _ if hurries => {}
                Reader::Slow(_) if desk.now < self.read_at => return Some(self.read_at),
                Reader::Slow(pause) => self.read_at = desk.now + pause,
                Reader::Stops(frames) if self.frames_read >= frames => return None,
                _ => {}
            }
            let Some(frame) = desk.machine.poll_message(self.key) else {
                self.may_read = false;
                break;
            };
            self.frames_read += 1;
            let before = self.received;
            self.take(side, &frame, desk);
            if plan.confirms && self.received > before {
                self.confirmed = self.received;
                desk.machine.confirm(self.key, self.received);
                desk.oracle.confirmed(self.key.id(), 1 - side, self.received);
            }
        }
        None
    }

    /// Puts messages together again.
    fn take(&mut self, side: Side, frame: &DataFrame, desk: &mut Desk<'_>) {
        let (id, sender) = (self.key.id(), 1 - side);
        match frame.kind {
            DataKind::Batch => {
                let mut rest = &frame.payload[..];
                while let Some((message, after)) = split_batch(rest) {
                    desk.oracle.delivered(id, sender, message);
                    self.received += 1;
                    rest = after;
                }
                desk.oracle.check(rest.is_empty(), || format!("channel {id}: a broken batch"));
                return;
            }
            DataKind::First { total } => {
                self.long = Some((Vec::with_capacity(total as usize), total));
            }
            DataKind::Next => {}
            DataKind::Fin => return,
            DataKind::Open | DataKind::Control => {
                return desk.oracle.fail(format!("channel {id}: {:?} was delivered", frame.kind));
            }
        }
        let Some((bytes, total)) = &mut self.long else {
            return desk.oracle.fail(format!("channel {id}: a fragment of nothing"));
        };
        bytes.extend_from_slice(&frame.payload);
        if bytes.len() as u64 >= *total {
            desk.oracle.delivered(id, sender, bytes);
            self.received += 1;
            self.long = None;
        }
    }

    /// Finishes and releases when the plan says so and all is done.
    fn end(&mut self, side: Side, desk: &mut Desk<'_>) {
        let plan = &desk.plans[self.plan];
        let is_gone = matches!(desk.machine.end_of(self.key), ChannelEnd::Reset { .. });
        if is_gone {
            desk.oracle.reset(self.key.id());
        }
        let is_sent = self.sent == plan.flows[side].messages;
        if plan.finishes && is_sent && !self.is_finished && self.may_send {
            self.is_finished = true;
            desk.machine.finish(self.key);
        }
        self.is_at_end = is_gone || desk.machine.end_of(self.key) == ChannelEnd::Finished;
        if is_gone || (self.is_at_end && self.is_finished && !self.may_read) {
            self.is_released = true;
            desk.machine.release(self.key);
        }
    }
}

/// The first message of a batch and what is behind it.
fn split_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0;
    for (at, &byte) in bytes.iter().take(3).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes[at + 1..].split_at_checked(length);
        }
    }
    None
}
