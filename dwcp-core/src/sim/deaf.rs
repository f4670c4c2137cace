//! A deaf end: what has arrived stays in the link for want of memory to read it into, and its driver says so.
//!
//! The driver looks again whenever something arrives or is due, and after a pause that grows as the wait does. Chance
//! of its own decides here, so that the other faults of a seed stay what they are without it.

use std::time::Duration;

use super::random::Random;
use super::scenario::{Fault, Side};
use super::world::{Happening, World};
use crate::link::LinkFeatures;
use crate::machine::Time;
use crate::wire::PathId;

/// The shortest and the longest pause between two looks, as drivers make it.
const LOOK_PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];
/// How long a session waits at least for memory that it holds itself: docs/operations.md.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);
/// How much later than that its end may come: the longest pause, and what else is due first.
const MEMORY_SLACK: Duration = Duration::from_millis(200);

/// What an end has no memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deafness {
    /// Whether it is about one path, of which the peer asks too much, and not about all.
    pub(super) is_of_one_path: bool,
    /// Whether half-come messages of the session itself hold the memory, so that nobody else can give it back.
    pub(super) is_stuck: bool,
    /// How long; `None`: for good.
    pub(super) time: Option<Duration>,
    /// Bytes that a stream keeps before its sender is held up.
    pub(super) room: usize,
}

/// The deafness of one end, now.
pub(super) struct Deaf {
    random: Random,
    until: Time,
    /// The one path it is about.
    link: Option<usize>,
    is_stuck: bool,
    room: usize,
    /// Since when nothing could be read, and since when that was in vain.
    starved: Option<[Time; 2]>,
    retry_at: Option<Time>,
    /// How long the session had waited in vain when it ended.
    was_vain_for: Duration,
}

impl Deaf {
    pub(super) fn new(seed: u64, side: Side) -> Self {
        Self {
            random: Random::new(seed ^ (0x0dea_f000 + side as u64)),
            until: Time(0),
            link: None,
            is_stuck: false,
            room: 0,
            starved: None,
            retry_at: None,
            was_vain_for: Duration::ZERO,
        }
    }

    /// Whether the end is deaf to anything.
    pub(super) fn is_any(&self, now: Time) -> bool {
        now < self.until
    }

    pub(super) fn is_to(&self, now: Time, link: usize) -> bool {
        self.is_any(now) && self.link.is_none_or(|only| only == link)
    }

    /// Something was read: what is short from now on is another want.
    pub(super) fn has_read(&mut self) {
        self.starved = None;
    }

    /// When it hears again, if it ever does.
    pub(super) fn hears_at(&self) -> Option<Time> {
        Some(self.until).filter(|&until| until < Time(u64::MAX))
    }
}

impl Fault {
    /// From chance of its own, of which the seeds that failed once draw nothing (`sim_regressions.rs` looks): they
    /// try what they tried. A third is over before the peer would be missed, a third lasts several times as long.
    pub(super) fn draw_deafness(
        seed: u64,
        chaos: Duration,
        tolerance: Duration,
    ) -> Vec<(Duration, Self)> {
        let random = &mut Random::new(seed ^ 0xdeaf2);
        let count = if random.chance(12) { random.between(1, 3) } else { 0 };
        let tolerance_us = tolerance.as_micros() as u64;
        let deafness = (0..count).map(|_| {
            let at = random.micros(0, chaos.as_micros() as u64);
            let side = random.side();
            let room = random.pick(&[4 << 10, 64 << 10, 256 << 10]);
            let is_of_one_path = random.chance(20);
            let plain = Deafness { is_of_one_path, is_stuck: false, time: None, room };
            let own = Deafness { is_of_one_path: false, is_stuck: true, ..plain };
            let deafness = match random.below(12) {
                0..=3 => Deafness { time: Some(random.micros(100, tolerance_us)), ..plain },
                4..=7 => {
                    Deafness { time: Some(random.micros(tolerance_us, 5 * tolerance_us)), ..plain }
                }
                8 | 9 => Deafness { time: Some(random.micros(100, 4_900_000)), ..own },
                _ => own,
            };
            (at, Self::Deaf { side, deafness })
        });
        deafness.collect()
    }
}

