//! What the admin HTTP server answers, without HTTP.

use super::health::{Grade, Health};
use super::metrics;
use super::status::Status;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Whether the client is on this machine.
    pub(super) is_loopback: bool,
    /// Whether it brought the right token.
    pub(super) has_token: bool,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What the routes ask the node.
pub(super) trait View {
    fn health(&self) -> Health;
    fn status(&self) -> Status;
    /// A further path that answers as `/health` does.
    fn health_path(&self) -> &str;
}

/// Answers.
pub(super) fn reply(view: &dyn View, asked: Asked<'_>) -> Reply {
    if asked.method != "GET" && asked.method != "HEAD" {
        return text(405, "only GET and HEAD are served\n");
    }
    match asked.path {
        // Answering at all is the proof: nothing about peers, so that a partition restarts nobody.
        "/livez" => text(200, "ok\n"),
        "/readyz" => {
            let health = view.health();
            text(code(health.status), &format!("{}\n", health.status.name()))
        }
        "/version" => json(
            200,
            &serde_json::json!({
                "schema": "dwcp.version/v1",
                "version": env!("CARGO_PKG_VERSION"),
            }),
        ),
        path if path == "/health" || path == view.health_path() => health(view, asked),
        "/metrics" | "/" | "/status" if !asked.is_loopback && !asked.has_token => text(
            401,
            "a token is wanted: Authorization: Bearer …, the content of admin.tokenFile\n",
        ),
        "/metrics" => {
            let body = metrics::render(&view.status());
            Reply { status: 200, content_type: metrics::CONTENT_TYPE, body }
        }
        "/" | "/status" => json(200, &view.status()),
        _ => text(404, "there are /livez /readyz /health /version /metrics and /status\n"),
    }
}

/// Degraded nodes stay in service: 200 with the word in the body.
fn code(grade: Grade) -> u16 {
    if grade == Grade::Failed { 503 } else { 200 }
}

/// `/health` is for load balancers everywhere; what is wrong with whom is for those who may know.
fn health(view: &dyn View, asked: Asked<'_>) -> Reply {
    let mut health = view.health();
    let status = code(health.status);
    if !asked.is_loopback && !asked.has_token {
        for check in &mut health.checks {
            check.message.clear();
            check.remedy.clear();
        }
    }
    json(status, &health)
}

fn text(status: u16, body: &str) -> Reply {
    Reply { status, content_type: TEXT, body: body.to_owned() }
}

fn json(status: u16, value: &impl serde::Serialize) -> Reply {
    let mut body = serde_json::to_string(value).expect("plain data serialises");
    body.push('\n');
    Reply { status, content_type: JSON, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::health::Facts;
    use crate::node::metrics::tests::example;

    struct Example(Health);

    impl View for Example {
        fn health(&self) -> Health {
            self.0.clone()
        }
        fn status(&self) -> Status {
            example()
        }
        fn health_path(&self) -> &str {
            "/healthz"
        }
    }

    fn degraded() -> Facts {
        Facts {
            is_ready: true,
            certificate_left: Some(std::time::Duration::MAX),
            degraded: vec!["transport rdma".into()],
            ..Facts::default()
        }
    }

    fn ask(facts: &Facts, path: &str, is_loopback: bool, has_token: bool) -> Reply {
        let asked = Asked { method: "GET", path, is_loopback, has_token };
        reply(&Example(Health::of(facts)), asked)
    }

    #[test]
    fn degraded_is_in_service_and_failed_is_not() {
        let failed = Facts { is_draining: true, ..degraded() };
        for (path, is_live) in [("/livez", true), ("/readyz", false), ("/health", false)] {
            assert_eq!(ask(&degraded(), path, true, false).status, 200, "{path}");
            assert_eq!(ask(&failed, path, true, false).status, if is_live { 200 } else { 503 });
        }
        assert!(ask(&degraded(), "/healthz", true, false).body.contains("\"degraded\""));
    }

    #[test]
    fn details_want_a_token_off_loopback() {
        for path in ["/metrics", "/", "/status"] {
            assert_eq!(ask(&degraded(), path, true, false).status, 200);
            assert_eq!(ask(&degraded(), path, false, false).status, 401);
            assert_eq!(ask(&degraded(), path, false, true).status, 200);
        }
        assert!(!ask(&degraded(), "/health", false, false).body.contains("transport rdma"));
        assert!(ask(&degraded(), "/health", false, true).body.contains("transport rdma"));
    }

    #[test]
    fn other_methods_and_paths_are_refused() {
        let asked = Asked { method: "POST", path: "/livez", is_loopback: true, has_token: true };
        assert_eq!(reply(&Example(Health::of(&degraded())), asked).status, 405);
        assert_eq!(ask(&degraded(), "/etc/passwd", true, true).status, 404);
    }
}
