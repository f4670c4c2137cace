//! Paths come and go; the session moves between them: docs/protocol.md section "Switching".

use super::settings::{ANSWERS_MAX, EPOCH_MAX, EPOCH_STEP_MAX, OFFERS_MAX, PATHS_MAX};
use super::*;
use crate::wire::Frame;

/// Where a switch of our sending direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No switch.
    Steady,
    /// The dialer has asked the target for a sign of life.
    Preparing { to: PathId, reason: SwitchReason, since: Time },
    /// New data goes to the new path; frames sent on `from` are not all acked.
    Draining { from: PathId, since: Time },
}

impl Machine {
    /// A path id of our own for a link about to be made. Never given twice.
    pub fn allocate_path(&mut self) -> PathId {
        let path = PathId(self.next_path);
        self.next_path += 2;
        path
    }

    /// A link stands as `path`: its keys are derived and records can pass.
    ///
    /// # Panics
    /// If the id was used before.
    pub fn handle_path_up(&mut self, now: Time, path: PathId, attributes: PathAttributes) {
        assert!(self.paths.iter().all(|other| other.id != path), "path {path} is new");
        if !self.settings.role.owns(path.0) && !self.path_ids_seen.contains(u64::from(path.0 / 2)) {
            self.path_ids_seen.insert(u64::from(path.0 / 2));
        }
        self.next_path = if self.settings.role.owns(path.0) {
            self.next_path.max(path.0 + 2)
        } else {
            self.next_path
        };
        let is_proven = attributes.is_proven;
        if let Err(violation) = self.check_control() {
            self.handle_violation(violation);
        }
        if is_proven && !self.is_over {
            self.make_room_for_path(now);
        }
        let is_one_too_many = self.live_paths() >= PATHS_MAX;
        self.paths.reserve_exact(1); // most sessions have one, for as long as they live
        self.paths.push(Path::new(now, path, attributes));
        let at = self.paths.len() - 1;
        if self.is_over {
            self.take_down(at, PathCause::Closed);
        } else if is_one_too_many {
            self.lose_path(now, at, PathCause::Closed);
        } else if is_proven {
            self.note_validated(now, path);
        }
    }

    /// The peer, which dialled, has no path left and resumes by `path`, which is about to come up: its word that it moves there is
    /// on the way. We wait for it. An epoch of our own would be overruled by it, and cost both ends a record and its answer.
    pub fn await_move(&mut self, path: PathId) {
        if self.settings.role == Role::Acceptor && self.was_active {
            self.awaited = Some(path);
        }
    }

    pub(super) fn live_paths(&self) -> usize {
        self.paths.iter().filter(|path| path.is_live()).count()
    }

    /// Gives up the path that has been quiet for the longest time if there are as many as may be.
    fn make_room_for_path(&mut self, now: Time) {
        if self.live_paths() < PATHS_MAX {
            return;
        }
        let is_idle = |path: &Path| path.is_live() && Some(path.id) != self.active;
        let idle = (0..self.paths.len()).filter(|&at| is_idle(&self.paths[at]));
        if let Some(at) = idle.min_by_key(|&at| self.paths[at].heard) {
            self.lose_path(now, at, PathCause::Closed);
        }
    }

    /// The peer offers a path: only if that was agreed on, and not more than it may.
    pub(super) fn note_offer(&mut self, path: PathId) -> Result<(), Violation> {
        let unacked = self.channels.control_mut().send.first_unacked();
        self.answers.retain(|&seq| seq >= unacked);
        let waiting = self.answers.len() + self.offers_heard;
        let is_good = self.settings.may_offer_paths && waiting < ANSWERS_MAX;
        is_good.then_some(()).ok_or(Violation::OfferUnasked { path })
    }

