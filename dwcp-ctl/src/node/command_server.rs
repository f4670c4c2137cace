//! The command socket: how `dwcp-ctl` speaks to a running daemon.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, error, info, warn};

use super::commands::{Answer, LINE_BYTES_MAX, LiftReport, Operation, Request};
use super::drain::{Asker, DrainReport};
use super::handover::RestartAsker;
use super::places::Places;
use super::{Node, run_operation};
use crate::exit::Exit;

/// Pause after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long a client may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients that have not said it yet. Each may fill a line.
const SILENT_CLIENTS_MAX: usize = 32;
/// Clients whose request is under way.
const REQUESTS_MAX: usize = 256;
/// The longest that a client may wait for the end of a drain.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// What the socket asks of the daemon's main loop.
#[derive(Debug)]
pub(super) enum Demand {
    /// Reload; the answer says what came of it.
    Reload(tokio::sync::oneshot::Sender<Result<(), String>>),
    /// Drain and stop; the answer says what came of it.
    Drain(Asker),
    /// Start a new process that takes over, by force or not; the answer says what came of it.
    Restart(RestartAsker, bool),
    /// The process at the other end takes over.
    HandOver(UnixStream),
}

/// The bound socket. Dropping it removes the file, unless that is another process's.
pub(super) struct CommandSocket {
    listener: UnixListener,
    path: PathBuf,
    is_given_away: Arc<AtomicBool>,
    clients: Clients,
}

/// Those who are served. They are, while this is kept, even when the server is dropped.
#[derive(Clone)]
pub(super) struct Clients {
    /// Those who have not said what they want.
    silent: Places,
    /// Those whose request is under way.
    heard: Places,
}

impl Clients {
    fn new() -> Self {
        // Nobody displaces a request that is under way: before places are short, those that have ended make way.
        Self { silent: Places::new(SILENT_CLIENTS_MAX), heard: Places::new(2 * REQUESTS_MAX) }
    }

    /// Waits until all have their answer.
    pub(super) async fn idle(&self) {
        self.silent.idle().await;
        self.heard.idle().await;
    }
}

