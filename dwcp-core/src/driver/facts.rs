//! What a path knows of its link for as long as it lives.

use std::sync::{Arc, Mutex, PoisonError};

use crate::link::{LinkAttributes, LinkFeatures, RegionKey, SocketFacts};
use crate::wire::PathKind;

/// The attributes of a link, in less memory: what paths have in common is there once for all of them.
pub(crate) struct PathFacts {
    pub(crate) kind: PathKind,
    pub(crate) features: LinkFeatures,
    pub(crate) provider: Arc<str>,
    pub(crate) local: Arc<str>,
    pub(crate) remote: Box<str>,
    pub(super) receives_posted: u64,
    pub(super) regions: Box<[RegionKey]>,
    pub(crate) socket: Option<Arc<SocketFacts>>,
}

impl PathFacts {
    pub(super) fn new(link: &LinkAttributes) -> Self {
        static PROVIDER: Last<str> = Last::none();
        static LOCAL: Last<str> = Last::none();
        static SOCKET: Last<SocketFacts> = Last::none();
        let socket = link.socket.as_ref();
        Self {
            kind: link.kind,
            features: link.features,
            provider: PROVIDER.share(&link.provider, Arc::from),
            local: LOCAL.share(&link.local, Arc::from),
            remote: link.remote.as_str().into(),
            receives_posted: link.receives_posted,
            regions: link.regions.as_slice().into(),
            socket: socket.map(|socket| SOCKET.share(socket, |socket| Arc::new(socket.clone()))),
        }
    }
}

/// The value that a path had last. The paths of a process are alike in most: a listener's, or those with the same options.
struct Last<T: ?Sized>(Mutex<Option<Arc<T>>>);

impl<T: ?Sized + PartialEq> Last<T> {
    const fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// `value`, shared with the path before if that has the same.
    fn share<'a>(&self, value: &'a T, make: impl FnOnce(&'a T) -> Arc<T>) -> Arc<T> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if **last == *value => last.clone(),
            _ => last.insert(make(value)).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_there_once() {
        let last = Last::<str>::none();
        let share = |value: &str| last.share(value, Arc::from);
        let (a, b, c, d) = (share("x"), share("x"), share("y"), share("x"));
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &d));
        assert_eq!((&*b, &*c, &*d), ("x", "y", "x"));
    }
}
