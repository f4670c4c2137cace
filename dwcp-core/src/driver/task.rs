//! The driver on tokio: one task a session.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, unix};
use tokio::time::{Instant, Sleep};

use super::core::SessionCore;
use super::path_io::PathIo;
use super::receive::Received;
use super::turn::{ReadySet, SessionObserver, Turn};
use crate::link::{Readiness, Signal};
use crate::wire::PathId;

/// Turns before the task lets others run.
const TURNS: usize = 4;

/// Drives a session until it is over.
pub(crate) fn drive(
    core: Arc<SessionCore>,
    observer: Arc<dyn SessionObserver>,
) -> impl Future<Output = ()> + Send {
    let far = Instant::now() + std::time::Duration::from_secs(86_400);
    Task {
        turn: Turn::new(core, observer),
        waits: Vec::new(),
        sleep: Box::pin(tokio::time::sleep_until(far)),
    }
}

struct Task {
    turn: Turn,
    waits: Vec<Wait>,
    sleep: Pin<Box<Sleep>>,
}

/// How this task waits for one path.
struct Wait {
    path: PathId,
    rx: Source,
    /// `None`: the descriptor of `rx` serves both directions.
    tx: Option<Box<Source>>,
    is_readable: bool,
    /// The next turn reads it, but nothing calls for one: whoever has it does.
    is_set_aside: bool,
    is_writable: bool,
    is_blocked: bool,
}

enum Source {
    Fd(AsyncFd<Watched>),
    Signal(Arc<Signal>),
}

/// A descriptor, kept open while it is registered.
struct Watched(Arc<dyn AsFd + Send + Sync>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Source {
    fn new(readiness: &Readiness, interest: Interest) -> io::Result<Self> {
        Ok(match readiness {
            // Deprecated because a type may return another descriptor every time. `Watched` owns its own and
            // returns that one; the replacement wants an `unsafe` block for the same promise
            // (docs/decisions/0005-asyncfd.md).
            #[expect(deprecated, reason = "the safe constructor; see above")]
            Readiness::Fd(fd) => Self::Fd(AsyncFd::with_interest(Watched(fd.clone()), interest)?),
            Readiness::Signal(signal) => Self::Signal(signal.clone()),
        })
    }

    fn poll(&self, context: &mut Context<'_>, is_read: bool) -> Poll<()> {
        match self {
            Self::Signal(signal) => signal.poll(context),
            Self::Fd(fd) => {
                let guard: Poll<io::Result<unix::AsyncFdReadyGuard<'_, Watched>>> = if is_read {
                    fd.poll_read_ready(context)
                } else {
                    fd.poll_write_ready(context)
                };
                // An error means that the runtime shuts down: nothing will ever be ready.
                guard.map(drop)
            }
        }
    }

    /// The next `poll` waits for something new.
    fn clear(&self, is_read: bool) {
        if let Self::Fd(fd) = self {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let guard = if is_read {
                fd.poll_read_ready(&mut context)
            } else {
                fd.poll_write_ready(&mut context)
            };
            if let Poll::Ready(Ok(mut guard)) = guard {
                guard.clear_ready();
            }
        }
    }
}

impl Wait {
    fn new(path: &PathIo) -> io::Result<Self> {
        let is_shared = match (&path.rx_ready, &path.tx_ready) {
            (Readiness::Fd(rx), Readiness::Fd(tx)) => {
                rx.as_fd().as_raw_fd() == tx.as_fd().as_raw_fd()
            }
            _ => false,
        };
        let interest =
            if is_shared { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let tx =
            (!is_shared).then(|| Source::new(&path.tx_ready, Interest::WRITABLE).map(Box::new));
        Ok(Self {
            path: path.id,
            rx: Source::new(&path.rx_ready, interest)?,
            tx: tx.transpose()?,
            is_readable: true,
            is_set_aside: false,
            is_writable: false,
            is_blocked: false,
        })
    }
}

/// The waits of a task, as a turn asks for them.
struct Waits<'a>(&'a mut Vec<Wait>);

impl Waits<'_> {
    fn of(&mut self, path: &PathIo) -> Option<&mut Wait> {
        self.0.iter_mut().find(|wait| wait.path == path.id)
    }
}

impl ReadySet for Waits<'_> {
    fn is_readable(&mut self, path: &PathIo) -> bool {
        self.of(path).is_some_and(|wait| wait.is_readable)
    }

    fn will_read(&mut self, path: &PathIo) {
        if let Some(wait) = self.of(path) {
            // Before the read: what arrives after it is then noticed.
            wait.rx.clear(true);
        }
    }

    fn was_read(&mut self, path: &PathIo, received: Received) {
        if let Some(wait) = self.of(path) {
            wait.is_readable = received == Received::More;
            wait.is_set_aside = received.is_set_aside();
        }
    }

    fn is_writable(&mut self, path: &PathIo) -> bool {
        self.of(path).is_some_and(|wait| std::mem::take(&mut wait.is_writable))
    }

    fn forget(&mut self, path: &PathIo) {
        self.0.retain(|wait| wait.path != path.id);
    }
}

impl Task {
    /// Begins to wait for paths that are new.
    fn adopt(&mut self) {
        for path in self.turn.paths() {
            if self.waits.iter().any(|wait| wait.path == path.id) {
                continue;
            }
            match Wait::new(path) {
                Ok(wait) => {
                    self.waits.reserve_exact(1); // most sessions have one path
                    self.waits.push(wait);
                }
                Err(error) => {
                    tracing::error!(path = path.id.0, %error, "cannot watch the path's descriptor");
                    super::turn::cut(self.turn.core(), path);
                }
            }
        }
    }

    /// Registers for everything this task waits for. Returns whether something is ready already.
    fn arm(&mut self, context: &mut Context<'_>) -> bool {
        let mut is_ready = false;
        for wait in &mut self.waits {
            let is_watched = !wait.is_readable && !wait.is_set_aside;
            if is_watched && wait.rx.poll(context, true).is_ready() {
                wait.is_readable = true;
            }
            is_ready |= wait.is_readable;
            let path = self.turn.paths().iter().find(|path| path.id == wait.path);
            wait.is_blocked = path.is_some_and(|path| path.is_blocked.load(Ordering::SeqCst));
            if wait.is_blocked {
                let source = wait.tx.as_deref().unwrap_or(&wait.rx);
                if source.poll(context, false).is_ready() {
                    source.clear(false);
                    wait.is_writable = true;
                    is_ready = true;
                }
            }
        }
        let core = self.turn.core().clone();
        if core.wake.poll(context).is_ready() {
            return true;
        }
        let Some(deadline) = self.turn.deadline() else { return is_ready };
        let deadline = core.clock.instant(deadline);
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        is_ready | self.sleep.as_mut().poll(context).is_ready()
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        for _ in 0..TURNS {
            for wait in &mut this.waits {
                wait.is_readable |= std::mem::take(&mut wait.is_set_aside);
            }
            this.turn.turn(&mut Waits(&mut this.waits));
            this.adopt();
            if this.turn.is_done() {
                return Poll::Ready(());
            }
            if !this.arm(context) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // The runtime shuts down: the applications' waiting ends, too.
        self.waits.clear();
        self.turn.core().abandon();
    }
}
