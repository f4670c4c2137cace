//! DWCP on RDMA: what verbs and libfabric devices a machine has, and why not.
//!
//! The data paths (`verbs`, `fabric`) are not part of this build; [`probe`] says so by name, so that nobody has
//! to guess why a session runs on TCP.
#![forbid(unsafe_code)]

pub mod probe;

pub use probe::{Device, Finding, Port, Probe};
