//! Paths that the dialer brings by a handshake: after the loss of all, or beside others.

use super::scenario::Side;
use super::world::{Happening, World};
use crate::machine::{Machine, PathState};
use crate::wire::{PathId, PathKind};

/// Live paths of a session: docs/protocol.md.
pub(super) const PATHS_MAX: usize = 8;

/// The live paths of an end, and which of them is in use.
pub(super) struct Standing {
    live: Vec<(PathId, PathKind)>,
    active: Option<PathId>,
}

impl Standing {
    pub(super) fn of(machine: &Machine) -> Self {
        let live = machine.paths().filter(|path| !matches!(path.state, PathState::Fencing(_)));
        Self {
            live: live.map(|path| (path.id, path.kind)).collect(),
            active: machine.active_path(),
        }
    }

    fn has(&self, path: PathId) -> bool {
        self.live.iter().any(|&(id, _)| id == path)
    }
}

impl World {
    /// The dialer brings so many further paths.
    pub(super) fn resume(&mut self, paths: u64, renews: bool) {
        let end = &self.ends[0];
        // Before its first path there is no session that could be resumed.
        let has_session = !end.is_over() && !end.paths.is_empty();
        if !has_session || self.now < end.frozen_until.max(self.outage_until) {
            return;
        }
        if paths > 1 {
            self.coverage.note("resumes at once");
        }
        for _ in 0..paths {
            let spec = self.next_spec();
            let machine = self.ends[0].machine.as_mut().expect("it is not over");
            let path = machine.allocate_path();
            let link = self.make_link(path, spec, true, &[0; 32], &[1; 32]);
            self.links[link].renews = renews;
            self.after(1, 400, Happening::Hello { link });
        }
    }

    /// The acceptor takes the hello of a resumption.
    pub(super) fn hello(&mut self, link: usize) {
        if self.links[link].ways.iter().all(|way| way.is_dead) {
            return; // it broke meanwhile
        }
        if self.ends[1].paths.is_empty() {
            return; // the acceptor makes the session with the first path: there is none to resume yet
        }
        if self.ends[1].is_over() {
            self.trace.note(self.now, || "the peer does not know the session".to_owned());
            return self.after(1, 400, Happening::SessionLost { side: 0 });
        }
        self.reserve(self.links[link].path);
        for side in 0..2 {
            self.after(1, 200, Happening::PathUp { side, link });
        }
    }

    /// The acceptor takes the id of a hello, once.
    pub(super) fn reserve(&mut self, path: PathId) {
        let Some(machine) = &mut self.ends[1].machine else { return };
        let (is_taken, is_again) = (machine.reserve_path(path), machine.reserve_path(path));
        self.oracle.check(is_taken, || format!("path {path} was used before"));
        self.oracle.check(!is_again, || format!("path {path} can be had twice"));
    }

    /// What a new path did to those there were `before`.
    pub(super) fn check_room(&mut self, side: Side, link: usize, before: &Standing) {
        let (path, is_proven) = (self.links[link].path, self.links[link].is_proven);
        let Some(machine) = self.ends[side].machine.as_ref().filter(|machine| !machine.is_over())
        else {
            return;
        };
        let after = Standing::of(machine);
        let evicted = before.live.iter().filter(|&&(id, _)| !after.has(id)).count();
        let is_full = before.live.len() >= PATHS_MAX;
        if is_proven && before.active.is_some() {
            self.coverage.note("path resumed beside another");
        }
        if evicted > 0 {
            self.coverage.note("path evicted");
        }
        if !after.has(path) {
            self.coverage.note("path one too many");
        }
        let is_good = evicted == usize::from(is_full && is_proven)
            && before.active.is_none_or(|active| after.has(active))
            && after.has(path) == (is_proven || !is_full);
        self.oracle.check(is_good, || {
            format!(
                "side {side}: path {path} came to {:?} and made them {:?}",
                before.live, after.live
            )
        });
    }

    /// The dialer's older connections go once the one that renews the session stands.
    pub(super) fn renew(&mut self, side: Side, link: usize) {
        let (path, renews) = (self.links[link].path, self.links[link].renews);
        let Some(machine) = self.ends[side].machine.as_mut().filter(|_| side == 0 && renews) else {
            return;
        };
        let standing = Standing::of(machine);
        let older = standing.live.iter().filter(|&&(id, kind)| id != path && kind == PathKind::Tcp);
        for &(id, _) in older {
            machine.close_path(self.now, id);
            self.coverage.note("path renewed");
        }
    }
}