impl CommandSocket {
    /// Binds `path`, for its owner and `group`.
    ///
    /// # Errors
    /// `AddrInUse` when a daemon answers there already, `AlreadyExists` when something else is there; a stale
    /// socket is replaced.
    pub(super) fn bind(path: &Path, group: &str) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            // Whatever the umask is, only the owner makes sockets here.
            DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        make_way(path)?;
        let listener = listen(path)?;
        let socket = Self::on(listener, path, false);
        open_to(path, group)?;
        Ok(socket)
    }

    /// Goes on with the socket of the process before this one, bound to `path`. The file stays that process's until this one
    /// [has](Self::own) it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn inherit(socket: OwnedFd, path: &Path) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Self::on(UnixListener::from_std(listener)?, path, true))
    }

    fn on(listener: UnixListener, path: &Path, is_given_away: bool) -> Self {
        let is_given_away = Arc::new(AtomicBool::new(is_given_away));
        Self { listener, path: path.to_owned(), is_given_away, clients: Clients::new() }
    }

    /// The file is this process's from now on, for `group`: the process before may have known another one.
    pub(super) fn own(&self, group: &str) {
        self.is_given_away.store(false, Ordering::Relaxed);
        if let Err(error) = open_to(&self.path, group) {
            let path = self.path.display();
            error!(%path, group, %error, "who may use the command socket could not be changed");
        }
    }

    /// The socket, for a process that is to follow this one.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Once this is set, the file is another process's.
    pub(super) fn given_away(&self) -> Arc<AtomicBool> {
        self.is_given_away.clone()
    }

    /// Those who are served.
    pub(super) fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, node: Arc<Node>, demands: mpsc::Sender<Demand>) {
        let Clients { silent, heard } = self.clients.clone();
        let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
        let served = Served { node, demands, requests, heard };
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => silent.take(tokio::spawn(greet(stream, served.clone()))),
                Err(error) => {
                    warn!(%error, "command socket: cannot take a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for CommandSocket {
    fn drop(&mut self) {
        if !self.is_given_away.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody listens on; whatever else is there stays.
fn make_way(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        let words = "what is there is no socket, and stays; admin.socket names another place";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "a daemon answers there already"));
    }
    std::fs::remove_file(path)
}

/// Listens on `path`, closed to all but the owner from its first moment: Linux gives the file the mode of
/// the socket.
fn listen(path: &Path) -> io::Result<UnixListener> {
    /// Clients that may wait to be taken.
    const BACKLOG: u32 = 128;
    let socket = UnixSocket::new_stream()?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// Opens the socket at `path` to its owner and `group`, or to its owner alone if that cannot be.
fn open_to(path: &Path, group: &str) -> io::Result<()> {
    let set = |mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
    let Some(gid) = group_id(group) else {
        debug!(group, "no such group: the command socket stays with its owner");
        return set(0o600);
    };
    let now = std::fs::symlink_metadata(path)?;
    if now.gid() == gid && now.mode() & 0o777 == 0o660 {
        return Ok(()); // not even for a moment is anybody kept out
    }
    // Closed to all but the owner until the group is known to be the right one.
    set(0o600)?;
    match std::os::unix::fs::chown(path, None, Some(gid)) {
        Ok(()) => set(0o660),
        Err(error) => {
            debug!(group, %error, "the command socket stays with its owner");
            Ok(())
        }
    }
}

/// The number of the group called `name`, from `/etc/group`.
fn group_id(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// What clients are served with.
#[derive(Clone)]
struct Served {
    node: Arc<Node>,
    demands: mpsc::Sender<Demand>,
    /// Bounds the requests under way.
    requests: Arc<Semaphore>,
    heard: Places,
}

/// Hears what a client wants, and has it done by a task of its own: whoever displaces silent clients ends no work.
async fn greet(stream: UnixStream, served: Served) {
    let client = stream.peer_cred().ok().map(|client| client.uid());
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    let mut limited = (&mut reader).take(LINE_BYTES_MAX as u64);
    let read = tokio::time::timeout(REQUEST_TIMEOUT, limited.read_line(&mut line)).await;
    let refusal = match read {
        Err(_) => format!("no request within {} s", REQUEST_TIMEOUT.as_secs()),
        Ok(Ok(count)) if count > 0 => match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                match (is_allowed(&request, client), served.requests.clone().try_acquire_owned()) {
                    (Err(refusal), _) => refusal,
                    (Ok(()), Ok(_)) if request == Request::HandOver => {
                        let Ok(stream) = reader.into_inner().reunite(writer) else { return };
                        // The main loop answers.
                        let _ = served.demands.send(Demand::HandOver(stream)).await;
                        return;
                    }
                    (Ok(()), Ok(place)) => {
                        let heard = served.heard.clone();
                        heard.take(tokio::spawn(async move {
                            fulfil(request, reader, writer, &served).await;
                            drop(place);
                        }));
                        return;
                    }
                    (Ok(()), Err(_)) => {
                        format!("{REQUESTS_MAX} commands are under way: wait for one of them")
                    }
                }
            }
            Err(error) => format!("the daemon does not know this command: {error}"),
        },
        Ok(_) => return,
    };
    let _ = write(&mut writer, &failed(Exit::Problem, refusal)).await;
}

/// Whether the user `client` may ask for `request`. The socket is open to a group; the rights that the daemon has
/// to files are not the group's.
fn is_allowed(request: &Request, client: Option<u32>) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    match request {
        Request::HandOver if client.is_none_or(|uid| uid != 0 && uid != own) => {
            Err("only root and the daemon's own user may take the node over".into())
        }
        Request::Run(Operation::Copy { .. }) if client.is_none_or(|uid| uid != 0 && uid != own) => {
            let daemon = match own {
                0 => "which is root".into(),
                uid => format!("or the daemon's own user (uid {uid})"),
            };
            Err(format!(
                "copy reads files with the rights of the daemon: ask for it as root, {daemon}: sudo"
            ))
        }
        _ => Ok(()),
    }
}

/// Does what a client asked for, and tells it what came of it.
async fn fulfil(
    request: Request,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    served: &Served,
) {
    // Whoever waits for the daemon's end is waited for, until its answer is written.
    let mut held = None;
    // A client that goes away cancels what it asked for.
    let answer = tokio::select! {
        answer = obey(request, &served.node, &served.demands, &mut writer, &mut held) => answer,
        () = gone(&mut reader) => return,
    };
    let _ = write(&mut writer, &answer).await;
    drop(held);
}

/// Waits until the client closes its end.
async fn gone(reader: &mut BufReader<OwnedReadHalf>) {
    let mut rest = [0; 64];
    while matches!(reader.read(&mut rest).await, Ok(count) if count > 0) {}
}

