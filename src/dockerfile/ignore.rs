//! `.dockerignore`: which paths of a context are left out.
//!
//! Files are read as moby's `patternmatcher/ignorefile` reads them; patterns are Go's `filepath.Match` patterns and `**`. A
//! pattern matches a path when it matches the path itself or a directory above it; of all patterns that match the last one decides.

use super::source::Fault;
use crate::error::{Error, Result};

const OP: &str = "read ignore file";

/// Largest ignore file, in bytes.
const MAX_FILE: usize = 1 << 20;
/// Most patterns.
const MAX_PATTERNS: usize = 10_000;

/// The patterns of an ignore file, or of `--exclude` flags.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    keep: bool,
    matcher: Matcher,
    /// The part before the first wildcard: what can be below it needs no match.
    prefix: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact(Vec<u8>),
    Suffix(Vec<u8>),
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(u32),
    /// `?`: a character other than `/`.
    One,
    /// `*`: any number of characters other than `/`.
    Many,
    /// `**` before more: nothing, or any text that ends with `/`.
    Directories,
    /// `**` at the end: any text.
    Rest,
    /// `[…]`
    Class {
        not: bool,
        ranges: Vec<(u32, u32)>,
    },
}

impl Ignore {
    /// Reads an ignore file. Lines that start with `#` are comments, white space around a pattern is dropped, and a leading `/`
    /// counts for nothing. A malformed pattern is an error of kind [`crate::ErrorKind::Syntax`] that names the line.
    pub fn parse(name: &[u8], bytes: &[u8]) -> Result<Ignore> {
        if bytes.len() > MAX_FILE {
            return Err(Error::limit(OP, format!("larger than {} MiB", MAX_FILE >> 20)).with_path(name));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut rules = Vec::new();
        for (at, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let pattern = line.trim_ascii();
            if line.starts_with(b"#") || pattern.is_empty() {
                continue;
            }
            let (keep, pattern) = match pattern.strip_prefix(b"!") {
                Some(rest) => (true, rest.trim_ascii()),
                None => (false, pattern),
            };
            let wrong = |fault: Fault| {
                let source = super::source::Source {
                    name: name.to_vec(),
                    lines: vec![String::from_utf8_lossy(line).into_owned()],
                };
                let location = crate::Location { line: at as u32 + 1, ..source.location(1, 0) };
                fault.syntax(OP, location)
            };
            if pattern.is_empty() {
                return Err(wrong(Fault::new("! without a pattern")));
            }
            let mut pattern = clean(pattern);
            if pattern.len() > 1 && pattern[0] == b'/' {
                pattern.remove(0);
            }
            rules.push(Rule::new(keep, &pattern).map_err(wrong)?);
            if rules.len() > MAX_PATTERNS {
                return Err(Error::limit(OP, format!("more than {MAX_PATTERNS} patterns")).with_path(name));
            }
        }
        Ok(Ignore { rules })
    }

    /// Patterns of `--exclude`, which are matched as an ignore file's are.
    pub(crate) fn patterns(texts: &[String]) -> Result<Ignore, Fault> {
        let mut rules = Vec::new();
        for text in texts {
            let (keep, pattern) =
                text.trim().strip_prefix('!').map_or((false, text.trim()), |rest| (true, rest));
            if pattern.is_empty() {
                return Err(Fault::new("an empty pattern"));
            }
            let pattern = clean(pattern.as_bytes());
            rules.push(Rule::new(keep, pattern.strip_prefix(b"/").unwrap_or(&pattern))?);
        }
        Ok(Ignore { rules })
    }

    /// Returns whether a path, relative to the context and without leading `/`, is left out.
    pub fn is_ignored(&self, path: &[u8]) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            // A rule that cannot change the answer is not looked at.
            if rule.keep == ignored && rule.matches_with_parents(path) {
                ignored = !rule.keep;
            }
        }
        ignored
    }

    /// Returns whether something below an ignored directory may be taken in again by a `!` pattern, so that it has to be
    /// looked into.
    pub fn may_keep_below(&self, directory: &[u8]) -> bool {
        let mut may = false;
        for rule in &self.rules {
            match rule.keep {
                true => may |= rule.reaches_below(directory),
                // It matches all that is below as well.
                false if may => may = !rule.matches_with_parents(directory),
                false => {}
            }
        }
        may
    }

    /// Adds patterns behind those that are there.
    pub(crate) fn extend(&mut self, more: Ignore) {
        self.rules.extend(more.rules);
    }

    /// Returns whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Rule {
    fn new(keep: bool, pattern: &[u8]) -> Result<Rule, Fault> {
        let tokens = tokens(pattern, true)?;
        let special = pattern.iter().position(|b| b"*?[\\".contains(b)).unwrap_or(pattern.len());
        let plain = |bytes: &[u8]| !bytes.iter().any(|b| b"*?[\\".contains(b));
        let matcher = if plain(pattern) {
            Matcher::Exact(pattern.to_vec())
        } else if let Some(rest) = pattern.strip_prefix(b"**").filter(|rest| plain(rest)) {
            // Without anything else special moby compares the end of the text, so that **x also matches yx.
            Matcher::Suffix(rest.to_vec())
        } else {
            Matcher::Tokens(tokens)
        };
        Ok(Rule { keep, matcher, prefix: pattern[..special].to_vec() })
    }

    fn matches_with_parents(&self, path: &[u8]) -> bool {
        let parents = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &path[..at]);
        std::iter::once(path).chain(parents).any(|path| self.matches(path))
    }

    fn matches(&self, path: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Exact(pattern) => pattern == path,
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|whole| whole == path)
            }
            Matcher::Tokens(tokens) => matches(tokens, path),
        }
    }

    fn reaches_below(&self, directory: &[u8]) -> bool {
        let common = self.prefix.len().min(directory.len());
        if self.prefix[..common] != directory[..common] {
            return false;
        }
        match &self.matcher {
            Matcher::Exact(pattern) => {
                directory.is_empty()
                    || pattern.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
            }
            _ => true,
        }
    }
}

