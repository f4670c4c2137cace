//! The command line.

use std::time::Duration;

use crate::peer::{Peer, What};

pub const USAGE: &str = "usage: peer-bench latency|throughput|messages|handshake|idle PEER... [OPTION...]
       peer-bench list    each measurement and the peers that have it
  --seconds N        how long each measurement lasts (default 2)
  --size BYTES       of one message or write (default 64; throughput 65536)
  --in-flight N      handshake, idle: connections that are being made at once (default 64)
  --sessions N       idle: connections (default 1000)
  --congestion NAME  cubic, bbr, ... (default: the system's; quinn, which has its own: cubic)
  --cores A,B        run the client on core A and the server on core B (default: as the scheduler likes)
  --realtime         both ends under SCHED_RR, priority 1, before all ordinary work of their cores: needs --cores, two
                     different ones for peers that spin, and root, CAP_SYS_NICE or 'ulimit -r 2'. Each end stops
                     itself 10 s after the measurement should be over, as it does without";

const SIZE_MAX: usize = 64 << 20;
const SESSIONS_MAX: usize = 100_000;
const IN_FLIGHT_MAX: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Client,
    /// Started by the client, never by hand.
    Server,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub role: Role,
    pub what: What,
    pub peers: Vec<Peer>,
    pub duration: Duration,
    pub size: usize,
    pub sessions: usize,
    pub in_flight: usize,
    pub congestion: Option<String>,
    /// The cores of client and server.
    pub cores: Option<[usize; 2]>,
    pub is_realtime: bool,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut word = words.next().ok_or("say what to measure")?;
        let role = if word == "serve" { Role::Server } else { Role::Client };
        if role == Role::Server {
            word = words.next().ok_or("serve needs what it serves")?;
        }
        let what = What::named(&word).ok_or_else(|| format!("unknown measurement '{word}'"))?;
        let mut options = Self {
            role,
            what,
            peers: Vec::new(),
            duration: Duration::from_secs(2),
            size: if what == What::Throughput { 65_536 } else { 64 },
            sessions: 1000,
            in_flight: 64,
            congestion: None,
            cores: None,
            is_realtime: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => options.duration = seconds(&value()?)?,
                "--size" => options.size = count(&word, &value()?, SIZE_MAX)?,
                "--sessions" => options.sessions = count(&word, &value()?, SESSIONS_MAX)?,
                "--in-flight" => options.in_flight = count(&word, &value()?, IN_FLIGHT_MAX)?,
                "--congestion" => options.congestion = Some(value()?),
                "--cores" => options.cores = Some(cores(&value()?)?),
                "--realtime" => options.is_realtime = true,
                name => options.peers.push(peer(name, what)?),
            }
        }
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), String> {
        if self.peers.is_empty() {
            return Err("name at least one peer".into());
        }
        if !self.is_realtime {
            return Ok(());
        }
        match (self.cores, self.peers.iter().find(|peer| peer.spins())) {
            (None, _) => Err("--realtime needs --cores, such as --cores 0,1".into()),
            (Some([client, server]), Some(peer)) if client == server => {
                let name = peer.name();
                Err(format!("--realtime: {name} spins; give each end a core of its own by --cores"))
            }
            _ => Ok(()),
        }
    }

    /// The words that start the other end.
    pub fn for_server(&self, peer: Peer) -> Vec<String> {
        let mut words = vec!["serve".into(), self.what.name().into(), peer.name().into()];
        words.extend(["--size".into(), self.size.to_string()]);
        words.extend(["--seconds".into(), self.duration.as_secs_f64().to_string()]);
        words.extend(["--sessions".into(), self.sessions.to_string()]);
        words.extend(["--in-flight".into(), self.in_flight.to_string()]);
        if let Some(name) = &self.congestion {
            words.extend(["--congestion".into(), name.clone()]);
        }
        if let Some([client, server]) = self.cores {
            words.extend(["--cores".into(), format!("{client},{server}")]);
        }
        if self.is_realtime {
            words.push("--realtime".into());
        }
        words
    }

    /// The core that this process shall stay on.
    pub fn own_core(&self) -> Option<usize> {
        self.cores.map(|[client, server]| if self.role == Role::Client { client } else { server })
    }
}

