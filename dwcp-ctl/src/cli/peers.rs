//! `dwcp-ctl ping`, `peers`, `peers lift`, `cut`, `rekey`, `reload`, `restart`, `drain`.

use serde_json::{Value, json};

use super::args::{Global, PeerOnly, Ping};
use super::client::ask;
use super::output::Output;
use super::route::{Route, one_daemon};
use super::status::status_of;
use super::status_text;
use crate::exit::{Exit, Failure};
use crate::node::commands::{CutReport, LiftReport, Operation, PingReport, RekeyReport, Request};
use crate::node::runtime_directory::runtime_directory;
use crate::node::{DrainReport, RestartReport};
use crate::units::counted;

pub(super) fn ping(arguments: &Ping, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let route = Route::find(&arguments.via, global, output)?;
    let timeout_ms = u64::try_from(global.timeout.as_millis()).unwrap_or(u64::MAX);
    let operation =
        Operation::Ping { peer: arguments.peer.clone(), count: arguments.count, timeout_ms };
    // The daemon itself keeps the limit for each; it gets a little longer to say so.
    let patience = global.timeout * (arguments.count + 1) + std::time::Duration::from_secs(1);
    let value = route.run(operation, Some(patience), &mut |_| {})?;
    let report: PingReport = understood(&value)?;
    output.result(&value, || {
        let mut text = String::new();
        for (index, us) in report.rtt_us.iter().enumerate() {
            text.push_str(&format!(
                "{} over {}: {} time {us} us\n",
                report.peer,
                report.path,
                index + 1
            ));
        }
        text
    })?;
    Ok(Exit::Ok)
}

pub(super) fn list(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let status = status_of(&daemon(global)?, global)?;
    let value = json!({ "schema": "dwcp.peers/v1", "node": status.node, "peers": status.peers });
    output.result(&value, || status_text::peers(&status.peers))?;
    let is_away = |peer: &crate::node::status::PeerStatus| {
        ["away", "holding", "quarantined"].contains(&peer.state.as_str())
    };
    Ok(if status.peers.iter().any(is_away) { Exit::Degraded } else { Exit::Ok })
}

pub(super) fn lift(peer: &str, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let request = Request::Lift { peer: peer.to_owned() };
    let value = ask(&daemon(global)?, &request, Some(global.timeout), &mut |_| {})?;
    let report: LiftReport = understood(&value)?;
    output.result(&value, || {
        if report.was_lifted {
            format!("{peer} is out of quarantine, on probation: one more offence may bring it back")
        } else {
            format!("{peer} is in no quarantine")
        }
    })?;
    Ok(if report.was_lifted { Exit::Ok } else { Exit::Problem })
}

pub(super) fn cut(arguments: &PeerOnly, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let route = Route::find(&arguments.via, global, output)?;
    let operation = Operation::Cut { peer: arguments.peer.clone() };
    let value = route.run(operation, Some(global.timeout), &mut |_| {})?;
    let report: CutReport = understood(&value)?;
    output.result(&value, || {
        if report.was_cut {
            format!("cut the connection to {}", report.peer)
        } else {
            format!("there is no connection to {}", report.peer)
        }
    })?;
    Ok(if report.was_cut { Exit::Ok } else { Exit::Problem })
}

pub(super) fn rekey(
    arguments: &PeerOnly,
    global: &Global,
    output: &Output,
) -> Result<Exit, Failure> {
    let route = Route::find(&arguments.via, global, output)?;
    let operation = Operation::Rekey { peer: arguments.peer.clone() };
    let value = route.run(operation, Some(global.timeout), &mut |_| {})?;
    let report: RekeyReport = understood(&value)?;
    output.result(&value, || match report.paths {
        0 => format!("there is no session with {}", report.peer),
        paths => format!("new keys on {}", counted(paths as u64, "path", "paths")),
    })?;
    Ok(if report.paths > 0 { Exit::Ok } else { Exit::Problem })
}

pub(super) fn reload(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let value = ask(&daemon(global)?, &Request::Reload, Some(global.timeout), &mut |_| {})?;
    output.result(&value, || "reloaded".into())?;
    Ok(Exit::Ok)
}

pub(super) fn restart(force: bool, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let value = ask(&daemon(global)?, &Request::Restart { force }, Some(RESTART), &mut |_| {})?;
    let report: RestartReport = understood(&value)?;
    output.result(&value, || {
        let RestartReport { pid, former_pid, .. } = report;
        format!("process {pid} is the node from now on; process {former_pid} drains")
    })?;
    Ok(Exit::Ok)
}

/// How long a new process may take: a little longer than the daemon itself allows it.
const RESTART: std::time::Duration = std::time::Duration::from_secs(70);

pub(super) fn drain(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let wait_ms = u64::try_from(global.timeout.as_millis()).unwrap_or(u64::MAX);
    // The daemon itself keeps the limit; it gets a little longer to say so.
    let patience = global.timeout + std::time::Duration::from_secs(3);
    let request = Request::Drain { wait_ms: Some(wait_ms) };
    let value = ask(&daemon(global)?, &request, Some(patience), &mut |_| {})?;
    let report: DrainReport = understood(&value)?;
    output.result(&value, || drained(&report))?;
    Ok(match (report.is_over, report.is_whole()) {
        (false, _) => Exit::Degraded,
        (true, true) => Exit::Ok,
        (true, false) => Exit::Problem,
    })
}

fn drained(report: &DrainReport) -> String {
    let unacked = counted(report.unacked_messages, "message", "messages");
    if !report.is_over {
        let rest = report.under_way.words();
        format!("draining, and goes on: {rest} under way; `drain --timeout TIME` waits longer")
    } else if report.is_whole() {
        let sessions = counted(report.sessions, "session", "sessions");
        format!("drained and stopped; {sessions} closed, nothing was lost")
    } else {
        format!("stopped; cut off: {}; {unacked} un-acked", report.cut_off.words())
    }
}

fn daemon(global: &Global) -> Result<std::path::PathBuf, Failure> {
    one_daemon(&runtime_directory(global.runtime_dir.as_deref()), global.node.as_deref())
}

/// The result as its type.
pub(super) fn understood<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_json::from_value(value.clone()).map_err(|error| {
        Failure::problem(format!(
            "the answer is not understood; is the daemon another version? ({error})"
        ))
    })
}
