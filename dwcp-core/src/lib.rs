//! DWCP core.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)] // relaxed in `mem` alone: architecture test `unsafe_rooms`

#[cfg(feature = "config")]
pub mod config;
