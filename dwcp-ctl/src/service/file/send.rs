//! `file/1` at the sender.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dwcp_core::{ChannelOptions, Priority, Receiver, Sender, Session};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::limit::RateLimit;
use super::read::{Note, SourceReader};
use super::{Begin, DATA_BYTES_MAX, Frame, Reply, Source, VERSION, Walk};
use crate::service::{ServiceError, labels, receive_json, words_of_peer};

/// Messages between the disk and the network.
const QUEUE: usize = 8;
/// The most that a receiver says about refusals in one copy, bytes: what it is not told more of fails without words.
const WORDS_BYTES_MAX: usize = 16 << 20;

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
    /// Bytes read to be compared with what the receiver has, whose answer is not there yet.
    #[serde(default)]
    pub bytes_compared: u64,
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
    let mut account = Account::new(&sources, failed);
    let channel_options = ChannelOptions { priority: Priority::Bulk, compress: options.compress };
    let channel = session.open(labels::FILE, channel_options);
    let channel = channel.map_err(|error| ServiceError::Channel(crate::exit::chain(&error)))?;
    let (mut sender, mut receiver) = channel.split();
    let begin = account.begin(directory, options.verify);
    let directory = directory.to_owned();
    let (version, room_bytes) = greet(&mut sender, &mut receiver, begin).await?;
    let (to_network, from_disk) = mpsc::channel(QUEUE);
    let (to_disk, replies) = mpsc::unbounded_channel();
    let (notes, mut noted) = mpsc::unbounded_channel();
    let (note, mut sent) = mpsc::unbounded_channel();
    let messages = AtomicU64::new(0);
    let limit = options.limit_bytes_per_second;
    let piece_bytes = limit.map_or(DATA_BYTES_MAX, RateLimit::piece_bytes);
    let reader = SourceReader::new(version, piece_bytes, to_network, replies, notes);
    let place = format!("{}:{directory}", session.peer_id());
    let names = sources.iter().map(|source| source.name.clone()).collect();
    let disk = tokio::task::spawn_blocking(move || reader.run(sources, room_bytes, &place));
    let sending = push(&mut sender, from_disk, note, &messages, limit.map(RateLimit::new));
    let accounting = async {
        let listening = listen(&mut receiver, names, to_disk, &messages);
        let noting = account.run(&mut noted, &mut sent, progress);
        // When the reader has ended nothing is left to be heard.
        tokio::select! {
            biased;
            () = noting => Ok(()),
            broken = listening => broken,
        }
    };
    let result = tokio::try_join!(sending, accounting).map(|_| ());
    // The disk's own error says more than the broken channel it led to. What it had to say to the network it cannot say
    // any more, and it looks at that after each piece: this is not long.
    match disk.await {
        Ok(Err(error)) => return Err(error),
        _ => result?,
    }
    if account.pending > 0 {
        // The reader ends early only with an error.
        return Err(ServiceError::Malformed(format!("no word about {} files", account.pending)));
    }
    let seconds = start.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    let Account { state, files, links, directories, failed, bytes_resumed, .. } = account;
    let bytes_sent = state.bytes.saturating_sub(bytes_resumed);
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

/// Begins the copy. Returns the version that both ends speak, and the receiver's room if it tells that.
async fn greet(
    sender: &mut Sender,
    receiver: &mut Receiver,
    begin: Begin,
) -> Result<(u32, Option<u64>), ServiceError> {
    let verify = begin.verify;
    sender.send(Frame::Begin(begin).encode()).await?;
    let (version, room_bytes) = match receive_json(receiver).await? {
        Reply::Ready { version, room_bytes } => (version.min(VERSION), room_bytes),
        Reply::Failed { message } => return Err(ServiceError::Refused(words_of_peer(&message))),
        _ => return Err(ServiceError::Malformed("an answer too early".into())),
    };
    if verify && version < 2 {
        let message = "the receiver is of a version that cannot verify: leave out --verify, or install this version there";
        return Err(ServiceError::Refused(message.into()));
    }
    Ok((version, room_bytes))
}

/// From the disk to the session.
async fn push(
    sender: &mut Sender,
    mut from_disk: mpsc::Receiver<Vec<u8>>,
    note: mpsc::UnboundedSender<u64>,
    messages: &AtomicU64,
    mut limit: Option<RateLimit>,
) -> Result<(), ServiceError> {
    while let Some(message) = from_disk.recv().await {
        let data_bytes = match Frame::decode(&message) {
            Ok(Frame::Data(data)) => Some(data.len() as u64),
            _ => None,
        };
        let bytes = data_bytes.unwrap_or(0);
        if let Some(limit) = &mut limit {
            limit.take(bytes).await;
        }
        // A file that is refused is so once, in answer to its beginning, its data or its end: data adds no answer.
        if data_bytes.is_none() {
            messages.fetch_add(1, Ordering::Relaxed);
        }
        sender.send(message).await?;
        let _ = note.send(bytes);
    }
    sender.finish();
    Ok(())
}

