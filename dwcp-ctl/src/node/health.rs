//! Whether the daemon is well: one rule for `/health`, `/readyz`, `status` and its exit code.

use std::time::{Duration, SystemTime};

use dwcp_core::PeerConduct;
use serde::{Deserialize, Serialize};

use super::Doubt;
use crate::service::under_way::WorkCounts;
use crate::units::{counted, long_time, short_time};

/// A peer is missed when it has been away for this long: a restart elsewhere is not news.
pub const PEER_PATIENCE: Duration = Duration::from_secs(10);
/// How long it is worth a warning that the system refused something.
pub const SYSTEM_MEMORY: Duration = Duration::from_secs(60);
/// A certificate that ends sooner is worth a warning.
pub const CERTIFICATE_WARNING: Duration = Duration::from_secs(14 * 86_400);
/// How long messages in doubt are worth a warning: nothing but time acknowledges them.
pub const DOUBT_MEMORY: Duration = Duration::from_secs(600);

/// How the daemon is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, worse than it should.
    Degraded,
    /// It does not do its work.
    Failed,
}

impl Grade {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A stable code, `DWCP-H…`.
    pub code: String,
    /// How bad it is.
    pub severity: Grade,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// The daemon's health: the body of `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `dwcp.health/v1`.
    pub schema: String,
    /// The worst of `checks`.
    pub status: Grade,
    /// What is wrong; empty if nothing is.
    pub checks: Vec<Check>,
}

/// What health is judged by.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // the names say it
pub struct Facts {
    pub is_ready: bool,
    pub is_draining: bool,
    /// What a drain waits for.
    pub under_way: WorkCounts,
    pub degraded: Vec<String>,
    /// Why the last reload was refused, in one line.
    pub reload_failure: Option<String>,
    /// How long until the certificate ends; `None`: it has.
    pub certificate_left: Option<Duration>,
    /// Peers that a session is kept to and that are away: name, for how long, why.
    pub peers_away: Vec<(String, Duration, String)>,
    /// Messages whose fate is unknown.
    pub in_doubt: Vec<Doubt>,
    /// Peers that broke the protocol.
    pub conduct: Vec<PeerConduct>,
    /// How many lines of evidence could not be written, and why.
    pub evidence_trouble: Option<(u64, String)>,
    /// Lines that are in no log.
    pub log_lines_lost: u64,
    /// Why the system gave no connection lately, and how long ago.
    pub refused_by_system: Option<(String, Duration)>,
    /// Sessions without a path.
    pub holding: Vec<String>,
    /// The wanted median round trip and, for each peer that misses it, the measured one.
    pub slow: Vec<(String, Duration, Duration)>,
}

/// What is found, one after the other.
struct Findings(Vec<Check>);

impl Findings {
    fn add(&mut self, code: &str, severity: Grade, message: String, remedy: &str) {
        let (code, remedy) = (format!("DWCP-H{code}"), remedy.to_owned());
        self.0.push(Check { code, severity, message, remedy });
    }

    /// The daemon itself.
    fn node(&mut self, facts: &Facts) {
        if facts.is_draining {
            let message = format!("the node drains; under way: {}", facts.under_way.words());
            self.add("001", Grade::Failed, message, "none: it is going to stop");
        } else if !facts.is_ready {
            self.add("002", Grade::Failed, "the node is starting".into(), "wait");
        }
        for reason in &facts.degraded {
            self.add("010", Grade::Degraded, reason.clone(), "run: dwcp-ctl version");
        }
        if let Some(reason) = &facts.reload_failure {
            let message = format!("the last reload was refused: {reason}");
            self.add("011", Grade::Degraded, message, "run: dwcp-ctl config validate, then reload");
        }
        match facts.certificate_left {
            None => {
                self.add("012", Grade::Failed, "the node's certificate has ended".into(), RENEW);
            }
            Some(left) if left < CERTIFICATE_WARNING => {
                let message = format!("the node's certificate ends in {}", long_time(left));
                self.add("012", Grade::Degraded, message, RENEW);
            }
            Some(_) => {}
        }
    }

    /// What the system does not give it.
    fn system(&mut self, facts: &Facts) {
        if facts.log_lines_lost > 0 {
            let lines = counted(facts.log_lines_lost, "line", "lines");
            let message = format!("{lines} of the log could not be written since the start");
            self.add(
                "013",
                Grade::Degraded,
                message,
                "see to the disk or pipe behind logging.output",
            );
        }
        if let Some((why, ago)) = &facts.refused_by_system
            && *ago < SYSTEM_MEMORY
        {
            let ago = long_time(*ago);
            let message = format!("a connection could not be taken {ago} ago: {why}");
            let remedy = "raise limits.maxOpenFiles and LimitNOFILE= of the unit";
            self.add("014", Grade::Degraded, message, remedy);
        }
    }

