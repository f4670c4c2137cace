//! What goes wrong, and what the machines ask for.

use super::coverage;
use super::end::EndPath;
use super::resume::PATHS_MAX;
use super::scenario::{Fault, Side};
use super::world::{Happening, World};
use crate::machine::{Closed, Event, Machine, PathCause, PathState, Time};
use crate::wire::{PathId, PathKind, SwitchReason};

/// Rounds of polling at one moment; more means that the machine is never satisfied.
const ROUNDS_MAX: usize = 2_000;

impl World {
    /// Polls everything that `side` has to say, until it has nothing left.
    pub(super) fn pump(&mut self, side: Side) {
        if self.ends[side].machine.is_none() || self.now < self.ends[side].frozen_until {
            return;
        }
        for round in 0.. {
            let mut any = false;
            while let Some(event) = self.ends[side].machine.as_mut().and_then(Machine::poll_event) {
                any = true;
                self.trace.note(self.now, || format!("[{side}] {event:?}"));
                self.coverage.note(coverage::of_event(&event));
                self.heed(side, event);
            }
            if self.ends[side].machine.is_none() {
                return;
            }
            if let Some(at) = self.step_app(side, false) {
                self.wake_at(side, at);
            }
            any |= self.transmit(side);
            if !any {
                break;
            }
            if round > ROUNDS_MAX {
                return self.oracle.fail(format!("side {side} is never satisfied"));
            }
        }
        self.watch(side);
        self.watch_want(side);
        self.arm_timer(side);
    }

    fn heed(&mut self, side: Side, event: Event) {
        let now = self.now;
        match event {
            Event::ChannelOpened { channel, label, .. } => {
                let plan = label.parse().expect("labels are numbers of plans");
                self.ends[side].app.add(now, channel, plan);
            }
            Event::Readable(channel) => self.ends[side].app.wake(channel, true),
            Event::Writable(channel) => self.ends[side].app.wake(channel, false),
            Event::ChannelReset { channel, .. } => self.oracle.reset(channel.id()),
            Event::AllAcked => {
                let asked = std::mem::take(&mut self.ends[side].waits_for_acks);
                self.oracle.check(asked, || format!("side {side} tells AllAcked unasked"));
            }
            Event::PathDown { path, cause } => {
                if cause == PathCause::HeartbeatLost {
                    self.check_silence(side, path);
                }
                self.end_link(side, path);
            }
            Event::ProgressAsked => self.rouse(side),
            Event::PathReleased(path) => self.release_path(side, path),
            Event::PathNeeded if side == 0 => self.after(500, 20_000, Happening::Connect),
            Event::Pull(request) => self.begin_pull(side, request),
            Event::PathOffered { path, nonce, bootstrap, .. } => {
                self.answer(side, path, &nonce, bootstrap[0]);
            }
            Event::PathAnswered { path, bootstrap, .. } if !bootstrap.is_empty() => {
                let link = self.links.iter().position(|link| link.path == path);
                let link = link.expect("the answer names the link");
                self.after(1, 400, Happening::PathUp { side, link });
            }
            Event::InDoubt { channel, from, count } => {
                self.oracle.in_doubt(channel, side, from, count);
            }
            Event::Closed(closed) => self.note_closed(side, closed),
            _ => {}
        }
    }

    fn note_closed(&mut self, side: Side, closed: Closed) {
        let end = &mut self.ends[side];
        let again = end.closed.replace(closed);
        end.was_alone_for = end.alone_since.map(|since| self.now.since(since)).unwrap_or_default();
        self.oracle.check(again.is_none(), || format!("side {side} is closed twice"));
    }

    /// Answers an offer: mostly with yes.
    fn answer(&mut self, side: Side, path: PathId, nonce: &[u8; 32], spec: u8) {
        let is_wanted = self.scenario.is_scripted || !self.random.chance(10);
        let answer = self.random.bytes();
        if is_wanted {
            let spec = match self.scenario.links.get(usize::from(spec)) {
                Some(spec) => *spec,
                None => self.next_spec(),
            };
            let link = self.make_link(path, spec, false, nonce, &answer);
            self.after(1, 400, Happening::PathUp { side, link });
        }
        if !is_wanted {
            self.coverage.note("offer refused");
        }
        let bootstrap = if is_wanted { vec![1] } else { Vec::new() };
        if let Some(machine) = &mut self.ends[side].machine {
            machine.answer_path(path, answer, bootstrap);
        }
    }

