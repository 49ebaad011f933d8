//! Sizes and durations as people type them.

use std::time::Duration;

#[cfg(feature = "sandbox")]
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Reads a size in bytes: `512`, `10MB`, `1.5g`, `2GiB`. A unit is a power of 1024, as Docker takes it.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size such as 512MB or 10GB");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(bad()),
    };
    let bytes = number * 1024f64.powi(factor);
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(bad()) }
}

/// Reads a duration as Go writes it, and days: `24h`, `1h30m`, `90s`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration such as 24h, 1h30m or 7d");
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..at].parse().map_err(|_| bad())?;
        let after = &rest[at..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        total += number
            * match &after[..end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(bad()),
            };
        rest = &after[end..];
    }
    if text.is_empty() {
        return Err(bad());
    }
    Duration::try_from_secs_f64(total).map_err(|_| bad())
}

/// Reads a moment as Docker does: RFC 3339, seconds since 1970, or a duration before now. One without a time zone is of UTC.
#[cfg(feature = "sandbox")]
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = duration(text) {
        return Timestamp::now().checked_sub(ago).map_err(|error| error.to_string());
    }
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()) {
        return Timestamp::from_microsecond((seconds * 1e6) as i64).map_err(|error| error.to_string());
    }
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let civil: Result<DateTime, _> = text.parse();
    let moment = civil.ok().and_then(|civil| TimeZone::UTC.to_timestamp(civil).ok());
    moment.ok_or_else(|| format!("{text:?} is not a time such as 2030-01-02T03:04:05Z, 1700000000 or 10m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "sandbox")]
    #[test]
    fn moments_are_dates_seconds_or_ago() {
        for (text, seconds) in [
            ("1700000000", 1_700_000_000),
            ("1700000000.9", 1_700_000_000),
            ("2001-09-09T01:46:40Z", 1_000_000_000),
            ("2001-09-09T03:46:40+02:00", 1_000_000_000),
            ("2001-09-09T01:46:40", 1_000_000_000),
            ("1970-01-02", 86_400),
        ] {
            assert_eq!(moment(text).map(|moment| moment.as_second()), Ok(seconds), "{text}");
        }
        let ago = Timestamp::now().as_second() - moment("1h30m").unwrap().as_second();
        assert!((5_400..5_500).contains(&ago), "{ago}");
        for text in ["", "x", "nan", "inf", "1e300", "2001-09", "99999999999999h"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_dockers_units() {
        for (text, size) in
            [("0", 0), ("512", 512), ("1kb", 1024), ("1.5GB", 3 << 29), ("2 MiB", 2 << 20), ("1t", 1 << 40)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "x", "1x", "GB", "-1", "99999999999999999999T", "1..5"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_gos_units_and_days() {
        for (text, seconds) in
            [("24h", 86400.0), ("1h30m", 5400.0), ("7d", 604800.0), ("500ms", 0.5), ("0s", 0.0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "24", "h", "1y", "-1h", "1h-", "é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
