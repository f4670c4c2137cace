//! The YAML configuration: one loader for the daemon, the command line, editors and documentation.
//!
//! [`load_file`] parses the text to a tree in which every key and value knows its place, builds the typed
//! [`Config`] from it, checks rules between keys, and reports everything that is wrong at once. Each
//! [`Diagnostic`] has a stable code ([`codes()`]), a place and a fix.
//!
//! ```
//! let loaded = dwcp_core::config::load_str("node.yaml", "mode: hybird\npeers: any\n");
//! assert!(!loaded.valid());
//! assert_eq!(loaded.diagnostics[0].help.as_deref(), Some("did you mean `hybrid`?"));
//! ```

mod codes;
mod diagnostic;
mod environment;
mod keys;
mod keys_adaptive;
mod keys_network;
mod keys_node;
mod keys_operation;
mod keys_protocol;
mod load;
mod names;
mod not_obeyed;
mod parse;
mod reader;
mod reference;
mod refused;
mod resolve;
mod rules;
mod sample;
mod schema;
mod section;
mod setting;
mod spanned;
mod suggest;
mod syntax;
mod units;
mod words;

#[cfg(test)]
mod hostile_tests;

pub use codes::{CodeInfo, codes};
pub use diagnostic::{Colour, Diagnostic, Severity};
pub use environment::{Environment, check_environment};
pub use keys::{Config, Mode, Peers};
pub use keys_adaptive::{
    Adaptive, AlwaysTrue, Criterion, CriterionValue, Detection, Metric, Operator, Switching,
    Thresholds,
};
pub use keys_network::{
    BindAddress, CongestionControl, Fallback, FallbackTransport, Network, QpType, Rdma, RetryCount,
    Tcp, Transport, TransportEntry,
};
pub use keys_node::{
    Admin, AllowedTarget, Files, Forward, ForwardPriority, ForwardTarget, Keys, Peer, Session,
};
pub use keys_operation::{
    Cluster, CpuAffinity, FailureDetection, Features, HttpPath, Limits, LogFormat, LogLevel,
    LogOutput, Logging, Memory, Monitoring, Performance,
};
pub use keys_protocol::{
    Authentication, AuthenticationMethod, Byzantine, Compression, CompressionAlgorithm, Encryption,
    EncryptionAlgorithm, EncryptionLibrary, Protocol, RateLimit, Reputation, Security, Tls,
    TlsVersion,
};
pub use load::{Effective, Loaded, Source, load_bytes, load_file, load_str};
pub use names::{Address, FilePath, NodeId, NodeSet, NotANodeId};
pub use not_obeyed::is_not_obeyed_yet;
pub use parse::{MAX_BYTES, MAX_DEPTH};
pub use reference::{KeyDoc, keys, markdown};
pub use sample::sample;
pub use schema::schema;
pub use setting::Auto;
pub use suggest::nearest;
pub use units::{Rate, Share, Size, Time};

/// The tree that the loader reads from `text`, with the values that it takes scalars for; `None` where it finds an error
/// before any key is looked at. For comparisons with other readers of YAML.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn tree(text: &str) -> Option<serde_yaml::Value> {
    let mut found = diagnostic::Findings::default();
    let root = parse::parse("x", text, &mut found);
    let is_good = found.errors().is_empty();
    is_good.then(|| root.map_or(serde_yaml::Value::Null, |root| spanned::value(&root)))
}
