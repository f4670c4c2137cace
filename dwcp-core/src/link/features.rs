//! What links guarantee, as data.

use std::fmt;
use std::ops::BitOr;

/// A set of guarantees of a link. Each has a bit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkFeatures(u8);

impl LinkFeatures {
    /// Nothing is promised.
    pub const NONE: Self = Self(0);
    /// What was sent arrives, or the link fails.
    pub const RELIABLE: Self = Self(1);
    /// What arrives, arrives in the order it was sent.
    pub const ORDERED: Self = Self(1 << 1);
    /// Sending needs no copy of the payload.
    pub const ZERO_COPY_TX: Self = Self(1 << 2);
    /// Records arrive one by one, each into a receive that was posted for it: the peer must grant records.
    pub const MESSAGE_BOUNDARIES: Self = Self(1 << 3);
    /// Nobody but the two ends can read or change what passes.
    pub const TRUSTED_MEDIUM: Self = Self(1 << 4);
    /// The receiver can read the sender's registered memory by itself.
    pub const PULL: Self = Self(1 << 5);

    const NAMES: [(Self, &str); 6] = [
        (Self::RELIABLE, "reliable"),
        (Self::ORDERED, "ordered"),
        (Self::ZERO_COPY_TX, "zero-copy-tx"),
        (Self::MESSAGE_BOUNDARIES, "message-boundaries"),
        (Self::TRUSTED_MEDIUM, "trusted-medium"),
        (Self::PULL, "pull"),
    ];

    /// Whether all of `other` is promised.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for LinkFeatures {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for LinkFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| name);
        if let Some(first) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|name| write!(f, ",{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_bit_of_its_own() {
        let all = LinkFeatures::NAMES.iter().fold(LinkFeatures::NONE, |sum, (bit, _)| {
            assert!(bit.0.is_power_of_two() && sum.0 & bit.0 == 0);
            sum | *bit
        });
        let names = "reliable,ordered,zero-copy-tx,message-boundaries,trusted-medium,pull";
        assert_eq!(all.to_string(), names);
    }
}
