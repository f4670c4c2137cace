//! Who sends a file from the near end to the far one, and how: each as its own documentation says for such a link.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Wan;
use super::compare::Options;
use super::emulator::{FAR, NEAR};
use super::process::{Running, run, timed};
use super::scenario::{Peer, find};
use super::sshd::Sshd;

const DWCP_PORT: u16 = 8443;
const NCAT_PORT: u16 = 5201;
const HTTP_PORT: u16 = 8088;
/// The file, at both ends.
const FILE: &str = "file";

/// The servers of all that is compared, at their ends of the link.
pub(super) struct Hosts<'a> {
    wan: &'a Wan,
    options: &'a Options,
    work: PathBuf,
    sshd: Option<Sshd>,
    _nginx: Option<Running>,
    dwcpd: Running,
}

impl<'a> Hosts<'a> {
    pub(super) fn start(
        wan: &'a Wan,
        options: &'a Options,
        peers: &[Peer],
        work: &Path,
    ) -> Result<Self, String> {
        for directory in ["original", "received", "sockets", "logs"] {
            let path = work.join(directory);
            fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let has = |peer| peers.contains(&peer);
        let sshd = has(Peer::RsyncZ) || has(Peer::ScpC);
        let sshd = sshd.then(|| Sshd::start(&wan.far, work)).transpose()?;
        let nginx = has(Peer::Curl).then(|| nginx(wan, work)).transpose()?;
        let dwcpd = nodes(wan, options, work)?;
        Ok(Self { wan, options, work: work.into(), sshd, _nginx: nginx, dwcpd })
    }

    /// The file that is sent.
    pub(super) fn original(&self) -> PathBuf {
        self.work.join("original").join(FILE)
    }

    /// Where it arrives.
    pub(super) fn received(&self) -> PathBuf {
        self.work.join("received").join(FILE)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.work.join("logs").join(name)
    }

    /// Seconds from the start of the command to the end of all that works for it.
    pub(super) fn dwcp(&self) -> Result<f64, String> {
        let mut command = Command::new(&self.options.dwcp_ctl);
        command.arg("copy").arg(self.original()).arg("far:");
        command.arg("--config").arg(self.work.join("near.yaml"));
        // No daemon is there: the command is a node of its own, from its start to its end.
        command.arg("--runtime-dir").arg(self.work.join("sockets"));
        let log = self.log("dwcp-ctl");
        timed(&self.wan.near, command, None, &log, &self.options.stop)
            .map_err(|error| format!("{error}\n{}", self.dwcpd.last_words()))
    }

    /// The same for a peer that is a program.
    pub(super) fn peer(&self, peer: Peer) -> Result<f64, String> {
        let (original, received) = (self.original(), self.received());
        let (mut place, mut receiver) = (&self.wan.near, None);
        let command = match peer {
            Peer::PayloadCeiling => return Err("the ceiling is no program".into()),
            Peer::ZstdNcat => {
                receiver = Some(self.ncat_receiver()?);
                let mut command = Command::new("sh");
                command.args(["-c", "zstd -1 -q -c \"$0\" | ncat --send-only \"$1\" \"$2\""]);
                command.arg(original).args([FAR.to_string(), NCAT_PORT.to_string()]);
                command
            }
            Peer::RsyncZ => {
                let mut command = Command::new("rsync");
                command.args(["-z", "--zc=zstd", "--zl=1", "-e"]);
                command.arg(format!("ssh -F {}", self.ssh_config()?.display()));
                command.arg(original).arg(format!("far:{}", received.display()));
                command
            }
            Peer::ScpC => {
                let mut command = Command::new("scp");
                command.args(["-q", "-C", "-F"]).arg(self.ssh_config()?);
                command.arg(original).arg(format!("far:{}", received.display()));
                command
            }
            Peer::Curl => {
                place = &self.wan.far;
                let mut command = Command::new("curl");
                command.args(["-q", "-sS", "-f", "-o"]).arg(received);
                command.arg(format!("http://{NEAR}:{HTTP_PORT}/{FILE}"));
                command
            }
        };
        timed(place, command, receiver, &self.log(peer.name()), &self.options.stop)
    }

    fn ssh_config(&self) -> Result<&Path, String> {
        self.sshd.as_ref().map(|sshd| &*sshd.client).ok_or_else(|| "no sshd runs".into())
    }

    /// It ends with the connection: its end is part of what is timed, since the sender's is not the file's.
    fn ncat_receiver(&self) -> Result<Running, String> {
        let script = "ncat -l --recv-only \"$0\" \"$1\" | zstd -d -q -f -o \"$2\"";
        let (address, port, received) =
            (FAR.to_string(), NCAT_PORT.to_string(), self.received().display().to_string());
        let words = ["-c", script, &address, &port, &received];
        let log = self.log("ncat-receiver");
        let receiver = Running::server(&self.wan.far, Path::new("sh"), &words, &log)?;
        receiver.wait_listening(&self.wan.far, NCAT_PORT)?;
        Ok(receiver)
    }
}

/// One process that serves the directory of the original, with what its documentation recommends for large files.
fn nginx(wan: &Wan, work: &Path) -> Result<Running, String> {
    let directory = work.join("nginx");
    let told = |error: std::io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(&directory).map_err(told)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!(" {kind}_temp_path {}/{kind};\n", directory.display()))
        .concat();
    let (root, pid) = (work.join("original"), directory.join("pid"));
    let text = format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {};\nevents {{}}\nhttp {{\n access_log off;\n sendfile on;\n \
         tcp_nopush on;\n{temporary} server {{ listen {NEAR}:{HTTP_PORT}; root {}; }}\n}}\n",
        pid.display(),
        root.display(),
    );
    let (file, log) = (directory.join("nginx.conf"), directory.join("log"));
    fs::write(&file, text).map_err(told)?;
    let [file, error] = [file, directory.join("error.log")].map(|path| path.display().to_string());
    let words = ["-c", &file, "-e", &error];
    let server = Running::server(&wan.near, &find("nginx")?, &words, &log)?;
    server.wait_listening(&wan.near, HTTP_PORT)?;
    Ok(server)
}

