//! An endpoint from a configuration.

use std::path::Path;
use std::sync::Arc;

use dwcp_core::config::{self, Config, EncryptionLibrary, Transport};
use dwcp_core::crypto::{ChecksumSuite, Secret, Suite};
use dwcp_core::{Endpoint, PathKind, Peer, Peers};
use dwcp_rdma::probe::{Finding, probe};
use dwcp_tcp::suites::Backend;
use dwcp_tcp::{Identity, IdentityFiles, Level, TcpDialer, TcpListener, Zstd, ZstdOptions, suites};

use crate::AssemblyError;
use crate::settings::{endpoint_settings, listen_addresses, tcp_options};

/// The bytes of a cluster key.
const CLUSTER_KEY_BYTES: usize = 32;

/// Whether an endpoint takes sessions of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On the configured addresses.
    Configured,
    /// It only dials.
    No,
}

/// An endpoint and what was decided on the way.
pub struct Assembly {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Who it is; reload it to change certificates under way.
    pub identity: Identity,
    /// What works worse than the configuration wants, in words.
    pub degraded: Vec<String>,
}

/// An endpoint as `config` describes it, listening. Call it inside a tokio runtime.
///
/// # Errors
/// [`AssemblyError`].
pub fn endpoint(config: &Config) -> Result<Endpoint, AssemblyError> {
    assemble(config, Listen::Configured).map(|assembly| assembly.endpoint)
}

/// As [`endpoint`], and says what was decided.
///
/// # Errors
/// [`AssemblyError`].
pub fn assemble(config: &Config, listen: Listen) -> Result<Assembly, AssemblyError> {
    let degraded = transport(config)?;
    let identity = identity(config)?;
    identity.claim()?;
    let options = tcp_options(config);
    let mut settings = endpoint_settings(config);
    settings.cluster_key = cluster_key(config)?;
    let mut builder = Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options.clone())))
        .suite(suite(config))
        .compression(Arc::new(compression(config)))
        .peers(peers(config))
        .settings(settings);
    for suite in trusted_suites(config) {
        builder = builder.trusted_suite(suite);
    }
    if listen == Listen::Configured {
        for address in listen_addresses(config) {
            let listener = TcpListener::bind(&address, options.clone(), identity.clone());
            builder = builder.listener(Box::new(listener.map_err(AssemblyError::listen)?));
        }
    }
    let endpoint = builder.build()?;
    endpoint.set_compression(config.compresses());
    Ok(Assembly { endpoint, identity, degraded })
}

/// The peers that `config` admits: those it names, or none while version 3 is switched off.
pub fn peers(config: &Config) -> Peers {
    match &config.peers {
        _ if !config.features.enable_v3 => Peers::only([]),
        config::Peers::Any => Peers::any(),
        config::Peers::Listed(peers) => Peers::only(peers.iter().map(|peer| {
            Peer::new(peer.node_id.as_str(), peer.addresses.iter().map(ToString::to_string))
        })),
    }
}

/// Checks that the wanted transport is there; says what it falls back from.
fn transport(config: &Config) -> Result<Vec<String>, AssemblyError> {
    let Some(wanted) = config.transports().first().copied() else { return Ok(Vec::new()) };
    let probe = probe();
    let finding: &Finding = match wanted {
        Transport::Tcp => return Ok(Vec::new()),
        Transport::Rdma => &probe.verbs,
        Transport::Fabric => &probe.fabric,
    };
    let Some(reason) = finding.why_not() else { return Ok(Vec::new()) };
    let name = wanted.kind().name().to_owned();
    if config.network.fallback.enabled && config.network.tcp.enabled {
        return Ok(vec![format!("transport {name} cannot be used, running on tcp: {reason}")]);
    }
    Err(AssemblyError::Unavailable { transport: name, reason })
}

fn identity(config: &Config) -> Result<Identity, AssemblyError> {
    let keys = &config.keys;
    let identity = Identity::load(IdentityFiles {
        cert: keys.cert.as_path().to_owned(),
        key: keys.key.as_path().to_owned(),
        ca: keys.ca.as_path().to_owned(),
    })?;
    if let Some(configured) = &config.node_id
        && configured.as_str() != identity.node_id()
    {
        return Err(AssemblyError::WrongNode {
            configured: configured.as_str().to_owned(),
            found: identity.node_id().to_owned(),
            path: keys.cert.as_path().display().to_string(),
        });
    }
    Ok(identity)
}

fn cluster_key(config: &Config) -> Result<Option<Secret>, AssemblyError> {
    let Some(path) = &config.keys.cluster_key else { return Ok(None) };
    let path = path.as_path();
    let failed =
        |reason: String| AssemblyError::ClusterKey { path: path.display().to_string(), reason };
    let text =
        std::fs::read_to_string(path).map_err(|error| failed(format!("cannot read: {error}")))?;
    check_mode(path).map_err(failed)?;
    let bytes = unhex(text.trim()).ok_or_else(|| {
        failed(format!("a cluster key is {} hexadecimal digits", CLUSTER_KEY_BYTES * 2))
    })?;
    Ok(Some(Secret::new(bytes)))
}

fn check_mode(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(format!("mode {mode:04o} lets others read it; run: chmod 600 {}", path.display())),
    }
}

fn unhex(text: &str) -> Option<[u8; CLUSTER_KEY_BYTES]> {
    if text.len() != CLUSTER_KEY_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; CLUSTER_KEY_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

fn suite(config: &Config) -> Arc<dyn Suite> {
    let backend = match config.protocol.encryption.implementation.get() {
        Some(EncryptionLibrary::AesGcm) => Backend::RustCrypto,
        Some(EncryptionLibrary::AwsLcRs) | None => Backend::AwsLc,
    };
    // Whether records carry an HMAC as well is a setting of the endpoint.
    suites::aes_256_gcm(backend, false)
}

/// What is good enough for trusted media: the configured protection first, then all that is stronger.
fn trusted_suites(config: &Config) -> Vec<Arc<dyn Suite>> {
    let wanted = config.protection(PathKind::Rdma);
    let suites = [Arc::new(ChecksumSuite) as Arc<dyn Suite>, suites::hmac_sha256(), suite(config)];
    suites.into_iter().filter(|suite| suite.protection() >= wanted).collect()
}

fn compression(config: &Config) -> Zstd {
    let compression = &config.protocol.compression;
    let level = compression.level.get().map_or(Level::Auto, |level| Level::Fixed(i32::from(level)));
    let min_size_bytes = usize::try_from(compression.min_size.bytes()).unwrap_or(usize::MAX);
    Zstd::new(ZstdOptions { level, min_size_bytes })
}
