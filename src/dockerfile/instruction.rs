//! Dockerfile instructions: what a line says, before anything is done with it.

use serde_json::{Map, Value};

use super::words;
use crate::error::{Error, Result};

const OP: &str = "apply change";

const KNOWN: &str =
    "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR";

/// One instruction, parsed; variables are put in when it is applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Instruction {
    /// `CMD`.
    Cmd(CommandLine),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`: names and values, in order.
    Env(Vec<(String, String)>),
    /// `EXPOSE`: ports, ranges, protocols.
    Expose(Vec<String>),
    /// `HEALTHCHECK`: the object Docker keeps, all times in nanoseconds.
    Healthcheck(HealthTest, Map<String, Value>),
    /// `LABEL`: names and values, in order.
    Label(Vec<(String, String)>),
    /// `ONBUILD`: an instruction, as it stands.
    Onbuild(String),
    /// `STOPSIGNAL`.
    Stopsignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME`: paths.
    Volume(Vec<String>),
    /// `WORKDIR`.
    Workdir(String),
}

/// The two forms of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandLine {
    /// `["a", "b"]`.
    Exec(Vec<String>),
    /// Anything else: for the image's shell.
    Shell(String),
}

/// What a `HEALTHCHECK` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HealthTest {
    /// `NONE`: nothing, whatever the base does.
    None,
    /// A command.
    Command(CommandLine),
}

/// Parses instructions. Each text may hold several, one a line; a backslash at the end continues a line, lines that
/// start with `#` are comments. Each comes with the line it stood in. Errors are of kind
/// [`crate::ErrorKind::InvalidArgument`] and name the instruction.
pub(crate) fn parse_lines(texts: &[impl AsRef<str>]) -> Result<Vec<(String, Instruction)>> {
    let mut out = Vec::new();
    for text in texts {
        for line in logical_lines(text.as_ref()) {
            let change = parse_one(&line).map_err(|error| error.with_path(&line))?;
            out.push((line, change));
        }
    }
    Ok(out)
}

fn logical_lines(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let (body, goes_on) = match line.trim_end().strip_suffix('\\') {
            Some(body) => (body, true),
            None => (line, false),
        };
        let joined = open.take().unwrap_or_default() + body;
        if goes_on {
            open = Some(joined);
        } else {
            out.push(joined.trim().to_string());
        }
    }
    out.extend(open.map(|line| line.trim().to_string()).filter(|line| !line.is_empty()));
    out
}

pub(crate) fn refuse(message: impl Into<String>) -> Error {
    Error::invalid(OP, message)
}

fn parse_one(line: &str) -> Result<Instruction> {
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (keyword, rest) = (keyword.to_ascii_uppercase(), rest.trim());
    let needed = || match rest.is_empty() {
        true => Err(refuse(format!("{keyword} needs an argument"))),
        false => Ok(()),
    };
    match keyword.as_str() {
        "CMD" => needed().and_then(|()| Ok(Instruction::Cmd(command_line(rest)?))),
        "ENTRYPOINT" => needed().and_then(|()| Ok(Instruction::Entrypoint(command_line(rest)?))),
        "ENV" => needed().and_then(|()| Ok(Instruction::Env(pairs("ENV", rest)?))),
        "LABEL" => needed().and_then(|()| Ok(Instruction::Label(pairs("LABEL", rest)?))),
        "EXPOSE" => {
            needed().map(|()| Instruction::Expose(rest.split_whitespace().map(String::from).collect()))
        }
        "HEALTHCHECK" => needed().and_then(|()| healthcheck(rest)),
        "ONBUILD" => needed().and_then(|()| onbuild(rest)),
        "STOPSIGNAL" => needed().map(|()| Instruction::Stopsignal(rest.into())),
        "USER" => needed().map(|()| Instruction::User(rest.into())),
        "VOLUME" => needed().and_then(|()| {
            Ok(Instruction::Volume(match json_list(rest)? {
                Some(list) if list.is_empty() => return Err(refuse("VOLUME needs a path")),
                Some(list) => list,
                None => rest.split_whitespace().map(String::from).collect(),
            }))
        }),
        "WORKDIR" => needed().map(|()| Instruction::Workdir(rest.into())),
        _ => Err(refuse(format!("{keyword} cannot be used here")).with_hint(format!("one of: {KNOWN}"))),
    }
}

