//! `dwcp-ctl version`.

use dwcp_rdma::Finding;
use dwcp_rdma::probe::probe;
use serde_json::{Value, json};

use super::output::Output;
use crate::exit::{Exit, Failure};

pub(super) fn run(output: &Output) -> Result<Exit, Failure> {
    let probe = probe();
    let kinds = [("rdma", &probe.verbs), ("fabric", &probe.fabric)];
    let mut paths = vec![json!({ "kind": "tcp", "built_in": true, "usable": true })];
    paths.extend(kinds.map(|(kind, finding)| describe(kind, finding)));
    let version = env!("CARGO_PKG_VERSION");
    let is_debug = cfg!(debug_assertions);
    let value = json!({
        "schema": "dwcp.version/v1",
        "version": version,
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "debug_build": is_debug,
        "paths": paths,
    });
    output.result(&value, || {
        let build = if is_debug { ", a debug build: its speed says nothing" } else { "" };
        let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
        let mut text = format!("dwcp-ctl {version} ({arch} {os}{build})\n  tcp     usable\n");
        for (kind, finding) in kinds {
            let state = if finding.is_usable() { "usable" } else { "not usable" };
            text.push_str(&format!("  {kind:<7} {state}\n"));
            for obstacle in &finding.obstacles {
                text.push_str(&format!("          {obstacle}\n"));
            }
        }
        text
    })?;
    Ok(Exit::Ok)
}

fn describe(kind: &str, finding: &Finding) -> Value {
    let devices: Vec<_> = finding
        .devices
        .iter()
        .map(|device| {
            let ports: Vec<_> = device
                .ports
                .iter()
                .map(|port| {
                    json!({
                        "number": port.number, "state": port.state,
                        "link_layer": port.link_layer, "rate": port.rate,
                    })
                })
                .collect();
            json!({ "name": device.name, "driver": device.driver, "ports": ports })
        })
        .collect();
    json!({
        "kind": kind,
        "built_in": finding.is_built_in,
        "usable": finding.is_usable(),
        "library": finding.library,
        "devices": devices,
        "obstacles": finding.obstacles,
    })
}
