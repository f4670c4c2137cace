//! Listening addresses.

use std::collections::HashMap;

use super::{Rules, duplicates};
use crate::config::codes;
use crate::config::names::Address;

pub(super) fn check(rules: &mut Rules<'_>) {
    said_twice(rules);
    clashes(rules);
    let config = rules.config;
    let admin = config.admin.listen.as_deref().unwrap_or_default();
    if config.admin.token_file.is_none()
        && rules.is_sound(&["admin.tokenFile"])
        && let Some(index) = admin.iter().position(|address| !address.is_loopback())
    {
        let message =
            format!("{} can be reached from other hosts, and there is no token", admin[index]);
        let help = "add admin.tokenFile, or listen on 127.0.0.1 and [::1]";
        rules.error(&format!("admin.listen[{index}]"), codes::ADMIN_TOKEN, message, help);
    }
    let cores = &config.performance.cpu_affinity.cores;
    for (index, _) in duplicates(cores) {
        let path = format!("performance.cpuAffinity.cores[{index}]");
        let message = format!("the processor {} is listed twice", cores[index]);
        rules.error(&path, codes::DUPLICATE_NAME, message, "delete one");
    }
}

/// `listen` beside `network.port`, and `admin.listen` beside `monitoring.metricsPort`.
fn said_twice(rules: &mut Rules<'_>) {
    let config = rules.config;
    let network = &config.network;
    let is_sound = rules.is_sound(&["listen"]);
    if let Some(listen) = config.listen.as_deref().filter(|listen| is_sound && !listen.is_empty()) {
        let has_port = listen.iter().any(|address| address.port() == network.port);
        if rules.gives("network.port") && !has_port {
            let message = format!("no address of `listen` has the port {}", network.port);
            rules.error(
                "network.port",
                codes::LISTEN_TWICE,
                message,
                "keep `listen`, delete this line",
            );
        }
        if let Some(bind) = network.bind_address
            && !listen.iter().any(|address| address.ip() == Some(bind.get()))
        {
            let message = format!("no address of `listen` is {}", bind.get());
            let path = "network.bindAddress";
            rules.error(path, codes::LISTEN_TWICE, message, "keep `listen`, delete this line");
        }
    }
    let is_sound = rules.is_sound(&["admin.listen"]);
    if let Some(admin) =
        config.admin.listen.as_deref().filter(|admin| is_sound && !admin.is_empty())
    {
        let port = config.monitoring.metrics_port;
        if rules.gives("monitoring.metricsPort")
            && admin.iter().all(|address| address.port() != port)
        {
            let message = format!("no address of `admin.listen` has the port {port}");
            let path = "monitoring.metricsPort";
            let help = "keep `admin.listen`, delete this line";
            rules.error(path, codes::METRICS_PORT_TWICE, message, help);
        }
    }
}

/// Everything this node listens on: key, address, what for.
fn listeners(rules: &Rules<'_>) -> Vec<(String, Address, &'static str)> {
    let config = rules.config;
    let mut resolved = config.clone();
    resolved.resolve();
    let path = |given: bool, list: &str, port: &str, index: usize| {
        if given { format!("{list}[{index}]") } else { port.to_owned() }
    };
    let mut out = Vec::new();
    // Without the mode nobody knows the usual port.
    let is_known =
        config.listen.is_some() || rules.gives("network.port") || rules.whole.is_mode_known;
    let sessions = resolved.listen_addresses().iter().filter(|_| is_known);
    for (index, address) in sessions.enumerate() {
        let path = path(config.listen.is_some(), "listen", "network.port", index);
        out.push((path, address.clone(), "sessions"));
    }
    for (index, address) in resolved.admin_addresses().iter().enumerate() {
        let given = config.admin.listen.is_some();
        let path = path(given, "admin.listen", "monitoring.metricsPort", index);
        out.push((path, address.clone(), "the admin server"));
    }
    for (index, forward) in config.forwards.iter().enumerate() {
        out.push((format!("forwards[{index}].listen"), forward.listen.clone(), "a forward"));
    }
    out
}

/// Who listens on one port so far, by the first of each kind: long lists must not be compared each with each.
#[derive(Default)]
struct Taken<'a> {
    hosts: HashMap<&'a str, usize>,
    /// The first of each family: IPv4, IPv6, and names, which may be either.
    any: [Option<usize>; 3],
    /// The same of those that listen on all addresses.
    wide: [Option<usize>; 3],
}