    /// The sessions with its peers.
    fn sessions(&mut self, facts: &Facts) {
        for (peer, since, why) in &facts.peers_away {
            if *since >= PEER_PATIENCE {
                let message = format!("peer {peer}: no session for {}: {why}", long_time(*since));
                let remedy = "check that it runs and can be reached";
                self.add("021", Grade::Degraded, message, remedy);
            }
        }
        for peer in &facts.holding {
            let message = format!("peer {peer}: no path; messages wait");
            self.add("022", Grade::Degraded, message, "check the network between the nodes");
        }
        for doubt in facts.in_doubt.iter().filter(|doubt| doubt.ago < DOUBT_MEMORY) {
            let Doubt { peer, messages, ago } = doubt;
            let ago = long_time(*ago);
            let messages = counted(*messages, "message", "messages");
            let message = format!(
                "peer {peer}: {messages} in doubt since the start, the last {ago} ago: \
                 delivered at most once, perhaps not"
            );
            let remedy = "see what of them arrived; the log names channel and numbers";
            self.add("023", Grade::Degraded, message, remedy);
        }
        for (peer, wanted, found) in &facts.slow {
            let (wanted, found) = (short_time(*wanted), short_time(*found));
            let message = format!("peer {peer}: round trip {found}, wanted {wanted}");
            let remedy = "check the path, or change performance.targetLatency*";
            self.add("030", Grade::Degraded, message, remedy);
        }
    }

    /// Peers that broke the protocol.
    fn conduct(&mut self, facts: &Facts) {
        for conduct in &facts.conduct {
            let PeerConduct { peer, reputation, offences_total, last: (last, _), .. } = conduct;
            let times = counted(*offences_total, "time", "times");
            if let Some(left) = conduct.quarantined_for {
                let left = long_time(left);
                let message = format!(
                    "peer {peer}: in quarantine for {left} more; it broke the protocol {times}, last: {last}"
                );
                self.add("025", Grade::Degraded, message, MEND);
            } else if conduct.is_reported {
                let message = format!(
                    "peer {peer}: reputation {reputation:.2}; it broke the protocol {times}, last: {last}"
                );
                self.add(
                    "024",
                    Grade::Degraded,
                    message,
                    "see what it did in byzantine.evidenceLog",
                );
            }
        }
        if let Some((lines, why)) = &facts.evidence_trouble {
            let lines = counted(*lines, "line", "lines");
            let message = format!("{lines} of evidence could not be written: {why}");
            let remedy = "make room or choose another byzantine.evidenceLog, then reload";
            self.add("026", Grade::Degraded, message, remedy);
        }
    }
}

impl Health {
    /// Judges.
    pub fn of(facts: &Facts) -> Self {
        let mut findings = Findings(Vec::new());
        findings.node(facts);
        findings.system(facts);
        findings.sessions(facts);
        findings.conduct(facts);
        let checks = findings.0;
        let status = checks.iter().map(|check| check.severity).max().unwrap_or(Grade::Ok);
        Self { schema: "dwcp.health/v1".into(), status, checks }
    }
}

const MEND: &str =
    "see what it did in byzantine.evidenceLog and mend it; then run: dwcp-ctl peers lift";
const RENEW: &str = "install a new certificate, then reload (SIGHUP)";

/// How long until `end`; `None` if it is past.
pub fn time_left(end: SystemTime) -> Option<Duration> {
    end.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            is_ready: true,
            certificate_left: Some(Duration::from_secs(90 * 86_400)),
            ..Facts::default()
        }
    }

    #[test]
    fn a_clean_node_is_ok() {
        let health = Health::of(&well());
        assert_eq!(health.status, Grade::Ok);
        assert!(health.checks.is_empty());
    }

    #[test]
    fn the_worst_check_decides_and_each_names_a_remedy() {
        let facts = Facts {
            degraded: vec!["transport rdma cannot be used".into()],
            reload_failure: Some("error[DWCP-C012]: unknown key (x:1:1)".into()),
            peers_away: vec![("b".into(), PEER_PATIENCE, "refused".into())],
            holding: vec!["c".into()],
            in_doubt: vec![doubt(DOUBT_MEMORY / 2)],
            slow: vec![("d".into(), Duration::from_micros(5), Duration::from_micros(80))],
            ..well()
        };
        let health = Health::of(&facts);
        assert_eq!(health.status, Grade::Degraded);
        let codes: Vec<_> = health.checks.iter().map(|check| check.code.as_str()).collect();
        let wanted = ["010", "011", "021", "022", "023", "030"].map(|code| format!("DWCP-H{code}"));
        assert_eq!(codes, wanted);
        assert!(health.checks.iter().all(|check| !check.remedy.is_empty()));
        let failed = Health::of(&Facts { certificate_left: None, ..facts });
        assert_eq!(failed.status, Grade::Failed);
    }

    fn doubt(ago: Duration) -> Doubt {
        Doubt { peer: "b".into(), messages: 195, ago }
    }

    #[test]
    fn messages_in_doubt_are_remembered_for_a_while() {
        let of = |ago| Health::of(&Facts { in_doubt: vec![doubt(ago)], ..well() });
        let fresh = of(Duration::from_secs(1));
        assert_eq!((fresh.status, fresh.checks[0].code.as_str()), (Grade::Degraded, "DWCP-H023"));
        assert!(fresh.checks[0].message.contains("195 messages"), "{fresh:?}");
        assert_eq!(of(DOUBT_MEMORY).status, Grade::Ok);
    }

    #[test]
    fn a_short_absence_and_a_young_start_are_judged_as_such() {
        let away = vec![("b".into(), PEER_PATIENCE / 2, "refused".into())];
        assert_eq!(Health::of(&Facts { peers_away: away, ..well() }).status, Grade::Ok);
        assert_eq!(Health::of(&Facts { is_ready: false, ..well() }).status, Grade::Failed);
        assert_eq!(Health::of(&Facts { is_draining: true, ..well() }).status, Grade::Failed);
    }
}
