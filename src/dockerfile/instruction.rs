//! Instructions: from the text of a line to what it asks for. Variables are put in when it is carried out.

use serde_json::{Map, Value};

use super::duration::nanoseconds;
use super::flags::{self, Flags};
use super::lines::{Heredoc, heredoc};
use super::mount::{self, MountText};
use super::source::{Fault, nearest};
use super::words;
use crate::error::{Error, Result};

/// The instructions that change nothing but the configuration: those of `commit --change`.
const CHANGES: &str =
    "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR";

/// Every instruction of a Dockerfile.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Instruction {
    /// `FROM`.
    From(From),
    /// `ARG`: names, each with its default.
    Arg(Vec<(String, Option<String>)>),
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Copy),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// An instruction that changes nothing but the configuration.
    Change(Change),
}

/// An instruction that changes nothing but the configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
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

/// The command of a `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HealthTest {
    /// `NONE`: nothing, whatever the base does.
    None,
    /// A command.
    Command(CommandLine),
}

/// `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) platform: Option<String>,
    /// An image, a stage, or `scratch`.
    pub(crate) base: String,
    /// The keyword AS as it was written, and the stage's name.
    pub(crate) name: Option<(String, String)>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The flags as they stand.
    pub(crate) flags: String,
    pub(crate) mounts: Vec<MountText>,
    /// `default`, `none` or `host`.
    pub(crate) network: Option<String>,
    /// `sandbox` or `insecure`.
    pub(crate) security: Option<String>,
    pub(crate) command: CommandLine,
    pub(crate) heredocs: Vec<Heredoc>,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Copy {
    pub(crate) from: Option<String>,
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<String>,
    pub(crate) link: bool,
    pub(crate) parents: bool,
    pub(crate) exclude: Vec<String>,
    pub(crate) checksum: Option<String>,
    pub(crate) keep_git_dir: Option<bool>,
    pub(crate) unpack: Option<bool>,
    pub(crate) sources: Vec<CopySource>,
    pub(crate) destination: String,
}

/// A source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopySource {
    /// A path, a pattern, or for ADD an address.
    Path(String),
    /// A here-document.
    Inline(Heredoc),
}

/// Parses the changes of a commit. Each text may hold several, one a line; a backslash at the end continues a line, lines that
/// start with `#` are comments. Each comes with the line it stood in. Errors are of kind
/// [`crate::ErrorKind::InvalidArgument`] and name the instruction.
pub(crate) fn parse_changes(
    texts: &[impl AsRef<str>],
    operation: &'static str,
) -> Result<Vec<(String, Change)>> {
    let mut out = Vec::new();
    for text in texts {
        for line in logical_lines(text.as_ref()) {
            let change =
                parse_change(&line).map_err(|fault| Error::with_path(fault.argument(operation), &line))?;
            out.push((line, change));
        }
    }
    Ok(out)
}

/// Joins the lines of changes that belong together. The value of a variable or a label may have lines: in quotes, an end of a line is part
/// of it.
fn logical_lines(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (mut open, mut in_value) = (None::<String>, false);
    for line in text.split('\n') {
        if !in_value && (line.trim().is_empty() || line.trim().starts_with('#')) {
            continue;
        }
        let (body, goes_on) = match line.trim_end().strip_suffix('\\') {
            // Two of them are a backslash that is escaped.
            Some(body) if !body.ends_with('\\') => (body, true),
            _ => (line, false),
        };
        let joined = match open.take() {
            Some(before) if in_value => format!("{before}\n{body}"),
            Some(before) => before + body,
            None => body.to_string(),
        };
        in_value = !goes_on && has_open_value(&joined);
        match goes_on || in_value {
            true => open = Some(joined),
            false => out.push(joined.trim().to_string()),
        }
    }
    out.extend(open.map(|line| line.trim().to_string()).filter(|line| !line.is_empty()));
    out
}

/// Returns whether a line of ENV or LABEL ends within quotes.
fn has_open_value(line: &str) -> bool {
    let (keyword, rest) = keyword(line.trim_start());
    ["ENV", "LABEL"].iter().any(|known| keyword.eq_ignore_ascii_case(known))
        && words::split(rest, '\\').is_err()
}

fn parse_change(line: &str) -> Result<Change, Fault> {
    let (keyword, rest) = keyword(line);
    let keyword = keyword.to_ascii_uppercase();
    change(&keyword, rest, '\\')?.ok_or_else(|| {
        Fault::new(format!("{keyword} cannot be used here")).with_hint(format!("one of: {CHANGES}"))
    })
}

/// Returns the first word of a line and the rest.
pub(crate) fn keyword(line: &str) -> (&str, &str) {
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (keyword, rest.trim())
}

