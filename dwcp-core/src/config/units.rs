//! Durations, sizes, rates and shares, as they are written and as Rust counts them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::codes::{self, Code};
use super::reader::Reader;
use super::setting::{Ranged, Setting};
use super::spanned::{Node, Scalar};

/// A duration: `100us`, `1ms`, `10s`, `5m`, `24h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

/// A number of bytes: `512B`, `64KB` (1000 each), `64KiB` (1024 each).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Bits per second: `100Mbps`, `10Gbps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// A part of a whole, from 0 to 1: `0.001`, `0.1%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Time {
    /// From a duration.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }
    /// From microseconds.
    pub const fn micros(micros: u64) -> Self {
        Self(Duration::from_micros(micros))
    }
    /// From milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
    /// From seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
    /// From hours.
    pub const fn hours(hours: u64) -> Self {
        Self(Duration::from_secs(hours * 3600))
    }
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Size {
    /// From bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }
    /// From KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }
    /// From MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }
    /// From GiB.
    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Rate {
    /// From bits per second.
    pub const fn new(bits_per_second: u64) -> Self {
        Self(bits_per_second)
    }
    /// From Gbit/s.
    pub const fn gbps(gbps: u64) -> Self {
        Self(gbps.saturating_mul(1_000_000_000))
    }
    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl Share {
    /// From a number between 0 and 1; others are clamped.
    pub fn new(share: f64) -> Self {
        Self(share.clamp(0.0, 1.0))
    }
    /// The number, 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }
}

type Units = &'static [(&'static str, u64)];
/// Nanoseconds.
const TIME_UNITS: Units = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
/// Bytes.
const SIZE_UNITS: Units = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];
/// Bits per second.
const RATE_UNITS: Units = &[
    ("Tbps", 1_000_000_000_000),
    ("Gbps", 1_000_000_000),
    ("Mbps", 1_000_000),
    ("Kbps", 1_000),
    ("bps", 1),
];

/// Units that are suggested for a bare number.
const USUAL: [&str; 8] = ["us", "ms", "s", "KiB", "MiB", "GiB", "Mbps", "Gbps"];

/// Why a text is no quantity.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// Not a number and a unit.
    Form,
    /// The unit is not known; perhaps this one was meant.
    Unit(Option<&'static str>),
    /// Does not fit, or has parts smaller than one of the smallest unit.
    Number,
}

/// `number unit` in the smallest unit.
fn quantity(text: &str, units: Units) -> Result<u64, Wrong> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(Wrong::Form)?;
    let (number, unit) = (&text[..split], text[split..].trim_start_matches(' '));
    let unit = if unit == "µs" || unit == "μs" { "us" } else { unit };
    if number.is_empty() {
        return Err(Wrong::Form);
    }
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        // 10gbps, 10Gbit, 10Gb/s, 10G; 4mib, 4M.
        let bare = unit.trim_end_matches("/s").trim_end_matches("it").trim_end_matches(['b', 'B']);
        let near = units.iter().find(|(name, _)| {
            let prefix = name.trim_end_matches("bps").trim_end_matches('B');
            name.eq_ignore_ascii_case(unit)
                || (!bare.is_empty() && prefix.eq_ignore_ascii_case(bare))
        });
        return Err(Wrong::Unit(near.map(|(name, _)| *name)));
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.contains('.') || number.ends_with('.') || part.len() > 12 {
        return Err(Wrong::Form);
    }
    let digits: u128 = format!("{whole}{part}").parse().map_err(|_| Wrong::Number)?;
    let product = digits.checked_mul(u128::from(*scale)).ok_or(Wrong::Number)?;
    let divisor = 10_u128.pow(part.len() as u32);
    if product % divisor != 0 {
        return Err(Wrong::Number);
    }
    u64::try_from(product / divisor).map_err(|_| Wrong::Number)
}

/// The shortest exact way to write `value`.
fn written(value: u64, units: Units) -> String {
    let zero = units
        .iter()
        .filter(|(name, scale)| *name == "s" || *scale == 1)
        .map(|(name, _)| name)
        .next();
    units
        .iter()
        .filter(|(_, scale)| value != 0 && value.is_multiple_of(*scale))
        .map(|(name, scale)| format!("{}{name}", value / scale))
        .min_by_key(String::len)
        .unwrap_or_else(|| format!("0{}", zero.unwrap_or(&"")))
}

/// Reads a quantity or reports why it is none.
fn read(node: &Node, reader: &mut Reader<'_>, units: Units, code: Code, kind: &str) -> Option<u64> {
    let text = match node.scalar() {
        Some(Scalar::Text(text)) => text,
        Some(Scalar::Unsigned(number)) => {
            let usual: Vec<_> =
                units.iter().rev().filter(|(name, _)| USUAL.contains(name)).collect();
            let usual: Vec<_> = usual.iter().map(|(name, _)| format!("{number}{name}")).collect();
            let help = format!("add the unit: {}", usual.join(", "));
            return reader.unexpected_help(node, code, kind, &help);
        }
        _ => return reader.unexpected(node, code, kind),
    };
    match quantity(text, units) {
        Ok(value) => Some(value),
        Err(Wrong::Form) => reader.unexpected(node, code, kind),
        Err(Wrong::Unit(near)) => {
            let names: Vec<_> = units.iter().rev().map(|(name, _)| *name).collect();
            let help = near.map_or_else(
                || format!("write one number and one of the units {}", names.join(", ")),
                |near| format!("did you mean the unit `{near}`?"),
            );
            reader.unexpected_help(node, code, kind, &help)
        }
        Err(Wrong::Number) => reader.unexpected_help(
            node,
            code,
            kind,
            "write a smaller number, with fewer digits behind the point",
        ),
    }
}

