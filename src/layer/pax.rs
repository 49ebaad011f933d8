//! PAX extended header records: `"%d %s=%s\n", length, keyword, value` (POSIX pax, "pax Extended Header").

use crate::error::escape;
use crate::layer::fault::{Fault, Parsed};

/// The keyword prefix of an extended attribute with its raw bytes (star's format, which GNU tar, Go and the
/// image tools share).
pub const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Returns whether a name can be the name of an extended attribute in a record of the `SCHILY.xattr.` family.
///
/// `=` ends a keyword, NUL and newline are not portable, and GNU tar stores `%` and `=` as `%25` and `%3D` where
/// other writers store the bytes as they are: a name with either sequence means two things.
pub fn is_xattr_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.iter().any(|byte| matches!(byte, b'=' | 0 | b'\n'))
        && !name.windows(3).any(|three| three == b"%25" || three.eq_ignore_ascii_case(b"%3d"))
}

/// Returns the length of the record for a keyword and value of these lengths. The length counts its own digits.
pub fn record_len(keyword_len: usize, value_len: usize) -> usize {
    let rest = keyword_len + value_len + 3;
    let mut len = rest + digits(rest);
    // One more digit in the sum can need one more digit in the length.
    if rest + digits(len) != len {
        len = rest + digits(len);
    }
    len
}

/// Appends one record.
pub fn append_record(keyword: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let len = record_len(keyword.len(), value.len());
    out.reserve(len);
    append_decimal(len as u64, out);
    out.push(b' ');
    out.extend_from_slice(keyword);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(mut number: usize) -> usize {
    let mut count = 1;
    while number >= 10 {
        number /= 10;
        count += 1;
    }
    count
}

fn append_decimal(number: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = number;
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// Returns a time as a record value: decimal seconds, with a fraction only if there is one (trailing zeros trimmed). The
/// nanoseconds count upwards from the seconds, so -1.5 s is `(-2, 500_000_000)`.
pub fn format_time(seconds: i64, nanoseconds: u32) -> Vec<u8> {
    let text = match (seconds, nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        (0.., _) => format!("{seconds}.{nanoseconds:09}"),
        _ => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    };
    let text = if nanoseconds == 0 { &text[..] } else { text.trim_end_matches('0') };
    text.as_bytes().to_vec()
}

/// Returns a time from a record value. Digits finer than a nanosecond are dropped towards minus infinity, never rounded
/// up into a time that has not been.
pub(crate) fn parse_time(value: &[u8]) -> Parsed<(i64, u32)> {
    let refuse = || Fault::corrupt("a PAX time is not a decimal number");
    let (negative, magnitude) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let dot = magnitude.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match dot {
        Some(at) => (&magnitude[..at], &magnitude[at + 1..]),
        None => (magnitude, &[][..]),
    };
    let whole = i64::try_from(parse_decimal(whole).map_err(|_| refuse())?).map_err(|_| refuse())?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(refuse());
    }
    let mut nanoseconds = 0;
    for at in 0..9 {
        nanoseconds = nanoseconds * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    }
    if !negative {
        return Ok((whole, nanoseconds));
    }
    let finer = fraction.get(9..).is_some_and(|rest| rest.iter().any(|&digit| digit != b'0'));
    match nanoseconds + u32::from(finer) {
        0 => Ok((-whole, 0)),
        below => Ok((-whole - 1, 1_000_000_000 - below)),
    }
}

/// Returns a record value that is a number: decimal digits and nothing else, at most `i64::MAX`.
pub(crate) fn parse_decimal(value: &[u8]) -> Parsed<u64> {
    let refuse = || Fault::corrupt("a PAX number is not plain decimal digits, or is too large");
    if value.is_empty() {
        return Err(refuse());
    }
    let mut number: u64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(refuse());
        }
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_add(u64::from(byte - b'0')))
            .filter(|&number| number <= i64::MAX as u64)
            .ok_or_else(refuse)?;
    }
    Ok(number)
}

