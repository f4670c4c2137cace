//! What two ends agree on in their hellos: how records are protected, and what else both can do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Inner;
use crate::crypto::{Protection, Suite};
use crate::session::Session;
use crate::wire::{Features, Hello, VERSION, VERSION_MIN};

/// What the ends of a session have agreed on, for its whole life.
#[derive(Clone)]
pub(crate) struct Agreement {
    /// Of the wire protocol.
    pub(crate) version: u16,
    pub(crate) features: Features,
    /// Protects records of untrusted paths.
    pub(crate) suite: Arc<dyn Suite>,
    /// Protects records on trusted media.
    pub(crate) trusted_suite: Arc<dyn Suite>,
}

/// What one end would agree on.
pub(super) struct Terms {
    /// Oldest and newest version.
    pub(super) versions: (u16, u16),
    pub(super) features: Features,
    suites: Vec<Arc<dyn Suite>>,
    trusted_suites: Vec<Arc<dyn Suite>>,
}

impl Terms {
    /// The endpoint's for a new session. A session that is resumed keeps what was agreed on.
    pub(super) fn new(inner: &Inner, resumed: Option<&Session>) -> Self {
        if let Some(session) = resumed {
            let agreed = &session.shared.agreement;
            return Self {
                versions: (agreed.version, agreed.version),
                features: agreed.features,
                suites: vec![agreed.suite.clone()],
                trusted_suites: vec![agreed.trusted_suite.clone()],
            };
        }
        let mut features = Features::default();
        if inner.offers_compression() {
            features = features.with(Features::ZSTD);
        }
        if inner.wants_hmac.load(Ordering::Relaxed)
            || inner.suites.iter().any(|suite| suite.has_hmac())
        {
            features = features.with(Features::HMAC);
        }
        if !inner.providers.is_empty() {
            features = features.with(Features::HYBRID);
        }
        let (suites, trusted_suites) =
            (inner.suites.clone(), super::lock(&inner.trusted_suites).clone());
        let versions = (VERSION_MIN, VERSION);
        Self { versions, features, suites, trusted_suites }
    }

    pub(super) fn suite_names(&self) -> Vec<String> {
        names(&self.suites)
    }

    pub(super) fn trusted_suite_names(&self) -> Vec<String> {
        names(&self.trusted_suites)
    }

    /// The acceptor's choice. The error names both lists.
    pub(super) fn choose(&self, hello: &Hello) -> Result<Agreement, String> {
        let hmac = self.features.with(hello.features).has(Features::HMAC);
        let common = self.features.common(hello.features).without(Features::HMAC);
        let choose = |what: &str, theirs: &[String], ours: &[Arc<dyn Suite>]| {
            theirs.iter().find_map(|name| find(ours, name, hmac)).ok_or_else(|| {
                let (theirs, ours) = (theirs.join(", "), names(ours).join(", "));
                format!("no suite in common for {what}: you offer {theirs}; this node has {ours}")
            })
        };
        let version = hello.common_version(self.versions);
        Ok(Agreement {
            version: version.ok_or("no version in common")?,
            features: if hmac { common.with(Features::HMAC) } else { common },
            suite: choose("untrusted paths", &hello.suites, &self.suites)?,
            trusted_suite: choose("trusted media", &hello.trusted_suites, &self.trusted_suites)?,
        })
    }

    /// The dialer's check of the acceptor's choice: nothing that was not offered, and the HMAC if we want it.
    pub(super) fn accept(
        &self,
        version: u16,
        features: Features,
        suite: &str,
        trusted_suite: &str,
    ) -> Result<Agreement, &'static str> {
        if !(self.versions.0..=self.versions.1).contains(&version) {
            return Err("a version we did not offer");
        }
        let hmac = features.has(Features::HMAC);
        let others = features.without(Features::HMAC);
        if self.features.common(others) != others {
            return Err("features we did not offer");
        }
        if self.features.has(Features::HMAC) && !hmac {
            return Err("no HMAC, which we want");
        }
        Ok(Agreement {
            version,
            features,
            suite: find(&self.suites, suite, hmac).ok_or("a suite we did not offer")?,
            trusted_suite: find(&self.trusted_suites, trusted_suite, hmac)
                .ok_or("a suite of trusted media we did not offer")?,
        })
    }
}

fn names(suites: &[Arc<dyn Suite>]) -> Vec<String> {
    suites.iter().map(|suite| suite.wire_name().to_owned()).collect()
}

