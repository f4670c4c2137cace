//! DWCP core: one reliable message session over whatever paths two nodes have.
#![deny(unsafe_code)] // `mem` alone relaxes it; .ci/unsafe-rooms.txt lists the rooms

pub mod crypto;
pub mod link;
pub mod machine;
pub mod mem;
pub mod wire;

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "sim")]
pub mod sim;