    /// The peer names a path of its own.
    pub(super) fn note_peer_path(&mut self, path: PathId) -> Result<(), Violation> {
        let seen = &mut self.path_ids_seen;
        let id = u64::from(path.0 / 2); // ids of one parity: dense when halved
        let is_peers = !self.settings.role.owns(path.0);
        if !is_peers || seen.contains(id) || seen.ranges() > crate::wire::MAX_CHANNELS {
            return Err(Violation::ForeignPath { path });
        }
        seen.insert(id);
        Ok(())
    }

    /// Whether a path id of the peer is new.
    pub fn is_new_path(&self, path: PathId) -> bool {
        !self.settings.role.owns(path.0) && !self.path_ids_seen.contains(u64::from(path.0 / 2))
    }

    /// Takes a path id of the peer, for a link that is being made: nothing else can have it from now on, not
    /// another hello and not an offer. False: it is not new.
    pub fn reserve_path(&mut self, path: PathId) -> bool {
        self.note_peer_path(path).is_ok()
    }

    /// Offers the peer a path whose link is being made. Its bootstrap is for the peer's link. `None`: paths may
    /// not be offered, eight offers wait for their answer, or the session ends.
    pub fn offer_path(
        &mut self,
        kind: crate::wire::PathKind,
        nonce: [u8; 32],
        bootstrap: Vec<u8>,
    ) -> Option<PathId> {
        let is_full = self.offers.len() >= OFFERS_MAX;
        if is_full || !self.settings.may_offer_paths || self.is_over {
            return None;
        }
        let path = self.allocate_path();
        self.offers.push(path);
        self.push_control(&Control::PathOffer { path, kind, nonce, bootstrap });
        Some(path)
    }

    /// Answers [`Event::PathOffered`]; an empty bootstrap refuses.
    pub fn answer_path(&mut self, path: PathId, nonce: [u8; 32], bootstrap: Vec<u8>) {
        self.offers_heard = self.offers_heard.saturating_sub(1);
        self.push_control(&Control::PathAnswer { path, nonce, bootstrap });
        self.answers.push(self.channels.control_mut().send.last_seq());
    }

    /// Moves the session to `path`. The dialer decides; the acceptor's call asks it.
    ///
    /// The dialer's ends with [`Event::Switched`] or [`Event::SwitchFailed`]. The acceptor's ends with
    /// [`Event::Switched`] or with nothing: a dialer that is busy, or whose end of the path is not ready, says no word.
    ///
    /// # Errors
    /// [`SwitchError`]; nothing has begun then.
    pub fn request_switch(
        &mut self,
        now: Time,
        path: PathId,
        reason: SwitchReason,
    ) -> Result<(), SwitchError> {
        if self.active == Some(path) {
            return Err(SwitchError::AlreadyActive);
        }
        let is_ready = self.path(path).is_some_and(|path| path.state == PathState::Standby);
        if !is_ready {
            return Err(SwitchError::NotReady);
        }
        if self.settings.role == Role::Acceptor {
            self.push_control(&Control::SwitchRequest { path, reason });
            return Ok(());
        }
        if !self.is_steady() || self.active.is_none() {
            return Err(SwitchError::Busy);
        }
        self.switch = Stage::Preparing { to: path, reason, since: now };
        // A sign of life newer than this moment: an old ping proves nothing.
        self.path_mut(path).expect("checked above").ping_anew(now);
        Ok(())
    }

    /// Gives a path up in good order; the session leaves it first if another is there.
    pub fn close_path(&mut self, now: Time, path: PathId) {
        if let Some(at) = self.paths.iter().position(|other| other.id == path && other.is_live()) {
            self.lose_path(now, at, PathCause::Closed);
        }
    }

    /// The driver has posted `count` more receives for records on `path`.
    pub fn handle_receives_posted(&mut self, path: PathId, count: u64) {
        if let Some(path) = self.path_mut(path).filter(|path| path.is_live()) {
            path.grant_records(count);
        }
    }

    /// The path's link has ended, or a record on it was bad.
    pub fn handle_path_down(&mut self, now: Time, path: PathId, cause: PathCause) {
        if let Some(at) = self.paths.iter().position(|other| other.id == path && other.is_live()) {
            self.lose_path(now, at, cause);
        }
    }

