//! The table of all attacks: what each sends, what it is, and how it must end. docs/testing.md has the same table.

use crate::ground::Scene;
use crate::{
    attacks_channels, attacks_compression, attacks_dialled, attacks_door, attacks_frames,
    attacks_hello, attacks_records, attacks_resume, attacks_storms,
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

/// One attack. Its name is the node that does it, so that what is counted for it is counted for nothing else.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What is sent.
    pub(crate) sent: &'static str,
    pub(crate) end: End,
    /// Does it, and sees that the daemon ends what it has to end.
    pub(crate) run: fn(&Scene<'_>),
}

type Run = fn(&Scene<'_>);

pub(crate) const fn outside(
    name: &'static str,
    sent: &'static str,
    cause: &'static str,
    run: Run,
) -> Attack {
    Attack { name, kind: Kind::Outside, sent, end: End::TurnedAway(cause), run }
}

pub(crate) const fn path_lost(
    name: &'static str,
    sent: &'static str,
    cause: &'static str,
    run: Run,
) -> Attack {
    Attack { name, kind: Kind::Outside, sent, end: End::PathLost(cause), run }
}

pub(crate) const fn offence(
    name: &'static str,
    sent: &'static str,
    offence: &'static str,
    run: Run,
) -> Attack {
    Attack { name, kind: Kind::Authenticated, sent, end: End::Offence(offence), run }
}

pub(crate) const fn no_session(
    name: &'static str,
    sent: &'static str,
    words: &'static str,
    run: Run,
) -> Attack {
    Attack { name, kind: Kind::Outside, sent, end: End::NoSession(words), run }
}

pub(crate) const fn served(name: &'static str, sent: &'static str, run: Run) -> Attack {
    Attack { name, kind: Kind::Allowed, sent, end: End::Served, run }
}

pub(crate) const fn slowed(name: &'static str, sent: &'static str, run: Run) -> Attack {
    Attack { name, kind: Kind::Allowed, sent, end: End::Slowed, run }
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
