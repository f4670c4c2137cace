//! Looks whether the machine has what the configuration names: files, devices, kernel features, addresses.

use std::fs;
use std::net::{IpAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::codes::{self, Code};
use super::diagnostic::{Diagnostic, Severity};
use super::keys::Config;
use super::keys_network::Transport;
use super::keys_operation::LogOutput;
use super::load::Loaded;
use super::names::{Address, FilePath};
use super::setting::Auto;
use super::spanned::Place;

/// The machine that is looked at.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Where `proc` and `sys` lie: `/`, or a directory that stands for it in tests.
    pub root: PathBuf,
    /// Whether listening addresses are tried by binding to them for a moment.
    pub bind: bool,
}

impl Default for Environment {
    fn default() -> Self {
        Self { root: "/".into(), bind: true }
    }
}

/// Looks at this machine with the eyes of the calling user. Diagnostics carry no place; use
/// [`Environment::check`] for those of a loaded file.
pub fn check_environment(config: &Config) -> Vec<Diagnostic> {
    let mut check = Check { environment: &Environment::default(), loaded: None, found: Vec::new() };
    check.run(config);
    check.found
}

impl Environment {
    /// Looks at this machine; diagnostics stand at the keys they are about. Empty when `loaded` has errors.
    pub fn check(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let mut check = Check { environment: self, loaded: Some(loaded), found: Vec::new() };
        if let Some(config) = &loaded.config {
            check.run(config);
        }
        check.found
    }
}

