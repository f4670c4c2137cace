//! What a configuration says arrives in the settings of endpoints.

use std::time::Duration;

use dwcp_core::config::{Config, load_str};
use dwcp_core::{DriverKind, PollMode, Rate};
use dwcp_hybrid::endpoint_settings;

fn config(text: &str) -> Config {
    let text = format!("mode: internet\npeers: any\n{text}");
    let loaded = load_str("test", &text);
    loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

#[test]
fn memory_has_a_pool_and_a_budget() {
    let settings = endpoint_settings(&config("memory: {poolSize: 64MiB, budget: 32MiB}\n"));
    assert_eq!(settings.memory_budget_bytes, 64 << 20);
    assert_eq!(settings.receive_budget_bytes, 32 << 20);
    assert_eq!(settings.window_bytes, 32 << 20, "no session may take more than all of them");
    assert_eq!(endpoint_settings(&config("")).window_bytes, 64 << 20);
}

#[test]
fn the_rate_of_handshakes_is_that_of_the_file() {
    let rate = |text: &str| endpoint_settings(&config(text)).handshake_rate;
    assert_eq!(rate(""), Some(Rate { per_second: 100, burst: 1_000 }));
    assert_eq!(rate("security: {rateLimit: {enabled: false}}\n"), None);
    let given = rate("security: {rateLimit: {requestsPerSecond: 7, burstSize: 9}}\n");
    assert_eq!(given, Some(Rate { per_second: 7, burst: 9 }));
    let auto = rate("security: {rateLimit: {requestsPerSecond: auto}}\n").expect("limited");
    assert!(auto.per_second >= 100);
}

#[test]
fn polling_without_sleep_runs_on_threads_of_its_own_and_on_the_processors_named() {
    let driver = |text: &str| endpoint_settings(&config(text)).driver;
    assert_eq!(driver(""), DriverKind::Tokio);
    assert_eq!(driver("performance: {pollingMode: false}\n"), DriverKind::Tokio);
    let DriverKind::Poll(one) = driver("performance: {pollingMode: true}\n") else { panic!() };
    assert_eq!((one.threads, one.mode, one.cores), (1, PollMode::BusySpin, vec![]));
    let bound = "performance: {pollingMode: true, cpuAffinity: {enabled: true, cores: [1, 3]}}\n";
    let DriverKind::Poll(two) = driver(bound) else { panic!() };
    assert_eq!((two.threads, two.mode, two.cores), (2, PollMode::BusySpin, vec![1, 3]));
}

#[test]
fn a_switch_may_drain_as_long_as_the_file_says() {
    let settings = endpoint_settings(&config("adaptive: {switching: {drainTimeout: 3s}}\n"));
    assert_eq!(settings.switch_timeout, Duration::from_secs(3));
}
