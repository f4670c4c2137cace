//! The move to a path that is better than the active one: tried again when it came at a bad time, ever more rarely
//! when it fails.

use std::time::Duration;

use crate::machine::{Event, SwitchError, Time};
use crate::wire::{PathId, SwitchReason};

/// Another switch was going on: it is over soon.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// After the first failure; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A better path that has still to be moved to, if there is one.
#[derive(Default)]
pub(super) struct Better(Option<Box<Plan>>);

/// The move to it.
struct Plan {
    path: PathId,
    /// When to try; none while a try is going on.
    at: Option<Time>,
    /// Failures in a row, of this path.
    failures: u32,
}

impl Better {
    /// When to try next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.as_ref()?.at
    }

    /// The path to move to now, if one is due.
    pub(super) fn due(&mut self, now: Time) -> Option<PathId> {
        let plan = self.0.as_mut()?;
        plan.at.take_if(|at| *at <= now).map(|_| plan.path)
    }

    /// What came of asking for it.
    pub(super) fn note_asked(&mut self, now: Time, asked: Result<(), SwitchError>) {
        match (asked, &mut self.0) {
            (Err(SwitchError::Busy), Some(plan)) => plan.at = Some(now + BUSY_PAUSE),
            (Err(SwitchError::NotReady | SwitchError::AlreadyActive), _) => self.0 = None,
            _ => {}
        }
    }

    /// `path` stands and is better than the active one.
    pub(super) fn begin(&mut self, now: Time, path: PathId) {
        self.0 = Some(Box::new(Plan { path, at: Some(now), failures: 0 }));
    }

    /// Follows what happens to the path, and to the session.
    pub(super) fn note(&mut self, now: Time, event: &Event) {
        let Some(plan) = &mut self.0 else { return };
        match event {
            Event::SwitchFailed { to, .. } if plan.path == *to => {
                let pause = (PAUSE_MIN * (1 << plan.failures.min(6))).min(PAUSE_MAX);
                plan.failures += 1;
                plan.at = Some(now + pause);
            }
            Event::PathDown { path, .. } if plan.path == *path => self.0 = None,
            // An operator wants the session elsewhere.
            Event::Switched(switch) if switch.reason == SwitchReason::Requested => self.0 = None,
            Event::Switched(switch) if plan.path == switch.to => self.0 = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Switch, SwitchFailure};

    const PATH: PathId = PathId(2);

    #[test]
    fn a_better_path_is_tried_again_after_a_bad_time_and_ever_more_rarely_after_failures() {
        let mut better = Better::default();
        let mut now = Time(1_000_000_000);
        assert_eq!(better.due(now), None);
        better.begin(now, PATH);
        assert_eq!(better.due(now), Some(PATH));
        better.note_asked(now, Err(SwitchError::Busy));
        assert_eq!(better.due(now), None);
        now = now + BUSY_PAUSE;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(better.due(now), Some(PATH));
            better.note_asked(now, Ok(()));
            assert_eq!(better.deadline(), None, "a try is going on");
            let cause = SwitchFailure::TargetSilent;
            better.note(now, &Event::SwitchFailed { to: PATH, cause });
            now = now + Duration::from_secs(pause);
            assert_eq!(better.deadline(), Some(now));
        }
    }

    #[test]
    fn nobody_goes_on_after_the_move_the_loss_or_an_operators_word() {
        let now = Time(1_000_000_000);
        let switched = |to, reason| Event::Switched(Switch { from: None, to, epoch: 3, reason });
        let cause = crate::machine::PathCause::LinkFailed;
        for event in [
            switched(PATH, SwitchReason::BetterPath),
            switched(PathId(0), SwitchReason::Requested),
            Event::PathDown { path: PATH, cause },
        ] {
            let mut better = Better::default();
            better.begin(now, PATH);
            better.note(now, &event);
            assert_eq!(better.due(now), None, "{event:?}");
        }
    }
}
