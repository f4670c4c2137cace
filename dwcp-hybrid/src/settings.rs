//! From the configuration's words to the settings of endpoints and sockets.

use dwcp_core::config::{Config, Performance, RateLimit};
use dwcp_core::{DriverKind, EndpointSettings, PollMode, PollSettings, Rate, ReputationRules};
use dwcp_tcp::{Congestion, Keepalive, TcpOptions};

/// The endpoint's settings, without the cluster key.
pub fn endpoint_settings(config: &Config) -> EndpointSettings {
    let mut settings = EndpointSettings::default();
    let session = &config.session;
    settings.time_to_live = session.time_to_live.get();
    settings.window_bytes = session.window.bytes().min(config.memory.budget.bytes());
    settings.max_message_bytes = session.max_message_size.bytes();
    settings.handshake_timeout = session.handshake_timeout.get();
    settings.handshake_rate = handshake_rate(&config.security.rate_limit);
    settings.reconnect_delay_max = session.reconnect_delay_max.get();
    settings.memory_budget_bytes =
        usize::try_from(config.memory.pool_size.bytes()).unwrap_or(usize::MAX);
    settings.receive_budget_bytes = config.memory.budget.bytes();
    settings.heartbeat_interval = config.cluster.failure_detection.heartbeat_interval.get();
    settings.timeout_multiplier = config.cluster.failure_detection.timeout_multiplier;
    settings.key_rotation_interval = Some(config.protocol.encryption.key_rotation_interval.get());
    settings.hmac = config.is_byzantine_tolerant();
    settings.request_rate = request_rate(config);
    settings.reputation = reputation(config);
    settings.sessions_max = config.performance.max_connections as usize;
    settings.switch_timeout = config.adaptive.switching.drain_timeout.get();
    match config.performance.polling_mode.get() {
        Some(true) => settings.driver = DriverKind::Poll(polls(&config.performance)),
        Some(false) => settings.spin = std::time::Duration::ZERO,
        None => {}
    }
    settings
}

/// Threads that poll without sleeping: one for each processor named, else one.
fn polls(performance: &Performance) -> PollSettings {
    let affinity = &performance.cpu_affinity;
    let mut settings = PollSettings::default();
    settings.mode = PollMode::BusySpin;
    if affinity.enabled {
        settings.cores = affinity.cores.iter().map(|&core| usize::from(core)).collect();
        settings.threads = settings.cores.len().max(1);
    }
    settings
}

/// A handshake takes a few milliseconds of a processor, most of them for its signatures: `auto` leaves room.
const HANDSHAKES_PER_PROCESSOR: usize = 100;

/// A channel opened and answered takes some tens of microseconds.
const REQUESTS_PER_PROCESSOR: usize = 5_000;

/// Handshakes that one address may begin.
fn handshake_rate(limit: &RateLimit) -> Option<Rate> {
    rate(limit, HANDSHAKES_PER_PROCESSOR)
}

/// What a peer may ask for that costs it no credit.
pub fn request_rate(config: &Config) -> Option<Rate> {
    let limit = &config.byzantine.rate_limit;
    config.is_byzantine_tolerant().then(|| rate(limit, REQUESTS_PER_PROCESSOR)).flatten()
}

fn rate(limit: &RateLimit, per_processor: usize) -> Option<Rate> {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let auto = || u32::try_from(per_processor * processors()).unwrap_or(u32::MAX);
    limit.enabled.then(|| Rate {
        per_second: limit.requests_per_second.get().unwrap_or_else(auto),
        burst: limit.burst_size,
    })
}

/// How peers are judged that break the protocol.
pub fn reputation(config: &Config) -> Option<ReputationRules> {
    let given = &config.byzantine.reputation;
    (config.is_byzantine_tolerant() && given.enabled).then(|| ReputationRules {
        reputation_min: given.min_reputation.get(),
        quarantine_below: given.blacklist_threshold.get(),
        half_life: given.decay_interval.get(),
        quarantine: config.byzantine.quarantine.get(),
    })
}

/// What is asked of sockets.
#[allow(clippy::field_reassign_with_default, reason = "the struct is non-exhaustive")]
pub fn tcp_options(config: &Config) -> TcpOptions {
    let tcp = &config.network.tcp;
    let congestion = match tcp.congestion_control.get() {
        None => Congestion::Auto,
        Some(name) => Congestion::Named(name.name().to_owned()),
    };
    let mut options = TcpOptions::default();
    options.congestion = congestion;
    options.no_delay = tcp.no_delay;
    options.fast_open = tcp.fast_open;
    options.fast_open_queue = tcp.fast_open_queue_length;
    options.keepalive = tcp.keep_alive.then(|| Keepalive {
        time: tcp.keep_alive_interval.get(),
        interval: tcp.keep_alive_interval.get(),
        probes: tcp.keep_alive_probes,
    });
    // The session gives a path up by its own measure; the kernel only cleans up after it.
    let patience = config.session.time_to_live.get();
    options.user_timeout = Some(tcp.user_timeout.get().map_or(patience, |time| time.get()));
    let bytes = |size: dwcp_core::config::Size| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    options.send_buffer_bytes = tcp.send_buffer.get().map(bytes);
    options.recv_buffer_bytes = tcp.recv_buffer.get().map(bytes);
    if let Some(size) = tcp.not_sent_low_water.get() {
        options.not_sent_low_water_bytes = u32::try_from(size.bytes()).unwrap_or(u32::MAX);
    }
    options.backlog = tcp.listen_backlog;
    options.handshake_timeout = config.session.handshake_timeout.get();
    options
}

/// The addresses to bind. `[::]` takes IPv4 too, so `0.0.0.0` beside it on the same port is left out; without
/// IPv6 in the kernel, `[::]` is.
pub fn listen_addresses(config: &Config) -> Vec<String> {
    let addresses = config.listen_addresses();
    let has = |host: &str, port| {
        addresses.iter().any(|other| other.host() == host && other.port() == port)
    };
    let ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
    let is_needed = |address: &&dwcp_core::config::Address| match address.host() {
        "0.0.0.0" => !ipv6 || !has("::", address.port()),
        "::" => ipv6 || !has("0.0.0.0", address.port()),
        _ => true,
    };
    addresses.iter().filter(is_needed).map(ToString::to_string).collect()
}
