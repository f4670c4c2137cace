//! Limits that do not fit together.

use super::Rules;
use crate::config::codes;

pub(super) fn check(rules: &mut Rules<'_>) {
    let config = rules.config;
    let (window, budget) = (config.session.window, config.memory.budget);
    // A smaller budget alone bounds the window, whose default is for a node with room.
    let is_sound = rules.is_sound(&["session.window", "memory.budget"]);
    if window > budget && rules.gives("session.window") && is_sound {
        let path = if rules.gives("memory.budget") { "memory.budget" } else { "session.window" };
        let message =
            format!("a session's window of {window} does not fit in memory.budget, {budget}");
        let help = format!("write `memory.budget: {window}` or more, or a smaller session.window");
        rules.error(path, codes::BUDGET, message, help);
    }
    if budget > config.memory.pool_size && rules.is_sound(&["memory.budget", "memory.poolSize"]) {
        let path = if rules.gives("memory.budget") { "memory.budget" } else { "memory.poolSize" };
        let pool = config.memory.pool_size;
        let message = format!("memory.budget {budget} is more than memory.poolSize, {pool}");
        let help = format!("write `memory.poolSize: {budget}` or more");
        rules.error(path, codes::BUDGET, message, help);
    }
    let reputation = &config.byzantine.reputation;
    let (report, quarantine) = (reputation.min_reputation, reputation.blacklist_threshold);
    if quarantine.get() >= report.get() && rules.is_sound(&["byzantine.reputation"]) {
        let path = "byzantine.reputation.blacklistThreshold";
        let path = if rules.gives(path) { path } else { "byzantine.reputation.minReputation" };
        let message = format!(
            "a peer would be quarantined below {quarantine} and reported below {report} only"
        );
        let help = "choose a blacklistThreshold below minReputation";
        rules.error(path, codes::REPUTATION, message, help);
    }
    let detection = &config.cluster.failure_detection;
    let silence = detection.heartbeat_interval.get().saturating_mul(detection.timeout_multiplier);
    let keys = ["cluster.failureDetection", "session.timeToLive"];
    if silence > config.session.time_to_live.get() && rules.is_sound(&keys) {
        let path = "cluster.failureDetection.heartbeatInterval";
        let path = if rules.gives(path) { path } else { "session.timeToLive" };
        let silence = crate::config::Time::new(silence);
        let message = format!(
            "a lost peer is noticed after {silence}, when its session has expired after {}",
            config.session.time_to_live
        );
        let help = format!("write `session.timeToLive: {silence}` or more, or a shorter heartbeat");
        rules.warning(path, codes::SLOW_DETECTION, message, help);
    }
}
