//! DWCP for nodes with several kinds of path: an endpoint assembled from a configuration.
//!
//! [`endpoint`] is the short way for a service; [`assemble`] also tells what was decided and gives the
//! identity that a daemon reloads.
#![forbid(unsafe_code)]

mod assembly;
mod error;
mod key_files;
#[cfg(test)]
mod obeyed;
mod process;
mod settings;

pub use assembly::{
    Assembly, Listen, assemble, assemble_after, dialing, endpoint, peers, set_features,
};
pub use error::AssemblyError;
pub use key_files::{KeyProblem, check_keys};
pub use process::{on_first_processors, prepare_process};
pub use settings::{endpoint_settings, listen_addresses, reputation, request_rate, tcp_options};
