//! The room on the disk that incoming files may take, shared by all copies that come in at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tells how many bytes are free on the file system of a directory.
type Free = Box<dyn Fn(&OwnedFd) -> io::Result<u64> + Send + Sync>;

/// Puts on disk what a directory has.
type Settle = Box<dyn Fn(&OwnedFd) -> io::Result<()> + Send + Sync>;

/// Looks at the disk, and remembers what files under way have been promised of it.
pub struct Disk {
    free: Free,
    sync: Settle,
    promised_bytes: Mutex<u64>,
}

impl Default for Disk {
    fn default() -> Self {
        Self::new(|directory| {
            let disk = rustix::fs::fstatvfs(directory.as_fd())?;
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        })
    }
}

/// Room for a file. What is not used of it is given back when it is dropped.
pub(super) struct Promise {
    disk: Arc<Disk>,
    bytes: u64,
}

impl Disk {
    pub(super) fn new(free: impl Fn(&OwnedFd) -> io::Result<u64> + Send + Sync + 'static) -> Self {
        let sync = |directory: &OwnedFd| Ok(rustix::fs::fsync(directory)?);
        Self { free: Box::new(free), sync: Box::new(sync), promised_bytes: Mutex::new(0) }
    }

    /// A disk that has `sync` in place of the system's.
    #[cfg(test)]
    pub(super) fn with_sync(
        self,
        sync: impl Fn(&OwnedFd) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { sync: Box::new(sync), ..self }
    }

    /// The names in `directory` are on disk when it returns.
    pub(super) fn sync(&self, directory: &OwnedFd) -> io::Result<()> {
        (self.sync)(directory)
    }

    /// Bytes that are free above `keep_free_bytes`, whoever they are promised to.
    pub(super) fn left(&self, directory: &OwnedFd, keep_free_bytes: u64) -> io::Result<u64> {
        Ok((self.free)(directory)?.saturating_sub(keep_free_bytes))
    }

    /// The same without what is promised already.
    pub(super) fn room(&self, directory: &OwnedFd, keep_free_bytes: u64) -> io::Result<u64> {
        let left = self.left(directory, keep_free_bytes)?;
        Ok(left.saturating_sub(*self.lock()))
    }

    /// Promises `bytes`; what room there is if that is less.
    pub(super) fn promise(
        self: &Arc<Self>,
        directory: &OwnedFd,
        bytes: u64,
        keep_free_bytes: u64,
    ) -> io::Result<Result<Promise, u64>> {
        let left = self.left(directory, keep_free_bytes)?;
        let mut promised = self.lock();
        let room = left.saturating_sub(*promised);
        if bytes > room {
            return Ok(Err(room));
        }
        *promised += bytes;
        Ok(Ok(Promise { disk: Arc::clone(self), bytes }))
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.promised_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise {
    /// `bytes` of it have been written.
    pub(super) fn fulfil(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        *self.disk.lock() -= bytes;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        *self.disk.lock() -= self.bytes;
    }
}
