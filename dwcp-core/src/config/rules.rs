//! Rules between keys.
use super::diagnostic::Diagnostic;
use super::keys::Config;
use super::reader::Places;
pub(crate) fn check(_: &str, _: &Config, _: &Places, _: &mut Vec<Diagnostic>) {}
