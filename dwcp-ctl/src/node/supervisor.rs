//! Who has started this process, and whether the node outlives it: whoever is not told of a new process takes the end of the
//! old one for the end of the node.

use rustix::process::{getpid, getppid};

/// Why the first process of a container cannot be followed. Nothing can be done about it from in here.
const FIRST: &str = "this process is the first one of its container (PID 1): when it ends, the kernel ends all others there, also \
     a new one of the node. Restart the container instead: the node drains at SIGTERM, and its peers reconnect";
/// The same of a child of one that does nothing but wait for it.
const CHILD_OF_INIT: &str = "this process was started by the init of a container, which ends with it, and the container with \
     that. Restart the container instead: the node drains at SIGTERM, and its peers reconnect";
/// Why systemd would end the new process.
const NOT_TOLD: &str = "systemd takes the end of this process for the end of the service, and would end the new one: there is no \
     NOTIFY_SOCKET to tell it otherwise. Give the unit Type=notify and NotifyAccess=all, then `systemctl restart` once; if it is no \
     unit of systemd: dwcp-ctl restart --force";
/// What starts one program in a container, and ends with it. Each by the name of its file: `podman --init` runs catatonit as
/// `/run/podman-init`.
const CONTAINER_INITS: [&str; 6] =
    ["catatonit", "docker-init", "dumb-init", "podman-init", "tini", "tini-static"];

/// What a process can know of whoever started it.
struct Surroundings {
    is_first: bool,
    /// What the first process is called, if that has started this one.
    parent: Option<String>,
    /// Whether systemd has started it as the main process of a service.
    is_service: bool,
    /// Whether it can tell systemd of another main process.
    can_tell: bool,
}

impl Surroundings {
    fn look() -> Self {
        let variable = |name| std::env::var(name).ok();
        let own = std::process::id().to_string();
        let is_of_first = getppid().is_some_and(|parent| parent.is_init());
        let name = || std::fs::read_to_string("/proc/1/comm").ok();
        Self {
            is_first: getpid().is_init(),
            parent: is_of_first.then(name).flatten().map(|name| name.trim().to_owned()),
            // What a service has started has INVOCATION_ID, too; systemd before 248 does not say whom it means.
            is_service: variable("INVOCATION_ID").is_some()
                && variable("SYSTEMD_EXEC_PID").is_none_or(|pid| pid == own),
            can_tell: variable("NOTIFY_SOCKET").is_some(),
        }
    }

    fn hindrance(&self, is_forced: bool) -> Option<&'static str> {
        let is_untold = self.is_service && !self.can_tell && !is_forced;
        self.hindrance_for_all().or_else(|| is_untold.then_some(NOT_TOLD))
    }

    /// What ends all other processes with this one, whoever has started them.
    fn hindrance_for_all(&self) -> Option<&'static str> {
        match &self.parent {
            _ if self.is_first => Some(FIRST),
            Some(name) if CONTAINER_INITS.contains(&name.as_str()) => Some(CHILD_OF_INIT),
            _ => None,
        }
    }
}

/// Why this process cannot start one that follows it; `is_forced`: a guess does not count.
pub(super) fn hindrance(is_forced: bool) -> Option<&'static str> {
    Surroundings::look().hindrance(is_forced)
}

/// Why no process can follow this one, whoever starts it.
pub(super) fn hindrance_for_all() -> Option<&'static str> {
    Surroundings::look().hindrance_for_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_a_shell() -> Surroundings {
        Surroundings { is_first: false, parent: None, is_service: false, can_tell: false }
    }

    #[test]
    fn only_who_would_end_the_node_is_in_the_way() {
        assert_eq!(at_a_shell().hindrance(false), None);
        let parent = |name: &str| Surroundings { parent: Some(name.into()), ..at_a_shell() };
        assert_eq!(parent("systemd").hindrance(false), None);
        for name in ["catatonit", "docker-init", "dumb-init", "podman-init", "tini", "tini-static"]
        {
            assert_eq!(parent(name).hindrance(true), Some(CHILD_OF_INIT), "{name}");
        }
        let first = Surroundings { is_first: true, can_tell: true, ..at_a_shell() };
        assert_eq!(first.hindrance(true), Some(FIRST));
        let service = Surroundings { is_service: true, ..parent("systemd") };
        assert_eq!(service.hindrance(false), Some(NOT_TOLD));
        assert_eq!(service.hindrance(true), None);
        // Somebody else's process outlives a service that is told nothing, and no container.
        assert_eq!(service.hindrance_for_all(), None);
        assert_eq!(parent("tini").hindrance_for_all(), Some(CHILD_OF_INIT));
        assert_eq!(first.hindrance_for_all(), Some(FIRST));
        assert_eq!(Surroundings { can_tell: true, ..service }.hindrance(false), None);
    }
}
