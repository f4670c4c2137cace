//! Figures for people: a number with the unit that fits it.

use std::time::Duration;

/// Bytes with a decimal prefix, three digits: `12.3 MB`.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Bytes a second: `1.20 GB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", scaled(bytes_per_second, &["B", "kB", "MB", "GB", "TB"]))
}

/// Bits a second, as operators speak of links: `9.60 Gb/s`.
pub fn bit_rate(bytes_per_second: f64) -> String {
    scaled(bytes_per_second * 8.0, &["b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s"])
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut index = 0;
    while value >= 999.5 && index + 1 < units.len() {
        value /= 1_000.0;
        index += 1;
    }
    let digits = match value {
        _ if index == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[index])
}

/// A short time: `7.19 us`, `50.3 ms`, `2.00 s`.
pub fn short_time(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos() as f64;
    if nanoseconds < 1_000.0 {
        return format!("{nanoseconds:.0} ns");
    }
    scaled(nanoseconds, &["ns", "us", "ms", "s"])
}

/// A long time in its two largest units: `3d 4h`, `5m 12s`, `7s`.
pub fn long_time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(first) = parts.iter().position(|(unit, _)| seconds >= *unit) else {
        return "0s".into();
    };
    let (unit, name) = parts[first];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((smaller, name)) = parts.get(first + 1) {
        let rest = seconds % unit / smaller;
        if rest > 0 {
            text.push_str(&format!(" {rest}{name}"));
        }
    }
    text
}

/// A whole number with thousands apart: `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// So many of something, in the right one of its two forms: `1 message`, `1 234 messages`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Reads a time as config files write it: `500us`, `3s`, `1.5m`.
///
/// # Errors
/// Words that name the accepted units.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let (Some(scale), Ok(number)) = (scale, number.trim().parse::<f64>()) else {
        return Err(format!(
            "`{text}` is not a time: write a number and ns, us, ms, s, m or h, such as 3s"
        ));
    };
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("`{text}` is out of range"))
}

/// Reads a size: `64`, `64KiB`, `1MB`.
///
/// # Errors
/// Words that name the accepted units.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let units: [(&str, u64); 8] = [
        ("", 1),
        ("B", 1),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = units.iter().find(|(name, _)| *name == unit.trim()).map(|(_, scale)| *scale);
    let size =
        number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    size.ok_or_else(|| {
        format!("`{text}` is not a size: write bytes, or a number and KB, MB, GB, KiB, MiB or GiB")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(999_600), "1.00 MB");
        assert_eq!(bytes(12_345_678), "12.3 MB");
        assert_eq!(rate(4.2e9), "4.20 GB/s");
        assert_eq!(bit_rate(1.2e9), "9.60 Gb/s");
        assert_eq!(short_time(Duration::from_nanos(7_190)), "7.19 us");
        assert_eq!(short_time(Duration::from_secs(120)), "120 s");
        assert_eq!(short_time(Duration::from_nanos(12)), "12 ns");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(12), "12");
        let messages = |number| counted(number, "message", "messages");
        assert_eq!([0, 1, 2].map(messages), ["0 messages", "1 message", "2 messages"]);
        assert_eq!(messages(1_234), "1 234 messages");
    }

    #[test]
    fn long_times_have_two_units() {
        let words = [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (273_600, "3d 4h")];
        for (seconds, text) in words {
            assert_eq!(long_time(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn times_and_sizes_are_read_or_refused_with_words() {
        assert_eq!(parse_duration("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1_500)));
        for bad in ["", "3", "s", "-1s", "3 fortnights", "1e400s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("2MB"), Ok(2_000_000));
        for bad in ["", "KiB", "-1", "99999999999GiB", "1.5MB", "1XB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
