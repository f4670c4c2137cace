//! Words to systemd: the notification protocol of sd_notify(3), spoken directly.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::debug;

/// Tells the service manager what the daemon does; silent without one.
pub(super) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// A notifier for the manager that `NOTIFY_SOCKET` names.
    pub(super) fn from_environment() -> Self {
        let name = std::env::var("NOTIFY_SOCKET").ok();
        Self { socket: name.and_then(|name| connect(&name)) }
    }

    /// The daemon takes work.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// A reload has begun; [`ready`](Self::ready) ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n"));
    }

    /// Another process is the daemon from now on.
    pub(super) fn main_pid(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}\n"));
    }

    /// The daemon is going.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining\n");
    }

    /// The daemon is alive.
    pub(super) fn watchdog(&self) {
        self.send("WATCHDOG=1\n");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            debug!(%error, "cannot notify the service manager");
        }
    }
}

fn connect(name: &str) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(name).ok()?,
    };
    Some((UnixDatagram::unbound().ok()?, address))
}

/// How often the manager wants to hear that the daemon lives: half of what it allows.
pub(super) fn watchdog_interval() -> Option<Duration> {
    let microseconds: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (is_watched() && microseconds > 1).then(|| Duration::from_micros(microseconds / 2))
}

/// Whether what is said of a watchdog in the environment is for this process.
pub(super) fn is_watched() -> bool {
    match std::env::var("WATCHDOG_PID") {
        Ok(pid) => pid.parse() == Ok(std::process::id()),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn words_reach_sockets_of_both_kinds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier { socket: connect(path.to_str().unwrap()) };
        notifier.ready("listening");
        assert_eq!(heard(&by_path), "READY=1\nSTATUS=listening\n");
        notifier.reloading();
        assert!(heard(&by_path).starts_with("RELOADING=1\nMONOTONIC_USEC="));

        let name = format!("dwcp-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        Notifier { socket: connect(&format!("@{name}")) }.stopping();
        assert!(heard(&by_name).starts_with("STOPPING=1"));
    }
}
