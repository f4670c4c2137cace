//! A wide area network on one machine, and DWCP beside its peers over it. Everything happens in network namespaces that are
//! made for it and gone with it; it wants root. `dwcp-wan` is its command.

pub mod compare;
pub mod data;
pub mod emulator;
pub mod link;
pub mod namespace;
mod peers;
pub mod probe;
mod process;
pub mod scenario;
mod sshd;
pub mod stop;

use std::io;

use emulator::Emulator;
use link::LinkSpec;
use namespace::Namespace;

/// Two hosts and the link between them.
#[derive(Debug)]
pub struct Wan {
    /// The link; dropped first.
    pub emulator: Emulator,
    /// Where [`emulator::NEAR`] is.
    pub near: Namespace,
    /// Where [`emulator::FAR`] is.
    pub far: Namespace,
}

impl Wan {
    /// Two new namespaces with a link, both with `congestion_control`, where one is named.
    ///
    /// # Errors
    /// What the kernel says, with what it is about.
    pub fn new(spec: &LinkSpec, congestion_control: Option<&str>) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            let message = "network namespaces and TUN devices want root; run it as root";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        if let Some(congestion_control) = congestion_control {
            near.tune(congestion_control)?;
            far.tune(congestion_control)?;
        }
        let emulator = Emulator::start(spec, &near, &far)
            .map_err(|error| io::Error::new(error.kind(), format!("the emulated link: {error}")))?;
        Ok(Self { emulator, near, far })
    }
}
