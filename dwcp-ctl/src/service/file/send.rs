//! `file/1` at the sender.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use dwcp_core::{ChannelOptions, Priority, Receiver, Sender, Session};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::limit::RateLimit;
use super::read::SourceReader;
use super::{Begin, DATA_BYTES_MAX, Frame, Reply, Source, VERSION, Walk};
use crate::service::{ServiceError, labels, receive_json};

/// Messages between the disk and the network.
const QUEUE: usize = 8;

/// How a copy is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Whether frames may be compressed.
    pub compress: bool,
    /// The receiver reads each file back from its disk before the file gets its name.
    pub verify: bool,
    /// So many bytes of files a second at most, before compression.
    pub limit_bytes_per_second: Option<u64>,
}

/// How far a copy has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Bytes handed to the session, or at the receiver already.
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
    /// Directories without files that were made; the others came with their files.
    #[serde(default)]
    pub directories: u64,
    /// Symbolic links that were made.
    #[serde(default)]
    pub links: u64,
    /// What is no file, directory or link that can be sent. It was left out.
    #[serde(default)]
    pub skipped: Vec<LeftOut>,
    /// What could not be read, or was refused by the receiver. The rest went on.
    #[serde(default)]
    pub failed: Vec<LeftOut>,
    /// Bytes handed to the session, or at the receiver already.
    pub bytes: u64,
    /// Of these, bytes that were there already.
    #[serde(default)]
    pub bytes_resumed: u64,
    /// From the first message to the last confirmation.
    pub seconds: f64,
    /// Those handed to the session, by `seconds`.
    pub bytes_per_second: f64,
    /// Times the session moved to a new connection meanwhile.
    pub reconnects: u64,
}

/// Something that was not copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name at the receiver, or its path here if it has none.
    pub name: String,
    /// Why, for people.
    pub message: String,
}

impl LeftOut {
    pub(super) fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }
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
    /// Bytes of it that were there before this copy; all of them: the file was not sent.
    #[serde(default)]
    pub resumed_bytes: u64,
}

