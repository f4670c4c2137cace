//! What verbs and libfabric devices are here, and why they cannot be used.
//!
//! It reads `/sys` and looks for files; it loads no library and opens no queue, so it is safe to call at any
//! time and needs no privilege.

use std::fs;
use std::path::{Path, PathBuf};

const NOT_BUILT_IN: &str =
    "the path itself is not built in: this build of DWCP carries data over TCP only";

/// Directories a dynamic linker looks in, beside `LD_LIBRARY_PATH`.
const LIBRARY_DIRECTORIES: [&str; 10] = [
    "usr/local/lib",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib64",
    "opt/amazon/efa/lib64",
    "opt/amazon/efa/lib",
];

/// What was found of both kinds of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// RDMA verbs: the kind of path called `rdma`.
    pub verbs: Finding,
    /// libfabric: the kind of path called `fabric`.
    pub fabric: Finding,
}

/// What was found of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether this build can make paths of the kind.
    pub is_built_in: bool,
    /// The user-space library, if it is installed.
    pub library: Option<PathBuf>,
    /// The devices the kernel has.
    pub devices: Vec<Device>,
    /// Everything that stands in the way, each with what to do about it. Empty: it can be used.
    pub obstacles: Vec<String>,
}

impl Finding {
    /// Whether paths of the kind can be made here and now.
    pub fn is_usable(&self) -> bool {
        self.obstacles.is_empty()
    }

    /// The obstacles in one sentence; `None` if there are none.
    pub fn why_not(&self) -> Option<String> {
        (!self.obstacles.is_empty()).then(|| self.obstacles.join("; "))
    }
}

/// One device of `/sys/class/infiniband`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name, such as `mlx5_0`.
    pub name: String,
    /// The kernel driver behind it, such as `mlx5_core` or `efa`; empty if the kernel does not say.
    pub driver: String,
    /// Its character device, if there is one.
    pub node: Option<PathBuf>,
    /// Its ports.
    pub ports: Vec<Port>,
}

impl Device {
    /// Whether it is an AWS EFA, which libfabric serves and verbs does not.
    pub fn is_efa(&self) -> bool {
        self.driver == "efa"
    }

    /// Whether any port carries traffic.
    pub fn has_active_port(&self) -> bool {
        self.ports.iter().any(|port| port.state == "ACTIVE")
    }
}

/// One port of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Counted from 1.
    pub number: u32,
    /// `ACTIVE`, `DOWN`, `INIT`, … in the kernel's words.
    pub state: String,
    /// `InfiniBand`, `Ethernet` or `Unspecified`.
    pub link_layer: String,
    /// Such as `100 Gb/sec (4X EDR)`.
    pub rate: String,
}

/// Looks at this machine.
pub fn probe() -> Probe {
    let extra = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let extra: Vec<PathBuf> =
        std::env::split_paths(&extra).filter(|path| path.is_absolute()).collect();
    probe_at(Path::new("/"), &extra)
}

/// Looks at the machine whose root directory is `root`.
fn probe_at(root: &Path, extra: &[PathBuf]) -> Probe {
    let (efa, verbs): (Vec<_>, Vec<_>) = devices(root).into_iter().partition(Device::is_efa);
    Probe {
        verbs: finding(root, "verbs", library(root, extra, "libibverbs.so.1"), verbs),
        fabric: finding(root, "libfabric", library(root, extra, "libfabric.so.1"), efa),
    }
}

fn finding(root: &Path, kind: &str, library: Option<PathBuf>, devices: Vec<Device>) -> Finding {
    let mut obstacles = Vec::new();
    if devices.is_empty() {
        obstacles.push(no_device(root, kind));
    } else if !devices.iter().any(Device::has_active_port) {
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        obstacles.push(format!(
            "no port of {} is ACTIVE: check cable, switch and `rdma link`",
            names.join(", ")
        ));
    }
    for device in &devices {
        if let Some(obstacle) = access(device) {
            obstacles.push(obstacle);
        }
    }
    if library.is_none() {
        let package = if kind == "verbs" {
            "libibverbs1 (rdma-core)"
        } else {
            "libfabric1 or the EFA installer"
        };
        obstacles.push(format!("the {kind} library is not installed: install {package}"));
    }
    obstacles.push(NOT_BUILT_IN.into());
    Finding { is_built_in: false, library, devices, obstacles }
}

fn no_device(root: &Path, kind: &str) -> String {
    if root.join("sys/class/infiniband").is_dir() {
        return format!("no {kind} device in /sys/class/infiniband");
    }
    format!("no {kind} device: the kernel has no RDMA subsystem loaded (no /sys/class/infiniband)")
}

/// Why the device's node cannot be opened, with the remedy.
fn access(device: &Device) -> Option<String> {
    let Some(node) = &device.node else {
        return Some(format!(
            "{}: no node in /dev/infiniband: load the module ib_uverbs",
            device.name
        ));
    };
    let result = fs::OpenOptions::new().read(true).write(true).open(node);
    let error = result.err()?;
    Some(format!("{}: {error}: add the service's user to the group that owns it", node.display()))
}

