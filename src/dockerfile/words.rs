//! Words as Dockerfiles have them: quoting, escapes and variables.
//!
//! The rules are those of the Dockerfile reference ("Environment replacement") and BuildKit's `frontend/dockerfile/shell`.

use super::glob::{Glob, Side};
use super::source::Fault;

/// How deep `${a:-${b:-…}}` may be nested.
const MAX_DEPTH: usize = 16;
/// Longest result of an expansion, in bytes.
const MAX_RESULT: usize = 16 << 20;

/// Splits on white space outside quotes; quotes and escapes stay in the words for [`expand`] to take away.
pub(crate) fn split(text: &str, escape: char) -> Result<Vec<&str>, Fault> {
    let mut out = Vec::new();
    let (mut start, mut quote) = (None, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                out.extend(start.take().map(|start| &text[start..at]));
                continue;
            }
            // Nothing is special between single quotes, the escape character neither.
            (c, None | Some('"')) if c == escape => drop(chars.next()),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        start.get_or_insert(at);
    }
    if quote.is_some() {
        return Err(Fault::new("a quote is not closed").at(start.unwrap_or(0)));
    }
    out.extend(start.map(|start| &text[start..]));
    Ok(out)
}

/// Returns where a word that [`split`] gave, or another part of a text, starts in it.
pub(crate) fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize).filter(|at| *at <= text.len()).unwrap_or(0)
}

/// Takes quotes and escapes away, and leaves variables as they stand.
pub(crate) fn unquote(text: &str, escape: char) -> Result<String, Fault> {
    let mut lexer = Lexer::new(text, escape, &|_| None);
    lexer.keep_variables = true;
    lexer.run(None, false)
}

