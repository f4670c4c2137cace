//! DWCP beside its peers in one run: what `dwcp-bench-peers` does.
//!
//! * `scenario`: what is measured, with which commands, against whom, and what is aimed at.
//! * `run`: one command, under a deadline, and the figure it printed.
//! * `quiet`: waits for the machine to be idle.
//! * `rows`: medians, ratios, spreads; the report.
//! * `table`, `picture`: the report for people.

pub mod picture;
pub mod quiet;
pub mod rows;
pub mod run;
pub mod scenario;
pub mod table;
