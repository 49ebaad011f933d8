//! `--chmod`: octal and symbolic modes (chmod(1)).

use crate::error::{Error, Result};
use crate::fs::Kind;

/// A change of mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chmod {
    Octal(u16),
    Symbolic(Vec<Clause>),
}

/// `ug+rX`: classes, then operators each with permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    classes: u16,
    operator: char,
    permissions: String,
}

const USER: u16 = 0o4700;
const GROUP: u16 = 0o2070;
const OTHER: u16 = 0o1007;

impl Chmod {
    pub(super) fn parse(text: &str) -> Result<Chmod> {
        let bad = || {
            Error::invalid(
                "build",
                format!("--chmod={text}: neither an octal mode such as 0755 nor one such as u+rwX,go=rX"),
            )
        };
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Chmod::Octal).ok_or_else(bad);
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let start = clause.find(['+', '-', '=']).ok_or_else(bad)?;
            let mut classes = 0;
            for class in clause[..start].chars() {
                classes |= match class {
                    'u' => USER,
                    'g' => GROUP,
                    'o' => OTHER,
                    'a' => USER | GROUP | OTHER,
                    _ => return Err(bad()),
                };
            }
            let classes = if start == 0 { USER | GROUP | OTHER } else { classes };
            let mut rest = &clause[start..];
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
                let permissions = &rest[1..end];
                let copied = permissions.len() == 1 && "ugo".contains(permissions);
                if !copied && !permissions.chars().all(|c| "rwxXst".contains(c)) {
                    return Err(bad());
                }
                clauses.push(Clause { classes, operator, permissions: permissions.into() });
                rest = &rest[end..];
            }
        }
        Ok(Chmod::Symbolic(clauses))
    }

    /// Returns the mode of an entry that had `mode`.
    pub(super) fn apply(&self, mode: u16, kind: Kind) -> u16 {
        let clauses = match self {
            Chmod::Octal(mode) => return *mode,
            Chmod::Symbolic(clauses) => clauses,
        };
        clauses.iter().fold(mode, |mode, clause| clause.apply(mode, kind))
    }
}

impl Clause {
    fn apply(&self, mode: u16, kind: Kind) -> u16 {
        let mut bits = 0;
        for permission in self.permissions.chars() {
            bits |= match permission {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if kind == Kind::Directory || mode & 0o111 != 0 => 0o111,
                'X' => 0,
                's' => 0o6000,
                't' => 0o1000,
                'u' => spread(mode >> 6),
                'g' => spread(mode >> 3),
                _ => spread(mode),
            };
        }
        let bits = bits & self.classes;
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            // chmod(1) keeps setuid and setgid of a directory unless they are named.
            _ if kind == Kind::Directory => mode & !(self.classes & 0o1777) | bits,
            _ => mode & !self.classes | bits,
        }
    }
}

/// Returns the same three bits for user, group and others.
fn spread(bits: u16) -> u16 {
    let bits = bits & 7;
    bits << 6 | bits << 3 | bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_changes_them() {
        let table = [
            ("755", 0o600, 0o755),
            ("0644", 0o777, 0o644),
            ("4755", 0, 0o4755),
            ("u+x", 0o644, 0o744),
            ("+x", 0o644, 0o755),
            ("a-w", 0o666, 0o444),
            ("go=", 0o777, 0o700),
            ("u=rwx,g=rx,o=r", 0o000, 0o754),
            ("a+X", 0o644, 0o644),
            ("a+X", 0o744, 0o755),
            ("u+s", 0o755, 0o4755),
            ("g=u", 0o640, 0o660),
            ("o=g-w", 0o664, 0o664 & !0o002),
            ("+t", 0o777, 0o1777),
        ];
        for (text, before, after) in table {
            assert_eq!(Chmod::parse(text).unwrap().apply(before, Kind::File), after, "{text}");
        }
        assert_eq!(Chmod::parse("a+X").unwrap().apply(0o600, Kind::Directory), 0o711);
        assert_eq!(Chmod::parse("g=rx").unwrap().apply(0o2770, Kind::Directory), 0o2750);
        for text in ["", "9", "77777", "x", "u", "u+q", "z+r", "u+r,"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
