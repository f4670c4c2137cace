//! Processor time of this process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time this process has used, user and system, over all its threads.
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_processor_time() {
        let before = process_time();
        let mut sum = 0u64;
        while process_time() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(process_time() > before);
    }
}
