//! What can be measured, and which peer has what.

use std::sync::Arc;

use crate::Failure;
#[cfg(feature = "tonic")]
use crate::grpc;
use crate::load::Outcome;
use crate::meter::Meter;
#[cfg(feature = "quinn")]
use crate::quic;
use crate::run::{Client, Serving};
#[cfg(feature = "zeromq")]
use crate::zeromq;
use crate::{asynchronous, blocking, framed, handshake, idle, spinning};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Ping-pong: one message each way at a time.
    Latency,
    /// One direction, as many bytes as go.
    Throughput,
    /// One direction, as many messages as go, each told from the next.
    Messages,
    /// Connections made, used for one echo, and closed.
    Handshake,
    /// Memory of connections that do nothing.
    Idle,
}

impl What {
    pub const ALL: [Self; 5] =
        [Self::Latency, Self::Throughput, Self::Messages, Self::Handshake, Self::Idle];

    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Messages => "messages",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    RawStd,
    RawSpin,
    SpinRustls,
    Tokio,
    TokioRustls,
    LengthDelimited,
    RustlsFramed,
    #[cfg(feature = "zeromq")]
    Zeromq,
    #[cfg(feature = "quinn")]
    Quinn,
    #[cfg(feature = "tonic")]
    Tonic,
}

impl Peer {
    pub const ALL: &'static [Self] = &[
        Self::RawStd,
        Self::RawSpin,
        Self::SpinRustls,
        Self::Tokio,
        Self::TokioRustls,
        Self::LengthDelimited,
        Self::RustlsFramed,
        #[cfg(feature = "zeromq")]
        Self::Zeromq,
        #[cfg(feature = "quinn")]
        Self::Quinn,
        #[cfg(feature = "tonic")]
        Self::Tonic,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::RawStd => "raw-std",
            Self::RawSpin => "raw-spin",
            Self::SpinRustls => "spin-rustls",
            Self::Tokio => "tokio",
            Self::TokioRustls => "tokio-rustls",
            Self::LengthDelimited => "length-delimited",
            Self::RustlsFramed => "rustls-framed",
            #[cfg(feature = "zeromq")]
            Self::Zeromq => "zeromq",
            #[cfg(feature = "quinn")]
            Self::Quinn => "quinn",
            #[cfg(feature = "tonic")]
            Self::Tonic => "tonic",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|peer| peer.name() == name)
    }

    pub fn measures(self) -> &'static [What] {
        use What::{Handshake, Idle, Latency, Messages, Throughput};
        match self {
            Self::RawStd => &[Latency, Throughput],
            Self::RawSpin | Self::SpinRustls => &[Latency],
            Self::Tokio | Self::TokioRustls => &[Latency, Throughput, Handshake, Idle],
            Self::LengthDelimited | Self::RustlsFramed => &[Messages],
            #[cfg(feature = "zeromq")]
            Self::Zeromq => &[Latency, Throughput, Messages],
            #[cfg(feature = "quinn")]
            Self::Quinn => &[Latency, Throughput, Messages],
            #[cfg(feature = "tonic")]
            Self::Tonic => &[Latency, Throughput, Messages],
        }
    }

    /// Whether its ends wait by looking again and again: they need a core each.
    pub fn spins(self) -> bool {
        matches!(self, Self::RawSpin | Self::SpinRustls)
    }

    pub fn is_encrypted(self) -> bool {
        match self {
            Self::SpinRustls | Self::TokioRustls | Self::RustlsFramed => true,
            #[cfg(feature = "quinn")]
            Self::Quinn => true,
            _ => false,
        }
    }

    /// The congestion control that it takes by itself, where that is not the system's.
    pub fn own_congestion(self) -> Option<&'static str> {
        #[cfg(feature = "quinn")]
        if self == Self::Quinn {
            return Some(quic::CONGESTION);
        }
        None
    }

    pub fn client(self, client: &Client, meter: &mut Meter) -> Result<Outcome, Failure> {
        match (self, client.options.what) {
            (Self::Tokio | Self::TokioRustls, What::Handshake) => handshake::client(client, meter),
            (Self::Tokio | Self::TokioRustls, What::Idle) => idle::client(client, meter),
            (Self::RawStd | Self::RawSpin, _) => blocking::client(client, meter),
            (Self::SpinRustls, _) => spinning::client(client, meter),
            (Self::Tokio | Self::TokioRustls, _) => asynchronous::client(client, meter),
            (Self::LengthDelimited | Self::RustlsFramed, _) => framed::client(client, meter),
            #[cfg(feature = "zeromq")]
            (Self::Zeromq, _) => zeromq::client(client, meter),
            #[cfg(feature = "quinn")]
            (Self::Quinn, _) => quic::client(client, meter),
            #[cfg(feature = "tonic")]
            (Self::Tonic, _) => grpc::client(client, meter),
        }
    }

    pub fn server(self, serving: Arc<Serving>) -> Result<(), Failure> {
        match (self, serving.options.what) {
            (Self::Tokio | Self::TokioRustls, What::Handshake | What::Idle) => {
                handshake::server(&serving)
            }
            (Self::RawStd | Self::RawSpin, _) => blocking::server(&serving),
            (Self::SpinRustls, _) => spinning::server(&serving),
            (Self::Tokio | Self::TokioRustls, _) => asynchronous::server(&serving),
            (Self::LengthDelimited | Self::RustlsFramed, _) => framed::server(&serving),
            #[cfg(feature = "zeromq")]
            (Self::Zeromq, _) => zeromq::server(&serving),
            #[cfg(feature = "quinn")]
            (Self::Quinn, _) => quic::server(&serving),
            #[cfg(feature = "tonic")]
            (Self::Tonic, _) => grpc::server(serving),
        }
    }
}