/// The suite called `name`, in the form that was agreed on.
fn find(suites: &[Arc<dyn Suite>], name: &str, hmac: bool) -> Option<Arc<dyn Suite>> {
    let suite = suites.iter().find(|suite| suite.wire_name() == name)?;
    if suite.protection() < Protection::Aead || suite.has_hmac() == hmac {
        return Some(suite.clone());
    }
    suite.with_hmac(hmac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{ChecksumSuite, KeyMaterial, Open, Seal};
    use crate::wire::{PathId, VERSION};

    /// `aes-256-gcm` by name, without its work.
    #[derive(Clone, Copy)]
    struct Named(&'static str, bool);

    impl Suite for Named {
        fn protection(&self) -> Protection {
            Protection::Aead
        }
        fn name(&self) -> &'static str {
            self.0
        }
        fn wire_name(&self) -> &'static str {
            self.0
        }
        fn has_hmac(&self) -> bool {
            self.1
        }
        fn with_hmac(&self, is_on: bool) -> Option<Arc<dyn Suite>> {
            Some(Arc::new(Self(self.0, is_on)))
        }
        fn overhead_bytes(&self) -> usize {
            16
        }
        fn sealer(&self, keys: &KeyMaterial) -> Box<dyn Seal> {
            ChecksumSuite.sealer(keys)
        }
        fn opener(&self, keys: &KeyMaterial) -> Box<dyn Open> {
            ChecksumSuite.opener(keys)
        }
    }

    fn terms(features: Features, suites: &[&'static str], trusted: &[&'static str]) -> Terms {
        let make = |names: &[&'static str]| {
            names.iter().map(|&name| Arc::new(Named(name, false)) as Arc<dyn Suite>).collect()
        };
        Terms {
            versions: (VERSION_MIN, VERSION),
            features,
            suites: make(suites),
            trusted_suites: make(trusted),
        }
    }

    fn hello(terms: &Terms) -> Hello {
        Hello {
            versions: (3, 3),
            features: terms.features,
            node_id: "a".into(),
            peer_id: "b".into(),
            incarnation: 1,
            nonce: [0; 32],
            path: PathId(0),
            max_message_bytes: 1,
            suites: terms.suite_names(),
            trusted_suites: terms.trusted_suite_names(),
            resume: None,
            predecessor: None,
        }
    }

    #[test]
    fn the_first_of_the_dialers_suites_that_the_acceptor_has_is_used() {
        let none = Features::default();
        let dialer = terms(none, &["x", "y", "z"], &["t", "x"]);
        let acceptor = terms(none, &["z", "y"], &["x"]);
        let chosen = acceptor.choose(&hello(&dialer)).expect("two are common");
        assert_eq!((chosen.suite.name(), chosen.trusted_suite.name()), ("y", "x"));
        let agreed = dialer.accept(VERSION, chosen.features, "y", "x").expect("it was offered");
        assert_eq!((agreed.suite.name(), agreed.trusted_suite.name()), ("y", "x"));
        assert_eq!(dialer.accept(VERSION, none, "w", "x").err(), Some("a suite we did not offer"));
        assert!(
            dialer.accept(VERSION, none, "x", "z").is_err(),
            "good elsewhere, not offered for trusted media"
        );
    }

    #[test]
    fn the_newest_version_of_both_is_spoken_and_no_other_taken() {
        let ours = terms(Features::default(), &["x"], &["x"]);
        for (theirs, wanted) in [((3, 3), Some(3)), ((3, 9), Some(VERSION)), ((8, 9), None)] {
            let chosen = ours.choose(&Hello { versions: theirs, ..hello(&ours) });
            assert_eq!(chosen.ok().map(|agreement| agreement.version), wanted);
        }
        for version in [VERSION_MIN - 1, VERSION + 1] {
            let taken = ours.accept(version, Features::default(), "x", "x").err();
            assert_eq!(taken, Some("a version we did not offer"));
        }
    }

    #[test]
    fn without_a_common_suite_both_lists_are_named() {
        let none = Features::default();
        let dialer = terms(none, &["x", "y"], &["x"]);
        let refused = terms(none, &["z"], &["x"]).choose(&hello(&dialer)).err();
        let words = "no suite in common for untrusted paths: you offer x, y; this node has z";
        assert_eq!(refused.as_deref(), Some(words));
        let refused = terms(none, &["x"], &["z", "t"]).choose(&hello(&dialer)).err();
        let words = "no suite in common for trusted media: you offer x; this node has z, t";
        assert_eq!(refused.as_deref(), Some(words));
    }

    #[test]
    fn one_end_that_wants_the_hmac_is_enough() {
        let (none, hmac) = (Features::default(), Features::HMAC);
        for (dials, accepts) in [(none, none), (none, hmac), (hmac, none), (hmac, hmac)] {
            let wanted = dials == hmac || accepts == hmac;
            let dialer = terms(dials, &["x"], &["x"]);
            let chosen = terms(accepts, &["x"], &["x"]).choose(&hello(&dialer)).expect("common");
            let agreed = dialer.accept(VERSION, chosen.features, "x", "x").expect("it was offered");
            for agreement in [chosen, agreed] {
                assert_eq!(agreement.features.has(hmac), wanted);
                assert_eq!(agreement.suite.has_hmac(), wanted);
                assert_eq!(agreement.trusted_suite.has_hmac(), wanted);
            }
        }
    }

    #[test]
    fn the_dialer_refuses_to_be_talked_down() {
        let dialer = terms(Features::HMAC.with(Features::ZSTD), &["x"], &["x"]);
        let downgraded = dialer.accept(VERSION, Features::ZSTD, "x", "x").err();
        assert_eq!(downgraded, Some("no HMAC, which we want"));
        let added = dialer.accept(VERSION, Features::HMAC.with(Features::HYBRID), "x", "x").err();
        assert_eq!(added, Some("features we did not offer"));
        assert!(
            dialer.accept(VERSION, Features::HMAC, "x", "x").is_ok(),
            "without zstd it goes, too"
        );
    }
}
