//! Speaks to a daemon over its command socket.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::node::commands::{Answer, LINE_BYTES_MAX, Request};
use crate::service::file::CopyProgress;

/// Asks the daemon at `socket`; each answer may take `timeout` (`None`: as long as it takes).
pub(super) fn ask(
    socket: &Path,
    request: &Request,
    timeout: Option<Duration>,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<Value, Failure> {
    let lost = |error: &std::io::Error| {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                "no answer in time; it hangs or is overloaded".into()
            }
            ErrorKind::ConnectionRefused => {
                "nobody listens; the daemon ended without removing it".into()
            }
            ErrorKind::PermissionDenied => {
                "permission denied; join the group dwcp, or use sudo".into()
            }
            _ => error.to_string(),
        };
        Failure::unreachable(format!("daemon at {}: {why}", socket.display()))
    };
    let mut line = serde_json::to_vec(request).expect("plain data serialises");
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        return Err(Failure::usage(
            "so many names are more than the daemon takes at once: name the directory, with --recursive",
        ));
    }
    let stream = UnixStream::connect(socket).map_err(|error| lost(&error))?;
    let set = stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout));
    set.map_err(|error| lost(&error))?;
    (&stream).write_all(&line).map_err(|error| lost(&error))?;
    for line in BufReader::new(&stream).lines() {
        let line = line.map_err(|error| lost(&error))?;
        match serde_json::from_str(&line) {
            Ok(Answer::Progress(state)) => progress(state),
            Ok(Answer::Done { result }) => return Ok(result),
            Ok(Answer::Failed { exit, message }) => {
                let exit = if exit == Exit::Unreachable.code() {
                    Exit::Unreachable
                } else {
                    Exit::Problem
                };
                return Err(Failure { exit, message });
            }
            Err(error) => {
                let text = "the daemon's answer is not understood; is it another version?";
                return Err(Failure::problem(format!("{text} ({error})")));
            }
        }
    }
    Err(Failure::unreachable(format!("daemon at {}: it ended the conversation", socket.display())))
}
