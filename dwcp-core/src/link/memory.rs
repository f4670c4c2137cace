//! An in-memory link: for `Endpoint::pair()` and tests.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Link, LinkAttributes, LinkFeatures, LinkReceiver, LinkSender, PathKind, Readiness, Signal,
};

/// Bytes a direction holds before it pushes back: as a socket buffer would.
const CAPACITY_BYTES: usize = 1 << 20;

/// One end of an in-memory stream.
pub struct MemoryLink {
    attributes: LinkAttributes,
    outgoing: Arc<Pipe>,
    incoming: Arc<Pipe>,
}

/// Two connected ends: reliable, ordered, trusted (nobody else sees this memory).
pub fn memory_pair() -> (MemoryLink, MemoryLink) {
    let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let end = |local: &str, remote: &str, outgoing: &Arc<Pipe>, incoming: &Arc<Pipe>| MemoryLink {
        attributes: LinkAttributes {
            kind: PathKind::Tcp,
            provider: "memory".into(),
            features: LinkFeatures::RELIABLE | LinkFeatures::ORDERED | LinkFeatures::TRUSTED_MEDIUM,
            local: local.into(),
            remote: remote.into(),
        },
        outgoing: outgoing.clone(),
        incoming: incoming.clone(),
    };
    (end("memory:a", "memory:b", &there, &back), end("memory:b", "memory:a", &back, &there))
}

#[derive(Default)]
struct Pipe {
    state: Mutex<PipeState>,
    readable: Arc<Signal>,
    writable: Arc<Signal>,
}

#[derive(Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    is_closed: bool,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.readable.raise();
        self.writable.raise();
    }
}

impl Link for MemoryLink {
    fn attributes(&self) -> &LinkAttributes {
        &self.attributes
    }

    fn split(self: Box<Self>) -> (Box<dyn LinkSender>, Box<dyn LinkReceiver>) {
        let sender = MemorySender { pipe: self.outgoing, back: self.incoming.clone() };
        (Box::new(sender), Box::new(MemoryReceiver { pipe: self.incoming }))
    }
}

struct MemorySender {
    pipe: Arc<Pipe>,
    back: Arc<Pipe>,
}

impl LinkSender for MemorySender {
    fn try_send(&mut self, records: &[u8]) -> io::Result<usize> {
        let mut state = self.pipe.lock();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = records.len().min(CAPACITY_BYTES - state.bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.bytes.extend(&records[..count]);
        drop(state);
        self.pipe.readable.raise();
        Ok(count)
    }

    fn readiness(&self) -> Readiness<'_> {
        Readiness::Signal(&self.pipe.writable)
    }

    fn shut_down(&mut self) {
        self.pipe.close();
        self.back.close();
    }
}

impl Drop for MemorySender {
    fn drop(&mut self) {
        self.shut_down();
    }
}

struct MemoryReceiver {
    pipe: Arc<Pipe>,
}

impl LinkReceiver for MemoryReceiver {
    fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.pipe.lock();
        let count = buffer.len().min(state.bytes.len());
        if count == 0 {
            let end = state.is_closed;
            return if end { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let (front, back) = state.bytes.as_slices();
        let first = count.min(front.len());
        buffer[..first].copy_from_slice(&front[..first]);
        buffer[first..count].copy_from_slice(&back[..count - first]);
        state.bytes.drain(..count);
        drop(state);
        self.pipe.writable.raise();
        Ok(count)
    }

    fn readiness(&self) -> Readiness<'_> {
        Readiness::Signal(&self.pipe.readable)
    }
}
