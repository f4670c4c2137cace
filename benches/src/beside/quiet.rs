//! Waits for the machine to be idle: whatever else runs is in the figures.

use std::time::{Duration, Instant};

/// The load of the last minute under which a machine counts as idle.
pub const LOAD_MAX: f64 = 0.5;
/// How long to wait for that.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The load of the last minute.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// Waits until the load is low enough, for [`PATIENCE`] at most. Returns the load that was seen last.
pub fn wait(say: &mut dyn FnMut(&str)) -> f64 {
    let began = Instant::now();
    loop {
        let now = load();
        // Not a number: nobody knows, and waiting does not help.
        if now.is_nan() || now < LOAD_MAX || began.elapsed() > PATIENCE {
            return now;
        }
        let left = PATIENCE.saturating_sub(began.elapsed()).as_secs();
        say(&format!("load {now}: waiting until it is under {LOAD_MAX}, {left} s more at most"));
        std::thread::sleep(Duration::from_secs(10));
    }
}