impl<'a> Taken<'a> {
    /// Adds the listener `index` on `address`; returns the first that it gets in the way of.
    fn take(&mut self, address: &'a Address, index: usize) -> Option<usize> {
        const NAME: usize = 2;
        if address.port() == 0 {
            return None; // the system chooses one that is free
        }
        let ip = address.ip();
        let family = ip.map_or(NAME, |ip| usize::from(ip.is_ipv6()));
        let is_wide = ip.is_some_and(|ip| ip.is_unspecified());
        let is_met = |other: usize| family == NAME || other == NAME || other == family;
        let met = (0..3).filter(|other| is_met(*other));
        let wide = met.clone().filter_map(|other| self.wide[other]);
        let any = met.filter(|_| is_wide).filter_map(|other| self.any[other]);
        let same = self.hosts.get(address.host()).copied();
        let first = wide.chain(any).chain(same).min();
        self.hosts.entry(address.host()).or_insert(index);
        self.any[family].get_or_insert(index);
        if is_wide {
            self.wide[family].get_or_insert(index);
        }
        first
    }
}

fn clashes(rules: &mut Rules<'_>) {
    let listeners = listeners(rules);
    let listeners: Vec<_> =
        listeners.into_iter().filter(|(path, ..)| !rules.is_made_up(path)).collect();
    let mut by_port = HashMap::<u16, Taken<'_>>::new();
    for (index, (path, address, purpose)) in listeners.iter().enumerate() {
        let clash = by_port.entry(address.port()).or_default().take(address, index);
        if let Some((other, earlier, earlier_purpose)) = clash.map(|at| &listeners[at]) {
            // The later key of the two that the file gives is the one to change.
            let path = if rules.gives(path) { path } else { other };
            let message = format!(
                "{address} for {purpose} overlaps {earlier} for {earlier_purpose}: one port, two listeners"
            );
            rules.error(path, codes::LISTEN_CLASH, message, "choose another port");
        }
    }
    for (path, address, purpose) in &listeners {
        let is_taken = match address.port() {
            9110 => true,
            9100 => *purpose != "the admin server",
            _ => false,
        };
        if is_taken {
            let owner = if address.port() == 9110 { "node_exporter" } else { "the admin server" };
            let message = format!("{address} for {purpose}: others expect {owner} there");
            rules.warning(path, codes::PORT_HABIT, message, "choose another port");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a listener on the last address gets in the way of one on an earlier one, and of which.
    fn clash(addresses: &[(&str, u16)]) -> Option<usize> {
        let addresses: Vec<_> =
            addresses.iter().map(|(host, port)| Address::new(*host, *port)).collect();
        let mut by_port = HashMap::<u16, Taken<'_>>::new();
        let mut last = None;
        for (index, address) in addresses.iter().enumerate() {
            last = by_port.entry(address.port()).or_default().take(address, index);
        }
        last
    }

    #[test]
    fn listeners_overlap_within_a_family() {
        assert_eq!(clash(&[("0.0.0.0", 80), ("127.0.0.1", 80)]), Some(0));
        assert_eq!(clash(&[("127.0.0.1", 80), ("0.0.0.0", 80)]), Some(0));
        assert_eq!(clash(&[("0.0.0.0", 80), ("::1", 80)]), None);
        assert_eq!(clash(&[("::", 80), ("::1", 80)]), Some(0));
        assert_eq!(clash(&[("0.0.0.0", 80), ("127.0.0.1", 81)]), None);
        assert_eq!(clash(&[("127.0.0.1", 0), ("127.0.0.1", 0)]), None);
        assert_eq!(clash(&[("127.0.0.1", 80), ("127.0.0.2", 80)]), None);
        assert_eq!(clash(&[("127.0.0.1", 80), ("x", 80), ("x", 80)]), Some(1));
        assert_eq!(clash(&[("127.0.0.1", 80), ("x", 80), ("0.0.0.0", 80)]), Some(0));
        assert_eq!(clash(&[("::1", 80), ("x", 80), ("0.0.0.0", 80)]), Some(1));
        assert_eq!(clash(&[("::", 80), ("0.0.0.0", 80), ("x", 80)]), Some(0));
    }
}
