//! Work that takes as long as a volume or a name service likes, on threads that nobody else needs. A thread that hangs cannot be
//! ended: once its time is over it is left behind, and what it still comes to is nobody's.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Threads that may be left behind. Each holds its stack and perhaps a descriptor, and more of them would wait for the same.
const LEFT_BEHIND_MAX: usize = 4;

/// The threads.
#[derive(Default)]
pub(super) struct Aside {
    /// Each thread holds a clone.
    alive: Arc<()>,
}

/// A time by which work is done, or given up.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    end: Instant,
    time: Duration,
}

impl Deadline {
    /// In `time` from now.
    pub(super) fn after(time: Duration) -> Self {
        Self { end: Instant::now() + time, time }
    }

    /// What `future`, which waits for `what`, gives in time.
    ///
    /// # Errors
    /// In words for people: it is too late.
    async fn meet<T>(self, what: &str, future: impl Future<Output = T>) -> Result<T, String> {
        let seconds = self.time.as_secs();
        let met = timeout_at(self.end, future).await;
        met.map_err(|_| format!("{what}: no answer within {seconds} s"))
    }
}

impl Aside {
    /// Whether there may be one more thread, though all that were left behind hang still.
    ///
    /// # Errors
    /// In words for people.
    pub(super) fn has_room(&self) -> Result<(), String> {
        // One holder is this.
        let alive = Arc::strong_count(&self.alive) - 1;
        match alive < LEFT_BEHIND_MAX {
            true => Ok(()),
            false => Err(format!(
                "{alive} threads wait still for files or names that do not answer: see to their volume, or the name service, then \
                 reload; or restart"
            )),
        }
    }

    /// What `work`, which waits for the file `what`, gives until `deadline`; what it gives later is dropped.
    ///
    /// # Errors
    /// In words for people: it gave nothing.
    ///
    /// # Cancel safety
    /// Dropping it leaves the thread behind.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Deadline,
        what: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let hang = "its volume hangs, or it is a pipe with nobody at the other end";
        self.wait(deadline, what, hang, work).await
    }

    /// As [`run`](Self::run), for `work` that waits for the name in `what`.
    ///
    /// # Errors
    /// In words for people: it gave nothing.
    ///
    /// # Cancel safety
    /// Dropping it leaves the thread behind.
    pub(super) async fn resolve<T: Send + 'static>(
        &self,
        deadline: Deadline,
        what: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.wait(deadline, what, "the name service of this machine hangs", work).await
    }

    async fn wait<T: Send + 'static>(
        &self,
        deadline: Deadline,
        what: &str,
        hang: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let held = self.alive.clone();
        let task = spawn_blocking(move || {
            let _held = held;
            work()
        });
        let done = deadline.meet(what, task).await.map_err(|words| format!("{words}: {hang}"))?;
        done.map_err(|_| format!("{what}: it broke off"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

    use super::*;

    #[tokio::test]
    async fn what_hangs_is_left_behind_and_so_many_at_most() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // Whoever reads waits until this is dropped.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let writer = File::from(rustix::fs::open(&path, flags, Mode::empty()).unwrap());
        let aside = Aside::default();
        let read = async |time| {
            let path = path.clone();
            let read = move || std::fs::read(path).unwrap();
            aside.run(Deadline::after(time), "the pipe", read).await
        };
        for _ in 0..LEFT_BEHIND_MAX {
            aside.has_room().unwrap();
            let words = read(Duration::from_millis(20)).await.unwrap_err();
            assert!(words.contains("the pipe: no answer within 0 s"), "{words}");
        }
        let words = aside.has_room().unwrap_err();
        assert!(words.contains("4 threads"), "{words}");
        // They end when it answers.
        drop(writer);
        let patience = Duration::from_secs(60);
        let ended = async {
            while aside.has_room().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(patience, ended).await.expect("room again");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "word").unwrap();
        assert_eq!(read(patience).await.unwrap(), b"word");
    }
}