impl World {
    /// `side` has no memory any more. What it lacks already it lacks on.
    pub(super) fn deafen(&mut self, side: Side, deafness: Deafness) {
        let now = self.now;
        let Deafness { is_of_one_path, is_stuck, time, room } = deafness;
        let up = self.ends[side].paths.iter().filter(|path| !path.is_down);
        let links: Vec<usize> = up.map(|path| path.link).collect();
        let deaf = &mut self.ends[side].deaf;
        let was_deaf = deaf.is_any(now);
        let only =
            (is_of_one_path && !was_deaf && !links.is_empty()).then(|| deaf.random.pick(&links));
        let until = time.map_or(Time(u64::MAX), |time| now + time);
        deaf.until = deaf.until.max(until);
        deaf.is_stuck = is_stuck || (was_deaf && deaf.is_stuck);
        (deaf.link, deaf.room) = (only, room);
        if !was_deaf {
            deaf.starved = None;
        }
    }

    /// A turn of the driver: it reads what has been left in links, or says that it cannot.
    pub(super) fn read_left(&mut self, side: Side) {
        let now = self.now;
        self.ends[side].deaf.retry_at = None;
        for at in 0..self.ends[side].paths.len() {
            let path = &self.ends[side].paths[at];
            let link = path.link;
            if path.is_down || path.dozes || path.held.is_empty() {
                continue;
            }
            if self.ends[side].deaf.is_to(now, link) {
                self.starve(side, at);
            } else {
                self.read_held(side, link);
            }
        }
    }

    /// It is time to look for memory again.
    pub(super) fn retry(&mut self, side: Side) {
        let now = self.now;
        if self.ends[side].deaf.retry_at.is_some_and(|at| at <= now) {
            self.read_left(side);
        }
    }

    fn starve(&mut self, side: Side, at: usize) {
        let (now, end) = (self.now, &mut self.ends[side]);
        let Some(machine) = end.machine.as_mut().filter(|machine| !machine.is_over()) else {
            return;
        };
        let (path, deaf) = (&mut end.paths[at], &mut end.deaf);
        machine.handle_starved(now, path.path);
        path.unread_since.get_or_insert(now);
        let [since, vain_since] = deaf.starved.get_or_insert([now; 2]);
        if !deaf.is_stuck {
            *vain_since = now;
        } else if machine.give_up_for_memory(now.since(*vain_since)) {
            deaf.was_vain_for = now.since(*vain_since);
        }
        let [shortest, longest] = LOOK_PAUSE;
        let again = now + (now.since(*since) / 8).clamp(shortest, longest);
        if deaf.retry_at.is_none_or(|at| again < at) {
            deaf.retry_at = Some(again);
            self.at(again, Happening::Retry { side });
        }
    }

    /// Reads what has been left in a link, in its order.
    pub(super) fn read_held(&mut self, side: Side, link: usize) {
        let (now, tolerance) = (self.now, self.scenario.tolerance());
        let Some(path) = self.ends[side].at_link(link) else { return };
        let since = path.unread_since.take();
        let is_late = since.is_some_and(|since| now.since(since) > tolerance);
        if is_late && !path.is_down {
            self.coverage.note("deaf for longer than silence may last");
        }
        let path = self.ends[side].at_link(link).expect("found above");
        for record in std::mem::take(&mut path.held) {
            self.arrive(side, link, record);
        }
        let path = self.ends[side].at_link(link).expect("found above");
        if !path.held.is_empty() {
            path.unread_since = since; // it was not enough
        }
        if path.held.is_empty() && std::mem::take(&mut path.ends_behind_held) {
            self.notice(side, link);
        }
        if since.is_some() {
            // The sender hears of the room that there is again.
            let at = now + self.links[link].spec.delay;
            self.at(at, Happening::Wake { side: 1 - side });
        }
    }

