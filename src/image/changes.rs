//! `docker commit --change`: Dockerfile instructions applied to the execution parameters of an image.

use serde_json::{Map, Value, json};

use super::words;
use crate::error::{Error, Result};

const OP: &str = "apply change";
const KNOWN: &str =
    "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR";

/// One instruction, parsed; variables are put in when it is applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
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
pub enum CommandLine {
    /// `["a", "b"]`.
    Exec(Vec<String>),
    /// Anything else: for the image's shell.
    Shell(String),
}

/// What a `HEALTHCHECK` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthTest {
    /// `NONE`: nothing, whatever the base does.
    None,
    /// A command.
    Command(CommandLine),
}

/// Parses instructions. Each text may hold several, one a line; a backslash at the end continues a line, lines that
/// start with `#` are comments. Errors are of kind [`crate::ErrorKind::InvalidArgument`] and name the instruction.
pub fn parse_changes(texts: &[impl AsRef<str>]) -> Result<Vec<Change>> {
    Ok(parse_lines(texts)?.into_iter().map(|(_, change)| change).collect())
}

fn parse_lines(texts: &[impl AsRef<str>]) -> Result<Vec<(String, Change)>> {
    let mut out = Vec::new();
    for text in texts {
        for line in logical_lines(text.as_ref()) {
            let change = parse_one(&line).map_err(|error| error.with_path(&line))?;
            out.push((line, change));
        }
    }
    Ok(out)
}

