//! Lines that a thread of their own writes: a disk that is full or hangs, or a pipe that nobody reads, holds up nobody
//! else. What does not arrive is counted.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that may wait for their thread.
const WAITING_MAX: usize = 4_096;
/// How long lines that wait still may take when no more come.
const END: Duration = Duration::from_secs(1);
/// Threads of one kind. There is one for the present file, and those before it write what waited for them: more than
/// that, and their volume hangs.
const THREADS_MAX: usize = 8;

/// Where lines go.
pub(super) trait Sink: Send + 'static {
    /// Writes a line with its end, for as long as it takes.
    fn put(&mut self, line: &[u8]) -> io::Result<()>;
}

/// A file that begins each line on a line of its own: a full disk may have taken a part of the one before.
pub(super) struct LineFile<W> {
    inner: W,
    is_torn: bool,
}

impl<W: io::Write> LineFile<W> {
    /// Writes to `inner`, which ends in the middle of a line if it `is_torn`.
    pub(super) fn new(inner: W, is_torn: bool) -> Self {
        Self { inner, is_torn }
    }

    pub(super) fn get(&self) -> &W {
        &self.inner
    }
}

impl<W: io::Write + Send + 'static> Sink for LineFile<W> {
    // The part of a line stays where it is: between looking and cutting it off, another process of the node, which drains,
    // may have written behind it.
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        let begun;
        let mut rest = line;
        if self.is_torn {
            begun = [b"\n", line].concat();
            rest = &begun;
        }
        while !rest.is_empty() {
            match self.inner.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.is_torn = rest[count - 1] != b'\n';
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.inner.flush()
    }
}

/// What became of lines.
#[derive(Default)]
pub(super) struct Tally(Mutex<Counts>);

/// The same at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Not written yet.
    pub(super) waiting: u64,
    /// Never to be written, and why the last of them was not.
    pub(super) lost: u64,
    pub(super) reason: String,
    /// Since when the line at the front is being written.
    pub(super) since: Option<Instant>,
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// So many more are lost.
    pub(super) fn lose(&self, lines: u64, reason: &str) {
        let mut counts = self.lock();
        counts.lost += lines;
        counts.reason = reason.to_owned();
    }

    fn begin(&self) {
        self.lock().since = Some(Instant::now());
    }

    fn finish(&self, result: io::Result<()>) {
        let mut counts = self.lock();
        counts.since = None;
        counts.waiting -= 1;
        if let Err(error) = result {
            counts.lost += 1;
            counts.reason = error.to_string();
        }
    }

    /// Held for moments, never while something is written.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads of one kind: each opening of a file has its own, so that one that hangs does not keep the next from being
/// written.
pub(super) struct LineThreads {
    name: &'static str,
    /// Each thread holds a clone.
    alive: Arc<()>,
}

impl LineThreads {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, alive: Arc::default() }
    }

    /// Starts a thread that writes to `sink`, and keeps the `tally`.
    ///
    /// # Errors
    /// If the system has no thread to spare, or too many hang already.
    pub(super) fn start(&self, mut sink: impl Sink, tally: Arc<Tally>) -> io::Result<LineThread> {
        // One holder is this.
        if Arc::strong_count(&self.alive) > THREADS_MAX {
            let words = format!("{THREADS_MAX} files before it are being written still");
            return Err(io::Error::other(format!("{words}: their volume hangs")));
        }
        let (lines, waiting) = sync_channel::<Vec<u8>>(WAITING_MAX);
        let (end, ended) = sync_channel(0);
        let (alive, kept) = (self.alive.clone(), tally.clone());
        let write = move || {
            let _held = (alive, end);
            for line in waiting {
                kept.begin();
                kept.finish(sink.put(&line));
            }
        };
        std::thread::Builder::new().name(self.name.into()).spawn(write)?;
        Ok(LineThread { lines, ended, tally })
    }
}

/// A thread that writes lines. Dropping it lets it write what waits, and end.
pub(super) struct LineThread {
    lines: SyncSender<Vec<u8>>,
    /// Closes when the thread ends.
    ended: Receiver<()>,
    tally: Arc<Tally>,
}

