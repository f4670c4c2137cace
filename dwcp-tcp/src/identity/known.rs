//! Chains of certificates that were found good before: most connections are of peers that have been here.
//!
//! Whether a chain leads to our CA, is fit for its end of TLS and names a node depends on its bytes, on our CA and on the
//! time alone. So the signatures in it need not be computed again for the very same bytes, as long as the time is within what
//! every certificate of the chain says: that is looked at for each connection. What depends on more is never skipped: that the
//! peer has the key is proven by its signature in each handshake. A reload brings another CA, perhaps, and an empty memory.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};

use super::certificate::{Facts, validity};

/// Chains remembered. Only those that our CA has signed are, so no stranger makes this node forget.
const KNOWN_MAX: usize = 16_384;

/// Which end of TLS a chain is for: its extended key usage is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

/// Names the very bytes of a chain, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; 32]);

impl Name {
    pub(super) fn of(
        end: End,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update([u8::from(end == End::Server)]);
        for certificate in std::iter::once(end_entity).chain(intermediates) {
            hash.update((certificate.len() as u64).to_le_bytes());
            hash.update(certificate);
        }
        Self(hash.finalize().into())
    }
}

#[derive(Debug)]
struct Good {
    /// When all of its certificates are valid, in seconds since 1970.
    valid: RangeInclusive<u64>,
    facts: Facts,
}

/// The chains that one CA has been found to have signed.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Name, Good>>);

impl Known {
    /// What a chain says that was found good, if it is valid `now`.
    pub(super) fn find(&self, name: &Name, now: UnixTime) -> Option<Facts> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let good = known.get(name)?;
        good.valid.contains(&now.as_secs()).then(|| good.facts.clone())
    }

    /// The chain was found good. One whose times cannot be told is checked each time.
    pub(super) fn keep(
        &self,
        name: Name,
        facts: &Facts,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) {
        let mut valid = 0..=u64::MAX;
        for certificate in std::iter::once(end_entity).chain(intermediates) {
            let Some((from, to)) = validity(certificate) else { return };
            valid = from.max(*valid.start())..=to.min(*valid.end());
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear(); // each comes back with its next connection
        }
        known.insert(name, Good { valid, facts: facts.clone() });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A certificate of node `a`, valid from year 2020 to 2030, and one to 2025 of anybody.
    fn certificates() -> [CertificateDer<'static>; 2] {
        [2030, 2025].map(|end| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut wanted = rcgen::CertificateParams::default();
            wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
            wanted.not_after = rcgen::date_time_ymd(end, 1, 1);
            let uri = "dwcp://node/a".try_into().unwrap();
            wanted.subject_alt_names.push(rcgen::SanType::URI(uri));
            wanted.self_signed(&key).unwrap().der().clone()
        })
    }

    fn year(year: i32) -> UnixTime {
        let time = rcgen::date_time_ymd(year, 6, 1).unix_timestamp();
        UnixTime::since_unix_epoch(Duration::from_secs(time as u64))
    }

    #[test]
    fn a_known_chain_is_good_for_its_end_and_its_time_only() {
        let [leaf, other] = certificates();
        let known = Known::default();
        let facts = Facts::read(&leaf).unwrap();
        let name = Name::of(End::Client, &leaf, &[]);
        assert_eq!(known.find(&name, year(2024)), None);
        known.keep(name, &facts, &leaf, &[]);
        assert_eq!(known.find(&name, year(2024)), Some(facts.clone()));
        assert_eq!(known.find(&name, year(2029)), Some(facts.clone()));
        assert_eq!((known.find(&name, year(2019)), known.find(&name, year(2030))), (None, None));
        for another in [
            Name::of(End::Server, &leaf, &[]),
            Name::of(End::Client, &other, &[]),
            Name::of(End::Client, &leaf, std::slice::from_ref(&other)),
        ] {
            assert_eq!(known.find(&another, year(2024)), None);
        }
        // The first certificate of a chain that ends, ends the chain.
        let name = Name::of(End::Client, &leaf, std::slice::from_ref(&other));
        known.keep(name, &facts, &leaf, std::slice::from_ref(&other));
        assert_eq!(known.find(&name, year(2024)), Some(facts));
        assert_eq!(known.find(&name, year(2026)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let [leaf, _] = certificates();
        let (known, facts) = (Known::default(), Facts::read(&leaf).unwrap());
        for number in 0..KNOWN_MAX as u64 + 10 {
            let mut name = Name([0; 32]);
            name.0[..8].copy_from_slice(&number.to_le_bytes());
            known.keep(name, &facts, &leaf, &[]);
            assert!(known.0.lock().unwrap().len() <= KNOWN_MAX);
        }
    }
}