    /// Whether the link to `side` keeps so much unread that it takes no more.
    pub(super) fn is_clogged(&mut self, side: Side, link: usize) -> bool {
        let end = &mut self.ends[side];
        // Links with records of their own are held up by the receives that are not posted anew.
        let is_stream = !self.links[link].spec.has(LinkFeatures::MESSAGE_BOUNDARIES);
        let room = end.deaf.room;
        let path = end.at_link(link).filter(|path| is_stream && path.unread_since.is_some());
        let held = path.map(|path| path.held.iter().map(Vec::len).sum::<usize>());
        let is_full = held.is_some_and(|held| held >= room);
        if is_full {
            self.coverage.note("link full");
        }
        is_full
    }

    /// Whether the end of the link at `side` is seen only behind what waits there unread. The writes of a deaf end may
    /// fail before.
    pub(super) fn is_end_unseen(&mut self, side: Side, link: usize) -> bool {
        let (now, end) = (self.now, &mut self.ends[side]);
        if !end.deaf.is_to(now, link) || !end.deaf.random.chance(50) {
            return false;
        }
        let path = end.at_link(link).filter(|path| !path.held.is_empty());
        path.map(|path| path.ends_behind_held = true).is_some()
    }

    /// The machine of `side` says that `path` was silent.
    pub(super) fn check_silence(&mut self, side: Side, path: PathId) {
        let (now, tolerance) = (self.now, self.scenario.tolerance());
        let Some(at) = self.ends[side].paths.iter().position(|other| other.path == path) else {
            return;
        };
        let room = &self.ends[side].paths[at];
        let (link, quiet, unread) = (room.link, now.since(room.heard), room.unread_since);
        self.oracle.check(unread.is_none(), || {
            format!(
                "side {side} took path {path} for silent: what came waits there since {unread:?}"
            )
        });
        self.oracle.check(quiet >= tolerance, || {
            format!("side {side} took path {path} for silent after {quiet:?}")
        });
        // What a deaf end says can be said and heard: nothing was in its way for as long as silence may last.
        let way = &self.links[link].ways[side];
        let is_stream = !self.links[link].spec.has(LinkFeatures::MESSAGE_BOUNDARIES);
        let is_good = |since: Time| now.since(since) >= tolerance;
        let could_tell = is_stream
            && way.was_sound_for(now, tolerance)
            && self.ends.iter().all(|end| is_good(end.frozen_until));
        let peer = &mut self.ends[1 - side];
        let deaf_since = peer.at_link(link).and_then(|path| path.unread_since);
        let is_told = could_tell && deaf_since.is_some_and(is_good) && !peer.is_over();
        self.oracle.check(!is_told, || {
            format!("side {side} heard nothing on path {path} of its peer, which is deaf since {deaf_since:?}")
        });
    }

    /// For how long `side` may wait in vain.
    fn memory_patience(&self) -> Duration {
        self.scenario.time_to_live.max(MEMORY_PATIENCE)
    }

    /// A session that has waited in vain ends, and none before.
    pub(super) fn watch_want(&mut self, side: Side) {
        let (now, limit) = (self.now, self.memory_patience() + MEMORY_SLACK);
        let end = &self.ends[side];
        let is_stuck = end.deaf.is_any(now) && end.deaf.is_stuck && end.deaf.starved.is_some();
        let is_reading = end.machine.as_ref().is_some_and(|machine| !machine.is_over());
        // A deaf end of which every path is lost waits for one, and not for memory.
        let has_unread = end.paths.iter().any(|path| !path.is_down && !path.held.is_empty());
        let holds = is_stuck && is_reading && has_unread;
        self.oracle.bounded(now, (side, "waiting for memory", 0), holds, limit);
    }

    pub(super) fn is_short_of_memory(&self, side: Side) -> bool {
        self.ends[side].deaf.was_vain_for >= self.memory_patience()
    }
}
