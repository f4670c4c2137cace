//! Listening addresses.

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

fn clashes(rules: &mut Rules<'_>) {
    let listeners = listeners(rules);
    let listeners: Vec<_> =
        listeners.into_iter().filter(|(path, ..)| !rules.whole.wrong.holds(path)).collect();
    for (index, (path, address, purpose)) in listeners.iter().enumerate() {
        let clash = listeners[..index].iter().find(|(_, earlier, _)| earlier.overlaps(address));
        if let Some((other, earlier, earlier_purpose)) = clash {
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
