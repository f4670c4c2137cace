//! Which targets peers may reach through this node.

/// What may be reached, and by whom. Empty: nothing is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Allowed>,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// `host:port`.
    pub target: String,
    /// The nodes that may; `None`: every peer.
    pub from: Option<Vec<String>>,
}

impl AllowList {
    /// The list of `entries`.
    pub fn new(entries: impl IntoIterator<Item = Allowed>) -> Self {
        Self { entries: entries.into_iter().collect() }
    }

    /// Whether `peer` may reach `target`. Names are compared as they are written, not resolved: a name that
    /// is allowed may point elsewhere tomorrow, an address that is not allowed stays out.
    pub fn allows(&self, peer: &str, target: &str) -> bool {
        self.entries.iter().any(|entry| {
            entry.target.eq_ignore_ascii_case(target)
                && entry.from.as_ref().is_none_or(|from| from.iter().any(|node| node == peer))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_allowed_and_only_to_whom() {
        let entry = |target: &str, from: Option<&str>| Allowed {
            target: target.into(),
            from: from.map(|node| vec![node.into()]),
        };
        let list =
            AllowList::new([entry("127.0.0.1:6379", None), entry("db.local:5432", Some("a"))]);
        assert!(list.allows("b", "127.0.0.1:6379"));
        assert!(list.allows("a", "DB.local:5432"));
        for (peer, target) in
            [("b", "db.local:5432"), ("a", "127.0.0.1:22"), ("a", "127.0.0.1"), ("a", "")]
        {
            assert!(!list.allows(peer, target), "{peer} {target}");
        }
        assert!(!AllowList::default().allows("a", "127.0.0.1:6379"));
    }
}