/// The JSON form, when it is one. A list of something else than strings is an error; what is not JSON is shell form.
fn json_list(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str::<Vec<Value>>(text) {
        Err(_) => Ok(None),
        Ok(list) => {
            let words: Option<Vec<String>> =
                list.iter().map(|word| word.as_str().map(String::from)).collect();
            words.map(Some).ok_or_else(|| refuse("the JSON form takes strings only"))
        }
    }
}

fn command_line(text: &str) -> Result<CommandLine> {
    Ok(match json_list(text)? {
        Some(list) => CommandLine::Exec(list),
        None => CommandLine::Shell(text.into()),
    })
}

/// `a=b c="d e"`, or the older `a b` where everything after the name is the value.
fn pairs(keyword: &str, text: &str) -> Result<Vec<(String, String)>> {
    let words = words::split(text)?;
    let first = words.first().ok_or_else(|| refuse(format!("{keyword} needs an argument")))?;
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| refuse(format!("{keyword} needs a name and a value: {keyword} name=value")))?;
        return Ok(vec![(name.into(), value.trim().into())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(refuse(format!("{keyword} with an empty name"))),
        Some((name, value)) => Ok((name.into(), value.into())),
        None => Err(refuse(format!("no = in {word:?}: expected {keyword} name=value"))
            .with_hint("quote values that hold spaces")),
    };
    words.iter().map(pair).collect()
}

fn onbuild(rest: &str) -> Result<Instruction> {
    let trigger = rest.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => {
            Err(refuse(format!("{trigger} cannot be an ONBUILD instruction")))
        }
        _ => Ok(Instruction::Onbuild(rest.into())),
    }
}

fn healthcheck(mut rest: &str) -> Result<Instruction> {
    let mut settings = Map::new();
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, tail) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = tail.trim_start();
        let (name, value) =
            flag.split_once('=').ok_or_else(|| refuse(format!("--{flag} needs a value: --{flag}=VALUE")))?;
        let (key, value) = match name {
            "interval" => ("Interval", duration(value)?),
            "timeout" => ("Timeout", duration(value)?),
            "start-period" => ("StartPeriod", duration(value)?),
            "start-interval" => ("StartInterval", duration(value)?),
            "retries" => {
                let retries = value.parse::<i32>().ok().filter(|n| *n >= 1);
                ("Retries", retries.ok_or_else(|| refuse("--retries takes a number from 1 up"))?.into())
            }
            _ => return Err(refuse(format!("--{name} is not an option of HEALTHCHECK"))),
        };
        settings.insert(key.into(), value.into());
    }
    let (kind, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match (kind.to_ascii_uppercase().as_str(), tail.trim()) {
        ("NONE", "") if settings.is_empty() => Ok(Instruction::Healthcheck(HealthTest::None, settings)),
        ("NONE", _) => Err(refuse("HEALTHCHECK NONE takes nothing else")),
        ("CMD", "") => Err(refuse("HEALTHCHECK CMD needs a command")),
        ("CMD", command) => {
            Ok(Instruction::Healthcheck(HealthTest::Command(command_line(command)?), settings))
        }
        _ => Err(refuse("expected HEALTHCHECK NONE or HEALTHCHECK [OPTIONS] CMD COMMAND")),
    }
}

/// Go's notation (`1m30s`, `500ms`) in nanoseconds; at least a millisecond, as Docker asks.
fn duration(text: &str) -> Result<i64> {
    let bad = || refuse(format!("{text:?} is not a duration such as 30s, 1m30s or 500ms"));
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
        _ => Err(refuse(format!("{text:?} is shorter than a millisecond or too long"))),
    }
}
