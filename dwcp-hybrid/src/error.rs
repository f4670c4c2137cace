//! Why no endpoint could be made.

use std::io;

/// What stands in the way of an endpoint, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssemblyError {
    /// Certificate, key or CA cannot be used.
    #[error(transparent)]
    Identity(#[from] dwcp_tcp::IdentityError),
    /// The certificate is another node's.
    #[error("nodeId is {configured}, but the certificate {path} names {found}: change one of them")]
    WrongNode {
        /// In the configuration.
        configured: String,
        /// In the certificate.
        found: String,
        /// The certificate.
        path: String,
    },
    /// The cluster key cannot be used.
    #[error("{path}: {reason}")]
    ClusterKey {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The transport that the configuration requires is not there.
    #[error(
        "network.transport: {transport} cannot be used: {reason}. \
         Set network.fallback.enabled: true to start degraded on TCP"
    )]
    Unavailable {
        /// `rdma` or `fabric`.
        transport: String,
        /// Everything that stands in the way.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("{error}: {remedy}")]
    Listen {
        /// What the system said, with the address. Not the source: it stands in the words already.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The parts do not fit.
    #[error(transparent)]
    Build(#[from] dwcp_core::BuildError),
}

impl AssemblyError {
    /// Whether a device is missing, rather than the configuration wrong.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether something else on this machine is in the way, that may go by itself: an address in use, another
    /// process that is the node.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Listen { .. } | Self::Identity(dwcp_tcp::IdentityError::InUse { .. }))
    }

    /// Words for an address that cannot be listened on.
    pub(crate) fn listen(error: io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "another process has it; `ss -ltnp` shows which",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE; the systemd unit grants it"
            }
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address",
            _ => "check `listen`, `network.bindAddress` and `network.port`",
        };
        Self::Listen { error, remedy }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_address_in_use_is_told_once() {
        let error =
            io::Error::new(io::ErrorKind::AddrInUse, "cannot listen on 127.0.0.1:1: in use");
        let error = AssemblyError::listen(error);
        let words = error.to_string();
        assert_eq!(words.matches("cannot listen").count(), 1, "{words}");
        assert!(error.source().is_none(), "whoever prints causes would say it twice");
    }
}
