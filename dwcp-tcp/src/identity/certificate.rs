//! What DWCP reads in a certificate: the node id and the end of its life.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use dwcp_core::wire::valid_node_id;
use x509_parser::nom::Parser;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{
    FromDer, GeneralName, SubjectAlternativeName, X509Certificate, X509CertificateParser,
};
use x509_parser::time::ASN1Time;

/// The SAN URI of a node is this and its id.
pub const NODE_URI_PREFIX: &str = "dwcp://node/";

/// What a certificate says of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) node_id: String,
    pub(crate) not_after: SystemTime,
}

thread_local! {
    /// The certificate that was read last on this thread, and what it says: a handshake reads its peer's when it checks it, and
    /// again when it is through.
    static LAST: RefCell<Option<(Vec<u8>, Facts)>> = const { RefCell::new(None) };
}

impl Facts {
    /// Keeps what `der` says for the [`read_again`](Self::read_again) to come: it depends on nothing but its bytes.
    pub(super) fn keep(&self, der: &[u8]) {
        LAST.set(Some((der.to_vec(), self.clone())));
    }

    /// As [`read`](Self::read); one that was kept last is only compared.
    pub(crate) fn read_again(der: &[u8]) -> Result<Self, String> {
        let last = LAST.take().filter(|(known, _)| known == der);
        last.map_or_else(|| Self::read(der), |(_, facts)| Ok(facts))
    }

    /// Reads a certificate. The error is a half sentence about what it holds instead of a node id.
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let certificate = parse(der)?;
        Ok(Self {
            node_id: node_id(&certificate)?,
            not_after: system_time(certificate.validity().not_after),
        })
    }
}

/// What a refused certificate says of itself, for the error's words.
pub(crate) struct Description {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
}

impl Description {
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = parse(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            subject: node_id(&certificate).map_or_else(
                |_| clipped(&certificate.subject().to_string()),
                |id| format!("node {id}"),
            ),
            issuer: clipped(&certificate.issuer().to_string()),
            not_before: validity.not_before.to_string(),
            not_after: validity.not_after.to_string(),
        })
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    // Of the extensions only one is of use here; webpki has looked into those that matter to it.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let (_, certificate) = parser
        .parse(der)
        .map_err(|error| clipped(&format!("it is no X.509 certificate ({error})")))?;
    Ok(certificate)
}

fn node_id(certificate: &X509Certificate<'_>) -> Result<String, String> {
    let mut ids = Vec::new();
    for extension in certificate.extensions() {
        if extension.oid != OID_X509_EXT_SUBJECT_ALT_NAME {
            continue;
        }
        let Ok((_, names)) = SubjectAlternativeName::from_der(extension.value) else { continue };
        ids.extend(names.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(NODE_URI_PREFIX),
            _ => None,
        }));
    }
    match ids[..] {
        [] => Err("it holds no SAN URI dwcp://node/<nodeId>".into()),
        [id] if valid_node_id(id) => Ok(id.to_owned()),
        [id] => Err(format!("its node id {:?} is not valid", clipped(id))),
        _ => Err(format!("it holds {} node ids", ids.len())),
    }
}

/// From when to when a certificate is valid, in seconds since 1970; `None`: that cannot be told.
pub(super) fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let certificate = parse(der).ok()?;
    let time = |time: ASN1Time| u64::try_from(time.timestamp()).ok();
    let validity = certificate.validity();
    time(validity.not_before).zip(time(validity.not_after))
}

/// A peer's text goes into logs: short, and without control characters.
fn clipped(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(120).collect()
}

fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let span = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let moved = if seconds < 0 { epoch.checked_sub(span) } else { epoch.checked_add(span) };
    moved.unwrap_or(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_are_plain_names() {
        for good in ["a", "dc-node-01", "n.1_x", "7"] {
            assert!(valid_node_id(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in ["", "-a", ".", "a/b", "a b", "a%20b", "ä", "a\n", &long] {
            assert!(!valid_node_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_told_not_panicked_on() {
        for bad in [&b""[..], b"\x30\x82\xff\xff", &[0x30; 4000]] {
            assert!(Facts::read(bad).is_err());
            assert!(Description::read(bad).is_none());
        }
    }
}
