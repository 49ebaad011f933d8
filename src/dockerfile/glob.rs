//! The patterns of `${name#pattern}`: `*`, `?` and escaped characters.

/// A pattern, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Glob(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Char(char),
    One,
    Many,
}

/// The end of a text that a pattern is matched at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Start,
    End,
}

impl Glob {
    /// Reads a pattern. A backslash takes the special meaning from `*`, `?`, `\`, `/` and `}`; before anything else it is an error.
    pub(crate) fn new(pattern: &str) -> Result<Glob, String> {
        let mut out = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            out.push(match c {
                '*' if out.last() == Some(&Token::Many) => continue,
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '/' | '}')) => Token::Char(c),
                    Some(c) => return Err(format!("\\{c} in a pattern: only * ? \\ / }} can be escaped")),
                    None => return Err("a pattern ends with a backslash".into()),
                },
                c => Token::Char(c),
            });
        }
        Ok(Glob(out))
    }

    /// Returns the lengths of the shortest and the longest match at the start.
    fn ends(&self, text: &[char]) -> Option<(usize, usize)> {
        // Which numbers of tokens can have matched what was read so far.
        let mut live = vec![false; self.0.len() + 1];
        live[0] = true;
        let mut found = None;
        for at in 0..=text.len() {
            for i in 0..self.0.len() {
                if live[i] && self.0[i] == Token::Many {
                    live[i + 1] = true;
                }
            }
            if live[self.0.len()] {
                found = Some((found.map_or(at, |(first, _)| first), at));
            }
            let Some(c) = text.get(at) else { break };
            let mut next = vec![false; live.len()];
            for (i, token) in self.0.iter().enumerate().filter(|(i, _)| live[*i]) {
                match token {
                    Token::Many => next[i] = true,
                    Token::One => next[i + 1] = true,
                    Token::Char(wanted) => next[i + 1] |= wanted == c,
                }
            }
            if !next.contains(&true) {
                break;
            }
            live = next;
        }
        found
    }

    /// Returns the text without its shortest or longest match at one side.
    pub(crate) fn trim<'a>(&self, text: &'a str, side: Side, longest: bool) -> &'a str {
        let mut chars: Vec<char> = text.chars().collect();
        let glob = match side {
            Side::Start => self.clone(),
            Side::End => {
                chars.reverse();
                Glob(self.0.iter().rev().copied().collect())
            }
        };
        let Some((short, long)) = glob.ends(&chars) else { return text };
        let count = if longest { long } else { short };
        let bytes: usize = chars[..count].iter().map(|c| c.len_utf8()).sum();
        match side {
            Side::Start => &text[bytes..],
            Side::End => &text[..text.len() - bytes],
        }
    }

    /// Replaces the first match or every one, the longest at each place. `None` when the result would be longer than `limit`.
    pub(crate) fn replace(&self, text: &str, with: &str, every: bool, limit: usize) -> Option<String> {
        let chars: Vec<char> = text.chars().collect();
        let mut out = String::new();
        let (mut at, mut after_match, mut done) = (0, false, false);
        while at <= chars.len() {
            let found = if done { None } else { self.ends(&chars[at..]).map(|(_, long)| long) };
            match found {
                // An empty match right behind another match is none.
                Some(0) if after_match => after_match = false,
                Some(length) => {
                    out.push_str(with);
                    done = !every;
                    at += length;
                    after_match = length > 0;
                    if length > 0 {
                        continue;
                    }
                }
                None => after_match = false,
            }
            out.extend(chars.get(at));
            at += 1;
            if out.len() > limit {
                return None;
            }
        }
        Some(out)
    }
}