/// Parses one instruction of a file; `text` is the whole line, offsets of faults are offsets in it.
pub(crate) fn parse(text: &str, heredocs: &[Heredoc], escape: char) -> Result<Instruction, Fault> {
    let (word, rest) = keyword(text);
    let upper = word.to_ascii_uppercase();
    let Some(keyword) = KEYWORDS.iter().copied().find(|known| *known == upper) else {
        let fault = Fault::new(format!("unknown instruction: {word}")).at(0);
        return Err(match nearest(word, KEYWORDS) {
            Some(near) => fault.with_hint(format!("did you mean {near}?")),
            None => fault,
        });
    };
    let start = if rest.is_empty() { text.trim_end().len() } else { words::offset(text, rest) };
    parse_known(keyword, rest, heredocs, escape).map_err(|fault| fault.moved(start))
}

fn parse_known(
    keyword: &'static str,
    rest: &str,
    heredocs: &[Heredoc],
    escape: char,
) -> Result<Instruction, Fault> {
    if rest.is_empty() {
        return Err(Fault::new(format!("{keyword} needs an argument")));
    }
    let (given, body) = match keyword {
        // These keep their text as it is: flags belong to the instruction inside.
        "ONBUILD" | "HEALTHCHECK" => (Vec::new(), rest),
        _ => flags::split(rest)?,
    };
    let mut flags = Flags::new(keyword, given);
    let inner = |fault: Fault| fault.moved(words::offset(rest, body));
    let instruction = match keyword {
        "FROM" => {
            let platform = flags.text("platform")?;
            flags.finish(&["platform"])?;
            Instruction::From(from(platform, body).map_err(inner)?)
        }
        "RUN" => {
            let at = words::offset(rest, body);
            let run = run(&mut flags, body, heredocs).map_err(|fault| fault.at(at))?;
            flags.finish(&["mount", "network", "security"])?;
            Instruction::Run(Run { flags: rest[..at].trim_end().into(), ..run })
        }
        "COPY" | "ADD" => {
            let mut copy = copy_flags(keyword, &mut flags)?;
            flags.finish(match keyword {
                "COPY" => &["from", "chown", "chmod", "link", "exclude", "parents"],
                _ => &["keep-git-dir", "checksum", "chmod", "chown", "link", "unpack", "exclude"],
            })?;
            operands(keyword, &mut copy, body, heredocs).map_err(inner)?;
            if keyword == "COPY" { Instruction::Copy(copy) } else { Instruction::Add(copy) }
        }
        "ARG" => {
            flags.finish(&[])?;
            Instruction::Arg(args(body, escape).map_err(inner)?)
        }
        "SHELL" => {
            flags.finish(&[])?;
            match json_list(body)? {
                Some(list) if !list.is_empty() => Instruction::Shell(list),
                _ => {
                    return Err(Fault::new("SHELL takes a list in JSON form")
                        .with_hint("as in SHELL [\"/bin/bash\", \"-c\"]"));
                }
            }
        }
        "MAINTAINER" => {
            flags.finish(&[])?;
            Instruction::Maintainer(body.into())
        }
        "ONBUILD" => {
            let change = onbuild(rest)?;
            // What is wrong with the instruction inside is wrong now, not only in the build that meets it.
            parse(rest, heredocs, escape)?;
            match change {
                Change::Onbuild(text) => {
                    let bodies = heredocs.iter().map(|h| format!("\n{}{}", h.body, h.name));
                    Instruction::Change(Change::Onbuild(text + &bodies.collect::<String>()))
                }
                other => Instruction::Change(other),
            }
        }
        _ => {
            flags.finish(&[])?;
            let change = change(keyword, body, escape).map_err(inner)?;
            Instruction::Change(change.ok_or_else(|| Fault::new("no such instruction"))?)
        }
    };
    Ok(instruction)
}

