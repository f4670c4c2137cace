//! What `make demo` needs beside the product: a set of files, its proof, and the report.

pub mod dataset;
pub mod report;