struct Check<'a> {
    environment: &'a Environment,
    loaded: Option<&'a Loaded>,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn run(&mut self, config: &Config) {
        self.files(config);
        self.devices(config);
        self.directories(config);
        if self.environment.bind {
            self.addresses(config);
        }
    }

    fn report(
        &mut self,
        severity: Severity,
        path: &str,
        code: Code,
        message: String,
        help: String,
    ) {
        let file = self.loaded.map_or("", |loaded| loaded.file_name());
        let at = self.loaded.map_or(Place::START, |loaded| loaded.place_of(path));
        let diagnostic = Diagnostic::new(file, at, code, message).help(help).severity(severity);
        self.found.push(diagnostic);
    }

    fn files(&mut self, config: &Config) {
        let keys = &config.keys;
        self.file("keys.cert", &keys.cert, false);
        self.file("keys.ca", &keys.ca, false);
        self.file("keys.key", &keys.key, true);
        if let Some(path) = &keys.cluster_key {
            self.file("keys.clusterKey", path, true);
        }
        if let Some(path) = &config.admin.token_file {
            self.file("admin.tokenFile", path, true);
        }
    }

    fn file(&mut self, key: &str, path: &FilePath, is_secret: bool) {
        let path = path.as_path();
        if let Err(error) = fs::File::open(path) {
            let message = format!("`{key}`: cannot read {}: {error}", path.display());
            let help = "`dwcp-ctl keys init` makes keys and certificates".to_owned();
            return self.report(Severity::Error, key, codes::ENV_FILE, message, help);
        }
        let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if is_secret && mode & 0o077 != 0 {
            let message = format!(
                "`{key}`: others than its owner may use {} (mode {:04o})",
                path.display(),
                mode & 0o7777
            );
            let help = format!("chmod 0600 {}", path.display());
            self.report(Severity::Error, key, codes::ENV_KEY_MODE, message, help);
        }
    }

    fn devices(&mut self, config: &Config) {
        let root = &self.environment.root;
        if config.transports().contains(&Transport::Rdma) {
            let devices = names_in(&root.join("sys/class/infiniband"));
            let wanted = config.network.rdma_device.get();
            let is_missing = wanted
                .as_ref()
                .map_or(devices.is_empty(), |device| !devices.iter().any(|d| d == device.as_str()));
            if is_missing {
                let name = wanted.map_or_else(|| "any".into(), |device| device.to_string());
                let message = format!("there is no RDMA device `{name}`");
                let help = match devices.is_empty() {
                    true => {
                        "this machine has no RDMA device: `rdma link show` lists none".to_owned()
                    }
                    false => format!("here: {}", devices.join(", ")),
                };
                // With a fallback the node starts all the same, degraded.
                let severity = if config.network.fallback.enabled {
                    Severity::Warning
                } else {
                    Severity::Error
                };
                self.report(severity, "network.rdmaDevice", codes::ENV_RDMA_DEVICE, message, help);
            }
        }
        self.kernel(config);
    }

    fn kernel(&mut self, config: &Config) {
        let root = self.environment.root.clone();
        if let Auto::Is(wanted) = config.network.tcp.congestion_control {
            let path = root.join("proc/sys/net/ipv4/tcp_available_congestion_control");
            let available = fs::read_to_string(path).unwrap_or_default();
            let name = wanted.name();
            if !available.split_whitespace().any(|word| word == name) {
                let message = format!("the kernel does not offer the congestion control {name}");
                let help = format!("modprobe tcp_{name}; offered now: {}", available.trim());
                let key = "network.tcp.congestionControl";
                self.report(Severity::Warning, key, codes::ENV_CONGESTION, message, help);
            }
        }
        if config.memory.hugepages == Auto::Is(true) {
            let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
            let free = meminfo(&text, "HugePages_Free:").unwrap_or(0);
            let page_kib = meminfo(&text, "Hugepagesize:").unwrap_or(2048).max(1);
            let wanted = config.memory.pool_size.bytes().div_ceil(page_kib << 10);
            if free < wanted {
                let message = format!("{free} hugepages are free; memory.poolSize wants {wanted}");
                let help = format!("sysctl vm.nr_hugepages={wanted}");
                self.report(
                    Severity::Warning,
                    "memory.hugepages",
                    codes::ENV_HUGEPAGES,
                    message,
                    help,
                );
            }
        }
    }

    fn directories(&mut self, config: &Config) {
        let mut wanted = Vec::new();
        if let Some(path) = &config.files.receive_directory {
            wanted.push(("files.receiveDirectory", Some(path.as_path())));
        }
        if let LogOutput::File(path) = &config.logging.output {
            wanted.push(("logging.output", path.as_path().parent()));
        }
        if let Some(path) = &config.byzantine.evidence_log {
            wanted.push(("byzantine.evidenceLog", path.as_path().parent()));
        }
        for (key, path) in wanted {
            // The parent of a bare file name is empty: the working directory.
            let Some(path) = path.filter(|path| !path.as_os_str().is_empty() && !path.is_dir())
            else {
                continue;
            };
            let message = format!("`{key}`: {} is no directory", path.display());
            let help = format!("install -d -o dwcp -g dwcp {}", path.display());
            self.report(Severity::Error, key, codes::ENV_DIRECTORY, message, help);
        }
    }

    fn addresses(&mut self, config: &Config) {
        let sessions = config.listen_addresses().iter().map(|address| ("listen", address));
        let admin = config.admin_addresses().iter().map(|address| ("admin.listen", address));
        let forwards = config.forwards.iter().map(|forward| ("forwards", &forward.listen));
        let all: Vec<_> = sessions.chain(admin).chain(forwards).collect();
        for (key, address) in all {
            if let Some(error) = bind_error(address) {
                let message = format!("cannot listen on {address}: {error}");
                let help = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => {
                        "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)"
                    }
                    std::io::ErrorKind::AddrInUse => {
                        "fine if dwcpd runs already; else see `ss -ltnp`"
                    }
                    _ => "see `ip address` for the addresses of this machine",
                };
                self.report(Severity::Warning, key, codes::ENV_BIND, message, help.into());
            }
        }
    }
}

/// Why nobody can listen there now.
fn bind_error(address: &Address) -> Option<std::io::Error> {
    let resolved = match (address.host(), address.port()).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Some(error),
    };
    let mut problem = None;
    for socket in resolved {
        match TcpListener::bind(socket) {
            Ok(_) => return None,
            Err(error) => problem = Some(error),
        }
    }
    // A machine without IPv6 has neither [::] nor [::1], which are among the defaults.
    let is_default = address
        .ip()
        .is_some_and(|ip| matches!(ip, IpAddr::V6(ip) if ip.is_unspecified() || ip.is_loopback()));
    let has_no_ipv6 = |error: &std::io::Error| matches!(error.raw_os_error(), Some(97 | 99));
    problem.filter(|error| !(is_default && has_no_ipv6(error)))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The number behind `key` in /proc/meminfo.
fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
