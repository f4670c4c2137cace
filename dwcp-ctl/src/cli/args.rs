//! What may be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::config_init::ConfigInit;
use crate::bench::Direction;
use crate::exit::CTL_CODES;
use crate::units::{parse_duration, parse_size};

const DEFAULT_CONFIG: &str = "/etc/dwcp/dwcp-v3.yaml";

/// Checks, runs and explains DWCP nodes.
#[derive(Debug, Parser)]
#[command(name = "dwcp-ctl", version, after_help = CTL_CODES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// How the result is written to stdout.
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Format::Text)]
    pub(super) output: Format,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// How long the daemon may take to answer, such as 3s; a hung daemon is an answer, too.
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration, default_value = "3s")]
    pub(super) timeout: Duration,
    /// Where command sockets are [default: /run/dwcp, or $XDG_RUNTIME_DIR/dwcp]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) runtime_dir: Option<PathBuf>,
    /// The node to speak to, where several run on this machine.
    #[arg(long, global = true, value_name = "NODE")]
    pub(super) node: Option<String>,
}

/// Text for people or JSON for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object with a "schema".
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check, show and make configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// How the nodes on this machine are; exit code 3 when degraded.
    Status,
    /// What a code such as DWCP-C012 or DWCP-H022 means, and what to do; without one, all codes.
    Explain {
        /// The code; `DWCP-` may be left out.
        code: Option<String>,
        /// All of them as docs/errors.md has them.
        #[arg(long, hide = true, conflicts_with = "code")]
        markdown: bool,
    },
    /// Version, what is built in, what this machine has.
    Version,
    /// Round trips to a peer over the active path.
    Ping(Ping),
    /// The peers of a node and their sessions.
    Peers {
        /// Without one: list them.
        #[command(subcommand)]
        command: Option<PeersCommand>,
    },
    /// Measure latency or throughput to a peer.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Send files to a peer; they appear there only when they are whole and right.
    Copy(Copy),
    /// Drop the connection under a session, as a broken cable would (for tests and demonstrations).
    Cut(PeerOnly),
    /// Go on with new keys in this node's direction of a session, at once: they change by themselves, too.
    Rekey(PeerOnly),
    /// Make certificates.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Make the daemon read its configuration again, all or nothing.
    Reload,
    /// Start a new process of the node, such as an upgraded one: it takes over at once, and the one before drains.
    Restart {
        /// Also if systemd seems to have started the daemon as a service that is not Type=notify.
        #[arg(long)]
        force: bool,
    },
    /// Make the daemon drain and stop, and say what came of it; exit code 3 if it still drains at --timeout.
    Drain,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them.
    Man {
        /// Write a page for each command to this directory.
        #[arg(long = "dir", value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// The answering end of `bench --self`.
    #[command(hide = true)]
    Respond {
        /// Its configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check configurations as the daemon does, and say all that is wrong.
    Validate {
        /// Files, directories of .yaml files, or - for stdin.
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        files: Vec<PathBuf>,
        /// Also look at this machine: files, devices, kernel, addresses.
        #[arg(long)]
        environment: bool,
        /// Warnings count as errors.
        #[arg(long)]
        strict: bool,
    },
    /// Print a configuration as it is understood.
    Show {
        /// The file.
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        file: PathBuf,
        /// One line for each value, with where it comes from.
        #[arg(long)]
        effective: bool,
    },
    /// Print the JSON Schema, for editors.
    Schema,
    /// Print or write a commented sample, with the node's own values in it.
    Init(ConfigInit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SampleMode {
    Datacenter,
    Internet,
    Hybrid,
}

/// How to reach a peer.
#[derive(Debug, Args)]
pub(super) struct Via {
    /// The node's configuration. Needed where no daemon runs: the command then dials the peer by itself, with
    /// the node's name and keys.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct PeerOnly {
    /// The peer's node id.
    pub(super) peer: String,
    #[command(flatten)]
    pub(super) via: Via,
}

#[derive(Debug, Args)]
pub(super) struct Ping {
    /// The peer's node id.
    pub(super) peer: String,
    /// How many round trips.
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) count: u32,
    #[command(flatten)]
    pub(super) via: Via,
}

#[derive(Debug, Subcommand)]
pub(super) enum PeersCommand {
    /// End the quarantine of a peer that broke the protocol; exit code 1 if it is in none.
    Lift {
        /// The peer's node id.
        peer: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Round trips: percentiles up to 99.99 %.
    Latency(BenchLatency),
    /// Bytes a second.
    Throughput(BenchThroughput),
    /// Sessions begun, used for one round trip and closed, a second; between two processes of this machine.
    Handshakes(BenchCrowd),
    /// Sessions that come back a second when their connections were cut; between two processes of this machine.
    Resumes(BenchCrowd),
    /// Memory that idle sessions take; between two processes of this machine.
    Sessions(BenchCrowd),
}

/// Options of the benches with many sessions.
#[derive(Debug, Args)]
pub(super) struct BenchCrowd {
    /// Sessions: each of another node, which this process plays [default: 64, resumes 2000, sessions 1000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(super) sessions: Option<u32>,
    /// How long to measure, whole rounds of all sessions; nothing that `sessions` needs.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "3s")]
    pub(super) duration: Duration,
    /// The processors of this process and of the other, such as 0,1.
    #[arg(long, value_name = "A,B", value_parser = parse_cores)]
    pub(super) cores: Option<[u16; 2]>,
}

/// How the two processes run that a bench by itself starts.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct BenchPair {
    /// With --self: the processors of this process and of the other, such as 0,1.
    #[arg(long, value_name = "A,B", value_parser = parse_cores)]
    pub(super) cores: Option<[u16; 2]>,
    /// With --self: both ends with `performance.pollingMode: true`.
    #[arg(long)]
    pub(super) polling: bool,
}

fn parse_cores(text: &str) -> Result<[u16; 2], String> {
    let (near, far) = text.split_once(',').unwrap_or_default();
    let core = |text: &str| {
        let wrong = |_| format!("'{text}' is no processor: write two numbers, such as 0,1");
        text.trim().parse::<u16>().map_err(wrong)
    };
    Ok([core(near)?, core(far)?])
}

/// Options of both benches.
#[derive(Debug, Args)]
pub(super) struct BenchCommon {
    /// The peer's node id.
    #[arg(required_unless_present = "self_made", conflicts_with = "self_made")]
    pub(super) peer: Option<String>,
    /// Measure between two processes of this machine, with keys made for the purpose.
    #[arg(long = "self", id = "self_made")]
    pub(super) self_made: bool,
    #[command(flatten)]
    pub(super) pair: BenchPair,
    /// Each end in a thread of its own that waits for its messages itself, and not in a task; many short messages are looked
    /// at where they arrived.
    #[arg(long)]
    pub(super) blocking: bool,
    /// How long to measure.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    pub(super) duration: Duration,
    /// Cut the connection this many times meanwhile.
    #[arg(long, value_name = "TIMES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(super) cut: u32,
    #[command(flatten)]
    pub(super) via: Via,
}

#[derive(Debug, Args)]
pub(super) struct BenchLatency {
    #[command(flatten)]
    pub(super) common: BenchCommon,
    /// Bytes of each message.
    #[arg(long, value_parser = parse_size, default_value = "64")]
    pub(super) size: u64,
    /// Messages a second; latency then counts from the moment each ought to have been sent. Without it each
    /// message follows the answer to the one before.
    #[arg(long, value_name = "PER_SECOND")]
    pub(super) rate: Option<f64>,
    /// Run this long before figures count.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "500ms")]
    pub(super) warm_up: Duration,
}

#[derive(Debug, Args)]
pub(super) struct BenchThroughput {
    #[command(flatten)]
    pub(super) common: BenchCommon,
    /// Bytes of each message.
    #[arg(long, value_parser = parse_size, default_value = "64KiB")]
    pub(super) size: u64,
    /// Which way the bytes go, as this end sees it.
    #[arg(long, value_enum, default_value_t = Direction::Send)]
    pub(super) direction: Direction,
}

#[derive(Debug, Args)]
pub(super) struct Copy {
    /// Files, then PEER:DIRECTORY, below the directory where the peer takes files.
    #[arg(required = true, num_args = 2.., value_names = ["FILE", "PEER:DIR"])]
    pub(super) operands: Vec<String>,
    /// Directories with all below them.
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Do not compress on the way.
    #[arg(long)]
    pub(super) no_compress: bool,
    /// The receiver reads each file back from its disk and compares it again, before the file gets its name.
    #[arg(long)]
    pub(super) verify: bool,
    /// So many bytes of files a second at most, before compression, such as 10MB.
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(super) limit: Option<u64>,
    /// List every file with its checksum, however many there are.
    #[arg(short, long)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) via: Via,
}

fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a limit of 0 would never end: leave it out for none".into()),
        rate => Ok(rate),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a CA, if there is none in the directory, and certificates for nodes.
    Init {
        /// Node ids; each gets a directory of its own with all it needs. Without any: this machine's hostname,
        /// and the files go to the directory itself.
        nodes: Vec<String>,
        /// Where they go.
        #[arg(long = "dir", value_name = "DIR", default_value = "/etc/dwcp/keys")]
        directory: PathBuf,
        /// How long the certificates are valid, days.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Replace certificates that are there. The CA is never replaced.
        #[arg(long)]
        force: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bench_wants_a_peer_or_self() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("dwcp-ctl bench latency --self").is_ok());
        assert!(parse("dwcp-ctl bench latency b").is_ok());
        assert!(parse("dwcp-ctl bench latency").is_err());
        assert!(parse("dwcp-ctl bench latency b --self").is_err());
        assert!(parse("dwcp-ctl copy onlyone").is_err());
    }
}