async fn obey(
    request: Request,
    node: &Arc<Node>,
    demands: &mpsc::Sender<Demand>,
    writer: &mut OwnedWriteHalf,
    held: &mut Option<mpsc::Sender<()>>,
) -> Answer {
    match request {
        Request::Status => done(&node.status()),
        Request::Drain { wait_ms } => {
            info!("asked to drain");
            let (asker, report) = tokio::sync::oneshot::channel();
            let _ = demands.send(Demand::Drain(asker)).await;
            let limit = wait_ms.map_or(WAIT_MAX, Duration::from_millis);
            match tokio::time::timeout(limit, report).await {
                Ok(Ok(Ok((report, writing)))) => {
                    *held = Some(writing);
                    done(&report)
                }
                Ok(Ok(Err(why))) => failed(Exit::Problem, why),
                Ok(Err(_)) => {
                    failed(Exit::Problem, "stopped at once; what was under way was cut off".into())
                }
                Err(_) => done(&DrainReport::going_on(node.services.under_way.counts())),
            }
        }
        Request::Reload => {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let _ = demands.send(Demand::Reload(sender)).await;
            match receiver.await {
                Ok(Ok(())) => {
                    done(&serde_json::json!({ "schema": "dwcp.reload/v1", "accepted": true }))
                }
                Ok(Err(why)) => failed(Exit::Problem, why),
                Err(_) => failed(Exit::Problem, "the daemon is stopping".into()),
            }
        }
        Request::Restart { force } => {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let _ = demands.send(Demand::Restart(sender, force)).await;
            match receiver.await {
                Ok(Ok(report)) => done(&report),
                Ok(Err(why)) => failed(Exit::Problem, why),
                Err(_) => failed(Exit::Problem, "the daemon is stopping".into()),
            }
        }
        Request::HandOver => failed(Exit::Problem, "the stream was given away".into()),
        Request::Lift { peer } => {
            let was_lifted = node.endpoint.lift_quarantine(&peer);
            done(&LiftReport { schema: "dwcp.lift/v1".into(), peer, was_lifted })
        }
        Request::Run(operation) => run(operation, node, writer).await,
    }
}

/// Runs an operation, and tells how far it is meanwhile.
async fn run(operation: Operation, node: &Arc<Node>, writer: &mut OwnedWriteHalf) -> Answer {
    let Some(_place) = node.services.under_way.begin(operation.work()) else {
        return failed(Exit::Problem, "the node drains: it takes nothing new".into());
    };
    let (note, mut notes) = mpsc::unbounded_channel();
    let mut progress = move |state| {
        let _ = note.send(state);
    };
    let running = run_operation(&node.endpoint, operation, &mut progress);
    let mut running = std::pin::pin!(running);
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            Some(mut state) = notes.recv() => {
                // Only the newest matters.
                while let Ok(newer) = notes.try_recv() {
                    state = newer;
                }
                let _ = write(writer, &Answer::Progress(state)).await;
            }
        }
    };
    match outcome {
        Ok(outcome) => Answer::Done { result: outcome.result },
        Err(error) => failed(error.exit(), error.to_string()),
    }
}

fn done(value: &impl serde::Serialize) -> Answer {
    Answer::Done { result: serde_json::to_value(value).expect("plain data serialises") }
}

fn failed(exit: Exit, message: String) -> Answer {
    Answer::Failed { exit: exit.code(), message }
}

async fn write(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).expect("plain data serialises");
    line.push(b'\n');
    writer.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_closed_to_others_from_its_first_moment() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.sock");
        let _listener = listen(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn only_root_and_the_daemons_user_have_its_rights_to_files() {
        let own = rustix::process::geteuid().as_raw();
        let stranger = own.wrapping_add(7).max(1);
        let copy = Request::Run(Operation::Copy {
            peer: "b".into(),
            directory: String::new(),
            files: Vec::new(),
            recursive: false,
            compress: true,
            verify: false,
            limit_bytes_per_second: None,
        });
        for client in [Some(0), Some(own)] {
            assert!(is_allowed(&copy, client).is_ok(), "{client:?}");
        }
        for client in [Some(stranger), None] {
            assert!(is_allowed(&copy, client).unwrap_err().contains("sudo"), "{client:?}");
            assert!(is_allowed(&Request::Status, client).is_ok());
            assert!(is_allowed(&Request::Run(Operation::Cut { peer: "b".into() }), client).is_ok());
        }
    }

    #[tokio::test]
    async fn only_a_dead_socket_makes_way() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("new/a.sock");
        let first = CommandSocket::bind(&path, "no-such-group").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap()) & 0o022), (0o600, 0));
        let error = CommandSocket::bind(&path, "no-such-group").map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(CommandSocket::bind(&path, "no-such-group").unwrap());
        std::fs::write(&path, "precious").unwrap();
        let error = CommandSocket::bind(&path, "no-such-group").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("admin.socket"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
