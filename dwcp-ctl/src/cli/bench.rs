//! `dwcp-ctl bench …`.

use serde_json::Value;

use super::args::{BenchCommand, BenchCommon, BenchLatency, BenchThroughput, Global};
use super::output::Output;
use super::peers::understood;
use super::route::{Route, run_own};
use super::self_pair::SelfPair;
use crate::bench::{
    Cuts, Direction, Environment, LatencyPlan, LatencyReport, ThroughputPlan, ThroughputReport,
};
use crate::exit::{Exit, Failure};
use crate::node::commands::Operation;
use crate::service::bench::{DURATION_MAX, SIZE_MAX};
use crate::units;

/// A message carries its number.
const SIZE_MIN: u64 = 8;

pub(super) fn run(
    command: BenchCommand,
    global: &Global,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        BenchCommand::Latency(arguments) => latency(&arguments, global, output),
        BenchCommand::Throughput(arguments) => throughput(&arguments, global, output),
    }
}

fn latency(arguments: &BenchLatency, global: &Global, output: &Output) -> Result<Exit, Failure> {
    if arguments.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e7)) {
        return Err(Failure::usage(
            "--rate is messages a second, more than 0 and at most 10000000",
        ));
    }
    let plan = LatencyPlan {
        size: size(arguments.size)?,
        duration_ms: duration_ms(&arguments.common)?,
        warm_up_ms: millis(arguments.warm_up),
        rate: arguments.rate,
        cuts: arguments.common.cut,
    };
    let value =
        measure(&arguments.common, global, output, |peer| Operation::BenchLatency { peer, plan })?;
    let report: LatencyReport = understood(&value)?;
    output.result(&value, || latency_text(&report))?;
    Ok(verdict(report.order.is_perfect(), report.cuts))
}

fn throughput(
    arguments: &BenchThroughput,
    global: &Global,
    output: &Output,
) -> Result<Exit, Failure> {
    let duration = arguments.common.duration;
    if arguments.direction == Direction::Receive && duration > DURATION_MAX {
        return Err(Failure::usage(format!(
            "--duration: a peer sends for at most {} s",
            DURATION_MAX.as_secs()
        )));
    }
    let plan = ThroughputPlan {
        direction: arguments.direction,
        size: size(arguments.size)?,
        duration_ms: duration_ms(&arguments.common)?,
        cuts: arguments.common.cut,
    };
    let value = measure(&arguments.common, global, output, |peer| Operation::BenchThroughput {
        peer,
        plan,
    })?;
    let report: ThroughputReport = understood(&value)?;
    output.result(&value, || throughput_text(&report))?;
    Ok(verdict(report.order.is_perfect(), report.cuts))
}

fn measure(
    common: &BenchCommon,
    global: &Global,
    output: &Output,
    operation: impl FnOnce(String) -> Operation,
) -> Result<Value, Failure> {
    match &common.peer {
        Some(peer) => {
            let route = Route::find(&common.via, global, output)?;
            route.run(operation(peer.clone()), None, &mut |_| {})
        }
        None => {
            let pair = SelfPair::start()?;
            run_own(pair.config(), operation(pair.peer().to_owned()), &mut |_| {})
        }
    }
}

/// A bench that lost, doubled or reordered a message has found a problem, whatever its figures.
fn verdict(is_perfect: bool, cuts: Cuts) -> Exit {
    if is_perfect && cuts.in_doubt == 0 { Exit::Ok } else { Exit::Problem }
}

fn size(bytes: u64) -> Result<usize, Failure> {
    match usize::try_from(bytes) {
        Ok(size) if bytes >= SIZE_MIN && size <= SIZE_MAX => Ok(size),
        _ => Err(Failure::usage(format!(
            "--size must be {SIZE_MIN} bytes to {} MiB",
            SIZE_MAX >> 20
        ))),
    }
}

fn duration_ms(common: &BenchCommon) -> Result<u64, Failure> {
    match millis(common.duration) {
        0 => Err(Failure::usage("--duration must be 1ms or more: nothing is measured in no time")),
        more => Ok(more),
    }
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
        "{}{} round trips of {} bytes to {} in {:.1} s, {pace}\n\
         us     min {}  p50 {}  p90 {}  p99 {}  p99.9 {}  p99.99 {}  max {}\n\
         cpu    {} % here, {} % there\n",
        environment(&report.environment),
        units::count(report.messages),
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
        let unsent = units::count(report.unsent);
        text.push_str(&format!(
            "behind {unsent} that were due, not sent: the rate is more than the path carries\n"
        ));
    }
    text.push_str(&faults(&report.order, report.cuts));
    text
}

fn throughput_text(report: &ThroughputReport) -> String {
    let per_byte = report.cpu.nanoseconds_per_byte.unwrap_or_default();
    let mut text = format!(
        "{}{} messages of {} bytes {} {} in {:.2} s\n\
         rate   {}  {}  {} messages/s\n\
         cpu    {} % here, {} % there, {per_byte} ns a byte together\n",
        environment(&report.environment),
        units::count(report.messages),
        report.size,
        match report.direction {
            Direction::Send => "to",
            Direction::Receive => "from",
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
    text
}

fn environment(environment: &Environment) -> String {
    let build = if environment.debug_build { ", DEBUG BUILD: figures say nothing" } else { "" };
    format!(
        "dwcp {}, {} processors, Linux {}, {} ({}), {}{build}\n",
        environment.version,
        environment.cpus,
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
        let times = units::counted(cuts.reconnects, "time", "times");
        text.push_str(&format!(
            "cuts   {} of {} made, the session came back {times}\n",
            cuts.made, cuts.asked
        ));
    }
    text
}
