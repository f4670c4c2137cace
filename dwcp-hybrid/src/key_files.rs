//! The files behind `keys`: who this node is, and the secret that all nodes share.

use dwcp_core::config::Config;
use dwcp_core::crypto::Secret;
use dwcp_tcp::{Identity, IdentityError, IdentityFiles, read_secret};

use crate::AssemblyError;

/// The bytes of a cluster key.
const CLUSTER_KEY_BYTES: usize = 32;

/// A file of `keys` that no endpoint can be made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProblem {
    /// The key of the configuration that names it.
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Looks at the files behind `keys` as [`assemble`](crate::assemble) does, and says everything that is wrong with
/// them. Makes no endpoint, and may be asked while another process is the node.
pub fn check_keys(config: &Config) -> Vec<KeyProblem> {
    let files = files(config);
    let mut errors: Vec<AssemblyError> =
        Identity::problems(&files).into_iter().map(AssemblyError::Identity).collect();
    if let Ok(found) = dwcp_tcp::node_id_of_certificate(&files.cert) {
        errors.extend(check_name(config, &found).err());
    }
    errors.extend(cluster_key(config).err());
    errors.iter().map(problem).collect()
}

fn problem(error: &AssemblyError) -> KeyProblem {
    const MAKE: &str = "`dwcp-ctl keys init` makes keys and certificates";
    let (key, help) = match error {
        AssemblyError::Identity(error) => match error {
            IdentityError::KeyMismatch { .. } => {
                ("keys.key", "install certificate and key from one issue".into())
            }
            IdentityError::KeyMode { path, .. } => ("keys.key", format!("chmod 600 {path}")),
            IdentityError::KeyOwner { path, user, .. } => {
                ("keys.key", format!("chown {user} {path}, or be the user that dwcpd runs as"))
            }
            IdentityError::Unusable { .. } => {
                ("keys.cert", "renew it, or let keys.ca name the authority that signed it".into())
            }
            IdentityError::Read { what, .. }
            | IdentityError::NoSection { what, .. }
            | IdentityError::Parse { what, .. } => (named(what), MAKE.into()),
            _ => ("keys.cert", MAKE.into()),
        },
        AssemblyError::ClusterKey { .. } => (
            "keys.clusterKey",
            "`openssl rand -hex 32` makes one; mode 0600, and owned by dwcpd's user".into(),
        ),
        _ => ("keys.cert", "install this node's certificate, or change nodeId".into()),
    };
    let causes =
        std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let words: Vec<_> = causes.map(ToString::to_string).collect();
    KeyProblem { key, message: format!("`{key}`: {}", words.join(": ")), help }
}

/// The key of the configuration that names the file which holds `what`.
fn named(what: &str) -> &'static str {
    match what {
        "private key" => "keys.key",
        "CA certificate" => "keys.ca",
        _ => "keys.cert",
    }
}

fn files(config: &Config) -> IdentityFiles {
    let keys = &config.keys;
    IdentityFiles {
        cert: keys.cert.as_path().to_owned(),
        key: keys.key.as_path().to_owned(),
        ca: keys.ca.as_path().to_owned(),
    }
}

/// Whether the certificate names the node that the configuration names.
fn check_name(config: &Config, found: &str) -> Result<(), AssemblyError> {
    match &config.node_id {
        Some(configured) if configured.as_str() != found => Err(AssemblyError::WrongNode {
            configured: configured.as_str().to_owned(),
            found: found.to_owned(),
            path: config.keys.cert.as_path().display().to_string(),
        }),
        _ => Ok(()),
    }
}

pub(crate) fn identity(config: &Config) -> Result<Identity, AssemblyError> {
    let identity = Identity::load(files(config))?;
    check_name(config, identity.node_id())?;
    Ok(identity)
}

pub(crate) fn cluster_key(config: &Config) -> Result<Option<Secret>, AssemblyError> {
    let Some(path) = &config.keys.cluster_key else { return Ok(None) };
    let path = path.as_path();
    let failed =
        |reason: String| AssemblyError::ClusterKey { path: path.display().to_string(), reason };
    let read = read_secret(path).map_err(|error| failed(error.to_string()))?;
    let text = std::str::from_utf8(&read).unwrap_or_default();
    let bytes = unhex(text.trim()).ok_or_else(|| {
        failed(format!("a cluster key is {} hexadecimal digits", CLUSTER_KEY_BYTES * 2))
    })?;
    Ok(Some(Secret::new(bytes)))
}

fn unhex(text: &str) -> Option<[u8; CLUSTER_KEY_BYTES]> {
    if text.len() != CLUSTER_KEY_BYTES * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; CLUSTER_KEY_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_key_is_hexadecimal_digits_and_nothing_else() {
        assert_eq!(unhex(&"aF".repeat(32)), Some([0xaf; 32]));
        for bad in ["a".repeat(63), "+f".repeat(32), "é".repeat(32), "0x".repeat(32)] {
            assert_eq!(unhex(&bad), None, "{bad}");
        }
    }
}
