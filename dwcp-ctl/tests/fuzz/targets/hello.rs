//! Any bytes as a hello, and as the reply to one.

use dwcp_core::wire::{Hello, HelloReply, MAX_NODE_ID_BYTES, MAX_SUITES};

pub(crate) fn target(data: &[u8]) {
    if let Ok(hello) = Hello::decode(data) {
        assert!(hello.node_id.len() <= MAX_NODE_ID_BYTES && hello.suites.len() <= MAX_SUITES);
        assert_eq!(Hello::decode(&hello.encode()).as_ref(), Ok(&hello));
        if let Some(version) = hello.common_version((3, 4)) {
            assert!((hello.versions.0..=hello.versions.1).contains(&version));
        }
    }
    if let Ok(reply) = HelloReply::decode(data) {
        assert_eq!(HelloReply::decode(&reply.encode()).as_ref(), Ok(&reply));
    }
}