fn library(root: &Path, extra: &[PathBuf], name: &str) -> Option<PathBuf> {
    let standard = LIBRARY_DIRECTORIES.iter().map(|directory| root.join(directory));
    extra
        .iter()
        .cloned()
        .chain(standard)
        .map(|directory| directory.join(name))
        .find(|path| path.exists())
}

fn devices(root: &Path) -> Vec<Device> {
    entries(&root.join("sys/class/infiniband"))
        .map(|path| Device {
            name: file_name(&path),
            driver: fs::read_link(path.join("device/driver"))
                .map_or_else(|_| String::new(), |to| file_name(&to)),
            node: character_device(root, &file_name(&path)),
            ports: ports(&path),
        })
        .collect()
}

fn ports(device: &Path) -> Vec<Port> {
    let port = |path: PathBuf| {
        Some(Port {
            number: file_name(&path).parse().ok()?,
            state: last_word(&read(&path.join("state"))),
            link_layer: read(&path.join("link_layer")),
            rate: read(&path.join("rate")),
        })
    };
    entries(&device.join("ports")).filter_map(port).collect()
}

/// `/dev/infiniband/uverbsN` of the device called `name`.
fn character_device(root: &Path, name: &str) -> Option<PathBuf> {
    let path = entries(&root.join("sys/class/infiniband_verbs"))
        .find(|path| read(&path.join("ibdev")) == name)?;
    let node = root.join("dev/infiniband").join(file_name(&path));
    node.exists().then_some(node)
}

/// The paths in `directory`, sorted; none if it cannot be read.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    paths.into_iter()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The kernel writes port states as `4: ACTIVE`.
fn last_word(text: &str) -> String {
    text.rsplit(':').next().unwrap_or_default().trim().to_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's files in a temporary directory.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, text: &str) -> &Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn device(&self, name: &str, driver: &str, state: &str) -> &Self {
            let base = format!("sys/class/infiniband/{name}");
            self.file(&format!("{base}/ports/1/state"), state)
                .file(&format!("{base}/ports/1/link_layer"), "Ethernet\n")
                .file(&format!("{base}/ports/1/rate"), "100 Gb/sec (4X EDR)\n")
                .file(
                    &format!("sys/class/infiniband_verbs/uverbs_{name}/ibdev"),
                    &format!("{name}\n"),
                )
                .file(&format!("dev/infiniband/uverbs_{name}"), "")
                .file(&format!("drivers/{driver}/module"), "");
            let link = self.0.path().join(&base).join("device/driver");
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(self.0.path().join("drivers").join(driver), link).unwrap();
            self
        }

        fn probe(&self) -> Probe {
            probe_at(self.0.path(), &[])
        }
    }

    #[test]
    fn a_machine_without_rdma_says_so_for_both_kinds() {
        let probe = Machine::new().probe();
        for finding in [&probe.verbs, &probe.fabric] {
            let why = finding.why_not().unwrap();
            assert!(why.contains("no RDMA subsystem") && why.contains("not installed"), "{why}");
            assert!(!finding.is_usable() && finding.devices.is_empty());
        }
    }

    #[test]
    fn a_working_device_leaves_only_that_the_path_is_not_built_in() {
        let machine = Machine::new();
        machine.device("mlx5_0", "mlx5_core", "4: ACTIVE\n");
        machine.file("usr/lib/x86_64-linux-gnu/libibverbs.so.1", "");
        let verbs = machine.probe().verbs;
        assert_eq!(verbs.obstacles, [NOT_BUILT_IN]);
        let device = &verbs.devices[0];
        assert_eq!((device.name.as_str(), device.driver.as_str()), ("mlx5_0", "mlx5_core"));
        assert_eq!(device.ports[0].state, "ACTIVE");
        assert_eq!(device.ports[0].rate, "100 Gb/sec (4X EDR)");
        assert!(verbs.library.unwrap().ends_with("libibverbs.so.1"));
    }

    #[test]
    fn an_efa_belongs_to_libfabric_and_a_dead_port_is_named() {
        let machine = Machine::new();
        machine.device("rdmap0s6", "efa", "1: DOWN\n").device("rxe0", "rdma_rxe", "4: ACTIVE\n");
        let probe = machine.probe();
        assert_eq!(probe.fabric.devices[0].name, "rdmap0s6");
        assert!(probe.fabric.why_not().unwrap().contains("no port of rdmap0s6 is ACTIVE"));
        assert_eq!(probe.verbs.devices[0].name, "rxe0");
    }

    #[test]
    fn a_device_without_a_node_names_the_module() {
        let machine = Machine::new();
        machine.file("sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE");
        assert!(machine.probe().verbs.why_not().unwrap().contains("ib_uverbs"));
    }

    #[test]
    fn this_machine_can_be_probed() {
        let probe = probe();
        assert!(!probe.verbs.is_built_in && !probe.fabric.is_built_in);
    }
}
