//! What happened, in words. A run is first made without it; a seed that fails is run again with it.

use crate::machine::Time;

#[derive(Default)]
pub(super) struct Trace {
    is_on: bool,
    lines: Vec<String>,
}

impl Trace {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, lines: Vec::new() }
    }

    pub(super) fn note(&mut self, now: Time, line: impl FnOnce() -> String) {
        if self.is_on {
            self.lines.push(format!("{now:?} {}", line()));
        }
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}
