//! Flags of instructions: `--name` and `--name=value` before the arguments.

use super::source::{Fault, nearest};

/// A flag as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    /// The offset of the flag, in bytes.
    pub(crate) at: usize,
}

/// The flags of one instruction, taken out one by one.
#[derive(Debug)]
pub(crate) struct Flags {
    keyword: &'static str,
    all: Vec<Flag>,
}

/// Separates flags from what follows. Quotes and backslashes work as in a shell; `--` alone ends the flags.
pub(crate) fn split(text: &str) -> Result<(Vec<Flag>, &str), Fault> {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let at = text.len() - rest.len();
        let (word, tail) = word(rest).map_err(|fault| fault.at(at))?;
        rest = tail.trim_start();
        if word == "--" {
            break;
        }
        let word = &word[2..];
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v.to_string())));
        flags.push(Flag { name: name.to_string(), value, at });
    }
    Ok((flags, rest))
}

fn word(text: &str) -> Result<(String, &str), Fault> {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return Ok((out, &text[at..])),
            ('\\', _) => out.extend(chars.next().map(|(_, c)| c)),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            _ => out.push(c),
        }
    }
    match quote {
        None => Ok((out, "")),
        Some(_) => Err(Fault::new("a quote is not closed")),
    }
}

impl Flags {
    pub(crate) fn new(keyword: &'static str, all: Vec<Flag>) -> Flags {
        Flags { keyword, all }
    }

    /// Returns every value of a flag that may be repeated, with its place.
    pub(crate) fn many(&mut self, name: &str) -> Result<Vec<(String, usize)>, Fault> {
        let (found, rest) = std::mem::take(&mut self.all).into_iter().partition(|flag| flag.name == name);
        self.all = rest;
        let found: Vec<Flag> = found;
        let value = |flag: Flag| match flag.value {
            Some(value) if !value.is_empty() => Ok((value, flag.at)),
            _ => Err(Fault::new(format!("--{name} needs a value: --{name}=VALUE")).at(flag.at)),
        };
        found.into_iter().map(value).collect()
    }

    /// Returns the value of a flag that is there at most once.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<(String, usize)>, Fault> {
        let mut values = self.many(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Fault::new(format!("--{name} is there twice")).at(values[1].1)),
        }
    }

    /// Returns the text of a flag that is there at most once.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        Ok(self.value(name)?.map(|(text, _)| text))
    }

    /// Returns a switch: `--name`, `--name=true` or `--name=false`.
    pub(crate) fn switch(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        for flag in self.all.iter_mut().filter(|flag| flag.name == name && flag.value.is_none()) {
            flag.value = Some("true".into());
        }
        match self.value(name)? {
            None => Ok(None),
            Some((text, at)) => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(Fault::new(format!("--{name} takes true or false, not {text:?}")).at(at)),
            },
        }
    }

    /// Refuses what was not taken out.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Fault> {
        let Some(flag) = self.all.first() else { return Ok(()) };
        let fault = Fault::new(format!("--{} is not an option of {}", flag.name, self.keyword)).at(flag.at);
        Err(match nearest(&flag.name, known.iter().copied()) {
            Some(near) => fault.with_hint(format!("did you mean --{near}?")),
            None if known.is_empty() => fault.with_hint(format!("{} has no options", self.keyword)),
            None => fault.with_hint(format!("one of: --{}", known.join(", --"))),
        })
    }
}