/// The records of an extended header body, in order. Every byte must belong to a well-formed record; readers
/// that skipped what they could not parse have read other archives than everyone else (CVE-2026-32766).
#[derive(Debug)]
pub(crate) struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Records(body)
    }

    fn record(&mut self) -> Parsed<(&'a [u8], &'a [u8])> {
        let body = self.0;
        // The longest length has 20 digits; looking no further keeps a body without spaces linear.
        let space = body
            .iter()
            .take(21)
            .position(|&byte| byte == b' ')
            .ok_or_else(|| Fault::corrupt("a PAX record has no length"))?;
        let len = &body[..space];
        if len.first() == Some(&b'0') {
            return Err(Fault::corrupt("a PAX record length starts with zero"));
        }
        let len = parse_decimal(len).map_err(|_| Fault::corrupt("a PAX record length is not a number"))?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > body.len() {
            return Err(Fault::corrupt("a PAX record is longer than its header"));
        }
        if len < space + 4 {
            return Err(Fault::corrupt("a PAX record is shorter than the least it must hold"));
        }
        if body[len - 1] != b'\n' {
            return Err(Fault::corrupt("a PAX record does not end where its length says"));
        }
        let pair = &body[space + 1..len - 1];
        let equals = pair
            .iter()
            .position(|&byte| byte == b'=')
            .ok_or_else(|| Fault::corrupt("a PAX record has no equals sign"))?;
        let (keyword, value) = (&pair[..equals], &pair[equals + 1..]);
        if keyword.is_empty() || keyword.iter().any(|byte| matches!(byte, 0 | b'\n')) {
            return Err(Fault::corrupt("a PAX keyword is empty, or holds NUL or a newline"));
        }
        self.0 = &body[len..];
        Ok((keyword, value))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Parsed<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

/// Returns the fault of a keyword that is given twice.
pub(crate) fn twice(keyword: &[u8]) -> Fault {
    Fault::corrupt(format!("the PAX keyword {} is given twice", escape(keyword)))
}

/// Parses a name. An empty one would be the name in the header for Go, and no name at all for Python.
pub(crate) fn name(keyword: &[u8], value: &[u8]) -> Parsed<Vec<u8>> {
    if value.is_empty() || value.contains(&0) {
        return Err(Fault::corrupt(format!("the PAX {} is empty or holds a NUL byte", escape(keyword))));
    }
    Ok(value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for value_len in 0..2000 {
            let mut out = Vec::new();
            append_record(b"path", &vec![b'x'; value_len], &mut out);
            assert_eq!(out.len(), record_len(4, value_len));
            let text = String::from_utf8(out.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), out.len());
            let records: Vec<_> = Records::new(&out).map(|record| record.unwrap()).collect();
            assert_eq!(records, [(&b"path"[..], &vec![b'x'; value_len][..])]);
        }
    }

    #[test]
    fn a_value_may_hold_any_byte() {
        let mut out = Vec::new();
        append_record(b"SCHILY.xattr.user.x", b"a=b\n\0\xff\n3 q=\n", &mut out);
        append_record(b"SCHILY.xattr.user.y", b"", &mut out);
        let records: Vec<_> = Records::new(&out).map(|record| record.unwrap()).collect();
        assert_eq!(records[0].1, b"a=b\n\0\xff\n3 q=\n");
        assert_eq!(records[1], (&b"SCHILY.xattr.user.y"[..], &b""[..]));
    }

    #[test]
    fn every_malformed_record_is_an_error() {
        let bad: &[&[u8]] = &[
            b"\0",
            b" ",
            b"\n",
            b"6",
            b"6 ",
            b"6 a=b",
            b"7 a=b\n",
            b"5 a=b\n",
            b"6 a=b\0",
            b"06 a=b\n",
            b"006 a=\n",
            b"+6 a=b\n",
            b"-6 a=b\n",
            b" 6 a=b\n",
            b"0x6 a=b\n",
            b"6\ta=b\n",
            b"6 a:b\n",
            b"5 =b\n",
            b"4 =\n",
            b"3 \n",
            b"6 \0=b\n",
            b"6 \n=b\n",
            b"6 a=b\n\0",
            b"6 a=b\n6 a=b",
            b"6 a=b\n ",
            b"99999999999999999999 a=b\n",
            b"18446744073709551622 a=b\n",
            b"9223372036854775807 a=b\n",
            b"9223372036854775808 a=b\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"2 a=b\n",
            b"3 a=b\n",
        ];
        for body in bad {
            let all: Parsed<Vec<_>> = Records::new(body).collect();
            assert!(all.is_err(), "{:?} parsed", body.escape_ascii().to_string());
        }
    }

    #[test]
    fn times_are_truncated_towards_minus_infinity() {
        let table: &[(&str, (i64, u32))] = &[
            ("0", (0, 0)),
            ("1", (1, 0)),
            ("-1", (-1, 0)),
            ("1.", (1, 0)),
            ("-0", (0, 0)),
            ("1.5", (1, 500_000_000)),
            ("-1.5", (-2, 500_000_000)),
            ("-0.5", (-1, 500_000_000)),
            ("-0.000000001", (-1, 999_999_999)),
            ("1.0000000019", (1, 1)),
            ("-1.0000000019", (-2, 999_999_998)),
            ("-1.0000000001", (-2, 999_999_999)),
            ("-1.9999999991", (-2, 0)),
            ("1.9999999999", (1, 999_999_999)),
            ("9223372036854775807.999999999", (i64::MAX, 999_999_999)),
            ("-9223372036854775807.5", (i64::MIN, 500_000_000)),
        ];
        for &(text, time) in table {
            assert_eq!(parse_time(text.as_bytes()).unwrap(), time, "{text}");
        }
        for bad in [
            "",
            "-",
            ".",
            ".5",
            "-.5",
            "1.5.5",
            "1,5",
            "1e3",
            " 1",
            "1 ",
            "+1",
            "--1",
            "1.-5",
            "9223372036854775808",
        ] {
            assert!(parse_time(bad.as_bytes()).is_err(), "{bad:?} parsed");
        }
    }

    #[test]
    fn times_survive_writing_and_reading() {
        let seconds = [i64::MIN + 1, -2, -1, 0, 1, 1 << 33, i64::MAX];
        for seconds in seconds {
            for nanoseconds in [0, 1, 10, 500_000_000, 999_999_999] {
                let text = format_time(seconds, nanoseconds);
                assert_eq!(parse_time(&text).unwrap(), (seconds, nanoseconds), "{}", text.escape_ascii());
            }
        }
        assert_eq!(format_time(-2, 500_000_000), b"-1.5");
        assert_eq!(format_time(100, 0), b"100");
        assert_eq!(format_time(100, 120_000_000), b"100.12");
    }
}