/// Applies instructions to a `config` object, in order, as `docker commit --change` does.
///
/// `ENTRYPOINT` also drops the inherited `Cmd`, unless a `CMD` came before it in the same list. `CMD []` and
/// `ENTRYPOINT []` clear what is inherited (`docker commit` puts it back; the list says what the user wants).
/// `$variables` come from the environment of the image as it is before the instruction. Nothing is changed when an
/// instruction fails.
pub fn apply_changes(config: &mut Map<String, Value>, texts: &[impl AsRef<str>]) -> Result<()> {
    let lines = parse_lines(texts)?;
    let mut next = config.clone();
    let mut cmd_set = false;
    for (line, change) in lines {
        apply_one(&mut next, &change, &mut cmd_set).map_err(|error| error.with_path(&line))?;
    }
    *config = next;
    Ok(())
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

fn refuse(message: impl Into<String>) -> Error {
    Error::invalid(OP, message)
}

fn parse_one(line: &str) -> Result<Change> {
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (keyword, rest) = (keyword.to_ascii_uppercase(), rest.trim());
    let needed = || match rest.is_empty() {
        true => Err(refuse(format!("{keyword} needs an argument"))),
        false => Ok(()),
    };
    match keyword.as_str() {
        "CMD" => needed().and_then(|()| Ok(Change::Cmd(command_line(rest)?))),
        "ENTRYPOINT" => needed().and_then(|()| Ok(Change::Entrypoint(command_line(rest)?))),
        "ENV" => needed().and_then(|()| Ok(Change::Env(pairs("ENV", rest)?))),
        "LABEL" => needed().and_then(|()| Ok(Change::Label(pairs("LABEL", rest)?))),
        "EXPOSE" => needed().map(|()| Change::Expose(rest.split_whitespace().map(String::from).collect())),
        "HEALTHCHECK" => needed().and_then(|()| healthcheck(rest)),
        "ONBUILD" => needed().and_then(|()| onbuild(rest)),
        "STOPSIGNAL" => needed().map(|()| Change::Stopsignal(rest.into())),
        "USER" => needed().map(|()| Change::User(rest.into())),
        "VOLUME" => needed().and_then(|()| {
            Ok(Change::Volume(match json_list(rest)? {
                Some(list) if list.is_empty() => return Err(refuse("VOLUME needs a path")),
                Some(list) => list,
                None => rest.split_whitespace().map(String::from).collect(),
            }))
        }),
        "WORKDIR" => needed().map(|()| Change::Workdir(rest.into())),
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

fn onbuild(rest: &str) -> Result<Change> {
    let trigger = rest.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => {
            Err(refuse(format!("{trigger} cannot be an ONBUILD instruction")))
        }
        _ => Ok(Change::Onbuild(rest.into())),
    }
}

fn healthcheck(mut rest: &str) -> Result<Change> {
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
        ("NONE", "") if settings.is_empty() => Ok(Change::Healthcheck(HealthTest::None, settings)),
        ("NONE", _) => Err(refuse("HEALTHCHECK NONE takes nothing else")),
        ("CMD", "") => Err(refuse("HEALTHCHECK CMD needs a command")),
        ("CMD", command) => Ok(Change::Healthcheck(HealthTest::Command(command_line(command)?), settings)),
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

fn apply_one(config: &mut Map<String, Value>, change: &Change, cmd_set: &mut bool) -> Result<()> {
    let env: Vec<String> = strings(config, "Env");
    let get = |name: &str| {
        // The last one counts when a name is there twice.
        env.iter()
            .rev()
            .find_map(|item| item.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v.into()))
    };
    let expand = |text: &str| words::expand(text, &get);
    match change {
        Change::Cmd(line) => {
            let command = command_of(config, line);
            put_list(config, "Cmd", command);
            *cmd_set = true;
        }
        Change::Entrypoint(line) => {
            let command = command_of(config, line);
            let clears = command.is_empty();
            put_list(config, "Entrypoint", command);
            if !*cmd_set && !clears {
                config.shift_remove("Cmd");
            }
        }
        Change::Env(pairs) => {
            let mut env = env.clone();
            for (name, value) in pairs {
                let (name, value) = (expand(name)?, expand(value)?);
                if name.is_empty() {
                    return Err(refuse("ENV with an empty name"));
                }
                let item = format!("{name}={value}");
                match env.iter_mut().find(|old| old.split('=').next() == Some(&name)) {
                    Some(old) => *old = item,
                    None => env.push(item),
                }
            }
            config.insert("Env".into(), json!(env));
        }
        Change::Label(pairs) => {
            for (name, value) in pairs {
                let (name, value) = (expand(name)?, expand(value)?);
                if name.is_empty() {
                    return Err(refuse("LABEL with an empty name"));
                }
                object(config, "Labels").insert(name, value.into());
            }
        }
        Change::Expose(ports) => {
            for text in ports {
                // A variable may hold several.
                for port in expand(text)?.split_whitespace() {
                    for name in expose(port)? {
                        object(config, "ExposedPorts").insert(name, json!({}));
                    }
                }
            }
        }
        Change::Volume(paths) => {
            for path in paths {
                let path = expand(path)?;
                if path.trim().is_empty() {
                    return Err(refuse("VOLUME with an empty path"));
                }
                object(config, "Volumes").insert(path, json!({}));
            }
        }
        Change::Onbuild(instruction) => {
            let mut list = strings(config, "OnBuild");
            list.push(instruction.clone());
            config.insert("OnBuild".into(), json!(list));
        }
        Change::User(user) => {
            let user = expand(user)?;
            if user.is_empty() {
                return Err(refuse("USER with an empty name"));
            }
            config.insert("User".into(), user.into());
        }
        Change::Stopsignal(signal) => {
            let signal = expand(signal)?;
            let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-');
            if signal.is_empty() || !signal.chars().all(named) {
                return Err(refuse(format!("{signal:?} is not a signal such as SIGTERM or 15")));
            }
            config.insert("StopSignal".into(), signal.into());
        }
        Change::Workdir(path) => {
            let path = expand(path)?;
            if path.is_empty() {
                return Err(refuse("WORKDIR with an empty path"));
            }
            let before = config.get("WorkingDir").and_then(Value::as_str).unwrap_or("/");
            let joined = if path.starts_with('/') { path } else { format!("{before}/{path}") };
            let cleaned = clean(&joined);
            config.insert("WorkingDir".into(), cleaned.into());
        }
        Change::Healthcheck(test, settings) => {
            let test = match test {
                HealthTest::None => json!(["NONE"]),
                HealthTest::Command(CommandLine::Shell(text)) => json!(["CMD-SHELL", text]),
                HealthTest::Command(CommandLine::Exec(list)) => {
                    json!(std::iter::once("CMD").chain(list.iter().map(String::as_str)).collect::<Vec<_>>())
                }
            };
            let mut check = Map::from_iter([("Test".to_string(), test)]);
            check.extend(settings.clone());
            config.insert("Healthcheck".into(), check.into());
        }
    }
    Ok(())
}

fn command_of(config: &Map<String, Value>, line: &CommandLine) -> Vec<String> {
    match line {
        CommandLine::Exec(list) => list.clone(),
        CommandLine::Shell(text) => {
            let mut shell = strings(config, "Shell");
            if shell.is_empty() {
                shell = vec!["/bin/sh".into(), "-c".into()];
            }
            shell.push(text.clone());
            shell
        }
    }
}

fn put_list(config: &mut Map<String, Value>, key: &str, list: Vec<String>) {
    if list.is_empty() {
        config.shift_remove(key);
    } else {
        config.insert(key.into(), json!(list));
    }
}

fn strings(config: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = config.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|item| item.as_str().map(String::from)).collect()
}

/// The object under a key, made when it is missing or null.
fn object<'a>(config: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = config.entry(key).or_insert(Value::Null);
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut().expect("made one above")
}

