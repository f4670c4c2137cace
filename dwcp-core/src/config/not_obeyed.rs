//! Keys that are valid and that this build does not act on yet. Nobody is to believe in a wish that is not
//! granted: each is told when a file sets it, and marked in docs/config.md.

use super::keys::Config;
use super::setting::Auto;

/// Keys that belong to something that is not there yet.
pub(crate) struct Gap {
    /// Dotted paths; what lies below one belongs to it.
    pub(crate) keys: &'static [&'static str],
    /// Whether `config`, as the file gives it, asks for more than is done.
    pub(crate) is_asked: fn(&Config) -> bool,
    /// What is done instead; completes "is not obeyed yet: …".
    pub(crate) instead: &'static str,
}

impl Gap {
    /// Whether `path` (`a.b`, `a[].b`) is one of the keys or below one.
    fn holds(&self, path: &str) -> bool {
        self.keys.iter().any(|key| {
            path.strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

/// The gap that `path` is in, if it is in one.
pub(crate) fn gap(path: &str) -> Option<&'static Gap> {
    GAPS.iter().find(|gap| gap.holds(path))
}

/// Whether `path`, a key such as `a.b` or `a[].b`, is one that this build does not act on yet.
pub fn is_not_obeyed_yet(path: &str) -> bool {
    gap(path).is_some()
}

/// All of them.
pub(crate) fn gaps() -> &'static [Gap] {
    GAPS
}

static GAPS: &[Gap] = &[
    Gap {
        keys: &[
            "network.rdmaDevice",
            "network.rdma.enabled",
            "network.rdma.provider",
            "network.rdma.devicePort",
            "network.rdma.gidIndex",
            "network.rdma.qpType",
            "network.rdma.maxQueuePairs",
            "network.rdma.cqDepth",
            "network.rdma.maxSendWr",
            "network.rdma.maxRecvWr",
            "network.rdma.maxInlineData",
            "network.rdma.maxRdmaReadAtomicOutstanding",
            "network.rdma.qpTimeout",
            "network.rdma.retryCount",
            "network.rdma.rnrRetryCount",
            "network.rdma.minRnrTimer",
        ],
        is_asked: |config| config.network.rdma.enabled != Auto::Is(false),
        instead: "this build makes no RDMA paths; with `network.fallback.enabled` sessions run on TCP, else the daemon does not start",
    },
    Gap {
        keys: &[
            "adaptive.detection",
            "adaptive.datacenterCriteria",
            "adaptive.internetCriteria",
            "adaptive.thresholds",
            "adaptive.switching.cooldownPeriod",
            "adaptive.switching.settleTime",
            "features.enableHybridMode",
        ],
        is_asked: |config| config.adaptive.detection.enabled || config.features.enable_hybrid_mode,
        instead: "this build measures no paths; a session leaves a path when that fails, or for one that is preferred as soon as it stands",
    },
    Gap {
        keys: &["memory.hugepages", "network.rdma.hugepagesEnabled"],
        is_asked: |config| {
            config.memory.hugepages == Auto::Is(true)
                || config.network.rdma.hugepages_enabled == Some(true)
        },
        instead: "slots lie in ordinary pages",
    },
    Gap {
        keys: &["performance.zeroCopy"],
        is_asked: |config| config.performance.zero_copy == Auto::Is(true),
        instead: "bytes are sealed or copied once on their way to the link",
    },
    Gap {
        keys: &["performance.targetThroughput", "performance.targetThroughputGbps"],
        is_asked: |_| true,
        instead: "throughput is measured by `dwcp-ctl bench throughput`, and nothing warns when it stays below",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    #[test]
    fn every_key_of_the_table_is_a_key_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for key in gaps().iter().flat_map(|gap| gap.keys) {
            assert!(reference::keys().iter().any(|doc| doc.path == *key), "{key}");
            assert!(seen.insert(key), "{key}");
        }
    }

    #[test]
    fn a_gap_holds_what_is_below_its_keys() {
        assert!(gap("adaptive.detection.interval").is_some());
        assert!(gap("adaptive.datacenterCriteria[].metric").is_some());
        assert!(gap("adaptive.switching.drainTimeout").is_none());
        assert!(gap("memory.hugepagesX").is_none());
    }
}
