//! The line of a run, schema `dwcp.peer-bench/v2`.

use std::time::Duration;

use crate::Failure;
use crate::load::Outcome;
use crate::meter::Measured;
use crate::options::Options;
use crate::peer::Peer;

pub fn line(
    peer: Peer,
    options: &Options,
    congestion: &str,
    outcome: &Outcome,
    measured: &Measured,
) -> Result<String, Failure> {
    let cores =
        options.cores.map_or("null".into(), |[client, server]| format!("[{client},{server}]"));
    Ok(format!(
        "{{\"schema\":\"dwcp.peer-bench/v2\",\"peer\":\"{}\",\"what\":\"{}\",\"size\":{},\"security\":\"{}\",\
         \"congestion\":\"{congestion}\",\"cores\":{cores},\"realtime\":{},\"seconds\":{:.4},\
         \"cpu_us_client\":{:.0},\"cpu_us_server\":{:.0},{}}}",
        peer.name(),
        options.what.name(),
        options.size,
        if peer.is_encrypted() { "tls13" } else { "clear" },
        options.is_realtime,
        measured.duration.as_secs_f64(),
        us(measured.client.processor),
        us(measured.server.processor),
        figures(options, outcome, measured)?
    ))
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn figures(options: &Options, outcome: &Outcome, measured: &Measured) -> Result<String, Failure> {
    let per_second = |count: u64| count as f64 / measured.duration.as_secs_f64();
    let cpu_us = us(measured.client.processor + measured.server.processor);
    if outcome.count() == 0 {
        return Err("nothing was measured; take more --seconds".into());
    }
    Ok(match *outcome {
        Outcome::RoundTrips { p50_us, p99_us, count } => format!(
            "\"rtt_p50_us\":{p50_us:.2},\"rtt_p99_us\":{p99_us:.2},\"count\":{count},\"cpu_us_per_message\":{:.4}",
            cpu_us / (2 * count) as f64
        ),
        Outcome::Bytes(bytes) => format!(
            "\"bytes\":{bytes},\"bytes_per_s\":{:.0},\"cpu_ns_per_byte\":{:.4}",
            per_second(bytes),
            cpu_us * 1e3 / bytes as f64
        ),
        Outcome::Messages(count) => format!(
            "\"count\":{count},\"messages_per_s\":{:.0},\"bytes_per_s\":{:.0},\"cpu_us_per_message\":{:.4}",
            per_second(count),
            per_second(count * options.size as u64),
            cpu_us / count as f64
        ),
        Outcome::Handshakes(count) => format!(
            "\"in_flight\":{},\"count\":{count},\"handshakes_per_s\":{:.0},\"cpu_us_per_handshake\":{:.1}",
            options.in_flight,
            per_second(count),
            cpu_us / count as f64
        ),
        Outcome::Sessions(count) => format!(
            "\"sessions\":{count},\"bytes_per_session_client\":{},\"bytes_per_session_server\":{}",
            measured.client.resident_bytes / count,
            measured.server.resident_bytes / count
        ),
    })
}
