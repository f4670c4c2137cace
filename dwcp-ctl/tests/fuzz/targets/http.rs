//! Any bytes at the admin server's port.

use dwcp_ctl::node::status::Status;

/// Far more than the longest answer, times the requests that fit the input.
const ANSWERS_BYTES_MAX: usize = 4 << 20;

fn status() -> Status {
    let value = serde_json::json!({
        "schema": "dwcp.node/v1", "version": "3.0.0", "node": "secret-node-name", "mode": "internet", "pid": 1,
        "incarnation": 1, "uptime_seconds": 1,
        "config": {"path": "/x", "sha256": "00", "loaded_at": 1, "reloads_total": 0, "last_reload_ok": true},
        "health": {"schema": "dwcp.health/v1", "status": "ok", "checks": []},
        "listen": [], "admin": [], "peers": [], "forwards": [],
        "memory": {"used_bytes": 1, "reserved_bytes": 1, "limit_bytes": 1},
        "handshakes_ok_total": 0, "handshakes_failed_total": 0, "certificate_not_after": 0,
    });
    serde_json::from_value(value).expect("a status")
}

pub(crate) fn target(data: &[u8]) {
    if data.len() > 64 << 10 {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().expect("a runtime");
    for is_loopback in [true, false] {
        let answers = dwcp_ctl::node::fuzzing::http(data, is_loopback, status());
        let answers = runtime.block_on(answers);
        assert!(answers.len() <= ANSWERS_BYTES_MAX, "{} bytes", answers.len());
        let tells = answers.windows(16).any(|bytes| bytes == b"secret-node-name");
        assert!(is_loopback || !tells, "a stranger without a token was told of the node");
    }
}