/// What `peer-bench list` says: a line for each measurement.
pub fn list() -> String {
    let peers = |what: What| {
        let has = |peer: &&Peer| peer.measures().contains(&what);
        Peer::ALL.iter().filter(has).map(|peer| format!(" {}", peer.name())).collect::<String>()
    };
    What::ALL.map(|what| format!("{}{}\n", what.name(), peers(what))).concat()
}

fn peer(name: &str, what: What) -> Result<Peer, String> {
    let peer = Peer::named(name).ok_or_else(|| match name {
        "quinn" | "tonic" | "zeromq" => {
            format!("'{name}' is not in this build; build with --features {name}")
        }
        _ => format!("unknown peer or option '{name}'"),
    })?;
    if !peer.measures().contains(&what) {
        let has: Vec<_> = peer.measures().iter().map(|what| what.name()).collect();
        return Err(format!("'{name}' has no {}; it has {}", what.name(), has.join(", ")));
    }
    Ok(peer)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("--seconds {text}: not a number"))?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err(format!("--seconds {text}: must be 0.1 to 3600"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn cores(text: &str) -> Result<[usize; 2], String> {
    let (client, server) = text.split_once(',').unwrap_or_default();
    let core = |text: &str| match text.parse() {
        Ok(core) if core < rustix::thread::CpuSet::MAX_CPU => Ok(core),
        _ => Err(format!("--cores '{text}': write two core numbers, such as 0,1")),
    };
    Ok([core(client)?, core(server)?])
}

fn count(option: &str, text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(format!("{option} {text}: must be a number from 1 to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn the_server_gets_what_the_client_was_told() {
        let client = parse(
            "throughput tokio raw-std --size 1048576 --seconds 0.5 --congestion cubic --cores 0,1 --realtime",
        )
        .unwrap();
        let server = Options::parse(client.for_server(client.peers[1]).into_iter()).unwrap();
        assert_eq!(
            (server.role, server.what, server.size, server.is_realtime),
            (Role::Server, What::Throughput, 1 << 20, true)
        );
        assert_eq!((client.own_core(), server.own_core()), (Some(0), Some(1)));
        assert_eq!((server.peers, server.congestion), (vec![Peer::RawStd], client.congestion));
        assert_eq!(server.duration, client.duration);
        let client = parse("idle tokio --sessions 5").unwrap();
        let server = Options::parse(client.for_server(Peer::Tokio).into_iter()).unwrap();
        assert_eq!((server.sessions, server.is_realtime), (5, false));
    }

    #[test]
    fn wrong_words_are_named() {
        for (line, named) in [
            ("", "what to measure"),
            ("speed tokio", "speed"),
            ("latency", "at least one peer"),
            ("latency quic", "quic"),
            ("latency tokio --size", "--size"),
            ("latency tokio --size 0", "--size 0"),
            ("latency tokio --seconds NaN", "--seconds NaN"),
            ("idle tokio --sessions 1e9", "--sessions 1e9"),
            ("handshake tokio --in-flight 0", "--in-flight 0"),
            ("messages raw-spin", "it has latency"),
            ("latency length-delimited", "it has messages"),
            ("latency tokio --cores 0", "two core numbers"),
            ("latency tokio --realtime", "needs --cores"),
            ("latency tokio raw-spin --realtime --cores 1,1", "raw-spin spins"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(named), "{line}: {error}");
        }
        assert!(parse("latency tokio --realtime --cores 1,1").is_ok(), "it blocks");
    }

    #[test]
    fn the_list_has_each_measurement_and_peer() {
        let list = list();
        assert_eq!(list.lines().count(), What::ALL.len());
        for peer in Peer::ALL {
            assert!(!peer.measures().is_empty() && list.contains(peer.name()), "{}", peer.name());
        }
    }
}
