//! The command line.

use std::time::Duration;

pub const USAGE: &str = "usage: peer-bench latency|throughput|messages PEER... [--seconds N] [--size BYTES] [--congestion NAME] [--cores CLIENT,SERVER]
  PEER: std, spin, tokio, tokio-rustls ('messages': tokio, tokio-rustls)
  --seconds N        how long each measurement lasts (default 2)
  --size BYTES       of one message or write (default 64; throughput 65536)
  --congestion NAME  cubic, bbr, ... (default: the system's)
  --cores A,B        run the client on core A and the server on core B (default: as the scheduler likes)";

const SIZE_MAX: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    Std,
    Spin,
    Tokio,
    TokioRustls,
}

impl Peer {
    const ALL: [Self; 4] = [Self::Std, Self::Spin, Self::Tokio, Self::TokioRustls];

    pub fn name(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Spin => "spin",
            Self::Tokio => "tokio",
            Self::TokioRustls => "tokio-rustls",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Ping-pong: one message each way at a time.
    Latency,
    /// One direction, as many bytes as go.
    Throughput,
    /// One direction, framed messages by the usual codec.
    Messages,
}

impl What {
    const ALL: [Self; 3] = [Self::Latency, Self::Throughput, Self::Messages];

    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Messages => "messages",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Client,
    /// Started by the client, never by hand.
    Server,
}

#[derive(Debug)]
pub struct Options {
    pub role: Role,
    pub what: What,
    pub peers: Vec<Peer>,
    pub duration: Duration,
    pub size: usize,
    pub congestion: Option<String>,
    /// The cores of client and server.
    pub cores: Option<[usize; 2]>,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut word = words.next().ok_or("say what to measure")?;
        let role = if word == "serve" { Role::Server } else { Role::Client };
        if role == Role::Server {
            word = words.next().ok_or("serve needs what it serves")?;
        }
        let what = *What::ALL
            .iter()
            .find(|what| what.name() == word)
            .ok_or_else(|| format!("unknown measurement '{word}'"))?;
        let size = if what == What::Throughput { 65_536 } else { 64 };
        let mut options = Self {
            role,
            what,
            peers: Vec::new(),
            duration: Duration::from_secs(2),
            size,
            congestion: None,
            cores: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => options.duration = seconds(&value()?)?,
                "--size" => options.size = size_of(&value()?)?,
                "--congestion" => options.congestion = Some(value()?),
                "--cores" => options.cores = Some(cores(&value()?)?),
                name => options.peers.push(peer(name, what)?),
            }
        }
        if options.peers.is_empty() {
            return Err("name at least one peer".into());
        }
        Ok(options)
    }

    /// The words that start the other end.
    pub fn for_server(&self, peer: Peer) -> Vec<String> {
        let mut words = vec!["serve".into(), self.what.name().into(), peer.name().into()];
        words.extend(["--size".into(), self.size.to_string()]);
        if let Some(name) = &self.congestion {
            words.extend(["--congestion".into(), name.clone()]);
        }
        if let Some([client, server]) = self.cores {
            words.extend(["--cores".into(), format!("{client},{server}")]);
        }
        words
    }

    /// The core that this process shall stay on.
    pub fn own_core(&self) -> Option<usize> {
        self.cores.map(|[client, server]| if self.role == Role::Client { client } else { server })
    }
}

fn peer(name: &str, what: What) -> Result<Peer, String> {
    let peer = *Peer::ALL
        .iter()
        .find(|peer| peer.name() == name)
        .ok_or_else(|| format!("unknown peer or option '{name}'"))?;
    if what == What::Messages && matches!(peer, Peer::Std | Peer::Spin) {
        return Err(format!(
            "'messages' is framed by tokio-util's codec, which '{name}' does not use"
        ));
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

fn size_of(text: &str) -> Result<usize, String> {
    let size = text.parse().map_err(|_| format!("--size {text}: not a number of bytes"))?;
    if !(1..=SIZE_MAX).contains(&size) {
        return Err(format!("--size {text}: must be 1 to {SIZE_MAX} bytes"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn the_server_gets_what_the_client_was_told() {
        let client =
            parse("throughput tokio std --size 1048576 --congestion cubic --cores 0,1").unwrap();
        let server = Options::parse(client.for_server(client.peers[1]).into_iter()).unwrap();
        assert_eq!(
            (server.role, server.what, server.size),
            (Role::Server, What::Throughput, 1 << 20)
        );
        assert_eq!((client.own_core(), server.own_core()), (Some(0), Some(1)));
        assert_eq!((server.peers, server.congestion), (vec![Peer::Std], client.congestion));
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
            ("messages spin", "spin"),
            ("latency tokio --cores 0", "two core numbers"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
