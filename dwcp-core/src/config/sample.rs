//! The commented samples that `config init` writes: the files of infra/config.

use super::keys::Mode;

/// The commented sample for `mode`.
pub fn sample(mode: Mode) -> &'static str {
    match mode {
        Mode::Datacenter => include_str!("../../../infra/config/dwcp-v3-datacenter.yaml"),
        Mode::Internet => include_str!("../../../infra/config/dwcp-v3-internet.yaml"),
        Mode::Hybrid => include_str!("../../../infra/config/dwcp-v3-hybrid.yaml"),
    }
}