    /// What may last only so long, and how many paths carry data.
    fn watch(&mut self, side: Side) {
        let now = self.now;
        let end = &mut self.ends[side];
        let Some(machine) = end.machine.as_ref().filter(|machine| !machine.is_over()) else {
            return;
        };
        match machine.active_path() {
            Some(_) => end.alone_since = None,
            None => _ = end.alone_since.get_or_insert(now),
        }
        let slack = self.scenario.heartbeat;
        let limit = self.scenario.switch_timeout + slack;
        let (mut carrying, mut live) = (0, 0);
        for path in machine.paths() {
            let is_live = !matches!(path.state, PathState::Fencing(_));
            live += usize::from(is_live);
            carrying += usize::from(is_live && path.in_flight > 0);
            for (what, state) in
                [("draining", PathState::Draining), ("validating", PathState::Validating)]
            {
                let holds = path.state == state;
                self.oracle.bounded(now, (side, what, path.id.0), holds, limit);
            }
        }
        self.oracle.check(carrying <= 2, || format!("side {side}: {carrying} paths carry data"));
        self.oracle.check(live <= PATHS_MAX, || format!("side {side} has {live} live paths"));
    }

    /// Does what scripts have for this many records sent.
    pub(super) fn trigger(&mut self, side: Side) {
        let records = self.ends[side].records;
        for index in 0..self.scenario.triggers.len() {
            let trigger = self.scenario.triggers[index];
            if trigger.side == side && trigger.records == records {
                self.strike(trigger.fault);
            }
        }
    }

    /// One of the paths that `side` has up.
    fn pick_path(&mut self, side: Side) -> Option<usize> {
        let up = |path: &EndPath| !path.is_down;
        let count = self.ends[side].paths.iter().filter(|path| up(path)).count() as u64;
        let at = self.random.below(count.max(1)) as usize;
        self.ends[side].paths.iter().filter(|path| up(path)).nth(at).map(|path| path.link)
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        let now = self.now;
        self.trace.note(now, || format!("fault: {fault:?}"));
        self.coverage.note(coverage::of_fault(fault));
        match fault {
            Fault::Kill { notices } => self.kill(notices),
            Fault::Hole { toward } => {
                let Some(link) = self.pick_used() else { return };
                for side in (0..2).filter(|&side| toward[side]) {
                    self.links[link].ways[side].is_hole = true;
                }
            }
            Fault::Stall { toward, time } => {
                if let Some(link) = self.pick_path(toward) {
                    self.links[link].ways[toward].stall(now + time);
                }
            }
            Fault::Corrupt { toward } => {
                if let Some(link) = self.pick_path(toward) {
                    self.links[link].ways[toward].corrupts_next = true;
                }
            }
            Fault::Freeze { side, time } => {
                self.ends[side].frozen_until = now + time;
                self.at(now + time, Happening::Wake { side });
                self.oracle.excuse(side);
            }
            Fault::Outage { time } => {
                self.outage_until = self.outage_until.max(now + time);
                for link in 0..self.links.len() {
                    self.cut(link, [true, true]);
                }
            }
            Fault::Restart { side } => self.restart(side),
            Fault::Close { side } => self.close(side),
            Fault::Leave { side } => {
                let machine = self.ends[side].machine.as_mut();
                machine.into_iter().for_each(Machine::leave);
            }
            Fault::Deaf { side, deafness } => self.deafen(side, deafness),
            Fault::Resume { paths, renews } => self.resume(paths, renews),
            Fault::Doze { side } => {
                if now >= self.ends[side].frozen_until {
                    self.doze(side);
                }
            }
            Fault::Switch { side }
            | Fault::Rekey { side }
            | Fault::ClosePath { side }
            | Fault::CloseActive { side }
            | Fault::Offer { side }
            | Fault::Reset { side }
            | Fault::WatchAcks { side } => {
                if now >= self.ends[side].frozen_until {
                    self.command(side, fault);
                }
            }
        }
    }

