//! DWCP tcp.
