//! Criterion benchmarks of DWCP and the tools that compare it with its peers.
