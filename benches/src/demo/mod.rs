//! What `make demo` needs beside the product: a set of files, its proof, a counted load, the report and its picture.

pub mod dataset;
pub mod events;
pub mod load;
pub mod picture;
mod redis;
pub mod report;
pub mod table;