/// Cleans a path as Go's `path.Clean` does.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => drop(parts.pop()),
                _ if rooted => {}
                _ => parts.push(part),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Returns a character and its length; a byte that is no UTF-8 stands for itself, outside of what Unicode has.
fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let chunk = bytes.get(..bytes.len().min(4))?.utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(c) => Some((c as u32, c.len_utf8())),
        None => Some((0x11_0000 + u32::from(bytes[0]), 1)),
    }
}

fn characters(bytes: &[u8]) -> Vec<u32> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((c, length)) = decode(rest) {
        out.push(c);
        rest = &rest[length..];
    }
    out
}

const SLASH: u32 = '/' as u32;

fn malformed(why: &str) -> Fault {
    Fault::new(format!("malformed pattern: {why}"))
}

/// Returns a character of `[…]`, and where the next one is.
fn class_character(chars: &[u32], mut at: usize) -> Result<(u32, usize), Fault> {
    let is = |at: usize, c: char| chars.get(at) == Some(&(c as u32));
    if is(at, '-') || is(at, ']') {
        return Err(malformed("[…] with nothing in it, or with a - out of place"));
    }
    at += is(at, '\\') as usize;
    let c = chars.get(at).ok_or_else(|| malformed("a [ that is not closed"))?;
    Ok((*c, at + 1))
}

/// Parses a pattern; `double` gives `**` its meaning.
fn tokens(pattern: &[u8], double: bool) -> Result<Vec<Token>, Fault> {
    let chars = characters(pattern);
    let is = |at: usize, c: char| chars.get(at) == Some(&(c as u32));
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if double && is(at, '*') && is(at + 1, '*') {
            at += 2;
            at += is(at, '/') as usize;
            out.push(if at == chars.len() { Token::Rest } else { Token::Directories });
        } else if is(at, '*') {
            at += 1;
            out.push(Token::Many);
        } else if is(at, '?') {
            at += 1;
            out.push(Token::One);
        } else if is(at, '[') {
            at += 1;
            let not = is(at, '^');
            at += not as usize;
            let mut ranges = Vec::new();
            while !is(at, ']') || ranges.is_empty() {
                let (low, after) = class_character(&chars, at)?;
                at = after;
                let mut high = low;
                if is(at, '-') {
                    (high, at) = class_character(&chars, at + 1)?;
                }
                if high < low {
                    return Err(malformed("a range that ends before it starts"));
                }
                ranges.push((low, high));
            }
            at += 1;
            out.push(Token::Class { not, ranges });
        } else {
            at += is(at, '\\') as usize;
            let c = *chars.get(at).ok_or_else(|| malformed("a backslash at the end"))?;
            at += 1;
            out.push(Token::Char(c));
        }
    }
    Ok(out)
}

/// Matches all tokens at once, so that no pattern takes longer than its length times that of the path.
fn matches(tokens: &[Token], path: &[u8]) -> bool {
    let mut live = vec![false; tokens.len() + 1];
    live[0] = true;
    // A `**` that has begun may be left only behind a `/`.
    let mut inside = vec![false; tokens.len()];
    let skip = |live: &mut [bool]| {
        for (i, token) in tokens.iter().enumerate() {
            if live[i] && matches!(token, Token::Many | Token::Directories | Token::Rest) {
                live[i + 1] = true;
            }
        }
    };
    skip(&mut live);
    for c in characters(path) {
        let mut next = vec![false; tokens.len() + 1];
        let mut next_inside = vec![false; tokens.len()];
        for (i, token) in tokens.iter().enumerate() {
            if !live[i] && !inside[i] {
                continue;
            }
            match token {
                Token::Directories => {
                    next_inside[i] = true;
                    next[i + 1] |= c == SLASH;
                }
                _ if !live[i] => {}
                Token::Rest => next[i] = true,
                Token::Many => next[i] |= c != SLASH,
                Token::One => next[i + 1] |= c != SLASH,
                Token::Char(wanted) => next[i + 1] |= *wanted == c,
                Token::Class { not, ranges } => {
                    let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[i + 1] |= inside != *not;
                }
            }
        }
        skip(&mut next);
        (live, inside) = (next, next_inside);
    }
    live[tokens.len()]
}

/// A pattern of a COPY source: Go's `filepath.Match`, where `*` and `?` match no `/`. `**` is special with `--parents` only.
#[derive(Debug, Clone)]
pub(crate) struct SourcePattern(Vec<Token>);

impl SourcePattern {
    pub(crate) fn new(pattern: &[u8], double: bool) -> Result<SourcePattern, Fault> {
        Ok(SourcePattern(tokens(pattern, double)?))
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        matches(&self.0, path)
    }
}
