//! What goes wrong in a handshake, in words with a remedy.

use std::io;
use std::time::Duration;

use dwcp_core::link::DialError;
use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::Side;
use crate::identity::{Description, NoNodeId, WrongNode, take_refused};

/// Why a handshake ended.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The socket failed before the peer said anything: perhaps nobody is there.
    Silent(io::Error),
    /// The socket failed later.
    Io(io::Error),
    /// TLS failed; with the certificate if that was refused.
    Tls(TlsError, Option<Vec<u8>>),
    /// The peer sent something else than TLS records.
    NotTls(String),
    /// TLS stands, but the peer did not ask for DWCP.
    NoAlpn,
    /// TLS stands, but the certificate names no node.
    NoIdentity(String),
    /// A hello is over its limit.
    TooLong { bytes: usize, bytes_max: usize },
    /// The peer sent more than any handshake needs.
    TooMuch { bytes_max: usize },
    /// The time was up.
    TimedOut,
}

impl Trouble {
    /// An error of `process_new_packets`, on the thread that it happened on.
    pub(super) fn tls(error: TlsError) -> Self {
        Self::Tls(error, take_refused())
    }

    /// With the address, for the caller.
    pub(super) fn into_dial_error(self, address: &str, side: &Side, limit: Duration) -> DialError {
        let address = address.to_owned();
        match self {
            Self::Silent(source) | Self::Io(source) if is_unreachable(&source) => {
                DialError::Unreachable { address, source }
            }
            Self::TimedOut => DialError::TimedOut { address, seconds: limit.as_secs() },
            Self::Tls(error, certificate) => match (wrong_node(&error), side) {
                (Some(found), Side::Dialer { expected }) => {
                    DialError::WrongNode { address, expected: expected.clone(), found }
                }
                _ => DialError::Handshake {
                    address,
                    reason: tls_problem(&error, certificate.as_deref(), side),
                },
            },
            other => DialError::Handshake { address, reason: other.reason(side) },
        }
    }

    /// As an I/O error, for the hellos.
    pub(super) fn into_io_error(self, address: &str, side: &Side, limit: Duration) -> io::Error {
        let kind = match &self {
            Self::Silent(error) | Self::Io(error) => error.kind(),
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::Tls(TlsError::AlertReceived(_), _) => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self.into_dial_error(address, side, limit))
    }

    fn reason(self, side: &Side) -> String {
        match (self, side) {
            (Self::Silent(error) | Self::Io(error), _) => lost(&error),
            (Self::NotTls(what), Side::Dialer { .. }) => format!(
                "it answered with {what}; a DWCP node speaks TLS 1.3: check host and port of the peer"
            ),
            (Self::NotTls(what), Side::Acceptor) => format!(
                "it sent {what}; this port speaks DWCP only (over TLS 1.3): health and metrics are at admin.listen"
            ),
            (Self::NoAlpn, _) => {
                "it speaks TLS 1.3 but did not agree on ALPN dwcp/3: it is no DWCP node, or \
                                  of a version without common protocol"
                    .into()
            }
            (Self::NoIdentity(found), _) => no_node_id(&found),
            (Self::TooLong { bytes, bytes_max }, _) => {
                format!(
                    "its hello says it has {bytes} bytes, {bytes_max} are allowed: not a DWCP node"
                )
            }
            (Self::TooMuch { bytes_max }, _) => format!(
                "it sent more than {} KiB before the handshake was over; shorten its certificate chain",
                bytes_max >> 10
            ),
            (Self::Tls(..) | Self::TimedOut, _) => unreachable!("told by into_dial_error"),
        }
    }
}

/// Errors that say the same as a failed `connect`; with fast open they come with the first write or read.
fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::TimedOut
    )
}

fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "it closed the connection in the middle of the handshake; its log may say why".into()
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it reset the connection in the middle of the handshake; its log may say why".into()
        }
        _ => format!("the connection failed: {error}"),
    }
}

fn wrong_node(error: &TlsError) -> Option<String> {
    let TlsError::InvalidCertificate(CertificateError::Other(other)) = error else { return None };
    other.0.downcast_ref::<WrongNode>().map(|wrong| wrong.found.clone())
}

fn tls_problem(error: &TlsError, certificate: Option<&[u8]>, side: &Side) -> String {
    match error {
        TlsError::InvalidCertificate(_) => certificate_problem(error, certificate),
        TlsError::AlertReceived(alert) => refusal(*alert, side),
        TlsError::PeerIncompatible(why) => {
            format!("it does not offer what DWCP needs, TLS 1.3 with a certificate ({why:?}); upgrade it, or check the port")
        }
        TlsError::NoApplicationProtocol => {
            "it speaks TLS but does not offer ALPN dwcp/3: it is no DWCP node, or of a version without \
             common protocol"
                .into()
        }
        TlsError::NoCertificatesPresented => {
            "it sent no certificate; a DWCP node must prove its id: set its keys.cert and keys.key".into()
        }
        other => format!("TLS failed: {other}"),
    }
}

/// What the peer's alert says of us.
fn refusal(alert: AlertDescription, side: &Side) -> String {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not trust the CA of our certificate; give both nodes certificates of one CA, or add \
             ours to its keys.ca"
                .into()
        }
        AlertDescription::CertificateExpired => {
            "it says our certificate has expired or is not valid yet; renew it and check both clocks".into()
        }
        AlertDescription::NoApplicationProtocol => {
            "it speaks TLS but not DWCP (ALPN dwcp/3): check host and port of the peer".into()
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            format!("it has no TLS 1.3 in common with us (alert {alert:?}): check host and port of the peer")
        }
        AlertDescription::CertificateUnknown if *side == Side::Acceptor => {
            "it refused our certificate (alert CertificateUnknown): it dialled another node than this one, or our certificate holds no node id; its log says which"
                .into()
        }
        other => format!("it refused our certificate or hello (alert {other:?}); its log says why"),
    }
}

fn no_node_id(found: &str) -> String {
    format!(
        "its certificate names no node: {found}; issue one with one SAN URI dwcp://node/<nodeId> \
         (`dwcp-ctl keys init`)"
    )
}

/// What is wrong with a certificate, and what to do.
pub(crate) fn certificate_problem(error: &TlsError, certificate: Option<&[u8]>) -> String {
    let TlsError::InvalidCertificate(why) = error else { return error.to_string() };
    if let CertificateError::Other(other) = why
        && let Some(NoNodeId(found)) = other.0.downcast_ref()
    {
        return no_node_id(found);
    }
    let Some(about) = certificate.and_then(Description::read) else {
        return format!("the certificate is not usable: {why}");
    };
    let Description { subject, issuer, not_before, not_after } = about;
    let it = format!("the certificate of {subject}, issued by {issuer},");
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "{it} is not signed by a CA in our keys.ca; give both nodes certificates of one CA, or add its \
             CA there"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("{it} expired on {not_after}; renew it, or set the clock of this node right")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("{it} is valid only from {not_before}; set the clocks of both nodes right")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!(
                "{it} is not for both ends of TLS; its extended key usage must be serverAuth and clientAuth"
            )
        }
        other => format!("{it} is not usable: {other}"),
    }
}