/// `PORT[-END][/PROTOCOL]`, after an optional address and host port that do not matter for an image.
fn expose(text: &str) -> Result<Vec<String>> {
    let bad = || refuse(format!("{text:?} is not a port such as 80, 80/udp or 8000-8010/tcp"));
    let mut parts = text.split('/');
    let ports = parts.next().unwrap_or(text);
    let protocol = parts.next().filter(|protocol| !protocol.is_empty()).unwrap_or("tcp").to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(refuse(format!("{protocol:?} is not one of the protocols tcp, udp, sctp")));
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(refuse(format!("the port range {text:?} ends before it starts")));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// An absolute path without `.`, `..` and double slashes; by text alone, nothing is looked up.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn apply(base: Value, changes: &[&str]) -> Result<Value> {
        let Value::Object(mut config) = base else { panic!("an object") };
        apply_changes(&mut config, changes)?;
        Ok(Value::Object(config))
    }

    #[test]
    fn changes_do_what_docker_commit_does() {
        let table: &[(Value, &[&str], Value)] = &[
            (json!({}), &["CMD [\"/app\", \"-v\"]"], json!({ "Cmd": ["/app", "-v"] })),
            (json!({}), &["cmd echo $HOME"], json!({ "Cmd": ["/bin/sh", "-c", "echo $HOME"] })),
            (json!({}), &["CMD [ \"a\", b ]"], json!({ "Cmd": ["/bin/sh", "-c", "[ \"a\", b ]"] })),
            (
                json!({ "Shell": ["ash", "-x"] }),
                &["CMD a"],
                json!({ "Shell": ["ash", "-x"], "Cmd": ["ash", "-x", "a"] }),
            ),
            (json!({ "Cmd": ["x"] }), &["CMD []"], json!({})),
            (json!({ "Cmd": ["x"] }), &["ENTRYPOINT [\"e\"]"], json!({ "Entrypoint": ["e"] })),
            (
                json!({ "Cmd": ["x"] }),
                &["CMD [\"y\"]", "ENTRYPOINT [\"e\"]"],
                json!({ "Cmd": ["y"], "Entrypoint": ["e"] }),
            ),
            (
                json!({ "Cmd": ["x"] }),
                &["ENTRYPOINT [\"e\"]", "CMD [\"y\"]"],
                json!({ "Entrypoint": ["e"], "Cmd": ["y"] }),
            ),
            (json!({ "Entrypoint": ["e"], "Cmd": ["x"] }), &["ENTRYPOINT []"], json!({ "Cmd": ["x"] })),
            (json!({}), &["ENTRYPOINT run me"], json!({ "Entrypoint": ["/bin/sh", "-c", "run me"] })),
            (
                json!({}),
                &["ENV a=b c=\"d e\" f='$a' g=h\\ i"],
                json!({ "Env": ["a=b", "c=d e", "f=$a", "g=h i"] }),
            ),
            (json!({}), &["ENV a b  c"], json!({ "Env": ["a=b  c"] })),
            (json!({}), &["ENV a \"b c\""], json!({ "Env": ["a=b c"] })),
            (json!({}), &["ENV a="], json!({ "Env": ["a="] })),
            (
                json!({ "Env": ["PATH=/bin", "x=1"] }),
                &["ENV PATH=/sbin:$PATH"],
                json!({ "Env": ["PATH=/sbin:/bin", "x=1"] }),
            ),
            (
                json!({ "Env": ["a=1"] }),
                &["ENV a=2 b=$a", "ENV c=$a"],
                json!({ "Env": ["a=2", "b=1", "c=2"] }),
            ),
            (json!({ "Env": null }), &["ENV a=1"], json!({ "Env": ["a=1"] })),
            (
                json!({ "Labels": { "a": "1" } }),
                &["LABEL a=2 \"b c\"=\"d\\\"e\""],
                json!({ "Labels": { "a": "2", "b c": "d\"e" } }),
            ),
            (json!({}), &["LABEL note one two"], json!({ "Labels": { "note": "one two" } })),
            (
                json!({}),
                &["EXPOSE 80 53/udp 8000-8002/TCP"],
                json!({ "ExposedPorts": { "80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {} } }),
            ),
            (
                json!({ "Env": ["P=90 91"] }),
                &["EXPOSE $P"],
                json!({ "Env": ["P=90 91"], "ExposedPorts": { "90/tcp": {}, "91/tcp": {} } }),
            ),
            (
                json!({ "ExposedPorts": { "1/tcp": {} } }),
                &["EXPOSE 8080:80"],
                json!({ "ExposedPorts": { "1/tcp": {}, "80/tcp": {} } }),
            ),
            (
                json!({}),
                &["EXPOSE 0 80/ 81// 00082/udp"],
                json!({ "ExposedPorts": { "0/tcp": {}, "80/tcp": {}, "81/tcp": {}, "82/udp": {} } }),
            ),
            (json!({}), &["USER 1000:1000"], json!({ "User": "1000:1000" })),
            // Whether a number is a user is for whoever runs the image.
            (json!({}), &["USER 4294967296"], json!({ "User": "4294967296" })),
            (json!({}), &["USER -1"], json!({ "User": "-1" })),
            (json!({}), &["USER 007"], json!({ "User": "007" })),
            (json!({}), &["USER a:b:c"], json!({ "User": "a:b:c" })),
            (
                json!({}),
                &["VOLUME /a /b", "VOLUME [\"/c d\"]"],
                json!({ "Volumes": { "/a": {}, "/b": {}, "/c d": {} } }),
            ),
            (
                json!({ "WorkingDir": "/srv" }),
                &["WORKDIR app", "WORKDIR ../www/."],
                json!({ "WorkingDir": "/srv/www" }),
            ),
            (json!({ "WorkingDir": "/srv" }), &["WORKDIR /a//b/"], json!({ "WorkingDir": "/a/b" })),
            (json!({ "WorkingDir": "" }), &["WORKDIR ../../x"], json!({ "WorkingDir": "/x" })),
            (json!({}), &["WORKDIR \"/a b\""], json!({ "WorkingDir": "/a b" })),
            (
                json!({ "OnBuild": ["RUN a"] }),
                &["ONBUILD COPY . /x  y"],
                json!({ "OnBuild": ["RUN a", "COPY . /x  y"] }),
            ),
            (json!({}), &["STOPSIGNAL SIGRTMIN+3"], json!({ "StopSignal": "SIGRTMIN+3" })),
            (json!({}), &["HEALTHCHECK NONE"], json!({ "Healthcheck": { "Test": ["NONE"] } })),
            (
                json!({}),
                &["HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f x || exit 1"],
                json!({ "Healthcheck": { "Test": ["CMD-SHELL", "curl -f x || exit 1"], "Interval": 90_000_000_000i64, "Timeout": 500_000_000, "Retries": 3 } }),
            ),
            (
                json!({}),
                &["HEALTHCHECK CMD [\"a\",\"b\"]"],
                json!({ "Healthcheck": { "Test": ["CMD", "a", "b"] } }),
            ),
            (
                json!({}),
                &["# note\n\nENV a=1 \\\n  b=2\nUSER u"],
                json!({ "Env": ["a=1", "b=2"], "User": "u" }),
            ),
            (json!({ "Weird": 1 }), &[], json!({ "Weird": 1 })),
        ];
        for (base, changes, expected) in table {
            let got = apply(base.clone(), changes).unwrap_or_else(|error| panic!("{changes:?}: {error}"));
            assert_eq!(&got, expected, "{changes:?}");
        }
    }

    #[test]
    fn errors_name_the_instruction_and_change_nothing() {
        let wrong = [
            "RUN true",
            "FROM x",
            "COPY a b",
            "SHELL [\"a\"]",
            "CMD",
            "CMD [1]",
            "ENV",
            "ENV a",
            "ENV =b",
            "ENV a=b c",
            "ENV a=\"b",
            "ENV a=${b",
            "ENV a=${b:?not set}",
            "LABEL x",
            "EXPOSE",
            "EXPOSE /tcp",
            "EXPOSE 65536",
            "EXPOSE 80/icmp",
            "EXPOSE 90-80",
            "EXPOSE http",
            "EXPOSE +80",
            "VOLUME []",
            "VOLUME [\"\"]",
            "VOLUME [7]",
            "ONBUILD",
            "ONBUILD FROM x",
            "ONBUILD onbuild RUN x",
            "USER",
            "USER $nobody",
            "WORKDIR",
            "WORKDIR ''",
            "STOPSIGNAL a b",
            "HEALTHCHECK",
            "HEALTHCHECK NONE x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval CMD x",
            "HEALTHCHECK --interval=5 CMD x",
            "HEALTHCHECK --interval=1us CMD x",
            "HEALTHCHECK --retries=0 CMD x",
            "HEALTHCHECK --what=1 CMD x",
            "HEALTHCHECK maybe",
        ];
        for text in wrong {
            let mut config = Map::from_iter([("Env".to_string(), json!(["a=1"]))]);
            let before = config.clone();
            let error = apply_changes(&mut config, &["ENV z=1", text]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert_eq!(error.path(), Some(text.as_bytes()), "{text}");
            assert_eq!(config, before, "{text}");
        }
    }
}
