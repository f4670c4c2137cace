//! `dwcp-ctl keys init`.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dwcp_core::config::NodeId;
use dwcp_tcp::keygen::{Ca, NodeRequest, write, write_file};
use serde_json::json;

use super::args::KeysCommand;
use super::output::Output;
use crate::bench::kernel;
use crate::exit::{Exit, Failure, chain};

const DAY: Duration = Duration::from_secs(86_400);
/// How long a CA is valid.
const CA_DAYS: u32 = 3_650;

pub(super) fn run(command: KeysCommand, output: &Output) -> Result<Exit, Failure> {
    let KeysCommand::Init { nodes, directory, days, force } = command;
    init(&nodes, &directory, days, force, output)
}

/// Where one node's files go.
struct Place {
    node: String,
    directory: PathBuf,
}

fn init(
    nodes: &[String],
    directory: &Path,
    days: u32,
    force: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let id = |node: &String| {
        NodeId::new(node)
            .map(|_| ())
            .map_err(|error| Failure::problem(format!("`{node}`: {error}")))
    };
    nodes.iter().try_for_each(id)?;
    make_directory(directory)?;
    let (ca, is_new) = authority(directory)?;
    let places: Vec<_> = match nodes {
        [] => {
            let node = kernel("hostname");
            id(&node)?;
            vec![Place { node, directory: directory.to_owned() }]
        }
        nodes => nodes
            .iter()
            .map(|node| Place { node: node.clone(), directory: directory.join(node) })
            .collect(),
    };
    let mut made = Vec::new();
    for place in &places {
        let mut request = NodeRequest::new(&place.node);
        request.valid_for = DAY * days;
        let pem = ca.issue(&request).map_err(|error| Failure::problem(chain(&error)))?;
        make_directory(&place.directory)?;
        let (cert, key) = (place.directory.join("node.crt"), place.directory.join("node.key"));
        write(&pem, &cert, &key, force).map_err(|error| Failure::problem(chain(&error)))?;
        let ca_copy = place.directory.join("ca.crt");
        if ca_copy != directory.join("ca.crt") {
            let written = write_file(&ca_copy, ca.pem().cert.as_bytes(), 0o644, true);
            written.map_err(|error| Failure::problem(chain(&error)))?;
        }
        made.push(json!({ "node": place.node, "cert": cert, "key": key, "ca": ca_copy }));
    }
    let value = json!({
        "schema": "dwcp.keys-init/v1", "ca_is_new": is_new, "ca": directory.join("ca.crt"), "nodes": made,
    });
    output.result(&value, || text(directory, is_new, &places))?;
    Ok(Exit::Ok)
}

fn text(directory: &Path, is_new: bool, places: &[Place]) -> String {
    let word = if is_new { "made" } else { "used" };
    let mut text = format!("{word} the CA {}\n", directory.join("ca.crt").display());
    for place in places {
        text.push_str(&format!("made keys for {} in {}\n", place.node, place.directory.display()));
    }
    text.push_str(&format!(
        "next: copy each directory to /etc/dwcp/keys on its node; keep {} away from nodes\n",
        directory.join("ca.key").display()
    ));
    text
}

/// The CA in `directory`, made if there is none.
fn authority(directory: &Path) -> Result<(Ca, bool), Failure> {
    let (cert, key) = (directory.join("ca.crt"), directory.join("ca.key"));
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::problem(format!("{}: {error}", path.display()))
    };
    if !cert.exists() && !key.exists() {
        let ca =
            Ca::new("DWCP CA", DAY * CA_DAYS).map_err(|error| failed(&cert, &chain(&error)))?;
        write(ca.pem(), &cert, &key, false).map_err(|error| Failure::problem(chain(&error)))?;
        return Ok((ca, true));
    }
    let cert_text = std::fs::read_to_string(&cert).map_err(|error| failed(&cert, &error))?;
    let key_text = std::fs::read_to_string(&key).map_err(|error| failed(&key, &error))?;
    let ca = Ca::from_pem(&cert_text, &key_text).map_err(|error| failed(&cert, &chain(&error)))?;
    Ok((ca, false))
}

/// Makes a directory for private keys: its owner's alone, what is missing above it for all to read, whatever the
/// umask allows. One that is there stays as it is.
fn make_directory(path: &Path) -> Result<(), Failure> {
    let above = path.parent().unwrap_or_else(|| Path::new(""));
    let made = DirBuilder::new().recursive(true).mode(0o755).create(above);
    match made.and_then(|()| DirBuilder::new().mode(0o700).create(path)) {
        Err(_) if path.is_dir() => Ok(()),
        result => result.map_err(|error| {
            Failure::problem(format!("{}: cannot make the directory: {error}", path.display()))
        }),
    }
}
