//! DWCP hybrid.
