//! What is compared over which link.

use std::path::PathBuf;
use std::time::Duration;

use super::data::Content;
use super::link::LinkSpec;

/// A link, a file, and who sends it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Mbit/s, round trip in ms, loss in percent.
    link: (u64, u64, f64),
    /// What the file holds.
    pub content: Content,
    /// Whom DWCP is compared with.
    pub peers: &'static [Peer],
}

impl Scenario {
    /// The link, with a queue of one bandwidth-delay product.
    pub fn link(&self) -> LinkSpec {
        let (rate, rtt_ms, loss) = self.link;
        LinkSpec::new(rate * 1_000_000, Duration::from_millis(rtt_ms), loss / 100.0)
            .expect("the scenarios below are links")
    }

    /// The scenarios named: one, or `all`.
    ///
    /// # Errors
    /// Words for people, with the names there are.
    pub fn named(name: &str) -> Result<Vec<Self>, String> {
        let found: Vec<_> =
            SCENARIOS.into_iter().filter(|known| name == "all" || name == known.name).collect();
        if found.is_empty() {
            let names: Vec<_> = SCENARIOS.iter().map(|known| known.name).collect();
            return Err(format!("no scenario `{name}`; there are {} and all", names.join(", ")));
        }
        Ok(found)
    }
}

/// All there are.
pub const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "wan-incompressible",
        link: (100, 50, 1.0),
        content: Content::Random,
        peers: &[Peer::PayloadCeiling],
    },
    Scenario {
        name: "wan-compressible",
        link: (100, 50, 1.0),
        content: Content::Log,
        peers: &[Peer::ZstdNcat, Peer::RsyncZ, Peer::ScpC, Peer::Curl],
    },
    Scenario {
        name: "wan-1g-compressible",
        link: (1000, 20, 0.1),
        content: Content::Log,
        peers: &[Peer::ZstdNcat, Peer::RsyncZ, Peer::ScpC],
    },
];

/// With whom DWCP is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// [`LinkSpec::payload_ceiling_bytes_per_s`]; computed.
    PayloadCeiling,
    /// `zstd -1 | ncat`, in clear, without a proof of what arrived.
    ZstdNcat,
    /// `rsync -z --zc=zstd --zl=1` over ssh.
    RsyncZ,
    /// `scp -C`.
    ScpC,
    /// HTTP in clear by nginx and curl, not compressed.
    Curl,
}

impl Peer {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::PayloadCeiling, Self::ZstdNcat, Self::RsyncZ, Self::ScpC, Self::Curl];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::PayloadCeiling => "payload-ceiling",
            Self::ZstdNcat => "zstd-ncat",
            Self::RsyncZ => "rsync-z",
            Self::ScpC => "scp-c",
            Self::Curl => "curl",
        }
    }

    /// The one of that name.
    ///
    /// # Errors
    /// Words for people, with the names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|peer| peer.name() == name).ok_or_else(|| {
            format!("no peer `{name}`; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }

    /// Programs it needs, and the packages of Debian and Ubuntu that have them.
    pub(super) fn tools(self) -> &'static [(&'static str, &'static str)] {
        const SSH: [(&str, &str); 3] = [
            ("sshd", "openssh-server"),
            ("ssh", "openssh-client"),
            ("ssh-keygen", "openssh-client"),
        ];
        match self {
            Self::PayloadCeiling => &[],
            Self::ZstdNcat => &[("zstd", "zstd"), ("ncat", "ncat")],
            Self::RsyncZ => &[SSH[0], SSH[1], SSH[2], ("rsync", "rsync")],
            Self::ScpC => &[SSH[0], SSH[1], SSH[2], ("scp", "openssh-client")],
            Self::Curl => &[("nginx", "nginx-light"), ("curl", "curl")],
        }
    }
}

/// A program, also where only root looks for one.
pub(super) fn find(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = places.map(|place| place.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| format!("no {program} here"))
}

/// # Errors
/// What is missing, and how to install it.
pub(super) fn check_tools(peers: &[Peer]) -> Result<(), String> {
    let all = [("ip", "iproute2"), ("unshare", "util-linux")].into_iter();
    let all = all.chain(peers.iter().flat_map(|peer| peer.tools().iter().copied()));
    let mut missing: Vec<_> =
        all.filter(|(program, _)| find(program).is_err()).map(|(_, package)| package).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    Err(format!("programs are missing; run '.ci/install bench', or: apt-get install {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_there() {
        assert_eq!(Scenario::named("all").unwrap().len(), 3);
        let one = Scenario::named("wan-1g-compressible").unwrap()[0];
        assert_eq!(one.link().to_string(), "1000 Mbit/s, 20 ms, 0.1 % loss");
        assert!(Scenario::named("lan").unwrap_err().contains("wan-incompressible"));
        for peer in Peer::ALL {
            assert_eq!(Peer::named(peer.name()), Ok(peer));
        }
        assert!(Peer::named("ftp").unwrap_err().contains("rsync-z"));
    }
}
