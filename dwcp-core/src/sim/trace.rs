//! What happened last, in words. A run is first made without it; a seed that fails is run again with it.

use std::collections::VecDeque;

use crate::machine::Time;

#[derive(Default)]
pub(super) struct Trace {
    is_on: bool,
    lines: VecDeque<String>,
}

const LINES_MAX: usize = 80;

impl Trace {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, lines: VecDeque::new() }
    }

    pub(super) fn note(&mut self, now: Time, line: impl FnOnce() -> String) {
        if self.is_on {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{now:?} {}", line()));
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
