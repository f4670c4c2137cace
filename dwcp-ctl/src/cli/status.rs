//! `dwcp-ctl status`.

use std::path::Path;

use serde_json::json;

use super::args::Global;
use super::client::ask;
use super::output::Output;
use super::status_text::render;
use crate::exit::{Exit, Failure};
use crate::node::commands::Request;
use crate::node::health::Grade;
use crate::node::runtime_directory::{runtime_directory, sockets};
use crate::node::status::Status;

pub(super) fn run(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let directory = runtime_directory(global.runtime_dir.as_deref());
    let mut found = sockets(&directory);
    if let Some(node) = &global.node {
        found.retain(|(name, _)| name == node);
    }
    if found.is_empty() {
        let message = format!("no daemon runs here (no socket in {})", directory.display());
        if output.is_json() {
            let value = json!({ "schema": "dwcp.status/v1", "nodes": [], "unreachable": [] });
            output.result(&value, String::new)?;
        }
        return Err(Failure::unreachable(message + "; start dwcpd, or see --runtime-dir"));
    }
    let (mut nodes, mut unreachable) = (Vec::new(), Vec::new());
    for (name, socket) in found {
        match status_of(&socket, global) {
            Ok(status) => nodes.push(status),
            Err(failure) => unreachable.push((name, failure)),
        }
    }
    let lost: Vec<_> = unreachable
        .iter()
        .map(|(name, failure)| json!({ "node": name, "message": failure.message }))
        .collect();
    let value = json!({ "schema": "dwcp.status/v1", "nodes": nodes, "unreachable": lost });
    output.result(&value, || nodes.iter().map(render).collect::<Vec<_>>().join("\n"))?;
    for (name, failure) in &unreachable {
        output.error(&format!("node {name}: {}", failure.message));
    }
    let worst = nodes.iter().map(|status| status.health.status).max().unwrap_or(Grade::Ok);
    Ok(match worst {
        _ if !unreachable.is_empty() => Exit::Unreachable,
        Grade::Ok => Exit::Ok,
        Grade::Degraded => Exit::Degraded,
        Grade::Failed => Exit::Problem,
    })
}

/// The status of the daemon at `socket`.
pub(super) fn status_of(socket: &Path, global: &Global) -> Result<Status, Failure> {
    let value = ask(socket, &Request::Status, Some(global.timeout), &mut |_| {})?;
    serde_json::from_value(value).map_err(|error| {
        Failure::problem(format!(
            "the daemon's status is not understood; is it another version? ({error})"
        ))
    })
}