    /// Nothing can land any more from a path that went down: the driver has fenced it.
    pub fn handle_path_fenced(&mut self, path: PathId) {
        if !self.forget_path(path) {
            return;
        }
        // Nor can the peer read by it what we offered.
        self.pull_sources.retain(|open| open.path != path);
        self.events.push_back(Event::PathReleased(path));
        if !self.is_over {
            self.tell_fenced(path);
        }
    }

    /// The driver could not fence a path that went down: something may land from it, or be read by it, for ever.
    /// The driver keeps what the path may write to, for good. What the peer may read by it is kept until the
    /// peer's own fence, or for good. Frames that were on their way there go out in records: those lie elsewhere.
    pub fn handle_fence_failed(&mut self, path: PathId) {
        #[cfg(feature = "sim")]
        if crate::sim::bug(crate::sim::Bug::FailedFenceIgnored) {
            return self.handle_path_fenced(path); // planted: as if nothing could land
        }
        if self.forget_path(path) && self.pull_sources.iter().any(|open| open.path == path) {
            self.unfenced.push(path);
        }
    }

    /// Forgets a path that is down, and its pulls. False: there is none.
    fn forget_path(&mut self, path: PathId) -> bool {
        let Some(at) = self.paths.iter().position(|other| other.id == path && !other.is_live())
        else {
            return false;
        };
        self.paths.remove(at);
        let mut pulls = self.pulls.take();
        for pull in pulls.extract_if(.., |pull| pull.path == path) {
            // It will come again, in a record or by a new pull.
            if let Some(index) = self.channels.index_of(pull.channel) {
                let room = self.channels.at_mut(index).expect("the index is good");
                room.receive.forget_pull(pull.seq);
            }
        }
        self.pulls.set(pulls);
        true
    }

    /// Tells the peer what we have, now that nothing more comes from `path`.
    fn tell_fenced(&mut self, path: PathId) {
        self.channels.control_mut(); // of which is told, too
        let received = self.channels.iter().map(|channel| {
            let mut report = channel.receive.ack(channel.id);
            #[cfg(feature = "sim")]
            if crate::sim::bug(crate::sim::Bug::WrongResumeRange) && channel.id != 0 {
                report.cumulative += 1; // planted: one frame more than is here
            }
            report.ranges.0.retain(|&(start, _)| start > report.cumulative);
            report
        });
        let received = received.collect();
        self.push_control(&Control::Fenced { path, received });
    }

    pub(super) fn path_closed_by_peer(&mut self, now: Time, path: PathId) {
        self.handle_path_down(now, path, PathCause::PeerClosed);
    }

    /// Takes a live path down and moves on.
    pub(super) fn lose_path(&mut self, now: Time, at: usize, cause: PathCause) {
        let id = self.paths[at].id;
        self.take_down(at, cause);
        if cause != PathCause::PeerClosed {
            self.push_control(&Control::PathClosed { path: id });
        }
        match self.switch {
            Stage::Preparing { to, .. } if to == id => {
                self.switch = Stage::Steady;
                let cause = SwitchFailure::TargetDown;
                self.events.push_back(Event::SwitchFailed { to, cause });
            }
            Stage::Draining { from, .. } if from == id => self.switch = Stage::Steady,
            _ => {}
        }
        // What told the peer our state may be lost with the path.
        self.channels.refresh();
        self.ack_at = Some(now);
        if self.active == Some(id) {
            self.active = None;
            self.fail_over(now);
        }
        if self.is_over {
            return;
        }
        let is_told = self.farewell.is_none() && self.paths.iter().all(|path| !path.is_live());
        if let Some(closed) = self.closing.as_deref().cloned().filter(|_| is_told) {
            self.end(closed);
        } else if self.active.is_none() && self.lost_at.is_none() {
            // A path that has still to prove itself may never do so.
            self.lost_at = Some(now);
            self.events.push_back(Event::PathNeeded);
        }
    }