impl LineThread {
    /// Hands it `line`; whether there was room. Never blocks.
    pub(super) fn put(&self, line: Vec<u8>) -> bool {
        // Before the thread can have written it.
        self.tally.lock().waiting += 1;
        let is_taken = self.lines.try_send(line).is_ok();
        if !is_taken {
            self.tally.lock().waiting -= 1;
            self.tally.lose(1, "lines came faster than they could be written");
        }
        is_taken
    }

    /// Waits a while until all is written; how many lines are not.
    pub(super) fn end(self) -> u64 {
        let Self { lines, ended, tally } = self;
        drop(lines);
        match ended.recv_timeout(END) {
            Err(RecvTimeoutError::Timeout) => tally.counts().waiting,
            _ => 0,
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a disk with `room`.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room - self.bytes.len());
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_found_no_room_spoils_no_other() {
        let lines = ["one\n", "another\n", "third\n"];
        let most = lines.concat().len() + 2;
        for room in 0..=most {
            let mut file = LineFile::new(Disk { bytes: Vec::new(), room }, false);
            let kept: Vec<_> =
                lines.iter().filter(|line| file.put(line.as_bytes()).is_ok()).collect();
            file.inner.room = usize::MAX;
            file.put(b"last\n").unwrap();
            let text = String::from_utf8(file.inner.bytes).unwrap();
            let whole: Vec<_> = text.split_inclusive('\n').collect();
            assert_eq!(whole.last(), Some(&"last\n"), "{room}: {text:?}");
            assert!(kept.iter().all(|line| whole.contains(*line)), "{room}: {kept:?} in {text:?}");
            let is_known = |line: &str| {
                line == "last\n" || lines.iter().any(|known| known.starts_with(line.trim_end()))
            };
            assert!(whole.iter().all(|line| is_known(line)), "{room}: {text:?}");
        }
        let mut file = LineFile::new(Vec::new(), true);
        file.put(b"one\n").unwrap();
        assert_eq!(file.inner, b"\none\n", "it was opened in the middle of a line");
    }

    /// Writes when it is allowed to.
    struct Held(Receiver<()>);

    impl Sink for Held {
        fn put(&mut self, _: &[u8]) -> io::Result<()> {
            self.0.recv().map_err(io::Error::other)
        }
    }

    #[test]
    fn a_line_that_hangs_holds_up_nobody_and_what_finds_no_room_is_counted() {
        let (allow, held) = sync_channel(0);
        let (threads, tally) = (LineThreads::new("held"), Arc::<Tally>::default());
        let thread = threads.start(Held(held), tally.clone()).unwrap();
        assert!(thread.put(b"one\n".to_vec()));
        while tally.counts().since.is_none() {
            std::thread::yield_now();
        }
        let taken = (0..WAITING_MAX + 7).filter(|_| thread.put(b"more\n".to_vec())).count();
        assert_eq!(taken, WAITING_MAX);
        let counts = tally.counts();
        assert_eq!((counts.waiting, counts.lost), (WAITING_MAX as u64 + 1, 7), "{counts:?}");
        assert!(counts.reason.contains("faster"), "{counts:?}");
        // The end does not wait for it for ever, and it goes on when it can.
        assert_eq!(thread.end(), WAITING_MAX as u64 + 1);
        for _ in 0..WAITING_MAX + 1 {
            allow.send(()).unwrap();
        }
        while tally.counts().waiting > 0 {
            std::thread::yield_now();
        }
        assert_eq!(tally.counts().lost, 7);
    }

    #[test]
    fn threads_that_hang_have_a_number() {
        let threads = LineThreads::new("held");
        let (allow, mut held) = (Vec::new(), Vec::new());
        let mut allow = allow;
        for _ in 0..THREADS_MAX {
            let (permit, permitted) = sync_channel::<()>(0);
            allow.push(permit);
            let thread = threads.start(Held(permitted), Arc::default()).unwrap();
            assert!(thread.put(b"one\n".to_vec()));
            held.push(thread);
        }
        let refused = threads.start(Held(sync_channel(0).1), Arc::default());
        assert!(refused.err().unwrap().to_string().contains("hangs"));
        drop(allow);
        for thread in held {
            assert_eq!(thread.end(), 0);
        }
        while threads.start(Held(sync_channel(0).1), Arc::default()).is_err() {
            std::thread::yield_now();
        }
    }
}
