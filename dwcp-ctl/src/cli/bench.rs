//! `dwcp-ctl bench …`.

use dwcp_hybrid::prepare_process;
use serde_json::Value;

use super::args::{BenchCommand, BenchCommon, BenchLatency, BenchPair, BenchThroughput, Global};
use super::bench_crowd;
use super::output::Output;
use super::peers::understood;
use super::route::{Route, run_own};
use super::self_pair::{SelfOptions, SelfPair};
use crate::bench::{
    Cuts, Environment, LatencyPlan, LatencyReport, ThroughputPlan, ThroughputReport,
};
use crate::exit::{Exit, Failure};
use crate::node::commands::Operation;
use crate::units::{self, counted};

pub(super) fn run(
    command: BenchCommand,
    global: &Global,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        BenchCommand::Latency(arguments) => latency(&arguments, global, output),
        BenchCommand::Throughput(arguments) => throughput(&arguments, global, output),
        BenchCommand::Handshakes(arguments) => bench_crowd::handshakes(&arguments, output),
        BenchCommand::Resumes(arguments) => bench_crowd::resumes(&arguments, output),
        BenchCommand::Sessions(arguments) => bench_crowd::sessions(&arguments, output),
    }
}

fn latency(arguments: &BenchLatency, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let plan = LatencyPlan {
        size: size(arguments.size),
        duration_ms: millis(arguments.common.duration),
        warm_up_ms: millis(arguments.warm_up),
        rate: arguments.rate,
        cuts: arguments.common.cut,
        blocking: arguments.common.blocking,
    };
    plan.check().map_err(|error| Failure::usage(error.to_string()))?;
    let value =
        measure(&arguments.common, global, output, |peer| Operation::BenchLatency { peer, plan })?;
    let report: LatencyReport = understood(&value)?;
    output.result(&value, || latency_text(&report))?;
    Ok(verdict(report.messages, report.order.is_perfect(), report.cuts))
}

fn throughput(
    arguments: &BenchThroughput,
    global: &Global,
    output: &Output,
) -> Result<Exit, Failure> {
    let plan = ThroughputPlan {
        direction: arguments.direction,
        size: size(arguments.size),
        duration_ms: millis(arguments.common.duration),
        cuts: arguments.common.cut,
        blocking: arguments.common.blocking,
    };
    plan.check().map_err(|error| Failure::usage(error.to_string()))?;
    let value = measure(&arguments.common, global, output, |peer| Operation::BenchThroughput {
        peer,
        plan,
    })?;
    let report: ThroughputReport = understood(&value)?;
    output.result(&value, || throughput_text(&report))?;
    Ok(verdict(report.messages, report.order.is_perfect(), report.cuts))
}

fn measure(
    common: &BenchCommon,
    global: &Global,
    output: &Output,
    operation: impl FnOnce(String) -> Operation,
) -> Result<Value, Failure> {
    match &common.peer {
        Some(_) if common.pair.cores.is_some() || common.pair.polling => Err(Failure::usage(
            "--cores and --polling go with --self: a node has its configuration",
        )),
        Some(peer) => {
            let route = Route::find(&common.via, global, output)?;
            route.run(operation(peer.clone()), None, &mut |_| {})
        }
        None => {
            let BenchPair { cores, polling } = common.pair;
            let options = SelfOptions { cores, is_polling: polling, crowd: 0 };
            let pair = SelfPair::start(options)?;
            prepare_process(pair.config()).iter().for_each(|problem| output.error(problem));
            run_own(pair.config(), operation(pair.peer().to_owned()), &mut |_| {})
        }
    }
}

/// A bench that lost, doubled or reordered a message has found a problem, whatever its figures; so has one
/// without a figure.
fn verdict(messages: u64, is_perfect: bool, cuts: Cuts) -> Exit {
    if messages > 0 && is_perfect && cuts.in_doubt == 0 { Exit::Ok } else { Exit::Problem }
}

fn nothing(messages: u64) -> &'static str {
    match messages {
        0 => "nothing was measured: give it a longer --duration\n",
        _ => "",
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn latency_text(report: &LatencyReport) -> String {
    let us = &report.latency_us;
    let pace = match report.rate {
        Some(rate) => format!("{rate} a second, counted from when each was due"),
        None => "each after the answer to the one before".into(),
    };
    let mut text = format!(
        "{}{} of {} bytes to {} in {:.1} s, {pace}\n\
         us     min {}  p50 {}  p90 {}  p99 {}  p99.9 {}  p99.99 {}  max {}\n\
         cpu    {} % here, {} % there\n",
        environment(&report.environment),
        counted(report.messages, "round trip", "round trips"),
        report.size,
        report.peer,
        report.seconds,
        us.min,
        us.p50,
        us.p90,
        us.p99,
        us.p999,
        us.p9999,
        us.max,
        report.cpu.local_percent,
        report.cpu.peer_percent,
    );
    if report.unsent > 0 {
        let unsent = counted(report.unsent, "message was", "messages were");
        text.push_str(&format!(
            "behind {unsent} due and not sent: the rate is more than the path carries\n"
        ));
    }
    text.push_str(&faults(&report.order, report.cuts));
    text.push_str(nothing(report.messages));
    text
}

fn throughput_text(report: &ThroughputReport) -> String {
    let per_byte = report.cpu.nanoseconds_per_byte.unwrap_or_default();
    let mut text = format!(
        "{}{} of {} bytes {} {} in {:.2} s\n\
         rate   {}  {}  {} messages/s\n\
         cpu    {} % here, {} % there, {per_byte} ns a byte together\n",
        environment(&report.environment),
        counted(report.messages, "message", "messages"),
        report.size,
        match report.direction {
            crate::bench::Direction::Send => "to",
            crate::bench::Direction::Receive => "from",
        },
        report.peer,
        report.seconds,
        units::rate(report.bytes_per_second),
        units::bit_rate(report.bytes_per_second),
        units::count(report.messages_per_second as u64),
        report.cpu.local_percent,
        report.cpu.peer_percent,
    );
    text.push_str(&faults(&report.order, report.cuts));
    text.push_str(nothing(report.messages));
    text
}

fn environment(environment: &Environment) -> String {
    let build = if environment.debug_build { ", DEBUG BUILD: figures say nothing" } else { "" };
    format!(
        "dwcp {}, {}, Linux {}, {} ({}), {}{build}\n",
        environment.version,
        counted(environment.cpus as u64, "processor", "processors"),
        environment.kernel,
        environment.path,
        environment.provider,
        environment.suite,
    )
}

fn faults(order: &crate::bench::sequence::Order, cuts: Cuts) -> String {
    let mut text = format!(
        "order  {} lost, {} duplicated, {} reordered, {} in doubt\n",
        order.lost, order.duplicated, order.reordered, cuts.in_doubt
    );
    if cuts.asked > 0 {
        text.push_str(&format!(
            "cuts   {} of {} made, the session came back {}\n",
            cuts.made,
            cuts.asked,
            counted(cuts.reconnects, "time", "times")
        ));
    }
    text
}
