//! Two nodes on this machine for `bench --self`: this process, and a child that answers.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dwcp_core::Endpoint;
use dwcp_core::config::Config;
use dwcp_hybrid::dialing;
use dwcp_tcp::Identity;
use dwcp_tcp::keygen::{Ca, NodeRequest, write, write_file};

use super::route::own_config;
use crate::exit::{Failure, chain};

const DAY: Duration = Duration::from_secs(86_400);
const NEAR: &str = "self-a";
const FAR: &str = "self-b";

/// The pair. Dropping it ends the child and removes the keys.
pub(super) struct SelfPair {
    config: Config,
    child: Child,
    ca: Ca,
    _room: Room,
}

/// A private directory that goes when it is dropped.
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How the pair runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SelfOptions {
    /// The processors of this process and of the child.
    pub(super) cores: Option<[u16; 2]>,
    /// Both with `performance.pollingMode: true`.
    pub(super) is_polling: bool,
    /// Nodes besides, which this process plays.
    pub(super) crowd: usize,
}

impl SelfPair {
    pub(super) fn start(options: SelfOptions) -> Result<Self, Failure> {
        let room = room()?;
        let failed = |error: &(dyn std::error::Error + 'static)| Failure::problem(chain(error));
        let ca = Ca::new("bench CA", DAY).map_err(|error| failed(&error))?;
        put(&room.0.join("ca.crt"), &ca.pem().cert)?;
        for node in [NEAR, FAR] {
            let pem = ca.issue(&NodeRequest::new(node)).map_err(|error| failed(&error))?;
            let (cert, key) =
                (room.0.join(format!("{node}.crt")), room.0.join(format!("{node}.key")));
            write(&pem, &cert, &key, false).map_err(|error| failed(&error))?;
        }
        let far = room.0.join("far.yaml");
        let crowd = (0..options.crowd).map(|number| format!(", {{nodeId: {}}}", member(number)));
        let peers = format!("[{{nodeId: {NEAR}}}{}]", crowd.collect::<String>());
        put(&far, &text(FAR, "[\"127.0.0.1:0\"]", &peers, options, 1))?;
        let (mut child, address) = spawn(&far)?;
        let near = room.0.join("near.yaml");
        let peers = format!("[{{nodeId: {FAR}, addresses: [\"{address}\"]}}]");
        let config =
            put(&near, &text(NEAR, "[]", &peers, options, 0)).and_then(|()| own_config(&near));
        match config {
            Ok(config) => Ok(Self { config, child, ca, _room: room }),
            Err(failure) => {
                end(&mut child);
                Err(failure)
            }
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// An endpoint of the crowd's node `number`.
    pub(super) fn member(&self, number: usize) -> Result<Endpoint, Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| Failure::problem(chain(error));
        let pem =
            self.ca.issue(&NodeRequest::new(&member(number))).map_err(|error| failed(&error))?;
        let [cert, key, ca] = [&pem.cert, &pem.key, &self.ca.pem().cert].map(String::as_bytes);
        let identity = Identity::from_pem(cert, key, ca).map_err(|error| failed(&error))?;
        dialing(&self.config, &identity).map_err(|error| failed(&error))
    }

    /// The process id of the child.
    pub(super) fn child(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn peer(&self) -> &str {
        FAR
    }
}

impl Drop for SelfPair {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Closes the child's stdin, at which it ends; one that does not is killed.
fn end(child: &mut Child) {
    drop(child.stdin.take());
    for _ in 0..40 {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn member(number: usize) -> String {
    format!("self-crowd-{number}")
}

fn text(node: &str, listen: &str, peers: &str, options: SelfOptions, end: usize) -> String {
    let mut text = format!(
        "mode: internet\nnodeId: {node}\nlisten: {listen}\nadmin: {{listen: []}}\n\
         keys: {{cert: {node}.crt, key: {node}.key, ca: ca.crt}}\npeers: {peers}\n"
    );
    let mut performance = Vec::new();
    if options.crowd > 0 {
        // All of them come from one address, and a bench is no attack.
        text.push_str("security: {rateLimit: {enabled: false}}\n");
        performance.push(format!("maxConnections: {}", options.crowd + 1));
    }
    if options.is_polling {
        performance.push("pollingMode: true".to_owned());
    }
    if let Some(cores) = options.cores {
        performance.push(format!("cpuAffinity: {{enabled: true, cores: [{}]}}", cores[end]));
    }
    text.push_str(&format!("performance: {{{}}}\n", performance.join(", ")));
    text
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    write_file(path, text.as_bytes(), 0o600, false).map_err(|error| Failure::problem(chain(&error)))
}

fn room() -> Result<Room, Failure> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Failure::problem(error.to_string()))?;
    let name = format!("dwcp-self-{:016x}", u64::from_le_bytes(random));
    let path = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(|error| Failure::problem(format!("{}: {error}", path.display())))?;
    Ok(Room(path))
}

/// Starts the answering process; returns it and where it listens.
fn spawn(config: &Path) -> Result<(Child, String), Failure> {
    let failed = |what: &str, error: &std::io::Error| {
        Failure::problem(format!("cannot {what} the answering process: {error}"))
    };
    let program = std::env::current_exe().map_err(|error| failed("find", &error))?;
    let mut child = Command::new(program)
        .arg("respond")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed("start", &error))?;
    let mut address = String::new();
    let stdout = child.stdout.take().expect("piped");
    let read = BufReader::new(stdout).read_line(&mut address);
    let address = address.trim().to_owned();
    match read {
        Ok(_) if !address.is_empty() => Ok((child, address)),
        Ok(_) => {
            end(&mut child);
            Err(Failure::problem("the answering process ended at once; its error is above"))
        }
        Err(error) => {
            end(&mut child);
            Err(failed("hear", &error))
        }
    }
}
