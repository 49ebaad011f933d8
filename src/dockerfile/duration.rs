//! Durations in Go's notation.

use super::source::Fault;

/// Reads Go's notation (`1m30s`, `500ms`) in nanoseconds; at least a millisecond, as Docker asks.
pub(crate) fn nanoseconds(text: &str) -> Result<i64, Fault> {
    let bad = || Fault::new(format!("{text:?} is not a duration such as 30s, 1m30s or 500ms"));
    let mut total = 0f64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(bad()),
            };
        rest = &rest[unit..];
    }
    match total {
        // Zero means: as the base has it, or the default.
        0.0 => Ok(0),
        total if (1e6..9e18).contains(&total) => Ok(total as i64),
        _ => Err(Fault::new(format!("{text:?} is shorter than a millisecond or too long"))),
    }
}