/// Sends what `walk` has found over `session` to `directory` and waits until each is confirmed.
///
/// # Errors
/// [`ServiceError`] for what ends the copy: files that were confirmed stay, no other appears under its name. What
/// concerns one file is in the report.
///
/// # Cancel safety
/// Dropping it ends the copy: the receiver keeps what it has of the file under way, hidden, for the next one.
pub async fn send(
    session: &Session,
    walk: Walk,
    directory: &str,
    options: CopyOptions,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<CopyReport, ServiceError> {
    let start = Instant::now();
    let before = session.stats();
    let Walk { sources, skipped, failed } = walk;
    let mut confirming = Confirming::new(&sources, failed);
    let channel_options = ChannelOptions { priority: Priority::Bulk, compress: options.compress };
    let channel = session.open(labels::FILE, channel_options);
    let channel = channel.map_err(|error| ServiceError::Channel(crate::exit::chain(&error)))?;
    let (mut sender, mut receiver) = channel.split();
    let (files, bytes) = (confirming.state.files_total, confirming.state.bytes_total);
    let directory = directory.to_owned();
    let (version, verify) = (VERSION, options.verify);
    let begin = Begin { directory: directory.clone(), files, bytes, version, verify };
    sender.send(Frame::Begin(begin).encode()).await?;
    let (version, room_bytes) = match receive_json(&mut receiver).await? {
        Reply::Ready { version, room_bytes } => (version.min(VERSION), room_bytes),
        Reply::Failed { message } => return Err(ServiceError::Refused(message)),
        _ => return Err(ServiceError::Malformed("an answer too early".into())),
    };
    if options.verify && version < 2 {
        let message = "the receiver is of a version that cannot verify: leave out --verify, or install this version there";
        return Err(ServiceError::Refused(message.into()));
    }
    let (to_network, from_disk) = mpsc::channel(QUEUE);
    let (to_disk, replies) = mpsc::unbounded_channel();
    let (failures, mut failed) = mpsc::unbounded_channel();
    let (note, mut sent) = mpsc::unbounded_channel();
    let limit = options.limit_bytes_per_second;
    let piece_bytes = limit.map_or(DATA_BYTES_MAX, RateLimit::piece_bytes);
    let reader = SourceReader::new(version, piece_bytes, to_network, replies, failures);
    let place = format!("{}:{directory}", session.peer_id());
    let disk = tokio::task::spawn_blocking(move || reader.run(sources, room_bytes, &place));
    let sending = push(&mut sender, from_disk, note, limit.map(RateLimit::new));
    let receiving = async {
        // Dropped with it: the reader need not wait for an answer that nobody takes.
        let to_disk = to_disk;
        confirming.run(&mut receiver, &mut sent, &mut failed, &to_disk, progress).await
    };
    let result = tokio::try_join!(sending, receiving).map(|_| ());
    // The disk's own error says more than the broken channel it led to.
    match disk.await {
        Ok(Err(error)) => return Err(error),
        _ => result?,
    }
    let seconds = start.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    let Confirming { state, files, links, directories, failed, bytes_resumed, .. } = confirming;
    let bytes_sent = state.bytes - bytes_resumed;
    Ok(CopyReport {
        schema: "dwcp.copy/v1".into(),
        peer: session.peer_id().into(),
        directory,
        files,
        directories,
        links,
        skipped,
        failed,
        bytes: state.bytes,
        bytes_resumed,
        seconds,
        bytes_per_second: (bytes_sent as f64 / seconds).round(),
        reconnects: session.stats().reconnects_total - before.reconnects_total,
    })
}

/// From the disk to the session.
async fn push(
    sender: &mut Sender,
    mut from_disk: mpsc::Receiver<Vec<u8>>,
    note: mpsc::UnboundedSender<u64>,
    mut limit: Option<RateLimit>,
) -> Result<(), ServiceError> {
    while let Some(message) = from_disk.recv().await {
        let bytes = match Frame::decode(&message) {
            Ok(Frame::Data(data)) => data.len() as u64,
            _ => 0,
        };
        if let Some(limit) = &mut limit {
            limit.take(bytes).await;
        }
        sender.send(message).await?;
        let _ = note.send(bytes);
    }
    sender.finish();
    Ok(())
}

/// What the receiver has confirmed, and what it has not yet said a word about.
struct Confirming {
    state: CopyProgress,
    /// Names of files, directories and links whose end is not known.
    pending: HashSet<String>,
    /// Which of them are links.
    pending_links: HashSet<String>,
    /// What the receiver says it has of a file, and whether that is right.
    held: HashMap<String, (u64, bool)>,
    files: Vec<CopyResult>,
    links: u64,
    directories: u64,
    failed: Vec<LeftOut>,
    bytes_resumed: u64,
}

impl Confirming {
    fn new(sources: &[Source], failed: Vec<LeftOut>) -> Self {
        let names = |wanted: fn(&Source) -> bool| {
            sources.iter().filter(move |one| wanted(one)).map(|one| one.name.clone())
        };
        let state = CopyProgress {
            bytes: 0,
            bytes_total: sources.iter().map(Source::bytes).sum(),
            files: 0,
            files_total: names(Source::is_file).count() as u64,
        };
        Self {
            state,
            pending: names(|_| true).collect(),
            pending_links: names(Source::is_link).collect(),
            held: HashMap::new(),
            files: Vec::new(),
            links: 0,
            directories: 0,
            failed,
            bytes_resumed: 0,
        }
    }

    /// Takes the receiver's words until the end of everything is known, and passes them on to the disk.
    async fn run(
        &mut self,
        receiver: &mut Receiver,
        sent: &mut mpsc::UnboundedReceiver<u64>,
        failed: &mut mpsc::UnboundedReceiver<LeftOut>,
        to_disk: &mpsc::UnboundedSender<Reply>,
        progress: &mut (dyn FnMut(CopyProgress) + Send),
    ) -> Result<(), ServiceError> {
        progress(self.state.clone());
        while !self.pending.is_empty() {
            tokio::select! {
                message = receiver.recv() => {
                    let message = message?.ok_or_else(|| ServiceError::Malformed("an early end".into()))?;
                    let reply = crate::service::parse(&message)?;
                    self.take(&reply)?;
                    // A reader that has ended waits for nothing.
                    let _ = to_disk.send(reply);
                }
                Some(bytes) = sent.recv() => self.state.bytes += bytes,
                Some(left_out) = failed.recv() => self.fail(left_out),
            }
            progress(self.state.clone());
        }
        while let Ok(bytes) = sent.try_recv() {
            self.state.bytes += bytes;
        }
        progress(self.state.clone());
        Ok(())
    }

    fn take(&mut self, reply: &Reply) -> Result<(), ServiceError> {
        let unknown = |name: &str| ServiceError::Malformed(format!("a word about `{name}`"));
        match reply {
            Reply::Has { name, bytes } if *bytes > 0 => {
                self.held.insert(name.clone(), (*bytes, false));
            }
            Reply::Same { name } => {
                let (bytes, is_same) = self.held.get_mut(name).ok_or_else(|| unknown(name))?;
                *is_same = true;
                self.bytes_resumed += *bytes;
                self.state.bytes += *bytes;
            }
            Reply::Differs { name } => drop(self.held.remove(name)),
            Reply::Saved { name, bytes, sha256 } => {
                if !self.pending.remove(name) {
                    return Err(unknown(name));
                }
                let (resumed_bytes, is_counted) = self.held.remove(name).unwrap_or((0, true));
                if !is_counted {
                    self.bytes_resumed += resumed_bytes;
                    self.state.bytes += resumed_bytes;
                }
                let (name, bytes, sha256) = (name.clone(), *bytes, sha256.clone());
                self.files.push(CopyResult { name, bytes, sha256, resumed_bytes });
                self.state.files += 1;
            }
            Reply::Made { name } => {
                if !self.pending.remove(name) {
                    return Err(unknown(name));
                }
                match self.pending_links.remove(name) {
                    true => self.links += 1,
                    false => self.directories += 1,
                }
            }
            Reply::Refused { name, message } => self.fail(LeftOut::new(name, message)),
            Reply::Failed { message } => return Err(ServiceError::Refused(message.clone())),
            Reply::Has { .. } | Reply::Ready { .. } => {}
        }
        Ok(())
    }

    /// Both ends may give the same file up.
    fn fail(&mut self, left_out: LeftOut) {
        if self.pending.remove(&left_out.name) {
            self.held.remove(&left_out.name);
            self.failed.push(left_out);
        }
    }
}
