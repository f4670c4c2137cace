//! `file/1` at the sender.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use dwcp_core::{ChannelOptions, Priority, Receiver, Sender, Session};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::intake::hex;
use super::{Begin, DATA_BYTES_MAX, Directory, End, FileHead, Frame, Reply, Source};
use crate::service::{ServiceError, labels, receive_json};

/// Messages between the disk and the network.
const QUEUE: usize = 8;

/// How far a copy has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Bytes handed to the session.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Files the receiver has confirmed.
    pub files: u64,
    /// Files in all.
    pub files_total: u64,
}

/// What came of a copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyReport {
    /// `dwcp.copy/v1`.
    pub schema: String,
    /// The receiver.
    pub peer: String,
    /// Where the files went, below the receiver's directory.
    pub directory: String,
    /// Each file, as the receiver confirmed it.
    pub files: Vec<CopyResult>,
    /// Empty directories that were made; the others came with their files.
    #[serde(default)]
    pub directories: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// From the first message to the last confirmation.
    pub seconds: f64,
    /// `bytes / seconds`.
    pub bytes_per_second: f64,
    /// Times the session moved to a new connection meanwhile.
    pub reconnects: u64,
}

/// One file at the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyResult {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its checksum, computed by both ends.
    pub sha256: String,
}

/// Sends `sources` over `session` to `directory` and waits until each is confirmed.
///
/// # Errors
/// [`ServiceError`]: files that were confirmed stay, no other appears under its name.
///
/// # Cancel safety
/// Dropping it ends the copy: the receiver removes the file under way.
pub async fn send(
    session: &Session,
    sources: Vec<Source>,
    directory: &str,
    compress: bool,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<CopyReport, ServiceError> {
    let start = Instant::now();
    let before = session.stats();
    let bytes_total = sources.iter().map(|source| source.bytes).sum();
    let directories = sources.iter().filter(|source| source.is_directory).count() as u64;
    let files_total = sources.len() as u64 - directories;
    let options = ChannelOptions { priority: Priority::Bulk, compress };
    let channel = session.open(labels::FILE, options);
    let channel = channel.map_err(|error| ServiceError::Channel(crate::exit::chain(&error)))?;
    let (mut sender, mut receiver) = channel.split();
    let begin = Begin { directory: directory.to_owned(), files: files_total, bytes: bytes_total };
    sender.send(Frame::Begin(begin).encode()).await?;
    match receive_json(&mut receiver).await? {
        Reply::Ready => {}
        Reply::Failed { message } => return Err(ServiceError::Refused(message)),
        Reply::Saved { .. } | Reply::Made { .. } => {
            return Err(ServiceError::Malformed("a file saved too early".into()));
        }
    }
    let (to_network, from_disk) = mpsc::channel(QUEUE);
    let disk = tokio::task::spawn_blocking(move || read_all(&sources, &to_network));
    let mut files = Vec::new();
    let mut state = CopyProgress { bytes: 0, bytes_total, files: 0, files_total };
    let (note, notes) = mpsc::unbounded_channel();
    let sending = push(&mut sender, from_disk, note);
    let receiving = confirm(&mut receiver, notes, directories, &mut state, &mut files, progress);
    let result = tokio::try_join!(sending, receiving).map(|_| ());
    // The disk's own error says more than the broken channel it led to.
    match disk.await {
        Ok(Err(error)) => return Err(error),
        _ => result?,
    }
    let seconds = start.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    Ok(CopyReport {
        schema: "dwcp.copy/v1".into(),
        peer: session.peer_id().into(),
        directory: directory.into(),
        directories,
        bytes: state.bytes,
        seconds,
        bytes_per_second: (state.bytes as f64 / seconds).round(),
        reconnects: session.stats().reconnects_total - before.reconnects_total,
        files,
    })
}

/// From the disk to the session.
async fn push(
    sender: &mut Sender,
    mut from_disk: mpsc::Receiver<Vec<u8>>,
    note: mpsc::UnboundedSender<u64>,
) -> Result<(), ServiceError> {
    while let Some(message) = from_disk.recv().await {
        let bytes = data_bytes(&message);
        sender.send(message).await?;
        let _ = note.send(bytes);
    }
    sender.finish();
    Ok(())
}

fn data_bytes(message: &[u8]) -> u64 {
    match Frame::decode(message) {
        Ok(Frame::Data(data)) => data.len() as u64,
        _ => 0,
    }
}

/// Takes the receiver's words until every file, and each of `directories`, is confirmed.
async fn confirm(
    receiver: &mut Receiver,
    mut notes: mpsc::UnboundedReceiver<u64>,
    mut directories: u64,
    state: &mut CopyProgress,
    files: &mut Vec<CopyResult>,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<(), ServiceError> {
    progress(state.clone());
    while state.files < state.files_total || directories > 0 {
        tokio::select! {
            message = receiver.recv() => {
                let message = message?.ok_or_else(|| ServiceError::Malformed("an early end".into()))?;
                match crate::service::parse(&message)? {
                    Reply::Saved { name, bytes, sha256 } => {
                        files.push(CopyResult { name, bytes, sha256 });
                        state.files += 1;
                    }
                    Reply::Made { .. } => directories = directories.saturating_sub(1),
                    Reply::Failed { message } => return Err(ServiceError::Refused(message)),
                    Reply::Ready => {}
                }
            }
            Some(bytes) = notes.recv() => state.bytes += bytes,
        }
        progress(state.clone());
    }
    while let Ok(bytes) = notes.try_recv() {
        state.bytes += bytes;
    }
    progress(state.clone());
    Ok(())
}

/// Reads and hashes every file, on a thread that may block.
fn read_all(sources: &[Source], to_network: &mpsc::Sender<Vec<u8>>) -> Result<(), ServiceError> {
    for source in sources {
        if source.is_directory {
            let directory = Directory { name: source.name.clone() };
            if to_network.blocking_send(Frame::Directory(directory).encode()).is_err() {
                return Ok(()); // the network gave up; it says why
            }
            continue;
        }
        let failed = |error: io::Error| ServiceError::Io {
            what: format!("{}: cannot read", source.path.display()),
            source: error,
        };
        let mut file = File::open(&source.path).map_err(failed)?;
        let head = FileHead { name: source.name.clone(), bytes: source.bytes, mode: source.mode };
        let mut hash = Sha256::new();
        let mut left = source.bytes;
        if to_network.blocking_send(Frame::File(head).encode()).is_err() {
            return Ok(()); // the network gave up; it says why
        }
        while left > 0 {
            let want = left.min(DATA_BYTES_MAX as u64);
            let mut buffer = Frame::data_buffer(want as usize);
            let got = (&mut file).take(want).read_to_end(&mut buffer).map_err(failed)?;
            if got == 0 {
                return Err(failed(io::Error::other("became shorter while it was sent")));
            }
            hash.update(&buffer[1..]);
            left -= got as u64;
            if to_network.blocking_send(buffer).is_err() {
                return Ok(());
            }
        }
        let end = End { sha256: hex(&hash.finalize()) };
        if to_network.blocking_send(Frame::End(end).encode()).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