/// Parses an instruction that changes nothing but the configuration; `None` for all others.
fn change(keyword: &str, rest: &str, escape: char) -> Result<Option<Change>, Fault> {
    let change: fn(&str, char) -> Result<Change, Fault> = match keyword {
        "CMD" => |rest, _| Ok(Change::Cmd(command_line(rest)?)),
        "ENTRYPOINT" => |rest, _| Ok(Change::Entrypoint(command_line(rest)?)),
        "ENV" => |rest, escape| Ok(Change::Env(pairs("ENV", rest, escape)?)),
        "LABEL" => |rest, escape| Ok(Change::Label(pairs("LABEL", rest, escape)?)),
        "EXPOSE" => |rest, _| Ok(Change::Expose(rest.split_whitespace().map(String::from).collect())),
        "HEALTHCHECK" => |rest, _| healthcheck(rest),
        "ONBUILD" => |rest, _| onbuild(rest),
        "STOPSIGNAL" => |rest, _| Ok(Change::Stopsignal(rest.into())),
        "USER" => |rest, _| Ok(Change::User(rest.into())),
        "VOLUME" => |rest, _| {
            Ok(Change::Volume(match json_list(rest)? {
                Some(list) if list.is_empty() => return Err(Fault::new("VOLUME needs a path")),
                Some(list) => list,
                None => rest.split_whitespace().map(String::from).collect(),
            }))
        },
        "WORKDIR" => |rest, _| Ok(Change::Workdir(rest.into())),
        _ => return Ok(None),
    };
    if rest.is_empty() {
        return Err(Fault::new(format!("{keyword} needs an argument")));
    }
    change(rest, escape).map(Some)
}

/// Returns the JSON form, when it is one. A list of something else than strings is an error; what is not JSON is shell form.
fn json_list(text: &str) -> Result<Option<Vec<String>>, Fault> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str::<Vec<Value>>(text) {
        Err(_) => Ok(None),
        Ok(list) => {
            let words: Option<Vec<String>> =
                list.iter().map(|word| word.as_str().map(String::from)).collect();
            words.map(Some).ok_or_else(|| Fault::new("the JSON form takes strings only"))
        }
    }
}

fn command_line(text: &str) -> Result<CommandLine, Fault> {
    Ok(match json_list(text)? {
        Some(list) => CommandLine::Exec(list),
        None => CommandLine::Shell(text.into()),
    })
}

/// Reads `a=b c="d e"`, or the older `a b` where everything after the name is the value.
fn pairs(keyword: &str, text: &str, escape: char) -> Result<Vec<(String, String)>, Fault> {
    let words = words::split(text, escape)?;
    let first = words.first().ok_or_else(|| Fault::new(format!("{keyword} needs an argument")))?;
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Fault::new(format!("{keyword} needs a name and a value: {keyword} name=value")))?;
        return Ok(vec![(name.into(), value.trim().into())]);
    }
    let pair = |word: &&str| match word.split_once('=') {
        Some(("", _)) => {
            Err(Fault::new(format!("{keyword} with an empty name")).at(words::offset(text, word)))
        }
        Some((name, value)) => Ok((name.into(), value.into())),
        None => Err(Fault::new(format!("no = in {word:?}: expected {keyword} name=value"))
            .at(words::offset(text, word))
            .with_hint("quote values that hold spaces")),
    };
    words.iter().map(pair).collect()
}

/// Returns whether ENV or LABEL is written in the older form, `ENV name value`.
pub(crate) fn is_legacy_pair(rest: &str, escape: char) -> bool {
    words::split(rest, escape).is_ok_and(|words| words.first().is_some_and(|word| !word.contains('=')))
}

fn onbuild(rest: &str) -> Result<Change, Fault> {
    let trigger = rest.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => {
            Err(Fault::new(format!("{trigger} cannot be an ONBUILD instruction")))
        }
        _ => Ok(Change::Onbuild(rest.into())),
    }
}

fn healthcheck(rest: &str) -> Result<Change, Fault> {
    let (given, body) = flags::split(rest)?;
    let mut flags = Flags::new("HEALTHCHECK", given);
    let mut settings = Map::new();
    for (flag, key) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ] {
        if let Some((text, at)) = flags.value(flag)? {
            settings.insert(key.into(), nanoseconds(&text).map_err(|fault| fault.at(at))?.into());
        }
    }
    if let Some((text, at)) = flags.value("retries")? {
        let retries = text.parse::<i32>().ok().filter(|n| *n >= 1);
        let retries = retries.ok_or_else(|| Fault::new("--retries takes a number from 1 up").at(at))?;
        settings.insert("Retries".into(), retries.into());
    }
    flags.finish(&["interval", "timeout", "start-period", "start-interval", "retries"])?;
    let (kind, tail) = keyword(body);
    match (kind.to_ascii_uppercase().as_str(), tail) {
        ("NONE", "") if settings.is_empty() => Ok(Change::Healthcheck(HealthTest::None, settings)),
        ("NONE", _) => Err(Fault::new("HEALTHCHECK NONE takes nothing else")),
        ("CMD", "") => Err(Fault::new("HEALTHCHECK CMD needs a command")),
        ("CMD", command) => Ok(Change::Healthcheck(HealthTest::Command(command_line(command)?), settings)),
        _ => Err(Fault::new("expected HEALTHCHECK NONE or HEALTHCHECK [OPTIONS] CMD COMMAND")),
    }
}

