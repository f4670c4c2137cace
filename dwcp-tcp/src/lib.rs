//! The TCP path of DWCP: sockets, the TLS 1.3 handshake, protection suites, compression.
//!
//! A service hands these to `dwcp_core::Endpoint::builder`: [`TcpDialer`] and [`TcpListener`] make links,
//! [`suites`] protect records, [`Zstd`] makes them smaller. No session logic lives here.
#![deny(unsafe_code)] // `socket` alone relaxes it; .ci/unsafe-rooms.txt lists the rooms

mod dialer;
mod handshake;
mod identity;
#[cfg(any(test, feature = "keygen"))]
pub mod keygen;
mod link;
mod listener;
mod secret_file;
pub mod socket;
pub mod succession;
pub mod suites;
mod zstd;

pub use dialer::TcpDialer;
pub use handshake::{ALPN, EXPORTER_LABEL};
pub use identity::{
    Identity, IdentityError, IdentityFiles, MAX_NODE_ID_BYTES, NODE_URI_PREFIX, Renewal,
    node_id_of_certificate, valid_node_id,
};
pub use link::TcpLink;
pub use listener::TcpListener;
pub use secret_file::{SecretFileError, read_secret};
pub use socket::{Congestion, InForce, Keepalive, TcpOptions};
pub use zstd::{Level, Zstd, ZstdOptions};
