//! An OpenSSH server of our own: its configuration, keys and port, nothing of the machine's.

use std::fs;
use std::path::{Path, PathBuf};

use super::emulator::FAR;
use super::namespace::Namespace;
use super::process::{Running, run};
use super::scenario::find;

const PORT: u16 = 2222;
/// sshd insists on this directory.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// The server, and what a client needs to reach it as the host `far`.
#[derive(Debug)]
pub(super) struct Sshd {
    /// The client's configuration.
    pub(super) client: PathBuf,
    _server: Running,
    _directory: PrivilegeSeparation,
}

/// Made if it is not there, and then taken away at the end.
#[derive(Debug)]
struct PrivilegeSeparation {
    is_ours: bool,
}

impl Drop for PrivilegeSeparation {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_dir(PRIVILEGE_SEPARATION);
        }
    }
}

impl Sshd {
    pub(super) fn start(far: &Namespace, work: &Path) -> Result<Self, String> {
        let directory = work.join("ssh");
        let told = |error: std::io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(told)?;
        let path = |name: &str| directory.join(name).display().to_string();
        for key in ["host", "user"] {
            let words = ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", &path(key)];
            run("ssh-keygen", &words)?;
        }
        let public = fs::read_to_string(path("host.pub")).map_err(told)?;
        fs::write(path("known"), format!("[{FAR}]:{PORT} {public}")).map_err(told)?;
        // What is not of the session itself is left out at both ends; AES-GCM is the fastest cipher on processors that have
        // AES in hardware, and OpenSSH's own choice is another one.
        let server = format!(
            "ListenAddress {FAR}\nPort {PORT}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nStrictModes no\n\
             UseDNS no\nPrintMotd no\nPrintLastLog no\nSubsystem sftp internal-sftp\nCompression yes\n\
             Ciphers aes256-gcm@openssh.com\n",
            path("host"),
            path("user.pub"),
        );
        fs::write(path("sshd_config"), server).map_err(told)?;
        let client = format!(
            "Host far\n HostName {FAR}\n Port {PORT}\n User root\n IdentityFile {}\n IdentitiesOnly yes\n\
             UserKnownHostsFile {}\n StrictHostKeyChecking yes\n BatchMode yes\n GSSAPIAuthentication no\n\
             PreferredAuthentications publickey\n Ciphers aes256-gcm@openssh.com\n ControlMaster no\n",
            path("user"),
            path("known"),
        );
        fs::write(path("config"), client).map_err(told)?;
        let is_ours = fs::create_dir(PRIVILEGE_SEPARATION).is_ok();
        let separation = PrivilegeSeparation { is_ours };
        let words = ["-D", "-e", "-f", &path("sshd_config")];
        let server = Running::server(far, &find("sshd")?, &words, &directory.join("sshd.log"))?;
        server.wait_listening(far, PORT)?;
        let client = directory.join("config");
        Ok(Self { client, _server: server, _directory: separation })
    }
}