/// Passes the receiver's words on to the disk, until it breaks off. The disk may take them later: there are no more of
/// them than messages were sent that have an answer, each about something that is being copied, and short.
async fn listen(
    receiver: &mut Receiver,
    names: HashSet<String>,
    to_disk: mpsc::UnboundedSender<Reply>,
    messages: &AtomicU64,
) -> Result<(), ServiceError> {
    let (mut replies, mut words_left) = (0, WORDS_BYTES_MAX);
    loop {
        let Some(message) = receiver.recv().await? else {
            // The disk sees that nothing more comes, and says what that leaves.
            drop(to_disk);
            return std::future::pending().await;
        };
        let mut reply: Reply = crate::service::parse(&message)?;
        replies += 1;
        if let Reply::Refused { message, .. } | Reply::Failed { message } = &mut reply {
            *message = words_of_peer(message);
            match words_left.checked_sub(message.len()) {
                Some(left) => words_left = left,
                None => "refused, as were many before".clone_into(message),
            }
        }
        let is_about_us = reply.name().is_none_or(|name| names.contains(name));
        let is_hash = |sha256: &str| sha256.len() == 64;
        let is_short = !matches!(&reply, Reply::Saved { sha256, .. } if !is_hash(sha256));
        if !is_about_us || !is_short || replies > messages.load(Ordering::Relaxed) {
            return Err(ServiceError::Malformed("an answer that nobody asked for".into()));
        }
        if let Reply::Failed { message } = reply {
            // At once: the disk may wait until the receiver takes what it never will.
            return Err(ServiceError::Refused(message));
        }
        // A reader that has ended has said why.
        let _ = to_disk.send(reply);
    }
}

/// What has come of everything that is copied.
struct Account {
    state: CopyProgress,
    /// Files, directories and links whose end is not known.
    pending: usize,
    files: Vec<CopyResult>,
    links: u64,
    directories: u64,
    failed: Vec<LeftOut>,
    bytes_resumed: u64,
}

impl Account {
    fn new(sources: &[Source], failed: Vec<LeftOut>) -> Self {
        let state = CopyProgress {
            bytes: 0,
            bytes_compared: 0,
            bytes_total: sources.iter().map(Source::bytes).sum(),
            files: 0,
            files_total: sources.iter().filter(|source| source.is_file()).count() as u64,
        };
        let (links, directories, bytes_resumed) = (0, 0, 0);
        let (pending, files) = (sources.len(), Vec::new());
        Self { state, pending, files, links, directories, failed, bytes_resumed }
    }

    /// What the receiver is told first.
    fn begin(&self, directory: &str, verify: bool) -> Begin {
        let (files, bytes) = (self.state.files_total, self.state.bytes_total);
        Begin { directory: directory.to_owned(), files, bytes, version: VERSION, verify }
    }

    /// Takes notes until the reader ends.
    async fn run(
        &mut self,
        noted: &mut mpsc::UnboundedReceiver<Note>,
        sent: &mut mpsc::UnboundedReceiver<u64>,
        progress: &mut (dyn FnMut(CopyProgress) + Send),
    ) {
        progress(self.state.clone());
        loop {
            tokio::select! {
                note = noted.recv() => match note {
                    Some(note) => self.take(note),
                    None => break,
                },
                Some(bytes) = sent.recv() => self.state.bytes += bytes,
            }
            progress(self.state.clone());
        }
        while let Ok(bytes) = sent.try_recv() {
            self.state.bytes += bytes;
        }
        progress(self.state.clone());
    }

    fn take(&mut self, note: Note) {
        let state = &mut self.state;
        match note {
            Note::Length { before, now } => {
                state.bytes_total = state.bytes_total.saturating_sub(before).saturating_add(now);
                return;
            }
            Note::Compared(bytes) => {
                state.bytes_compared += bytes;
                return;
            }
            Note::Differs(bytes) => {
                state.bytes_compared = state.bytes_compared.saturating_sub(bytes);
                return;
            }
            Note::Resumed(bytes) => {
                state.bytes_compared = state.bytes_compared.saturating_sub(bytes);
                state.bytes += bytes;
                self.bytes_resumed += bytes;
                return;
            }
            Note::Saved(file) => {
                self.files.push(file);
                self.state.files += 1;
            }
            Note::Linked => self.links += 1,
            Note::Made => self.directories += 1,
            Note::Failed(left_out) => self.failed.push(left_out),
        }
        self.pending = self.pending.saturating_sub(1);
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
