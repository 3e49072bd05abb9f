//! Sizes and times as people read and type them.

const STEP: u64 = 1024;
const NAMES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A size to two or three digits: `0 B`, `17.3 MiB`, `640 KiB`.
pub fn bytes(count: u64) -> String {
    let mut size = count as f64;
    let mut name = 0;
    // What would round to 1024 is one of the next unit.
    while size >= STEP as f64 - 0.5 && name + 1 < NAMES.len() {
        size /= STEP as f64;
        name += 1;
    }
    let unit = NAMES[name];
    if name == 0 || size >= 99.95 {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// A time to two or three digits: `850 µs`, `1.9 ms`, `12.4 s`, `3 min 20 s`, `5 h 10 min`, `2 d 4 h`.
pub fn micros(count: u64) -> String {
    let seconds = count / 1_000_000;
    // Each bound is where the form above it would round up to one more digit.
    if count < 1_000 {
        format!("{count} µs")
    } else if count < 99_950 {
        format!("{:.1} ms", count as f64 / 1e3)
    } else if count < 999_500 {
        format!("{:.0} ms", count as f64 / 1e3)
    } else if count < 59_950_000 {
        format!("{:.1} s", count as f64 / 1e6)
    } else if seconds < 3_600 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else if seconds < 86_400 {
        format!("{} h {} min", seconds / 3_600, seconds / 60 % 60)
    } else {
        format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24)
    }
}

/// The same of milliseconds.
pub(crate) fn millis(count: u64) -> String {
    micros(count.saturating_mul(1_000))
}

/// `256M`, `64KiB`, `1g`, `4096`. Units are powers of 1024, since memory is.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        _ => return Err("expected a size, as in 256M".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a size, as in 256M".to_owned())?;
    number.checked_mul(STEP.pow(power)).ok_or_else(|| "too large".to_owned())
}

/// `300ms`, `90s`, `5m`, `1h`, in milliseconds.
pub(crate) fn parse_millis(text: &str) -> Result<u64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unknown = || "expected a time, as in 90s, 5m or 1h".to_owned();
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(unknown()),
    };
    let number: u64 = number.parse().map_err(|_| unknown())?;
    number.checked_mul(factor).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1_048_063, 1_048_064, 104_805_171, 18_140_365, 1 << 42];
        let shown = sizes.map(bytes).join(", ");
        assert_eq!(shown, "0 B, 1023 B, 1.0 KiB, 1023 KiB, 1.0 MiB, 99.9 MiB, 17.3 MiB, 4.0 TiB");
    }

    #[test]
    fn times_are_short() {
        let times = [850, 1_900, 99_949, 99_950, 999_499, 12_400_000, 200_000_000, 18_600_000_000];
        let shown = times.map(micros).join(", ");
        assert_eq!(
            shown,
            "850 µs, 1.9 ms, 99.9 ms, 100 ms, 999 ms, 12.4 s, 3 min 20 s, 5 h 10 min"
        );
    }

    #[test]
    fn times_are_typed_with_their_unit() {
        for (text, millis) in [("300ms", 300), ("90s", 90_000), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_millis(text), Ok(millis), "{text}");
        }
        for text in ["", "s", "-1s", "1.5h", "7", "99999999999999999h"] {
            assert!(parse_millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_typed_in_several_ways() {
        for (text, size) in
            [("256M", 256 << 20), ("64KiB", 65_536), ("1g", 1 << 30), ("4096", 4096)]
        {
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "1T", "99999999999G"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
