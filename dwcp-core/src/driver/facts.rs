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
            provider: PROVIDER
                .share(|last| *last == *link.provider, || link.provider.as_str().into()),
            local: LOCAL.share(|last| *last == *link.local, || link.local.as_str().into()),
            remote: link.remote.as_str().into(),
            receives_posted: link.receives_posted,
            regions: link.regions.as_slice().into(),
            socket: socket
                .map(|socket| SOCKET.share(|last| last == socket, || socket.clone().into())),
        }
    }
}

/// A value as it was made last. The paths of a process are alike in most, as its sessions are: those of one listener, or with
/// the same options.
pub(crate) struct Last<T: ?Sized>(Mutex<Option<Arc<T>>>);

impl<T: ?Sized> Last<T> {
    pub(crate) const fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// What was made last if that `is_same`, or what is made now.
    pub(crate) fn share(
        &self,
        is_same: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Arc<T>,
    ) -> Arc<T> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if is_same(last) => last.clone(),
            _ => last.insert(make()).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_there_once() {
        let last = Last::<str>::none();
        let share = |value: &str| last.share(|last| last == value, || value.into());
        let (a, b, c, d) = (share("x"), share("x"), share("y"), share("x"));
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &d));
        assert_eq!((&*b, &*c, &*d), ("x", "y", "x"));
    }
}
