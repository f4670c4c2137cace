//! Network namespaces without a name: they are gone when the last process and descriptor in them is, whatever ends us.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// A new one, whose loopback device is up.
    ///
    /// # Errors
    /// What the kernel says; it wants root (`CAP_SYS_ADMIN`).
    pub fn new() -> io::Result<Self> {
        let file = on_a_thread(|| {
            // What makes it unsafe is to unshare descriptors, and this does not.
            #[expect(
                deprecated,
                reason = "its successor is unsafe for flags that are not used here"
            )]
            rustix::thread::unshare(UnshareFlags::NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })?;
        let namespace = Self(file);
        namespace.run(|| {
            // Router solicitations are packets, too, and nobody asked for them.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            let status = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            let status = status.map_err(|error| {
                io::Error::new(error.kind(), format!("ip: {error}; install iproute2"))
            })?;
            if status.success() {
                Ok(())
            } else {
                Err(io::Error::other("ip link set lo up failed"))
            }
        })?;
        Ok(namespace)
    }

    /// One that has a name, as `ip netns add` makes it, or a path.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(name: &str) -> io::Result<Self> {
        let path = if name.contains('/') { name.into() } else { format!("/run/netns/{name}") };
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
        File::open(&path).map(Self).map_err(told)
    }

    /// Calls `action` on a thread in the namespace. What it opens, binds or starts there stays in the namespace.
    ///
    /// # Errors
    /// Those of `action`, and of moving there.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_a_thread(|| {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(self.0.as_fd(), kind)?;
            action()
        })
    }

    /// Gives the namespace what a host for long fast paths has: buffers of TCP up to 33 MB, TCP fast open both ways, and
    /// `congestion_control` for all who do not choose one.
    ///
    /// # Errors
    /// What the kernel says; the words name the key.
    pub fn tune(&self, congestion_control: &str) -> io::Result<()> {
        self.run(|| {
            set("tcp_rmem", "4096 131072 33554432")?;
            set("tcp_wmem", "4096 65536 33554432")?;
            set("tcp_fastopen", "3")?;
            set("tcp_congestion_control", congestion_control).map_err(|error| {
                io::Error::new(error.kind(), format!(
                    "{error}; it has to be in net.ipv4.tcp_allowed_congestion_control (modprobe tcp_{congestion_control})"
                ))
            })
        })
    }

    /// Waits until something listens on TCP port `port`.
    ///
    /// # Errors
    /// If nothing does within `patience`.
    pub fn wait_listening(&self, port: u16, patience: Duration) -> io::Result<()> {
        let end = Instant::now() + patience;
        // 0A is LISTEN.
        let wanted = format!(":{port:04X} 00000000:0000 0A");
        self.run(|| {
            while !std::fs::read_to_string("/proc/thread-self/net/tcp")?.contains(&wanted) {
                if Instant::now() > end {
                    let message = format!("nothing listens on port {port} after {patience:?}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
    }
}

fn set(key: &str, value: &str) -> io::Result<()> {
    // It is the namespace of the thread that looks.
    let path = Path::new("/proc/sys/net/ipv4").join(key);
    std::fs::write(&path, value).map_err(|error| {
        io::Error::new(error.kind(), format!("{} = {value}: {error}", path.display()))
    })
}

/// The namespace of a thread that ends is nobody else's: no thread comes back from where it was.
fn on_a_thread<T: Send>(action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, action)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