fn from(platform: Option<String>, body: &str) -> Result<From, Fault> {
    let words: Vec<&str> = body.split_whitespace().collect();
    let name = match words[..] {
        [_] => None,
        [_, as_word, name] if as_word.eq_ignore_ascii_case("as") => {
            let lower = name.to_ascii_lowercase();
            let fits = lower.starts_with(|c: char| c.is_ascii_lowercase())
                && lower.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if !fits {
                return Err(Fault::new(format!("{name:?} is not a name for a stage"))
                    .at(words::offset(body, name))
                    .with_hint("a letter, then letters, digits, - _ ."));
            }
            Some((as_word.to_string(), name.to_string()))
        }
        _ => return Err(Fault::new("expected FROM IMAGE or FROM IMAGE AS NAME")),
    };
    Ok(From { platform, base: words[0].to_string(), name })
}

fn args(body: &str, escape: char) -> Result<Vec<(String, Option<String>)>, Fault> {
    let one = |word: &&str| {
        let (name, value) = word.split_once('=').map_or((*word, None), |(n, v)| (n, Some(v.to_string())));
        match name.is_empty() {
            true => Err(Fault::new("ARG with an empty name").at(words::offset(body, word))),
            false => Ok((name.to_string(), value)),
        }
    };
    words::split(body, escape)?.iter().map(one).collect()
}

fn run(flags: &mut Flags, body: &str, heredocs: &[Heredoc]) -> Result<Run, Fault> {
    let mut mounts = Vec::new();
    for (text, at) in flags.many("mount")? {
        mounts.push(mount::parse_text(&text).map_err(|fault| fault.within(at))?);
    }
    let mut choice = |name: &str, known: &[&str]| match flags.value(name)? {
        None => Ok(None),
        Some((text, _)) if known.contains(&text.as_str()) || text.contains('$') => Ok(Some(text)),
        Some((text, at)) => {
            Err(Fault::new(format!("--{name} takes one of {}, not {text:?}", known.join(", "))).at(at))
        }
    };
    let network = choice("network", &["default", "none", "host"])?;
    let security = choice("security", &["sandbox", "insecure"])?;
    if let Some((_, at)) = flags.many("device")?.first() {
        return Err(Fault::new("--device is not supported: there is no way to hand out devices").at(*at));
    }
    let command = command_line(body)?;
    match &command {
        CommandLine::Exec(list) if list.is_empty() => return Err(Fault::new("RUN needs a command")),
        CommandLine::Shell(text) if text.is_empty() => return Err(Fault::new("RUN needs a command")),
        _ => {}
    }
    let flags = String::new();
    Ok(Run { flags, mounts, network, security, command, heredocs: heredocs.to_vec() })
}

fn copy_flags(keyword: &str, flags: &mut Flags) -> Result<Copy, Fault> {
    let mut copy = Copy {
        chown: flags.text("chown")?,
        chmod: flags.text("chmod")?,
        link: flags.switch("link")?.unwrap_or(false),
        exclude: flags.many("exclude")?.into_iter().map(|(text, _)| text).collect(),
        ..Copy::default()
    };
    if keyword == "ADD" {
        copy.checksum = flags.text("checksum")?;
        copy.keep_git_dir = flags.switch("keep-git-dir")?;
        copy.unpack = flags.switch("unpack")?;
        return Ok(copy);
    }
    copy.parents = flags.switch("parents")?.unwrap_or(false);
    if let Some((from, at)) = flags.value("from")? {
        if from.contains('$') {
            return Err(Fault::new("--from does not replace variables")
                .at(at)
                .with_hint("name the image in a stage of its own: FROM …$VERSION AS name"));
        }
        copy.from = Some(from);
    }
    Ok(copy)
}

fn operands(keyword: &str, copy: &mut Copy, body: &str, heredocs: &[Heredoc]) -> Result<(), Fault> {
    let list = json_list(body)?;
    let is_json = list.is_some();
    let mut words = list.unwrap_or_else(|| body.split_whitespace().map(String::from).collect());
    let destination = words.pop().unwrap_or_default();
    if words.is_empty() {
        return Err(Fault::new(format!("{keyword} needs a source and a destination"))
            .with_hint(format!("as in {keyword} . /app")));
    }
    if !is_json && heredoc(&destination).is_some() {
        return Err(Fault::new(format!("the destination of {keyword} cannot be a here-document")));
    }
    let mut heredocs = heredocs.iter();
    for word in words {
        let inline = if is_json || heredoc(&word).is_none() { None } else { heredocs.next() };
        copy.sources.push(match inline {
            Some(heredoc) => CopySource::Inline(heredoc.clone()),
            None => CopySource::Path(word),
        });
    }
    copy.destination = destination;
    Ok(())
}
