//! Benchmarks of DWCP, and the tools that count, compare and demonstrate.

#![deny(unsafe_code)] // `counting_allocator` alone relaxes it; .ci/unsafe-rooms.txt lists the rooms

pub mod beside;
pub mod clear;
pub mod counting_allocator;
pub mod counts;
pub mod demo;
pub mod wan;
