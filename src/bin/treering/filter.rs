//! Docker's `--filter` for images, and its patterns for names (Go's `path.Match`).

use std::str::FromStr;

use treering::store::{Reference, Store};

use crate::listing::Row;

/// A `KEY=VALUE` of `--filter`.
#[derive(Debug, Clone)]
pub enum Filter {
    /// Names that match a pattern.
    Reference(String),
    /// Images without a name that nothing is built on, or all others.
    Dangling(bool),
    /// Images with a label, perhaps with a value.
    Label(String, Option<String>),
    /// Images made before another one.
    Before(String),
    /// Images made after another one.
    Since(String),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = "reference=PATTERN, dangling=BOOL, label=KEY[=VALUE], before=IMAGE or since=IMAGE";
        let (key, value) = text.split_once('=').ok_or_else(|| format!("expected {known}"))?;
        Ok(match key {
            "reference" => {
                matches(value, "").ok_or("the pattern is malformed")?;
                Filter::Reference(value.into())
            }
            "dangling" => match value {
                "true" | "1" => Filter::Dangling(true),
                "false" | "0" => Filter::Dangling(false),
                _ => return Err("dangling is true or false".into()),
            },
            "label" => match value.split_once('=') {
                Some((name, value)) => Filter::Label(name.into(), Some(value.into())),
                None => Filter::Label(value.into(), None),
            },
            "before" => Filter::Before(value.into()),
            "since" => Filter::Since(value.into()),
            _ => return Err(format!("expected {known}")),
        })
    }
}

/// Drops the rows that do not pass. Filters of one kind are alternatives for names; everything else must hold together.
pub fn apply(store: &Store, filters: &[Filter], rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let patterns: Vec<&str> = filters
        .iter()
        .filter_map(|filter| match filter {
            Filter::Reference(pattern) => Some(pattern.as_str()),
            _ => None,
        })
        .collect();
    if !patterns.is_empty() {
        rows.retain(|row| {
            row.name.as_ref().is_some_and(|name| patterns.iter().any(|pattern| name_matches(pattern, name)))
        });
    }
    for filter in filters {
        match filter {
            Filter::Reference(_) => {}
            Filter::Dangling(wanted) => rows.retain(|row| row.is_untagged() == *wanted),
            Filter::Label(name, value) => rows.retain(|row| {
                let labels = row.image.as_ref().and_then(|image| image.config().run().labels.as_ref());
                let found = labels.and_then(|labels| labels.get(name));
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }),
            Filter::Before(other) | Filter::Since(other) => {
                let image = treering::image::Image::open(store, other, None)?;
                let limit = crate::text::time(image.config().created());
                let before = matches!(filter, Filter::Before(_));
                rows.retain(|row| match (row.created, limit) {
                    (Some(time), Some(limit)) => {
                        if before {
                            time < limit
                        } else {
                            time > limit
                        }
                    }
                    _ => false,
                });
            }
        }
    }
    Ok(())
}

/// Returns whether a pattern fits a name as people write it, with its tag or without.
pub fn name_matches(pattern: &str, name: &Reference) -> bool {
    matches(pattern, &name.to_string()) == Some(true) || matches(pattern, &name.familiar_name()) == Some(true)
}

/// The pattern of `name=` for containers. Docker takes a regular expression; this takes of one what names are asked for by: text, `.` for
/// any character, and `^` and `$` at the ends.
#[cfg(feature = "sandbox")]
#[derive(Debug)]
pub struct ContainerName {
    from_start: bool,
    to_end: bool,
    text: Vec<char>,
}

#[cfg(feature = "sandbox")]
impl ContainerName {
    pub fn of(pattern: &str) -> Result<ContainerName, String> {
        let (rest, from_start) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
        let (rest, to_end) = rest.strip_suffix('$').map_or((rest, false), |rest| (rest, true));
        if let Some(other) = rest.chars().find(|c| "^$*+?()[]{}|\\".contains(*c)) {
            return Err(format!(
                "{other} is not taken here; only ^ at the beginning, $ at the end and . are"
            ));
        }
        Ok(ContainerName { from_start, to_end, text: rest.chars().collect() })
    }

    /// Returns whether it fits a name, without or with the slash that names have in Docker.
    pub fn fits(&self, name: &str) -> bool {
        let plain: Vec<char> = name.chars().collect();
        let slashed = [&['/'][..], &plain].concat();
        let fits = |name: &[char]| {
            let starts = 0..=name.len().saturating_sub(self.text.len());
            starts.filter(|at| !self.from_start || *at == 0).any(|at| {
                let part = name.get(at..at + self.text.len());
                part.is_some_and(|part| {
                    (!self.to_end || at + part.len() == name.len())
                        && part.iter().zip(&self.text).all(|(c, wanted)| *wanted == '.' || c == wanted)
                })
            })
        };
        fits(&plain) || fits(&slashed)
    }
}

