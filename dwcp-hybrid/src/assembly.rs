//! An endpoint from a configuration.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use dwcp_core::config::{self, Config, EncryptionLibrary, Transport};
use dwcp_core::crypto::{ChecksumSuite, Suite};
use dwcp_core::{Endpoint, PathKind, Peer, Peers};
use dwcp_rdma::probe::{Finding, probe};
use dwcp_tcp::succession::{Bequest, OldProcess};
use dwcp_tcp::suites::Backend;
use dwcp_tcp::{Identity, Level, TcpDialer, TcpListener, Zstd, ZstdOptions, suites};

use crate::AssemblyError;
use crate::key_files::{cluster_key, identity};
use crate::settings::{endpoint_settings, listen_addresses, reputation, request_rate, tcp_options};

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
    /// The listening sockets, by name, for a process that is to follow this one.
    pub sockets: Vec<(String, OwnedFd)>,
}

impl Assembly {
    /// Has the sockets that peers come by go by `config`: those of a process before this one have its options until then. Once it has
    /// made way, and not before: it shares them. What the system refuses works worse.
    pub fn set_socket_options(&mut self, config: &Config) {
        let options = tcp_options(config);
        let names: Vec<_> = listen_addresses(config).iter().map(|one| listen_name(one)).collect();
        for (name, socket) in self.sockets.iter().filter(|(name, _)| names.contains(name)) {
            if let Err(error) = TcpListener::set_options(socket, &options) {
                let words = format!("{name}: options of the process before this one stay: {error}");
                self.degraded.push(words);
            }
        }
    }
}

/// The name of the socket that listens on `address`.
fn listen_name(address: &str) -> String {
    format!("listen {address}")
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
    build(config, listen, None)
}

/// As [`assemble`], in a process that follows another one of the same node: with the sockets and the claim of `bequest`,
/// as far as `config` still wants them. What resumes a session of `before`, or of one before that, is passed on to it. The
/// endpoint does not listen yet: `before` has to make way first, and then [`Assembly::set_socket_options`] is to follow.
///
/// # Errors
/// [`AssemblyError`].
pub fn assemble_after(
    config: &Config,
    bequest: &mut Bequest,
    before: &OldProcess,
) -> Result<Assembly, AssemblyError> {
    build(config, Listen::Configured, Some((bequest, before)))
}

/// An endpoint that dials the peers of `config` as whoever `identity` is, and lays no claim to be the only one: for programs
/// that play many nodes. Call it inside a tokio runtime.
///
/// # Errors
/// [`AssemblyError`].
pub fn dialing(config: &Config, identity: &Identity) -> Result<Endpoint, AssemblyError> {
    let mut settings = endpoint_settings(config);
    settings.cluster_key = cluster_key(config)?;
    let endpoint = Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), tcp_options(config))))
        .suite(suite(config))
        .compression(Arc::new(compression(config)))
        .peers(peers(config))
        .settings(settings)
        .build()?;
    set_features(&endpoint, config);
    Ok(endpoint)
}

fn build(
    config: &Config,
    listen: Listen,
    mut after: Option<(&mut Bequest, &OldProcess)>,
) -> Result<Assembly, AssemblyError> {
    let degraded = transport(config)?;
    let identity = identity(config)?;
    match &mut after {
        Some((bequest, _)) => identity.claim_after(bequest.claim.take())?,
        None => identity.claim()?,
    }
    let options = tcp_options(config);
    let mut settings = endpoint_settings(config);
    settings.cluster_key = cluster_key(config)?;
    let mut builder = Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options.clone())))
        .suite(suite(config))
        .compression(Arc::new(compression(config)))
        .peers(peers(config))
        .settings(settings);
    let mut sockets = Vec::new();
    if listen == Listen::Configured {
        for address in listen_addresses(config) {
            let name = listen_name(&address);
            let inherited = after.as_mut().and_then(|(bequest, _)| bequest.take(&name));
            let listener = match inherited {
                Some(socket) => TcpListener::inherit(socket, options.clone(), identity.clone()),
                None => TcpListener::bind(&address, options.clone(), identity.clone()),
            };
            let listener = listener.map_err(AssemblyError::listen)?;
            sockets.push((name, listener.share().map_err(AssemblyError::listen)?));
            builder = builder.listener(Box::new(listener));
        }
    }
    let endpoint = match after {
        None => builder.build()?,
        Some((bequest, before)) => {
            for process in std::iter::once(before).chain(&bequest.older) {
                builder = builder.predecessor(Arc::new(process.clone()));
            }
            builder.prepare()?
        }
    };
    set_features(&endpoint, config);
    Ok(Assembly { endpoint, identity, degraded, sockets })
}

/// Makes `endpoint` obey what `config` says of the features that can change while it runs: compression, and all of
/// `byzantine`. Sessions that are there keep what they agreed on; rates and scores concern them, too.
pub fn set_features(endpoint: &Endpoint, config: &Config) {
    endpoint.set_compression(config.compresses());
    endpoint.set_hmac(config.is_byzantine_tolerant());
    endpoint.set_trusted_suites(trusted_suites(config));
    endpoint.set_request_rate(request_rate(config));
    endpoint.set_reputation(reputation(config));
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
