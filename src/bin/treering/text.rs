//! Numbers and times as Docker writes them.

use jiff::Timestamp;

/// Returns a size in decimal units with at most three digits: `0B`, `4.1kB`, `77.8MB` (go-units, `HumanSizeWithPrecision`).
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    // Go's %.3g: three significant digits, no zeros at the end, and 999.6 is 1e+03.
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let mut number = format!("{value:.decimals$}");
    if number == "1000" && unit + 1 < UNITS.len() {
        (number, unit) = ("1".into(), unit + 1);
    }
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    number + UNITS[unit]
}

/// Returns a number with separators: `63,661`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns `1 file`, `2 files`.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Returns a time as an image has it (RFC 3339), if it is one.
pub fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

/// Returns the present.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns how long ago, as Docker says it: `2 weeks ago` (go-units, `HumanDuration`).
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second());
    let hours = (seconds as f64 / 3600.0).round() as i64;
    let text = match seconds {
        i64::MIN..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{} minutes", seconds / 60),
        _ => match hours {
            ..=1 => "About an hour".into(),
            2..48 => format!("{hours} hours"),
            48..336 => format!("{} days", hours / 24),
            336..1440 => format!("{} weeks", hours / 24 / 7),
            1440..17520 => format!("{} months", hours / 24 / 30),
            _ => format!("{} years", hours / 24 / 365),
        },
    };
    text + " ago"
}

/// Returns a time as Docker's `CreatedAt` has it: `2024-03-01 12:00:00 +0000 UTC`.
pub fn created_at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// Shortens a text to `max` characters, the last of them an ellipsis when something is cut off.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.into();
    }
    let mut out: String = text.chars().take(max - 1).collect();
    out.push('…');
    out
}

/// Puts text from an image on one line and without control characters: a name in an image must not steer a terminal.
pub fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns a duration for people: `12 ms`, `3.1 s`, `2m 05s`.
pub fn duration(time: std::time::Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", (seconds * 1000.0).round()),
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        seconds => format!("{}m {:02}s", seconds as u64 / 60, seconds as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        let table = [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (1020, "1.02kB"),
            (12_345, "12.3kB"),
            (123_456, "123kB"),
            (999_600, "1MB"),
            (1_230_000, "1.23MB"),
            (1_000_000_000, "1GB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!((count(0), count(999), count(63_661)), ("0".into(), "999".into(), "63,661".into()));
        assert_eq!(count(1_000_000), "1,000,000");
    }

    #[test]
    fn ages_are_dockers() {
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        let table = [
            (-5, "Less than a second ago"),
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "About a minute ago"),
            (125, "2 minutes ago"),
            (3599, "59 minutes ago"),
            (3600, "About an hour ago"),
            (5400, "2 hours ago"),
            (47 * 3600, "47 hours ago"),
            (3 * 86400, "3 days ago"),
            (15 * 86400, "2 weeks ago"),
            (90 * 86400, "3 months ago"),
            (800 * 86400, "2 years ago"),
        ];
        for (seconds, text) in table {
            let then = Timestamp::from_second(2_000_000_000 - seconds).unwrap();
            assert_eq!(ago(then, now), text, "{seconds}");
        }
        assert_eq!(created_at(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn text_is_cut_and_tamed() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(tame("a\x1b[31m\nb"), "a [31m b");
    }
}