/// Matches as Go's `path.Match` does: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]`, `\` escapes. `None` for a malformed
/// pattern.
fn matches(pattern: &str, text: &str) -> Option<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    check(&pattern)?;
    Some(matches_here(&pattern, &text))
}

/// Matches in a loop with one place to go back to, which is enough because a later star makes an earlier one final.
fn matches_here(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            back = Some((p + 1, t));
            p += 1;
            continue;
        }
        let step = match (p < pattern.len(), text.get(t)) {
            (false, None) => return true,
            (true, Some(&c)) => one(&pattern[p..], c),
            _ => None,
        };
        match (step, back) {
            (Some(len), _) => (p, t) = (p + len, t + 1),
            (None, Some((after, from))) if text.get(from).is_some_and(|&c| c != '/') => {
                (p, t) = (after, from + 1);
                back = Some((after, from + 1));
            }
            _ => return false,
        }
    }
}

/// Returns how much of the pattern fits one character.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern[0] {
        '?' => (c != '/').then_some(1),
        '\\' => (pattern[1] == c).then_some(2),
        '[' => {
            let (len, negated, ranges) = class(pattern)?;
            let inside = ranges.iter().any(|&(low, high)| low <= c && c <= high);
            (inside != negated && c != '/').then_some(len)
        }
        literal => (literal == c).then_some(1),
    }
}

/// Returns a character class at the front of the pattern: its length, whether it is negated, its ranges.
fn class(pattern: &[char]) -> Option<(usize, bool, Vec<(char, char)>)> {
    let negated = pattern.get(1) == Some(&'^');
    let mut at = 1 + negated as usize;
    let mut ranges = Vec::new();
    let character = |at: &mut usize| -> Option<char> {
        if pattern.get(*at) == Some(&'\\') {
            *at += 1;
        } else if matches!(pattern.get(*at), Some('-' | ']')) {
            return None;
        }
        *at += 1;
        pattern.get(*at - 1).copied()
    };
    while ranges.is_empty() || *pattern.get(at)? != ']' {
        let low = character(&mut at)?;
        let mut high = low;
        if pattern.get(at) == Some(&'-') {
            at += 1;
            high = character(&mut at)?;
        }
        ranges.push((low, high));
    }
    Some((at + 1, negated, ranges))
}

/// Returns whether a pattern is well formed.
fn check(pattern: &[char]) -> Option<()> {
    let mut at = 0;
    while at < pattern.len() {
        at += match pattern[at] {
            '[' => class(&pattern[at..])?.0,
            '\\' => pattern.get(at + 1).map(|_| 2)?,
            _ => 1,
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_gos() {
        let table = [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a?b", "a/b", Some(false)),
            ("a[\\]-x]b", "a]b", Some(true)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("a[", "ab", None),
            ("a\\", "a", None),
            ("*x", "xxx", Some(true)),
            ("", "", Some(true)),
            ("", "a", Some(false)),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[cfg(feature = "sandbox")]
    #[test]
    fn names_of_containers_are_text_and_anchors() {
        for (pattern, name, fits) in [
            ("web", "my-web-1", true),
            ("^web", "my-web", false),
            ("^web", "web-1", true),
            ("web$", "web-1", false),
            ("web$", "my-web", true),
            ("^web$", "web", true),
            ("^/web$", "web", true),
            ("^web$", "web1", false),
            ("w.b", "wob", true),
            ("", "web", true),
            ("^$", "web", false),
            ("longer", "long", false),
        ] {
            assert_eq!(ContainerName::of(pattern).unwrap().fits(name), fits, "{pattern} {name}");
        }
        for pattern in ["a*", "(a)", "a|b", "[ab]", "a\\.b", "a^", "$a"] {
            assert!(ContainerName::of(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn names_match_with_and_without_their_tag() {
        let name = Reference::parse("registry.example:5000/team/app:v1").unwrap();
        for pattern in ["registry.example:5000/team/app", "*/team/app:v*", "*/*/a?p:v1"] {
            assert!(name_matches(pattern, &name), "{pattern}");
        }
        for pattern in ["app", "team/*", "*", "*/team/app:w*"] {
            assert!(!name_matches(pattern, &name), "{pattern}");
        }
        assert!(name_matches("app", &Reference::parse("library/app:v1").unwrap()));
    }
}