/// Takes quotes and escapes away and puts the values of variables in, as Docker does: `$name`, `${name}`,
/// `${name:-word}`, `${name-word}`, `${name:+word}`, `${name+word}`, `${name:?word}`, `${name?word}`,
/// `${name#pattern}`, `${name##pattern}`, `${name%pattern}`, `${name%%pattern}`, `${name/pattern/text}` and
/// `${name//pattern/text}`. A variable that is not set is empty. Nothing is expanded between single quotes.
pub(crate) fn expand(
    text: &str,
    escape: char,
    get: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Fault> {
    Lexer::new(text, escape, get).run(None, false)
}

/// Expands as [`expand`] does, and gives the names that were used without being set and without a default.
pub(crate) fn expand_and_list(
    text: &str,
    escape: char,
    get: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Vec<String>), Fault> {
    let mut lexer = Lexer::new(text, escape, get);
    Ok((lexer.run(None, false)?, lexer.unset))
}

/// Replaces variables in the body of a here-document. Quotes are characters as any other. The escape is a backslash, whatever a file
/// says, and is dropped before any character.
pub(crate) fn expand_body(text: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
    Lexer::of_body(text, get).run(None, false)
}

/// Gives the names that [`expand_body`] uses without their being set and without a default.
pub(crate) fn unset_in_body(text: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, Fault> {
    let mut lexer = Lexer::of_body(text, get);
    lexer.run(None, false)?;
    Ok(lexer.unset)
}

struct Lexer<'a> {
    chars: Vec<(usize, char)>,
    at: usize,
    escape: char,
    get: &'a dyn Fn(&str) -> Option<String>,
    unset: Vec<String>,
    depth: usize,
    keep_variables: bool,
    keep_quotes: bool,
}

impl<'a> Lexer<'a> {
    fn new(text: &str, escape: char, get: &'a dyn Fn(&str) -> Option<String>) -> Lexer<'a> {
        let chars = text.char_indices().collect();
        let unset = Vec::new();
        Lexer { chars, at: 0, escape, get, unset, depth: 0, keep_variables: false, keep_quotes: false }
    }

    fn of_body(text: &str, get: &'a dyn Fn(&str) -> Option<String>) -> Lexer<'a> {
        Lexer { keep_quotes: true, ..Lexer::new(text, '\\', get) }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += c.is_some() as usize;
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).map(|(_, c)| *c)
    }

    fn refuse(&self, message: impl Into<String>) -> Fault {
        let at = self.at.saturating_sub(1).min(self.chars.len().saturating_sub(1));
        Fault::new(message).at(self.chars.get(at).map_or(0, |(offset, _)| *offset))
    }

    /// Reads up to the end, or up to and without `stop`. In a pattern escapes stay, for the pattern to read.
    fn run(&mut self, stop: Option<char>, pattern: bool) -> Result<String, Fault> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                c if Some(c) == stop => return Ok(out),
                '\'' if !self.keep_quotes => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(c) => out.push(c),
                        None => return Err(self.refuse("a quote is not closed")),
                    }
                },
                '"' if !self.keep_quotes => self.double_quoted(&mut out)?,
                c if c == self.escape => {
                    if pattern {
                        out.push('\\');
                    }
                    out.push(self.next().unwrap_or(c));
                }
                '$' if !self.keep_variables => self.variable(&mut out)?,
                c => out.push(c),
            }
            if out.len() > MAX_RESULT {
                return Err(Fault::limit(format!("a text longer than {} MiB", MAX_RESULT >> 20)));
            }
        }
        match stop {
            None => Ok(out),
            Some(_) => Err(self.refuse("a ${…} is not closed")),
        }
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), Fault> {
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some(c) if c == self.escape => match self.next() {
                    Some(c) if c == '"' || c == '$' || c == self.escape => out.push(c),
                    Some(next) => out.extend([c, next]),
                    None => return Err(self.refuse("a quote is not closed")),
                },
                Some('$') if !self.keep_variables => self.variable(out)?,
                Some(c) => out.push(c),
                None => return Err(self.refuse("a quote is not closed")),
            }
        }
    }

    fn variable(&mut self, out: &mut String) -> Result<(), Fault> {
        let braced = self.peek() == Some('{');
        self.at += braced as usize;
        let name = self.name();
        if !braced {
            if name.is_empty() {
                // Nothing that names a variable follows.
                out.push('$');
            } else {
                let value = self.value(&name);
                out.push_str(&value);
            }
            return Ok(());
        }
        if name.is_empty() {
            return Err(self.refuse("${…} without the name of a variable"));
        }
        match self.next() {
            Some('}') => {
                let value = self.value(&name);
                out.push_str(&value);
            }
            Some(':') => {
                let operator = self.next();
                let value = (self.get)(&name).filter(|value| !value.is_empty());
                self.chosen(&name, operator, value, out)?;
            }
            Some('#') => self.trimmed(&name, '#', Side::Start, out)?,
            Some('%') => self.trimmed(&name, '%', Side::End, out)?,
            Some('/') => self.replaced(&name, out)?,
            operator => {
                let value = (self.get)(&name);
                self.chosen(&name, operator, value, out)?;
            }
        }
        Ok(())
    }

    /// Returns the value of a variable, empty when it is not set, which is noted.
    fn value(&mut self, name: &str) -> String {
        (self.get)(name).unwrap_or_else(|| {
            self.unset.push(name.to_string());
            String::new()
        })
    }

    /// Returns a word of `${…}`, up to and without `stop`.
    fn word(&mut self, stop: char, pattern: bool) -> Result<String, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::limit(format!("variables nested more than {MAX_DEPTH} deep")));
        }
        let word = self.run(Some(stop), pattern);
        self.depth -= 1;
        word
    }

    /// Expands `${name-word}`, `${name+word}`, `${name?word}`; `value` is `None` when the operator's word counts.
    fn chosen(
        &mut self,
        name: &str,
        operator: Option<char>,
        value: Option<String>,
        out: &mut String,
    ) -> Result<(), Fault> {
        let word = match operator {
            Some('-' | '+' | '?') => self.word('}', false)?,
            None => return Err(self.refuse("a ${…} is not closed")),
            Some(_) => {
                let known = "one of - + ? :- :+ :? # ## % %% / //";
                return Err(self.refuse(format!("${{{name}…}} with an unknown operator")).with_hint(known));
            }
        };
        match (operator, value) {
            (Some('-'), Some(value)) => out.push_str(&value),
            (Some('-'), None) => out.push_str(&word),
            (Some('+'), Some(_)) => out.push_str(&word),
            (Some('+'), None) => {}
            (_, Some(value)) => out.push_str(&value),
            (_, None) if word.is_empty() => return Err(self.refuse(format!("{name} is not set"))),
            (_, None) => return Err(self.refuse(format!("{name}: {word}"))),
        }
        Ok(())
    }

    /// Expands `${name#pattern}` and `${name%pattern}`; the sign twice for the longest match.
    fn trimmed(&mut self, name: &str, sign: char, side: Side, out: &mut String) -> Result<(), Fault> {
        let longest = self.peek() == Some(sign);
        self.at += longest as usize;
        let pattern = self.word('}', true)?;
        let glob = Glob::new(&pattern).map_err(|message| self.refuse(message))?;
        let value = self.value(name);
        out.push_str(glob.trim(&value, side, longest));
        Ok(())
    }

    /// Expands `${name/pattern/text}`: the first match, or with `//` every one.
    fn replaced(&mut self, name: &str, out: &mut String) -> Result<(), Fault> {
        let every = self.peek() == Some('/');
        self.at += every as usize;
        let pattern = self.word('/', true)?;
        let text = self.word('}', false)?;
        let glob = Glob::new(&pattern).map_err(|message| self.refuse(message))?;
        let value = self.value(name);
        let replaced = glob.replace(&value, &text, every, MAX_RESULT);
        out.push_str(&replaced.ok_or_else(|| Fault::limit("a replaced text is too long"))?);
        Ok(())
    }

    /// Returns the name of a variable; or that of a shell's own parameter, a number or one sign, which no image sets.
    fn name(&mut self) -> String {
        let rest = &self.chars[self.at..];
        let length = |fits: fn(char) -> bool| rest.iter().take_while(|(_, c)| fits(*c)).count();
        let length = match rest.first().map(|(_, c)| *c) {
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            Some('0'..='9') => length(|c| c.is_ascii_digit()),
            _ => length(|c| c == '_' || c.is_alphanumeric()),
        };
        let name = rest[..length].iter().map(|(_, c)| c).collect();
        self.at += length;
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_expand_as_in_dockerfiles() {
        let get = |name: &str| match name {
            "a" => Some("A".to_string()),
            "e" => Some(String::new()),
            _ => None,
        };
        let table = [
            ("plain", "plain"),
            ("$a", "A"),
            ("x${a}y", "xAy"),
            ("$ab", ""),
            ("'$a'", "$a"),
            ("\"$a b\"", "A b"),
            ("\\$a", "$a"),
            ("\"\\$a \\n \\\\\"", "$a \\n \\"),
            ("a\\ b", "a b"),
            ("${u:-d}", "d"),
            ("${e:-d}", "d"),
            ("${e-d}", ""),
            ("${a:-d}", "A"),
            ("${a:+d}", "d"),
            ("${e:+d}", ""),
            ("${e+d}", "d"),
            ("${u+d}", ""),
            ("${a:?m}", "A"),
            ("${u:-${a}x}", "Ax"),
            ("${u:-'}'}", "}"),
            ("$", "$"),
            ("a$1b", "ab"),
            ("$10b", "b"),
            ("$0", ""),
            ("$@$*$#$?$-$$$!b", "b"),
            ("$$A", "A"),
            ("\"$$A\"", "A"),
            ("$%b$.c", "$%b$.c"),
            ("${1}${10}${@}${#}${-}${$}b", "b"),
            ("${1:-d}", "d"),
            ("$é_1", ""),
            ("\"$\"", "$"),
            ("5$", "5$"),
            ("a\\", "a\\"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, '\\', &get).unwrap(), expected, "{text}");
        }
        let deep = "${u:-".repeat(20) + &"}".repeat(20);
        for text in [
            "'a",
            "\"a",
            "${a",
            "${}",
            "${1a}",
            "${%}",
            "${a*b}",
            "${u:?}",
            "${u:?gone}",
            "${u:-x",
            deep.as_str(),
        ] {
            assert!(expand(text, '\\', &get).is_err(), "{text}");
        }
    }

    #[test]
    fn words_split_outside_quotes() {
        assert_eq!(
            split(r#"a=b  c="d e" f='g h' i\ j"#, '\\').unwrap(),
            ["a=b", r#"c="d e""#, "f='g h'", r"i\ j"]
        );
        assert_eq!(split(r"x='\' y", '\\').unwrap(), [r"x='\'", "y"]);
        assert!(split("  ", '\\').unwrap().is_empty());
        assert!(split("a=\"b", '\\').is_err());
    }
}
