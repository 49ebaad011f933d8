//! Dockerfile instructions applied to the execution parameters of an image: `commit --change`, and the steps of a build.

use serde_json::{Map, Value, json};

use crate::dockerfile::{Change, CommandLine, Fault, HealthTest, nearest, parse_changes, words};
use crate::error::Result;

const OP: &str = "apply change";

/// Applies instructions to a `config` object, in order, as `docker commit --change` does.
///
/// `CMD []` and `ENTRYPOINT []` clear what is inherited (`docker commit` puts it back; the list is the user's wish), and any ENTRYPOINT
/// the inherited command.
/// Nothing is changed when an instruction fails.
pub(super) fn apply_changes(config: &mut Map<String, Value>, texts: &[impl AsRef<str>]) -> Result<()> {
    let lines = parse_changes(texts, OP)?;
    let mut next = Parameters::new(config.clone());
    for (line, change) in lines {
        let env = next.env();
        let get = |name: &str| env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        let applied = next.apply(&change, |text| words::expand(text, '\\', &get));
        applied.map_err(|fault| fault.argument(OP).with_path(&line))?;
    }
    *config = next.into_config();
    Ok(())
}

/// The `config` object of an image while instructions are applied to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    config: Map<String, Value>,
    /// A `CMD` was applied, and not inherited, so that a later `ENTRYPOINT` keeps it.
    cmd_set: bool,
}

impl Parameters {
    /// Starts from what is inherited: unknown members are kept as they are.
    pub fn new(config: Map<String, Value>) -> Self {
        Parameters { config, cmd_set: false }
    }

    /// Returns the object as it is now.
    pub fn into_config(self) -> Map<String, Value> {
        self.config
    }

    /// Returns a member of the object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key)
    }

    /// Sets a member of the object.
    pub fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.into(), value);
    }

    /// Removes a member of the object.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.config.shift_remove(key)
    }

    /// Returns the variables of the environment: names and values, the last of several with one name first.
    pub fn env(&self) -> Vec<(String, String)> {
        let items = strings(&self.config, "Env");
        let pair = |item: String| item.split_once('=').map(|(name, value)| (name.into(), value.into()));
        items.into_iter().rev().filter_map(pair).collect()
    }

    /// Applies one instruction. `expand` replaces the variables of a word by what they are before the instruction.
    ///
    /// `ENTRYPOINT` also drops the inherited `Cmd`, unless a `CMD` was applied before. After an error the object may hold a
    /// part of the instruction.
    pub fn apply(
        &mut self,
        change: &Change,
        expand: impl Fn(&str) -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        match change {
            Change::Cmd(line) => self.cmd(line),
            Change::Entrypoint(line) => self.entrypoint(line),
            Change::Env(pairs) => self.set_env(pairs, expand)?,
            Change::Label(pairs) => self.label(pairs, expand)?,
            Change::Expose(ports) => self.expose(ports, expand)?,
            Change::Volume(paths) => self.volume(paths, expand)?,
            Change::Onbuild(instruction) => self.onbuild(instruction),
            Change::User(user) => self.user(expand(user)?)?,
            Change::Stopsignal(signal) => self.stopsignal(expand(signal)?)?,
            Change::Workdir(path) => self.workdir(expand(path)?)?,
            Change::Healthcheck(test, settings) => self.healthcheck(test, settings),
        }
        Ok(())
    }

    fn cmd(&mut self, line: &CommandLine) {
        let command = self.command_of(line);
        self.put_list("Cmd", command);
        self.cmd_set = true;
    }

    fn entrypoint(&mut self, line: &CommandLine) {
        let command = self.command_of(line);
        self.put_list("Entrypoint", command);
        if !self.cmd_set {
            self.config.shift_remove("Cmd");
        }
    }

    fn set_env(
        &mut self,
        pairs: &[(String, String)],
        expand: impl Fn(&str) -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        let mut env = strings(&self.config, "Env");
        for (name, value) in pairs {
            let (name, value) = (expand(name)?, expand(value)?);
            if name.is_empty() {
                return Err(Fault::new("ENV with an empty name"));
            }
            let item = format!("{name}={value}");
            match env.iter_mut().find(|old| old.split('=').next() == Some(&name)) {
                Some(old) => *old = item,
                None => env.push(item),
            }
        }
        self.config.insert("Env".into(), json!(env));
        Ok(())
    }

    fn label(
        &mut self,
        pairs: &[(String, String)],
        expand: impl Fn(&str) -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        for (name, value) in pairs {
            let (name, value) = (expand(name)?, expand(value)?);
            if name.is_empty() {
                return Err(Fault::new("LABEL with an empty name"));
            }
            self.object("Labels").insert(name, value.into());
        }
        Ok(())
    }

    fn expose(
        &mut self,
        ports: &[String],
        expand: impl Fn(&str) -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        for text in ports {
            // A variable may hold several.
            for port in expand(text)?.split_whitespace() {
                for name in exposed(port)? {
                    self.object("ExposedPorts").insert(name, json!({}));
                }
            }
        }
        Ok(())
    }

    fn volume(
        &mut self,
        paths: &[String],
        expand: impl Fn(&str) -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        for path in paths {
            let path = expand(path)?;
            if path.trim().is_empty() {
                return Err(Fault::new("VOLUME with an empty path"));
            }
            self.object("Volumes").insert(path, json!({}));
        }
        Ok(())
    }

    fn onbuild(&mut self, instruction: &str) {
        let mut list = strings(&self.config, "OnBuild");
        list.push(instruction.to_string());
        self.config.insert("OnBuild".into(), json!(list));
    }

    fn user(&mut self, user: String) -> Result<(), Fault> {
        if user.is_empty() {
            return Err(Fault::new("USER with an empty name"));
        }
        self.config.insert("User".into(), user.into());
        Ok(())
    }

    fn stopsignal(&mut self, signal: String) -> Result<(), Fault> {
        if !is_signal(&signal) {
            let fault = Fault::new(format!("{signal:?} is not a signal"));
            return Err(match nearest(&signal_name(&signal), SIGNALS) {
                Some(near) => fault.with_hint(format!("did you mean SIG{near}?")),
                None => fault.with_hint("a name such as SIGTERM or SIGRTMIN+3, or a number such as 15"),
            });
        }
        self.config.insert("StopSignal".into(), signal.into());
        Ok(())
    }

    fn workdir(&mut self, path: String) -> Result<(), Fault> {
        if path.is_empty() {
            return Err(Fault::new("WORKDIR with an empty path"));
        }
        let before = self.config.get("WorkingDir").and_then(Value::as_str).unwrap_or("/");
        let joined = if path.starts_with('/') { path } else { format!("{before}/{path}") };
        self.config.insert("WorkingDir".into(), clean(&joined).into());
        Ok(())
    }

    fn healthcheck(&mut self, test: &HealthTest, settings: &Map<String, Value>) {
        let test = match test {
            HealthTest::None => json!(["NONE"]),
            HealthTest::Command(CommandLine::Shell(text)) => json!(["CMD-SHELL", text]),
            HealthTest::Command(CommandLine::Exec(list)) => {
                json!(std::iter::once("CMD").chain(list.iter().map(String::as_str)).collect::<Vec<_>>())
            }
        };
        let mut check = Map::from_iter([("Test".to_string(), test)]);
        check.extend(settings.clone());
        self.config.insert("Healthcheck".into(), check.into());
    }

    fn command_of(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(list) => list.clone(),
            CommandLine::Shell(text) => {
                let mut shell = strings(&self.config, "Shell");
                if shell.is_empty() {
                    shell = vec!["/bin/sh".into(), "-c".into()];
                }
                shell.push(text.clone());
                shell
            }
        }
    }

    /// Sets a list; an empty one removes the member.
    fn put_list(&mut self, key: &str, list: Vec<String>) {
        if list.is_empty() {
            self.config.shift_remove(key);
        } else {
            self.config.insert(key.into(), json!(list));
        }
    }

    /// Returns the object under a key, made when it is missing or null.
    fn object(&mut self, key: &str) -> &mut Map<String, Value> {
        let entry = self.config.entry(key).or_insert(Value::Null);
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        entry.as_object_mut().expect("made one above")
    }
}

