//! `dwcp-ctl bench handshakes|resumes|sessions`: this process plays many nodes, a child answers.

use std::future::Future;

use dwcp_core::Endpoint;
use dwcp_hybrid::prepare_process;
use serde::Serialize;

use super::args::BenchCrowd;
use super::output::Output;
use super::route::runtime;
use super::self_pair::{SelfOptions, SelfPair};
use crate::bench::crowd::{self, CrowdError, RateReport, SessionsReport};
use crate::exit::{Exit, Failure};
use crate::units::counted;

/// Handshakes that a node lets one address have under way.
const AT_ONCE_MAX: u32 = 64;

pub(super) fn handshakes(arguments: &BenchCrowd, output: &Output) -> Result<Exit, Failure> {
    let count = arguments.sessions.unwrap_or(AT_ONCE_MAX);
    if count > AT_ONCE_MAX {
        return Err(Failure::usage(format!(
            "--sessions is {AT_ONCE_MAX} at most for handshakes: all are under way at once, and a node lets one address have no more"
        )));
    }
    let report: RateReport = measure(arguments, count, output, |pair, endpoints| {
        let (peer, duration) = (pair.peer().to_owned(), arguments.duration);
        async move { crowd::handshakes(endpoints, &peer, duration).await }
    })?;
    say(output, &report, || format!("{} a second begun, used once and closed\n", report.per_second))
}

pub(super) fn resumes(arguments: &BenchCrowd, output: &Output) -> Result<Exit, Failure> {
    let report: RateReport =
        measure(arguments, arguments.sessions.unwrap_or(2_000), output, |pair, endpoints| {
            let (peer, duration) = (pair.peer().to_owned(), arguments.duration);
            async move { crowd::resumes(endpoints, &peer, duration).await }
        })?;
    say(output, &report, || {
        let all = counted(report.sessions as u64, "session", "sessions");
        format!("{} a second back after a cut, of {all}\n", report.per_second)
    })
}

pub(super) fn sessions(arguments: &BenchCrowd, output: &Output) -> Result<Exit, Failure> {
    let report: SessionsReport =
        measure(arguments, arguments.sessions.unwrap_or(1_000) + 1, output, |pair, endpoints| {
            let (peer, pid) = (pair.peer().to_owned(), pair.child());
            async move { crowd::sessions(endpoints, &peer, pid).await }
        })?;
    say(output, &report, || {
        let all = counted(report.sessions as u64, "idle session", "idle sessions");
        format!("{} bytes of resident memory for each of {all}\n", report.bytes_per_session)
    })
}

fn measure<T, F>(
    arguments: &BenchCrowd,
    crowd: u32,
    output: &Output,
    bench: impl FnOnce(&SelfPair, Vec<Endpoint>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, CrowdError>>,
{
    let crowd = crowd as usize;
    let pair = SelfPair::start(SelfOptions { cores: arguments.cores, is_polling: false, crowd })?;
    prepare_process(pair.config()).iter().for_each(|problem| output.error(problem));
    runtime()?.block_on(async {
        let endpoints = (0..crowd).map(|number| pair.member(number)).collect::<Result<_, _>>()?;
        let result = bench(&pair, endpoints).await;
        result.map_err(|error| Failure::problem(error.to_string()))
    })
}

fn say<T: Serialize>(
    output: &Output,
    report: &T,
    text: impl FnOnce() -> String,
) -> Result<Exit, Failure> {
    let value = serde_json::to_value(report);
    let value = value.map_err(|error| Failure::problem(error.to_string()))?;
    output.result(&value, text)?;
    Ok(Exit::Ok)
}