/// Two nodes with the sample's settings for the internet; the far one's daemon runs.
fn nodes(wan: &Wan, options: &Options, work: &Path) -> Result<Running, String> {
    let ctl = options.dwcp_ctl.display().to_string();
    let path = |name: &str| work.join(name).display().to_string();
    let (near, far) = (format!("{NEAR}:{DWCP_PORT}"), format!("{FAR}:{DWCP_PORT}"));
    run(&ctl, &["keys", "init", "near", "far", "--dir", &path("keys")])?;
    for (node, listen, peer) in
        [("near", &near, format!("far={far}")), ("far", &far, format!("near={near}"))]
    {
        let (keys, file) = (path(&format!("keys/{node}")), path(&format!("{node}.yaml")));
        run(
            &ctl,
            &[
                "--quiet",
                "config",
                "init",
                "--mode",
                "internet",
                "--node-id",
                node,
                "--keys",
                &keys,
                "--listen",
                listen,
                "--peer",
                &peer,
                "--admin",
                "none",
                "--file",
                &file,
            ],
        )?;
    }
    let file = work.join("far.yaml");
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    let text = fs::read_to_string(&file).map_err(told)?;
    let files = format!("\nfiles:\n  receiveDirectory: {}\n", path("received"));
    fs::write(&file, text + &files).map_err(told)?;
    let (config, sockets, log) = (path("far.yaml"), path("sockets"), work.join("logs/dwcpd"));
    let words = ["--config", &config, "--runtime-dir", &sockets];
    let server = Running::server(&wan.far, &options.dwcpd, &words, &log)?;
    server.wait_listening(&wan.far, DWCP_PORT)?;
    Ok(server)
}