macro_rules! quantity {
    ($name:ident, $units:ident, $code:ident, $kind:literal, $pattern:literal,
     |$value:ident| $make:expr, |$self:ident| $raw:expr) => {
        impl fmt::Display for $name {
            fn fmt(&$self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&written($raw, $units))
            }
        }

        impl Setting for $name {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let $value = read(node, reader, $units, codes::$code, $kind)?;
                Some($make)
            }
            fn kind() -> String {
                $kind.into()
            }
        }

        impl Ranged for $name {
            type Bound = Self;
            fn bounded(&self) -> Option<Self> {
                Some(*self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $kind })
            }
        }
    };
}

quantity!(
    Time,
    TIME_UNITS,
    DURATION,
    "a duration such as 100us, 1ms, 10s, 5m or 24h",
    r"^[0-9]+(\.[0-9]+)? ?(ns|us|µs|ms|s|m|h)$",
    |nanos| Self(Duration::from_nanos(nanos)),
    |self| u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
);
quantity!(
    Size,
    SIZE_UNITS,
    SIZE,
    "a size such as 512B, 64KB (1000), 64KiB (1024) or 2GB",
    r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B$",
    |bytes| Self(bytes),
    |self| self.0
);
quantity!(
    Rate,
    RATE_UNITS,
    RATE,
    "a rate such as 100Mbps or 10Gbps",
    r"^[0-9]+(\.[0-9]+)? ?[KMGT]?bps$",
    |bits| Self(bits),
    |self| self.0
);

const SHARE_KIND: &str = "a share such as 0.001 or 0.1%";

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Setting for Share {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let share = match node.scalar() {
            Some(Scalar::Unsigned(number)) => number as f64,
            Some(Scalar::Float(number)) => number,
            Some(Scalar::Text(text)) => {
                match text
                    .strip_suffix('%')
                    .and_then(|number| number.trim_end().parse::<f64>().ok())
                {
                    Some(percent) => percent / 100.0,
                    None => return reader.unexpected(node, codes::SHARE, SHARE_KIND),
                }
            }
            _ => return reader.unexpected(node, codes::SHARE, SHARE_KIND),
        };
        if !(0.0..=1.0).contains(&share) {
            let help = match node.scalar() {
                Some(Scalar::Unsigned(percent @ 2..=100)) => format!("did you mean `{percent}%`?"),
                _ => "write a number from 0 to 1, or up to 100%".into(),
            };
            return reader.unexpected_help(node, codes::SHARE, SHARE_KIND, &help);
        }
        Some(Self(share))
    }
    fn kind() -> String {
        SHARE_KIND.into()
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": SHARE_KIND, "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$" },
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact() {
        assert_eq!(quantity("100us", TIME_UNITS), Ok(100_000));
        assert_eq!(quantity("1.5s", TIME_UNITS), Ok(1_500_000_000));
        assert_eq!(quantity("4MB", SIZE_UNITS), Ok(4_000_000));
        assert_eq!(quantity("4 MiB", SIZE_UNITS), Ok(4 << 20));
        assert_eq!(quantity("10Gbps", RATE_UNITS), Ok(10_000_000_000));
        assert_eq!(quantity("0.3ns", TIME_UNITS), Err(Wrong::Number));
        assert_eq!(quantity("99999999999h", TIME_UNITS), Err(Wrong::Number));
    }

    #[test]
    fn what_is_no_quantity_says_why() {
        assert_eq!(quantity("10", TIME_UNITS), Err(Wrong::Form));
        assert_eq!(quantity("s", TIME_UNITS), Err(Wrong::Form));
        assert_eq!(quantity("1.s", TIME_UNITS), Err(Wrong::Form));
        assert_eq!(quantity("10gbps", RATE_UNITS), Err(Wrong::Unit(Some("Gbps"))));
        assert_eq!(quantity("10k", SIZE_UNITS), Err(Wrong::Unit(Some("KB"))));
        assert_eq!(quantity("10x", SIZE_UNITS), Err(Wrong::Unit(None)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for nanos in [0, 1, 999, 1_000, 90_000_000_000, 3_600_000_000_000, 86_400_000_000_000] {
            assert_eq!(quantity(&written(nanos, TIME_UNITS), TIME_UNITS), Ok(nanos));
        }
        assert_eq!(written(16 << 20, SIZE_UNITS), "16MiB");
        assert_eq!(written(4_000_000, SIZE_UNITS), "4MB");
        assert_eq!(written(90_000_000_000, TIME_UNITS), "90s");
    }
}