    /// The path is down: its frames go back to the queue, its link is the driver's to fence.
    pub(super) fn take_down(&mut self, at: usize, cause: PathCause) {
        let path = &mut self.paths[at];
        if !path.is_live() {
            return;
        }
        path.state = PathState::Fencing(cause);
        path.outbox.clear();
        let id = path.id;
        self.events.push_back(Event::PathDown { path: id, cause });
        #[cfg(feature = "sim")]
        if crate::sim::bug(crate::sim::Bug::UnfencedReuse) {
            self.events.push_back(Event::PathReleased(id)); // planted: not fenced
        }
        self.requeue_from(id);
    }

    fn requeue_from(&mut self, id: PathId) {
        let mut lost = Vec::new();
        for index in 0..self.channels.capacity() {
            let Some(channel) = self.channels.at_mut(index) else { continue };
            lost.extend(channel.send.in_flight_on(id));
            for (seq, pulled) in lost.drain(..) {
                channel.send.requeue(seq, pulled);
            }
            self.channels.schedule(index);
        }
        if let Some(path) = self.path_mut(id) {
            (path.in_flight, path.suspected) = (0, None);
        }
    }

    /// Moves to the best validated path, if there is one.
    fn fail_over(&mut self, now: Time) {
        let best = self
            .paths
            .iter()
            .filter(|path| path.is_validated())
            .max_by_key(|path| {
                // A path that was never measured is not the fastest.
                let speed = std::cmp::Reverse((path.rtt.is_none(), path.rtt, path.id));
                (path.attributes.preference, speed)
            })
            .map(|path| path.id);
        if let Some(to) = best {
            match self.next_epoch() {
                _ if !self.was_active => self.activate(now, to, 0, SwitchReason::FirstPath),
                Some(epoch) => self.activate(now, to, epoch, SwitchReason::PathFailed),
                None => {
                    // Only a peer that drives them up comes here.
                    let epoch = EPOCH_MAX;
                    self.end(Closed::PeerViolated(Violation::EpochTooHigh { epoch }));
                }
            }
        }
    }

    pub(super) fn note_validated(&mut self, now: Time, id: PathId) {
        let path = self.path_mut(id).expect("the path is there");
        if path.state == PathState::Validating {
            path.state = PathState::Standby;
        }
        self.events.push_back(Event::PathValidated(id));
        if self.active.is_some() {
            return;
        }
        if self.awaited == Some(id) {
            // The peer is there: it has all the time to say so.
            self.lost_at = self.lost_at.map(|_| now);
        } else {
            self.fail_over(now);
        }
    }

    /// An answer to a ping may be what a switch or a suspicion waits for.
    pub(super) fn note_answer(&mut self, now: Time, id: PathId) {
        if let Stage::Preparing { to, reason, since } = self.switch
            && to == id
            && self.path(id).and_then(|path| path.answered).is_some_and(|(_, asked)| asked >= since)
        {
            match self.next_epoch() {
                Some(epoch) => self.activate(now, to, epoch, reason),
                None => self.switch = Stage::Steady,
            }
        }
        self.note_sign_of_life(now, id);
    }

    /// The next epoch we may declare. Both ends may at the same time: theirs differ in parity and the
    /// dialer's is the higher one.
    /// `None`: there are no more.
    fn next_epoch(&self) -> Option<u32> {
        let round = (self.epoch.max(self.peer_epoch) / 2) + 1;
        let epoch = 2 * round + u32::from(self.settings.role == Role::Dialer);
        Some(epoch).filter(|&epoch| epoch <= EPOCH_MAX)
    }

    /// A record or mark of the peer says that its data travels on `path` since `epoch`.
    ///
    /// # Errors
    /// [`Violation::EpochTooHigh`].
    pub(super) fn hear_epoch(
        &mut self,
        now: Time,
        path: PathId,
        epoch: u32,
    ) -> Result<(), Violation> {
        let known = self.epoch.max(self.peer_epoch);
        if epoch > EPOCH_MAX || epoch > known + EPOCH_STEP_MAX {
            return Err(Violation::EpochTooHigh { epoch });
        }
        self.follow_epoch(now, path, epoch);
        Ok(())
    }

