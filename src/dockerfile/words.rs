//! Words as Dockerfiles have them: quoting, escapes and variables.

use crate::error::{Error, Result};

/// Splits on white space outside quotes; quotes and backslashes stay in the words for [`expand`] to take away.
pub(crate) fn split(text: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                continue;
            }
            // Nothing is special between single quotes, the backslash neither.
            ('\\', None | Some('"')) => {
                word.push('\\');
                word.extend(chars.next());
                continue;
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
    }
    if quote.is_some() {
        return Err(refuse("a quote is not closed"));
    }
    if !word.is_empty() {
        out.push(word);
    }
    Ok(out)
}

/// Takes quotes and escapes away and puts the values of variables in, as Docker does: `$name`, `${name}`,
/// `${name:-word}`, `${name-word}`, `${name:+word}`, `${name+word}`, `${name:?word}`, `${name?word}`. A variable that
/// is not set is empty. Nothing is expanded between single quotes.
pub(crate) fn expand(text: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, get, depth: 0 };
    lexer.run(None)
}

fn refuse(message: impl Into<String>) -> Error {
    Error::invalid("apply change", message)
}

struct Lexer<'a> {
    chars: Vec<char>,
    at: usize,
    get: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += c.is_some() as usize;
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Up to the end, or up to and without `stop`.
    fn run(&mut self, stop: Option<char>) -> Result<String> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                c if Some(c) == stop => return Ok(out),
                '\'' => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(c) => out.push(c),
                        None => return Err(refuse("a quote is not closed")),
                    }
                },
                '"' => self.double_quoted(&mut out)?,
                '\\' => out.push(self.next().unwrap_or('\\')),
                '$' => self.variable(&mut out)?,
                c => out.push(c),
            }
        }
        match stop {
            None => Ok(out),
            Some(_) => Err(refuse("a ${…} is not closed")),
        }
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<()> {
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '$' | '\\')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => return Err(refuse("a quote is not closed")),
                },
                Some('$') => self.variable(out)?,
                Some(c) => out.push(c),
                None => return Err(refuse("a quote is not closed")),
            }
        }
    }

    fn variable(&mut self, out: &mut String) -> Result<()> {
        let braced = self.peek() == Some('{');
        self.at += braced as usize;
        let name = self.name();
        if !braced {
            if name.is_empty() {
                // Nothing that names a variable follows.
                out.push('$');
            } else {
                out.push_str(&(self.get)(&name).unwrap_or_default());
            }
            return Ok(());
        }
        if name.is_empty() {
            return Err(refuse("${…} without the name of a variable"));
        }
        let value = (self.get)(&name);
        match self.next() {
            Some('}') => out.push_str(&value.unwrap_or_default()),
            Some(':') => {
                let operator = self.next();
                self.modified(&name, operator, value.filter(|value| !value.is_empty()), out)?;
            }
            operator => self.modified(&name, operator, value, out)?,
        }
        Ok(())
    }

    /// `value` is `None` when the operator's word counts.
    fn modified(
        &mut self,
        name: &str,
        operator: Option<char>,
        value: Option<String>,
        out: &mut String,
    ) -> Result<()> {
        self.depth += 1;
        if self.depth > 16 {
            return Err(Error::limit("apply change", "variables nested more than 16 deep"));
        }
        let word = match operator {
            Some('-' | '+' | '?') => self.run(Some('}'))?,
            _ => return Err(refuse(format!("${{{name}…}} with an operator other than - + ?"))),
        };
        self.depth -= 1;
        match (operator, value) {
            (Some('-'), Some(value)) => out.push_str(&value),
            (Some('-'), None) => out.push_str(&word),
            (Some('+'), Some(_)) => out.push_str(&word),
            (Some('+'), None) => {}
            (_, Some(value)) => out.push_str(&value),
            (_, None) if word.is_empty() => return Err(refuse(format!("{name} is not set"))),
            (_, None) => return Err(refuse(format!("{name}: {word}"))),
        }
        Ok(())
    }

    /// The name of a variable; or that of a shell's own parameter, a number or one sign, which no image sets.
    fn name(&mut self) -> String {
        let rest = &self.chars[self.at..];
        let length = |fits: fn(char) -> bool| rest.iter().take_while(|c| fits(**c)).count();
        let length = match rest.first() {
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            Some('0'..='9') => length(|c| c.is_ascii_digit()),
            _ => length(|c| c == '_' || c.is_alphanumeric()),
        };
        let name = rest[..length].iter().collect();
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
            assert_eq!(expand(text, &get).unwrap(), expected, "{text}");
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
            assert!(expand(text, &get).is_err(), "{text}");
        }
    }

    #[test]
    fn words_split_outside_quotes() {
        assert_eq!(split(r#"a=b  c="d e" f='g h' i\ j"#).unwrap(), ["a=b", r#"c="d e""#, "f='g h'", r"i\ j"]);
        assert_eq!(split(r"x='\' y").unwrap(), [r"x='\'", "y"]);
        assert!(split("  ").unwrap().is_empty());
        assert!(split("a=\"b").is_err());
    }
}
