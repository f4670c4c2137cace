//! Any line at the command socket.

pub(crate) fn target(data: &[u8]) {
    if let Ok(line) = std::str::from_utf8(data) {
        dwcp_ctl::node::fuzzing::command(line);
    }
}