    fn follow_epoch(&mut self, now: Time, path: PathId, epoch: u32) {
        if epoch == self.epoch && self.active == Some(path) {
            self.holds_for_resume = false;
        }
        self.peer_epoch = self.peer_epoch.max(epoch);
        if epoch <= self.epoch {
            return;
        }
        self.follow_peer(now, path, epoch);
    }

    /// Data of the peer has come on `path` under epoch 0, and ours goes another way: each end has had a path before
    /// the other end's, and no epoch says which one it is to be: we go the peer's way under a new one. If both ends
    /// do so at once, the dialer's epoch is the higher one.
    pub(super) fn hear_first_path(&mut self, now: Time, path: PathId) {
        if let Some(epoch) = self.next_epoch() {
            self.follow_peer(now, path, epoch);
        }
    }

    fn follow_peer(&mut self, now: Time, path: PathId, epoch: u32) {
        let room = self.path_mut(path).expect("a live path");
        if room.state == PathState::Validating {
            // The peer uses it, and its records are authentic: that is proof.
            room.state = PathState::Standby;
            self.events.push_back(Event::PathValidated(path));
        }
        self.activate(now, path, epoch, SwitchReason::FollowedPeer);
        self.holds_for_resume = false;
    }

    /// New data goes to `to` from now on.
    fn activate(&mut self, now: Time, to: PathId, epoch: u32, reason: SwitchReason) {
        let from = self.active.filter(|&from| from != to);
        if let Stage::Preparing { to: other, .. } = self.switch
            && other != to
        {
            let cause = SwitchFailure::Overtaken;
            self.events.push_back(Event::SwitchFailed { to: other, cause });
        }
        if let Stage::Draining { from: older, .. } = self.switch
            && older != to
        {
            // Two paths carry data at most: what the older one has not delivered goes the new way.
            self.requeue_from(older);
            self.settle_standby(older);
        }
        let is_first = epoch == 0;
        self.holds_for_resume = self.lost_at.take().is_some();
        (self.epoch, self.active, self.was_active) = (epoch, Some(to), true);
        let path = self.path_mut(to).expect("the target is there");
        assert!(path.is_validated(), "data goes to validated paths only");
        (path.state, path.epoch, path.suspected) = (PathState::Active, epoch, None);
        let mark = Frame::SwitchMark { epoch, to };
        if !is_first {
            path.push(&mark);
        }
        if !is_first && !path.is_measured() {
            path.ping(now); // how long to wait for acks is not known yet
        }
        self.switch = Stage::Steady;
        if let Some(old) = from.and_then(|from| self.path_mut(from)) {
            old.state = PathState::Draining;
            old.push(&mark);
            self.switch = Stage::Draining { from: old.id, since: now };
            // What told the peer our state may be lost with the old path, long before anybody notices.
            self.channels.refresh();
            self.ack_at = Some(now);
            self.after_landing();
        }
        self.channels.reschedule();
        self.events.push_back(Event::Switched(Switch { from, to, epoch, reason }));
    }

    fn settle_standby(&mut self, id: PathId) {
        if let Some(path) = self.path_mut(id).filter(|path| path.state == PathState::Draining) {
            path.state = PathState::Standby;
        }
    }

    /// Frames were acked: a drain or a close may be complete.
    pub(super) fn after_landing(&mut self) {
        if let Stage::Draining { from, .. } = self.switch
            && self.path(from).is_none_or(|path| path.in_flight == 0)
        {
            self.switch = Stage::Steady;
            self.settle_standby(from);
        }
        if (self.closing.is_some() || self.wants_all_acked) && self.is_all_acked() {
            self.note_all_acked();
        }
    }

    /// Whether data waits for the peer's word of what it has: right after a time without any path.
    pub(super) fn holds_data(&self) -> bool {
        self.holds_for_resume
    }
}
