//! Keys that the file sets and this build does not act on.

use super::Rules;
use crate::config::codes;
use crate::config::not_obeyed::gaps;

pub(super) fn check(rules: &mut Rules<'_>) {
    for gap in gaps().iter().filter(|gap| (gap.is_asked)(rules.config)) {
        let mut given = gap.keys.iter().copied().filter(|key| rules.gives(key)).collect::<Vec<_>>();
        given.sort_by_key(|key| rules.line(key));
        let Some(first) = given.first() else { continue };
        let what = match given.len() {
            1 => format!("`{first}` is not obeyed yet"),
            _ => format!("{} are not obeyed yet", list(&given)),
        };
        let message = format!("{what}: {}", gap.instead);
        let help = "fine if that will do; docs/config.md marks all such keys";
        rules.hint(first, codes::NOT_OBEYED_YET, message, help);
    }
}

/// The first two, and how many more.
fn list(keys: &[&str]) -> String {
    match keys {
        [first, second] => format!("`{first}` and `{second}`"),
        [first, second, rest @ ..] => {
            let keys = if rest.len() == 1 { "key" } else { "keys" };
            format!("`{first}`, `{second}` and {} more {keys}", rest.len())
        }
        _ => keys.join(", "),
    }
}