    fn close(&mut self, side: Side) {
        let machine = self.ends[side].machine.as_mut().filter(|machine| !machine.is_over());
        // Before its first path there is no session in truth.
        let Some(machine) = machine.filter(|machine| machine.paths().next().is_some()) else {
            return;
        };
        if machine.unacked_messages() > 0 {
            self.coverage.note("close with data un-acked");
        }
        if machine.active_path().is_none() {
            self.coverage.note("close without a path");
        }
        machine.close(3, "enough");
        self.scenario.closers[side] = true;
    }

    fn command(&mut self, side: Side, fault: Fault) {
        let now = self.now;
        let link = self.pick_path(side);
        let count = self.ends[side].app.channels.len() as u64;
        let at = self.random.below(count.max(1)) as usize;
        let spec = self.links.len().min(255) as u8;
        let nonce = self.random.bytes();
        let path = link.map(|link| self.links[link].path);
        let end = &mut self.ends[side];
        let Some(machine) = end.machine.as_mut().filter(|machine| !machine.is_over()) else {
            return;
        };
        match fault {
            Fault::Switch { .. } => {
                let standby = machine.paths().find(|path| path.state == PathState::Standby);
                let begun = standby
                    .map(|path| machine.request_switch(now, path.id, SwitchReason::Requested));
                if begun == Some(Ok(())) {
                    self.coverage.note(["switch begun", "switch wished"][side]);
                }
            }
            Fault::Rekey { .. } => {
                for path in end.paths.iter_mut().filter(|path| Some(path.link) == link) {
                    // As often as one likes: the sealer knows when it may.
                    _ = path.sealer.rekey(now);
                }
            }
            Fault::ClosePath { .. } => {
                path.into_iter().for_each(|path| machine.close_path(now, path));
            }
            Fault::CloseActive { .. } => {
                machine.active_path().into_iter().for_each(|path| machine.close_path(now, path));
            }
            Fault::Offer { .. } => {
                machine.offer_path(PathKind::Rdma, nonce, vec![spec]);
            }
            Fault::Reset { .. } => {
                if let Some(channel) = end.app.channels.get(at).filter(|room| !room.is_released) {
                    self.oracle.reset(channel.key.id());
                    machine.reset(channel.key, 7);
                }
            }
            Fault::WatchAcks { .. } => {
                end.waits_for_acks = true;
                machine.notify_all_acked();
            }
            _ => unreachable!("not a command"),
        }
    }

    /// A link that some end uses; mostly the active one.
    fn pick_used(&mut self) -> Option<usize> {
        let side = self.random.side();
        let active = self.ends[side].active();
        let link = self.links.iter().position(|link| Some(link.path) == active);
        if self.random.chance(70) || self.scenario.is_scripted {
            link
        } else {
            self.pick_path(side)
        }
    }

    fn kill(&mut self, notices: [bool; 2]) {
        if let Some(link) = self.pick_used() {
            self.cut(link, notices);
        }
    }

    fn cut(&mut self, link: usize, notices: [bool; 2]) {
        for (side, is_told) in notices.into_iter().enumerate() {
            let way = &mut self.links[link].ways[side];
            way.is_hole = true;
            // Sometimes what was on its way still arrives.
            way.is_dead |= self.random.chance(50);
            if is_told {
                self.after(0, 3_000, Happening::Notice { side, link });
            }
        }
    }

    /// The process at `side` is gone; another one comes, which knows nothing.
    fn restart(&mut self, side: Side) {
        self.ends[side].is_gone = true;
        self.ends[side].machine = None;
        self.outage_until = Time(0);
        if side == 0 && self.random.chance(50) {
            // The new process dials before the session has expired.
            self.after(1, 500_000, Happening::SessionLost { side: 1 });
        }
        for link in 0..self.links.len() {
            self.links[link]
                .ways
                .iter_mut()
                .for_each(|way| (way.is_hole, way.is_dead) = (true, true));
            if self.random.chance(50) {
                let side = 1 - side;
                self.after(1, 5_000, Happening::Notice { side, link });
            }
        }
    }
}
