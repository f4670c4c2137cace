//! Whether paths are alive: the session's own judgement, on every kind of link.

use std::time::Duration;

use super::path::SuspicionStage;
use super::settings::STANDBY_HEARTBEATS;
use super::switching::Stage;
use super::*;

/// A session whose path is its whole life (`time_to_live` 0) waits for memory nevertheless: others may give some back.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);

/// An answer waits no longer, whatever the heartbeat.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(100);

/// Heartbeats for which an acceptor that is pinged goes by the round trip it has measured.
const MEASURED_HEARTBEATS: u32 = 32;

impl Machine {
    /// When to call [`handle_timeout`](Self::handle_timeout), at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.is_over {
            return None;
        }
        let session = self.lost_at.map(|at| at + self.settings.time_to_live);
        let switch = match self.switch {
            Stage::Steady => None,
            Stage::Preparing { since, .. } | Stage::Draining { since, .. } => {
                Some(since + self.settings.switch_timeout)
            }
        };
        // Acks need a path to go out on; once they are due, room on it and not time is what they wait for.
        let may_ack = self.active.is_some() && self.channels.has_due();
        let acks = self.ack_at.filter(|&at| may_ack && at > self.woken);
        let paths = self.paths.iter().filter(|path| path.is_live());
        let paths = paths.map(|path| self.path_timeout(path)).min();
        let certificate = self.certificate_timeout();
        [session, certificate, switch, acks, paths].into_iter().flatten().min()
    }

    fn path_timeout(&self, path: &Path) -> Time {
        let heartbeat = match path.ping {
            Some((_, asked)) => asked + self.settings.heartbeat_interval,
            None => self.heartbeat_at(path),
        };
        // A suspected path has time from the others' answer on.
        let may_suspect = path.in_flight > 0 && path.suspected.is_none() && self.has_alternative();
        let suspicion = may_suspect.then(|| path.progress + path.patience());
        let proof = (path.state == PathState::Validating)
            .then(|| path.created + self.settings.switch_timeout);
        [Some(heartbeat), suspicion, path.doubt_timeout(), proof]
            .into_iter()
            .flatten()
            .min()
            .expect("one is there")
    }

    /// When `path` is pinged if nothing is heard on it until then.
    fn heartbeat_at(&self, path: &Path) -> Time {
        let (interval, slack) = (self.settings.heartbeat_interval, self.settings.heartbeat_slack);
        let pause = match path.state {
            PathState::Standby => interval.saturating_mul(STANDBY_HEARTBEATS),
            _ => interval,
        };
        // The dialer's ping tells both ends that the path lives: its peer sends none at the same moment, but for one now and
        // then that measures the round trip.
        let measured_for = interval.saturating_mul(MEASURED_HEARTBEATS);
        let is_measured = path.answered.is_some_and(|(at, _)| path.heard.since(at) < measured_for);
        let pause = match self.settings.role {
            Role::Acceptor if is_measured => pause.saturating_add(slack.saturating_mul(2)),
            _ => pause,
        };
        (path.heard + pause).nearest(slack)
    }

    /// Whether a path may be given up, or suspected, at `now`: whatever has arrived is to be read before.
    pub fn is_judgement_due(&self, now: Time) -> bool {
        let paths = self.paths.iter().filter(|path| path.is_live());
        !self.is_over && paths.map(|path| self.path_timeout(path)).any(|due| due <= now)
    }

    /// Time has passed: at or after [`poll_timeout`](Self::poll_timeout), or at any time.
    ///
    /// Paths are given up for silence in here and nowhere else. A caller that was kept from its links reads them first, and
    /// then says the time at which it began to: or it takes for silent what waits to be read.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.is_over {
            return;
        }
        if self.lost_at.is_some_and(|at| now >= at + self.settings.time_to_live) {
            self.end(Closed::Expired);
            return;
        }
        if self.check_certificates(now) {
            return;
        }
        self.woken = now;
        self.check_heartbeats(now);
        self.check_switch(now);
        self.suspect_silent(now);
        self.check_suspects(now);
    }

    /// `path` cannot be judged now: what has arrived is not all read, or what was to ask is not out. It has its patience anew.
    pub fn excuse(&mut self, now: Time, path: PathId) {
        let Some(path) = self.path_mut(path).filter(|path| path.is_live()) else { return };
        path.progress = now;
        if let Some(suspected) = &mut path.suspected {
            (suspected.since, suspected.stage) = (now, SuspicionStage::Asked);
            self.ask_all(now);
        }
    }

    /// Whether `path` may come under suspicion, or is.
    pub fn may_be_judged(&self, path: PathId) -> bool {
        let is_doubtful = |path: &Path| path.in_flight > 0 || path.suspected.is_some();
        self.has_alternative() && self.path(path).is_some_and(is_doubtful)
    }

    /// Whether data goes another way than `path`, which can take it at any time.
    pub fn stands_by(&self, path: PathId) -> bool {
        self.path(path).is_some_and(|path| path.state == PathState::Standby)
    }

    /// How long an answer may wait for threads that are at another path: a part of the silence that a peer with our settings
    /// takes for the end.
    pub fn answer_wait_max(&self) -> Duration {
        let Settings { heartbeat_interval, timeout_multiplier, .. } = *self.settings;
        ANSWER_WAIT_MAX.min(heartbeat_interval.saturating_mul(timeout_multiplier) / 4)
    }

    /// What has arrived on `path` waits for memory to be read into: the path is not silent, this end is deaf. The peer is
    /// told that we are here, for it hears no answers.
    pub fn handle_starved(&mut self, now: Time, path: PathId) {
        let interval = self.settings.heartbeat_interval;
        let Some(path) = self.path_mut(path).filter(|path| path.is_live()) else { return };
        #[cfg(feature = "sim")]
        if crate::sim::bug(crate::sim::Bug::DeafTakenForSilent) {
            return; // planted: it is taken for silent
        }
        (path.heard, path.progress) = (now, now);
        (path.missed, path.suspected) = (0, None);
        #[cfg(feature = "sim")]
        if crate::sim::bug(crate::sim::Bug::DeafSaysNothing) {
            path.ping = None; // planted: nor is it asked again
            return;
        }
        if now >= path.sent + interval {
            path.ping(now);
        }
    }

    /// A session that has waited for memory that it holds itself, for as long as it would for a path and 5 s at least, has
    /// waited in vain.
    ///
    /// Returns whether it is over.
    pub fn give_up_for_memory(&mut self, waited: Duration) -> bool {
        let is_vain = waited >= self.settings.time_to_live.max(MEMORY_PATIENCE);
        if is_vain && !self.is_over {
            self.end(Closed::MemoryShort);
        }
        is_vain
    }

    fn check_heartbeats(&mut self, now: Time) {
        let interval = self.settings.heartbeat_interval;
        for at in 0..self.paths.len() {
            if self.is_over || !self.paths[at].is_live() {
                continue;
            }
            let heartbeat_at = self.heartbeat_at(&self.paths[at]);
            let proof = self.paths[at].created + self.settings.switch_timeout;
            let path = &mut self.paths[at];
            if path.state == PathState::Validating && now >= proof {
                self.lose_path(now, at, PathCause::NotValidated);
                continue;
            }
            match path.ping {
                Some((_, asked)) if now >= asked + interval => {
                    path.ping = None;
                    // Anything heard meanwhile is a sign of life as good as an answer.
                    path.missed = if path.heard > asked { 0 } else { path.missed + 1 };
                    if path.missed >= self.settings.timeout_multiplier {
                        self.lose_path(now, at, PathCause::HeartbeatLost);
                    } else {
                        path.ping(now);
                    }
                }
                None if now >= heartbeat_at => path.ping(now),
                _ => {}
            }
        }
    }

    fn check_switch(&mut self, now: Time) {
        let limit = self.settings.switch_timeout;
        match self.switch {
            Stage::Preparing { to, since, .. } if now >= since + limit => {
                self.switch = Stage::Steady;
                let cause = SwitchFailure::TargetSilent;
                self.events.push_back(Event::SwitchFailed { to, cause });
            }
            Stage::Draining { from, since } if now >= since + limit => {
                if let Some(at) = self.paths.iter().position(|path| path.id == from) {
                    self.lose_path(now, at, PathCause::Silent);
                }
            }
            _ => {}
        }
    }

    /// Paths whose acks make no progress are suspected: others are asked for a sign of life.
    fn suspect_silent(&mut self, now: Time) {
        if !self.has_alternative() {
            return;
        }
        let mut ask = false;
        for path in self.paths.iter_mut().filter(|path| path.is_live() && path.in_flight > 0) {
            if path.suspected.is_none() && now >= path.progress + path.patience() {
                path.suspect(now);
                ask = true;
            }
        }
        if ask {
            self.ask_all(now);
        }
    }

    /// Whether there is more than one path to go by.
    fn has_alternative(&self) -> bool {
        self.paths.iter().filter(|path| path.is_validated()).count() > 1
    }

    fn ask_all(&mut self, now: Time) {
        for path in self.paths.iter_mut().filter(|path| path.is_validated()) {
            path.ping(now);
        }
    }

    /// An answer came on a path: it tells of the others that they had their chance.
    pub(super) fn note_sign_of_life(&mut self, now: Time, id: PathId) {
        let Some(answered) =
            self.path(id).filter(|path| path.is_validated()).and_then(|path| path.answered)
        else {
            return;
        };
        let (_, asked) = answered;
        let mut ask = false;
        for path in self.paths.iter_mut().filter(|path| path.id != id && path.is_live()) {
            let Some(suspected) = &mut path.suspected else { continue };
            suspected.stage = match suspected.stage {
                SuspicionStage::Asked if asked >= suspected.since => SuspicionStage::Doubted(now),
                SuspicionStage::AskedAgain(at) if asked >= at => SuspicionStage::Condemned(now),
                // An answer to an older ping proves nothing: ask again.
                stage @ (SuspicionStage::Asked | SuspicionStage::AskedAgain(_)) => {
                    ask = true;
                    stage
                }
                stage => stage,
            };
        }
        if ask {
            self.ask_all(now);
        }
    }

    /// A suspected path is dead when another answers a ping that was sent after its patience was over, and it has not
    /// answered its own until then: the peer is there, only this path is not. Decided here and not when the answer is read:
    /// this path's own may have arrived with it.
    fn check_suspects(&mut self, now: Time) {
        for at in 0..self.paths.len() {
            let path = &self.paths[at];
            let Some(suspected) = path.suspected.as_deref().copied().filter(|_| path.is_live())
            else {
                continue;
            };
            let Some(due) = path.doubt_timeout() else {
                // Also those that came to be since.
                self.ask_all(now);
                continue;
            };
            if now < due {
                continue;
            }
            if !self.has_alternative() {
                let path = &mut self.paths[at];
                (path.suspected, path.progress) = (None, now);
            } else if matches!(suspected.stage, SuspicionStage::Condemned(_)) {
                return self.lose_path(now, at, PathCause::Silent);
            } else {
                let path = &mut self.paths[at];
                let id = path.id;
                if let Some(suspected) = &mut path.suspected {
                    suspected.stage = SuspicionStage::AskedAgain(now);
                }
                for other in
                    self.paths.iter_mut().filter(|path| path.id != id && path.is_validated())
                {
                    other.ping_anew(now);
                }
            }
        }
    }
}
