//! Transports and their settings.

use super::{Rules, duplicates};
use crate::config::codes;
use crate::config::keys::Mode;
use crate::config::keys_network::{CongestionControl, Transport};
use crate::config::setting::Auto;

pub(super) fn check(rules: &mut Rules<'_>) {
    listed(rules);
    if rules.is_sound(&["network.transport", "network.transports"]) && rules.whole.is_mode_known {
        agreement(rules);
        disabled(rules);
    }
    let work_keys = ["network.rdma.cqDepth", "network.rdma.maxSendWr", "network.rdma.maxRecvWr"];
    let rdma = &rules.config.network.rdma;
    let work_requests = rdma.max_send_wr + rdma.max_recv_wr;
    if work_requests > rdma.cq_depth && rules.is_sound(&work_keys) {
        let path = work_keys.into_iter().find(|path| rules.gives(path)).unwrap_or("network.rdma");
        let message = format!("cqDepth {} does not hold maxSendWr + maxRecvWr", rdma.cq_depth);
        rules.error(
            path,
            codes::CQ_DEPTH,
            message,
            format!("write `cqDepth: {work_requests}` or more"),
        );
    }
    bbr(rules);
    let thresholds = &rules.config.adaptive.thresholds;
    let least = thresholds.datacenter_score.get().min(thresholds.internet_score.get());
    if thresholds.hysteresis.get() >= least && rules.is_sound(&["adaptive.thresholds"]) {
        let message = format!("hysteresis {} is not below the scores", thresholds.hysteresis);
        let help = format!("choose less than {least}");
        rules.error("adaptive.thresholds.hysteresis", codes::HYSTERESIS, message, help);
    }
}

fn listed(rules: &mut Rules<'_>) {
    if !rules.is_sound(&["network.transports"]) {
        return; // which entry repeats which cannot be told
    }
    let entries = &rules.config.network.transports;
    for (index, earlier) in duplicates(entries.iter().map(|entry| entry.name)) {
        let path = format!("network.transports[{index}].name");
        let line = rules.line(&format!("network.transports[{earlier}].name"));
        let message = format!("the transport `{}` is listed twice", entries[index].name.name());
        rules.error(
            &path,
            codes::DUPLICATE_TRANSPORT,
            message,
            format!("delete one; the first is on line {line}"),
        );
    }
    for (index, earlier) in duplicates(entries.iter().map(|entry| entry.priority)) {
        if entries[index].name != entries[earlier].name {
            let path = format!("network.transports[{index}].priority");
            let message = format!("the priority {} is used twice", entries[index].priority);
            let help = "give each its own; lower goes first";
            rules.error(&path, codes::DUPLICATE_TRANSPORT, message, help);
        }
    }
    if !entries.is_empty() && entries.iter().all(|entry| !entry.enabled) {
        let message = "every transport is disabled";
        rules.error(
            "network.transports",
            codes::NO_TRANSPORT,
            message,
            "enable at least one: write `enabled: true`, or delete that line",
        );
    }
}

/// `transport` must be the first of `transports`.
fn agreement(rules: &mut Rules<'_>) {
    let network = &rules.config.network;
    let enabled: Vec<_> = network
        .transport_entries(rules.config.mode)
        .into_iter()
        .filter(|entry| entry.enabled)
        .map(|entry| entry.name)
        .collect();
    if let (Some(asked), Some(first), false) =
        (network.transport, enabled.first(), network.transports.is_empty())
        && asked != *first
    {
        let (asked, first) = (asked.name(), first.name());
        let message =
            format!("`transport: {asked}` is not the first of `transports`, which is {first}");
        let help = "delete `transport`, or change the priorities";
        rules.error("network.transport", codes::TRANSPORT_TWICE, message, help);
    }
    let is_internet = rules.config.mode == Mode::Internet;
    if is_internet && enabled.iter().any(|transport| *transport != Transport::Tcp) {
        let path = rules.transport_path(|transport| transport != Transport::Tcp);
        let message = "internet mode carries sessions over TCP only";
        rules.error(&path, codes::INTERNET_TRANSPORT, message, "write tcp, or `mode: hybrid`");
    }
    if rules.config.mode == Mode::Hybrid && enabled.len() == 1 {
        let message = format!("hybrid mode with {} alone has nothing to choose", enabled[0].name());
        let mode = match enabled[0] {
            Transport::Tcp => Mode::Internet,
            _ => Mode::Datacenter,
        };
        let help = format!("enable a second transport, or write `mode: {}`", mode.name());
        rules.warning("network.transports", codes::HYBRID_ALONE, message, help);
    }
}

/// Transports that are asked for in one place and switched off in another.
fn disabled(rules: &mut Rules<'_>) {
    let network = &rules.config.network;
    let is_asked = |wanted: Transport| {
        let listed = network.transports.iter().any(|entry| entry.enabled && entry.name == wanted);
        listed || network.transport == Some(wanted)
    };
    let default_is_rdma = network.transport.is_none()
        && network.transports.is_empty()
        && rules.config.mode != Mode::Internet;
    let default_is_tcp = network.transport.is_none() && rules.config.mode == Mode::Internet;
    let cases = [
        (Transport::Tcp, !network.tcp.enabled, is_asked(Transport::Tcp) || default_is_tcp),
        (
            Transport::Rdma,
            network.rdma.enabled == Auto::Is(false),
            is_asked(Transport::Rdma) || default_is_rdma,
        ),
    ];
    for (transport, is_off, is_asked) in cases {
        if is_off && is_asked {
            let name = transport.name();
            let message = format!("{name} is disabled, but the transports ask for it");
            let help = match rules.config.mode {
                Mode::Internet => format!("delete the line: internet mode has {name} only"),
                _ => format!("delete the line, or disable {name} in network.transports"),
            };
            let path = format!("network.{name}.enabled");
            rules.error(&path, codes::TRANSPORT_DISABLED, message, help);
        }
    }
    let is_sound = rules.is_sound(&["network.tcp.enabled"]);
    if is_sound
        && network.fallback.enabled
        && !network.tcp.enabled
        && rules.gives("network.fallback.enabled")
    {
        let message = "fallback goes to TCP, which is disabled";
        let help = "delete network.tcp.enabled, or write `enabled: false` here";
        rules.error("network.fallback.enabled", codes::FALLBACK_WITHOUT_TCP, message, help);
    }
}

fn bbr(rules: &mut Rules<'_>) {
    let config = rules.config;
    let addresses: Vec<_> = config.peers.listed().iter().flat_map(|peer| &peer.addresses).collect();
    let is_local = !addresses.is_empty() && addresses.iter().all(|address| address.is_loopback());
    if is_local && config.network.tcp.congestion_control == Auto::Is(CongestionControl::Bbr) {
        let message = "BBR is slow between nodes of one machine, and all peers are on this one";
        let path = "network.tcp.congestionControl";
        rules.hint(
            path,
            codes::BBR_ON_LOOPBACK,
            message,
            "write auto, unless this is a trial of BBR",
        );
    }
}

impl Rules<'_> {
    /// Where the transport that `wanted` names is asked for.
    fn transport_path(&self, wanted: impl Fn(Transport) -> bool) -> String {
        let entries = &self.config.network.transports;
        match entries.iter().position(|entry| entry.enabled && wanted(entry.name)) {
            Some(index) => format!("network.transports[{index}].name"),
            None => "network.transport".into(),
        }
    }
}
