//! What the mode rules out.

use super::Rules;
use crate::config::codes;
use crate::config::keys::{Mode, Peers};
use crate::config::setting::Auto;

pub(super) fn check(rules: &mut Rules<'_>) {
    let config = rules.config;
    if rules.whole.is_mode_known {
        of_mode(rules);
    }
    if !config.features.enable_v3 {
        let message = "with `enableV3: false` this node takes no sessions";
        rules.hint(
            "features.enableV3",
            codes::V3_OFF,
            message,
            "write true when its time has come",
        );
    }
}

fn of_mode(rules: &mut Rules<'_>) {
    let config = rules.config;
    let encryption = &config.protocol.encryption;
    if config.mode == Mode::Internet && !encryption.enabled {
        let message = "internet mode without encryption";
        let help = "write true: the internet is no trusted medium";
        rules.error("protocol.encryption.enabled", codes::INTERNET_ENCRYPTION, message, help);
    }
    if config.mode == Mode::Internet && config.peers == Peers::Any {
        let message = "any node with a certificate of keys.ca is admitted from the internet";
        rules.warning("peers", codes::ANY_PEER, message, "list the nodes under `peers`");
    } else if config.peers == Peers::Any {
        let message = "any node with a certificate of keys.ca is admitted";
        rules.hint("peers", codes::ANY_PEER, message, "fine if that is meant; else list the nodes");
    }
    if config.mode != Mode::Hybrid {
        outside_hybrid(rules);
    }
    if config.mode == Mode::Hybrid && !config.features.enable_hybrid_mode {
        let message = "with `enableHybridMode: false` a session stays on its first transport unless that fails";
        let path = "features.enableHybridMode";
        rules.hint(path, codes::HYBRID_FEATURE, message, "write true when its time has come");
    }
}

fn outside_hybrid(rules: &mut Rules<'_>) {
    let config = rules.config;
    let mode = config.mode.name();
    if config.features.enable_hybrid_mode {
        let message = format!("`enableHybridMode: true` in {mode} mode");
        let help = "write false, or `mode: hybrid`";
        rules.error("features.enableHybridMode", codes::HYBRID_FEATURE, message, help);
    }
    if config.adaptive.detection.enabled {
        let message =
            format!("detection is enabled in {mode} mode, where there is nothing to choose");
        let help = "write false, or `mode: hybrid`";
        rules.error("adaptive.detection.enabled", codes::DETECTION_MODE, message, help);
    }
    if config.protocol.encryption.disable_in_datacenter {
        let message = format!("`disableInDatacenter` has no effect in {mode} mode");
        let help = "delete the line, and use protocol.encryption.enabled";
        let path = "protocol.encryption.disableInDatacenter";
        rules.warning(path, codes::NO_EFFECT, message, help);
    }
    if config.mode == Mode::Internet && config.network.rdma.enabled == Auto::Is(true) {
        let message = "internet mode carries sessions over TCP only";
        let help = "delete the line, or write `mode: hybrid`";
        rules.error("network.rdma.enabled", codes::INTERNET_TRANSPORT, message, help);
    }
}
