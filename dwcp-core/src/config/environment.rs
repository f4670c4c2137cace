//! Looks at the machine.
use super::diagnostic::Diagnostic;
use super::keys::Config;
/// The machine.
pub struct Environment;
/// Checks.
pub fn check_environment(_: &Config) -> Vec<Diagnostic> {
    Vec::new()
}
