//! The table of all attacks: what each sends, what it is, and how it must end. docs/testing.md has the same table.

use crate::ground::Scene;
use crate::{
    attacks_channels, attacks_compression, attacks_copies, attacks_dialled, attacks_door,
    attacks_frames, attacks_hello, attacks_records, attacks_resume, attacks_storms,
};

/// Whose word an attack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anybody who reaches the port, or stands on the way, can do it: it costs no peer its reputation.
    Outside,
    /// Its keys or its certificate prove who did it: there is a line in the evidence log, of this peer.
    Authenticated,
    /// The protocol allows it: it is served, and costs the daemon no more than it costs the peer.
    Allowed,
}

/// How an attack ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The connection becomes no path, for this cause.
    TurnedAway(&'static str),
    /// The path is lost for this cause; its session may go on elsewhere.
    PathLost(&'static str),
    /// This offence of the peer is noted; session or path is over.
    Offence(&'static str),
    /// The daemon, which dialled, has no session; it says so in these words.
    NoSession(&'static str),
    /// The peer is read more slowly, and its session goes on.
    Slowed,
    /// The session goes on as if nothing had been.
    Served,
}

impl End {
    /// In words.
    pub(crate) fn words(self) -> String {
        match self {
            Self::TurnedAway(cause) => format!("turned away: `{cause}`"),
            Self::PathLost(cause) => format!("path lost: `{cause}`"),
            Self::Offence(name) => format!("offence: `{name}`"),
            Self::NoSession(words) => format!("no session: \"{words}\""),
            Self::Slowed => "read more slowly".into(),
            Self::Served => "served".into(),
        }
    }

    /// The sample that grows; none where nothing is wrong.
    pub(crate) fn metric(self, peer: &str) -> Option<String> {
        Some(match self {
            Self::TurnedAway(cause) => {
                format!("dwcp_connections_turned_away_total{{cause=\"{cause}\"}}")
            }
            Self::PathLost(cause) => {
                format!("dwcp_paths_lost_total{{peer=\"{peer}\",cause=\"{cause}\"}}")
            }
            Self::Offence(_) => format!("dwcp_peer_offences_total{{peer=\"{peer}\"}}"),
            Self::NoSession(_) => "dwcp_handshakes_failed_total".into(),
            Self::Slowed => format!("dwcp_peer_slowed_total{{peer=\"{peer}\"}}"),
            Self::Served => return None,
        })
    }
}

/// How often an attack has its end: so much grows what counts it, and so many lines of evidence there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    /// Once for each thing that is sent: one that only loses its connection is not taken for one that is found out.
    Exactly(u64),
    /// Of a storm, how much has this end and how much another is a matter of time.
    AtLeast(u64),
}

impl Times {
    pub(crate) fn least(self) -> u64 {
        let (Self::Exactly(times) | Self::AtLeast(times)) = self;
        times
    }

    pub(crate) fn allow(self, times: u64) -> bool {
        match self {
            Self::Exactly(wanted) => times == wanted,
            Self::AtLeast(least) => times >= least,
        }
    }
}

/// What the daemon's memory may grow by in the course of an attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) mib: u64,
    /// What it is used for, which is told where it is too much.
    pub(crate) of: &'static str,
}

/// Of an attack that is to cost no memory to speak of: none of them takes more than 1.5 MiB.
const LITTLE: Memory = Memory { mib: 4, of: "buffers and handshakes" };

/// One attack. Its name is the node that does it, so that what is counted for it is counted for nothing else.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What is sent.
    pub(crate) sent: &'static str,
    pub(crate) end: End,
    pub(crate) times: Times,
    pub(crate) memory: Memory,
    /// Does it, and sees that the daemon ends what it has to end.
    pub(crate) run: fn(&Scene<'_>),
}

type Run = fn(&Scene<'_>);

impl Attack {
    pub(crate) const fn new(
        name: &'static str,
        kind: Kind,
        sent: &'static str,
        end: End,
        run: Run,
    ) -> Self {
        Self { name, kind, sent, end, times: Times::Exactly(1), memory: LITTLE, run }
    }

    /// It is made of so many, and each has its end.
    pub(crate) const fn times(mut self, times: u64) -> Self {
        self.times = Times::Exactly(times);
        self
    }

    /// It is a storm, of which so many at least have its end.
    pub(crate) const fn at_least(mut self, times: u64) -> Self {
        self.times = Times::AtLeast(times);
        self
    }

    /// So many MiB may be used, for this.
    pub(crate) const fn takes(mut self, mib: u64, of: &'static str) -> Self {
        self.memory = Memory { mib, of };
        self
    }
}

pub(crate) const fn outside(
    name: &'static str,
    sent: &'static str,
    cause: &'static str,
    run: Run,
) -> Attack {
    Attack::new(name, Kind::Outside, sent, End::TurnedAway(cause), run)
}

pub(crate) const fn path_lost(
    name: &'static str,
    sent: &'static str,
    cause: &'static str,
    run: Run,
) -> Attack {
    Attack::new(name, Kind::Outside, sent, End::PathLost(cause), run)
}

pub(crate) const fn offence(
    name: &'static str,
    sent: &'static str,
    offence: &'static str,
    run: Run,
) -> Attack {
    Attack::new(name, Kind::Authenticated, sent, End::Offence(offence), run)
}

pub(crate) const fn no_session(
    name: &'static str,
    sent: &'static str,
    words: &'static str,
    run: Run,
) -> Attack {
    // How often the daemon tries is its own affair; each attack sees to it that it says the words.
    Attack::new(name, Kind::Outside, sent, End::NoSession(words), run).at_least(1)
}

pub(crate) const fn served(name: &'static str, sent: &'static str, run: Run) -> Attack {
    Attack::new(name, Kind::Allowed, sent, End::Served, run)
}

pub(crate) const fn slowed(name: &'static str, sent: &'static str, run: Run) -> Attack {
    Attack::new(name, Kind::Allowed, sent, End::Slowed, run).at_least(1)
}

/// All of them, by what they aim at.
pub(crate) const ALL: &[(&str, &[Attack])] = &[
    ("before and in TLS", attacks_door::ATTACKS),
    ("hello, downgrade", attacks_hello::ATTACKS),
    ("records", attacks_records::ATTACKS),
    ("frames, control messages, epochs", attacks_frames::ATTACKS),
    ("channels, credit, acks", attacks_channels::ATTACKS),
    ("compression", attacks_compression::ATTACKS),
    ("resumption", attacks_resume::ATTACKS),
    ("storms", attacks_storms::ATTACKS),
    ("copies", attacks_copies::ATTACKS),
    ("the daemon dials", attacks_dialled::ATTACKS),
];

/// The table as docs/testing.md has it.
pub(crate) fn table() -> String {
    let mut table =
        String::from("| attack | kind | what is sent | how it ends |\n|---|---|---|---|\n");
    for (aim, attacks) in ALL {
        table.push_str(&format!("| **{aim}** | | | |\n"));
        for Attack { name, kind, sent, end, .. } in *attacks {
            let kind = format!("{kind:?}").to_lowercase();
            table.push_str(&format!("| `{name}` | {kind} | {sent} | {} |\n", end.words()));
        }
    }
    table
}
