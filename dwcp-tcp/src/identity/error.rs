//! Why an identity cannot be used.

use std::io;

/// What is wrong with our own certificate, key or CA, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{path}: cannot read the {what}; `dwcp-ctl keys init` makes one")]
    Read {
        /// The file.
        path: String,
        /// `certificate`, `private key` or `CA certificate`.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner can read the key.
    #[error("{path}: mode {mode:04o} lets others read the private key; run: chmod 600 {path}")]
    KeyMode {
        /// The key file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The key's owner is neither root nor who reads it.
    #[error(
        "{path}: the private key belongs to user {owner}, who can read and replace it; run: chown {user} {path}"
    )]
    KeyOwner {
        /// The key file.
        path: String,
        /// Its owner's number.
        owner: u32,
        /// The number of who reads it.
        user: u32,
    },
    /// A file holds no PEM section of the kind it should.
    #[error("{path}: no {what} in it; it must be PEM with a section `-----BEGIN {section}-----`")]
    NoSection {
        /// The file.
        path: String,
        /// What was looked for.
        what: &'static str,
        /// The section's name.
        section: &'static str,
    },
    /// A section does not parse.
    #[error("{path}: cannot parse the {what}: {reason}")]
    Parse {
        /// The file.
        path: String,
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate does not say which node it is.
    #[error(
        "{path}: {found}; a node's certificate must hold one SAN URI dwcp://node/<nodeId> \
         (`dwcp-ctl keys init` makes such certificates)"
    )]
    NoNodeId {
        /// The certificate file.
        path: String,
        /// What it holds instead.
        found: String,
    },
    /// Key and certificate are not a pair.
    #[error("{key}: not the private key of the certificate in {cert}; install both from one issue")]
    KeyMismatch {
        /// The key file.
        key: String,
        /// The certificate file.
        cert: String,
    },
    /// Our own certificate would be refused by peers that trust our CA.
    #[error("{path}: peers would refuse this certificate: {reason}")]
    Unusable {
        /// The certificate file.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A reload brought another node's certificate.
    #[error(
        "the new certificate names node {found}, this is node {expected}; restart to change the node id"
    )]
    NodeChanged {
        /// The id this process started with.
        expected: String,
        /// The id in the new certificate.
        found: String,
    },
    /// Another process is this node already.
    #[error(
        "node {node_id} runs already: another process holds {key}. Two processes with one certificate would \
         end each other's sessions; stop that one, or go through it"
    )]
    InUse {
        /// The node.
        node_id: String,
        /// The key file, which the other holds a lock on.
        key: String,
    },
    /// There are no files to read again.
    #[error("this identity was given in memory; there are no files to reload")]
    NotFromFiles,
}