/// Signals of Linux by name, without those of real time.
const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Returns the name of a signal as the list has it.
fn signal_name(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    upper.strip_prefix("SIG").unwrap_or(&upper).to_string()
}

/// Returns whether Docker takes a text as a signal: any number but 0, or a name in any case, with or without `SIG`, `RTMIN+1` to
/// `RTMIN+15` and `RTMAX-14` to `RTMAX-1` included.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let name = signal_name(text);
    let real_time = |begin: &str, most: u32| (1..=most).any(|number| name == format!("{begin}{number}"));
    SIGNALS.contains(&name.as_str())
        || matches!(name.as_str(), "RTMIN" | "RTMAX")
        || real_time("RTMIN+", 15)
        || real_time("RTMAX-", 14)
}

fn strings(config: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = config.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|item| item.as_str().map(String::from)).collect()
}

/// Parses `PORT[-END][/PROTOCOL]`, after an optional address and host port that do not matter for an image.
fn exposed(text: &str) -> Result<Vec<String>, Fault> {
    let bad = || Fault::new(format!("{text:?} is not a port such as 80, 80/udp or 8000-8010/tcp"));
    let mut parts = text.split('/');
    let ports = parts.next().unwrap_or(text);
    let protocol = parts.next().filter(|protocol| !protocol.is_empty()).unwrap_or("tcp").to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(Fault::new(format!("{protocol:?} is not one of the protocols tcp, udp, sctp")));
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(Fault::new(format!("the port range {text:?} ends before it starts")));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Returns an absolute path without `.`, `..` and double slashes; by text alone, nothing is looked up.
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
            (json!({ "Entrypoint": ["e"], "Cmd": ["x"] }), &["ENTRYPOINT []"], json!({})),
            (
                json!({ "Entrypoint": ["e"], "Cmd": ["x"] }),
                &["CMD [\"y\"]", "ENTRYPOINT []"],
                json!({ "Cmd": ["y"] }),
            ),
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
            // Whether a number is a user is checked when the image runs.
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
            (json!({}), &["STOPSIGNAL rtmax-14"], json!({ "StopSignal": "rtmax-14" })),
            (json!({}), &["STOPSIGNAL Term"], json!({ "StopSignal": "Term" })),
            (json!({}), &["STOPSIGNAL 9"], json!({ "StopSignal": "9" })),
            (
                json!({ "Env": ["S=quit"] }),
                &["STOPSIGNAL SIG$S"],
                json!({ "Env": ["S=quit"], "StopSignal": "SIGquit" }),
            ),
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
            "STOPSIGNAL SIGFOO",
            "STOPSIGNAL SIGSIGTERM",
            "STOPSIGNAL 0",
            "STOPSIGNAL RTMIN+16",
            "STOPSIGNAL RTMIN+03",
            "STOPSIGNAL RTMAX-15",
            "STOPSIGNAL RTMAX+1",
            "STOPSIGNAL $nothing",
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
