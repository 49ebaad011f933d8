//! Build checks: the 22 rules of BuildKit's linter (`docs/docs/build/checks`), as warnings.

use std::collections::{BTreeMap, BTreeSet};

use super::ignore::Ignore;
use super::instruction::{Change, CommandLine, Copy, CopySource, Instruction, is_legacy_pair, keyword};
use super::lines::Line;
use super::scope::{BUILD_ARGS, PLATFORM_ARGS, PROXY_ARGS};
use super::source::nearest;
use super::stages::{Dockerfile, Stage, Statement};
use super::words;
use crate::error::Location;

/// All rules, by name.
pub(crate) const RULES: [&str; 22] = [
    "StageNameCasing",
    "FromAsCasing",
    "NoEmptyContinuation",
    "ConsistentInstructionCasing",
    "DuplicateStageName",
    "ReservedStageName",
    "JSONArgsRecommended",
    "MaintainerDeprecated",
    "UndefinedArgInFrom",
    "WorkdirRelativePath",
    "UndefinedVar",
    "MultipleInstructionsDisallowed",
    "LegacyKeyValueFormat",
    "InvalidBaseImagePlatform",
    "RedundantTargetPlatform",
    "SecretsUsedInArgOrEnv",
    "InvalidDefaultArgInFrom",
    "FromPlatformFlagConstDisallowed",
    "CopyIgnoredFile",
    "InvalidDefinitionDescription",
    "ExposeProtoCasing",
    "ExposeInvalidFormat",
];

/// Most warnings that are kept of one file.
const MAX_WARNINGS: usize = 1_000;

/// A warning about something in a Dockerfile that works and should be different.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The name of the rule.
    pub rule: &'static str,
    /// The message: what is wrong.
    pub message: String,
    /// The place in the Dockerfile.
    pub location: Location,
}

/// Which rules hold: the directive `check=skip=A,B;error=true;experimental=C`, or the same text as an option.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    skip: BTreeSet<String>,
    experimental: BTreeSet<String>,
    /// Whether a warning fails the build.
    pub error: bool,
}

impl Checks {
    /// Reads the text of a directive. Names are compared without case; a name that is not known counts for nothing, as a
    /// newer version may have it.
    pub fn parse(text: &str) -> Result<Checks, String> {
        let mut out = Checks::default();
        for part in text.split(';').filter(|_| !text.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("no = in {part:?}"))?;
            let names = || value.split(',').map(|name| name.trim().to_ascii_lowercase());
            match key.trim().to_ascii_lowercase().as_str() {
                "skip" => out.skip.extend(names()),
                "experimental" => out.experimental.extend(names()),
                "error" => match value.trim().to_ascii_lowercase().as_str() {
                    "true" => out.error = true,
                    "false" => out.error = false,
                    _ => return Err(format!("error takes true or false, not {value:?}")),
                },
                _ => return Err(format!("{key:?} is none of skip, error, experimental")),
            }
        }
        Ok(out)
    }

    /// Returns whether a rule is looked at.
    pub fn holds(&self, rule: &str) -> bool {
        let named = |set: &BTreeSet<String>| set.contains("all") || set.contains(&rule.to_ascii_lowercase());
        !named(&self.skip) && (rule != "InvalidDefinitionDescription" || named(&self.experimental))
    }
}

/// Facts that the rules need beside the text.
pub struct Facts<'a> {
    /// The value of a build argument that was given.
    pub build_arg: &'a dyn Fn(&str) -> Option<String>,
    /// The ignore file of the context.
    pub ignore: Option<&'a Ignore>,
    /// The start that a base image gives a stage; `None` where the image is not at hand, which leaves out the rules that need it.
    pub base: &'a dyn Fn(&str) -> Option<Base>,
}

/// The start that a base gives a stage.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// The names in its environment.
    pub env: Vec<String>,
    /// Whether it names a shell.
    pub has_shell: bool,
}

/// The facts that go from a stage to those built on it.
#[derive(Debug, Clone, Default)]
struct State {
    /// The names that are set, arguments too; `None` where the base is not at hand.
    set: Option<BTreeSet<String>>,
    /// Whether a shell was named: a command in shell form is meant so then.
    has_shell: bool,
    /// Whether there was a WORKDIR.
    has_workdir: bool,
}

impl Dockerfile {
    /// Warnings of all rules that hold, in the order of their lines. InvalidBaseImagePlatform is found by `build`, which has the
    /// images.
    pub fn check(&self, checks: &Checks, facts: &Facts<'_>) -> Vec<Warning> {
        let mut found = Found { checks, out: Vec::new() };
        self.casing(&mut found);
        self.definitions(&mut found);
        self.bases(facts, &mut found);
        let mut states: Vec<State> = Vec::new();
        for (at, stage) in self.stages.iter().enumerate() {
            let base = self.expanded_base(stage, facts, true);
            let parent = base.as_deref().and_then(|base| self.base_stage(base, at));
            let mut state = match (parent, base.as_deref()) {
                (Some(parent), _) => states[parent].clone(),
                (None, Some("scratch")) => State::of(Base { env: vec!["PATH".into()], has_shell: false }),
                (None, Some(base)) => (facts.base)(base).map(State::of).unwrap_or_default(),
                (None, None) => State::default(),
            };
            stage_rules(stage, facts, &mut state, &mut found);
            self.undefined(stage, &mut state, &mut found);
            states.push(state);
        }
        found.out.sort_by_key(|warning| (warning.location.line, warning.location.column));
        found.out
    }

    fn all_lines(&self) -> impl Iterator<Item = &Line> {
        let globals = self.globals.iter().map(|statement| &statement.line);
        globals.chain(self.stages.iter().flat_map(|stage| {
            std::iter::once(&stage.line).chain(stage.statements.iter().map(|statement| &statement.line))
        }))
    }

    fn casing(&self, found: &mut Found<'_>) {
        let (mut upper, mut lower) = (0, 0);
        let is_upper = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
        let is_lower = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
        for line in self.all_lines() {
            let (word, _) = keyword(&line.text);
            upper += is_upper(word) as usize;
            lower += is_lower(word) as usize;
            if let Some(empty) = line.empty_continuation {
                found.at(
                    "NoEmptyContinuation",
                    "an empty line within an instruction",
                    line.source.location(empty, 0),
                );
            }
        }
        let wanted = if lower > upper { "lowercase" } else { "uppercase" };
        for line in self.all_lines() {
            let (word, _) = keyword(&line.text);
            if !(if lower > upper { is_lower(word) } else { is_upper(word) }) {
                let message = format!("{word} should be written in {wanted}, as most instructions here are");
                found.add("ConsistentInstructionCasing", message, line, 0);
            }
        }
    }

    fn definitions(&self, found: &mut Found<'_>) {
        let mut seen = BTreeSet::new();
        for stage in &self.stages {
            let Some((as_word, name)) = &stage.from.name else { continue };
            let lower = name.to_ascii_lowercase();
            if lower != *name {
                found.add(
                    "StageNameCasing",
                    format!("the stage name {name} should be lowercase"),
                    &stage.line,
                    0,
                );
            }
            let (from_word, _) = keyword(&stage.line.text);
            let case = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
            if case(from_word) != case(as_word) {
                let message = format!("{as_word} and {from_word} are not in the same case");
                found.add("FromAsCasing", message, &stage.line, 0);
            }
            if ["scratch", "context"].contains(&lower.as_str()) {
                found.add("ReservedStageName", format!("the stage name {name} is reserved"), &stage.line, 0);
            }
            if !seen.insert(lower) {
                found.add("DuplicateStageName", format!("two stages are named {name}"), &stage.line, 0);
            }
        }
        let statements = self.stages.iter().flat_map(|stage| &stage.statements);
        let args =
            self.globals.iter().chain(statements).filter_map(|statement| match &statement.instruction {
                Instruction::Arg(args) => {
                    Some((args.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), &statement.line))
                }
                _ => None,
            });
        let stages = self.stages.iter().filter_map(|stage| {
            let name = stage.name.as_ref()?;
            Some((vec![name.to_ascii_lowercase(), name.clone()], &stage.line))
        });
        for (names, line) in args.chain(stages) {
            let Some(comment) = line.comments.last() else { continue };
            if !comment.split_whitespace().next().is_some_and(|word| names.iter().any(|name| name == word)) {
                let message = format!("a comment above a definition should be `# {} DESCRIPTION`", names[0]);
                found.add("InvalidDefinitionDescription", message, line, 0);
            }
        }
    }

    /// Returns global arguments with their values; with `given`, build arguments replace defaults.
    fn global_values(&self, facts: &Facts<'_>, given: bool) -> BTreeMap<String, Option<String>> {
        let mut out: BTreeMap<String, Option<String>> = BTreeMap::new();
        for name in PLATFORM_ARGS {
            out.insert(name.into(), Some("linux/amd64".into()));
        }
        for statement in &self.globals {
            let Instruction::Arg(args) = &statement.instruction else { continue };
            for (name, default) in args {
                let get = |name: &str| out.get(name).cloned().flatten();
                let default =
                    default.as_ref().and_then(|text| words::expand(text, self.directives.escape, &get).ok());
                let value = if given { (facts.build_arg)(name).or(default) } else { default };
                out.insert(name.clone(), value);
            }
        }
        out
    }

    fn expanded_base(&self, stage: &Stage, facts: &Facts<'_>, given: bool) -> Option<String> {
        let values = self.global_values(facts, given);
        let get = |name: &str| values.get(name).cloned().flatten();
        words::expand(&stage.from.base, self.directives.escape, &get).ok()
    }

    fn bases(&self, facts: &Facts<'_>, found: &mut Found<'_>) {
        let known = self.global_values(facts, true);
        for (at, stage) in self.stages.iter().enumerate() {
            let texts = [Some(&stage.from.base), stage.from.platform.as_ref()];
            for text in texts.into_iter().flatten() {
                let get = |name: &str| known.get(name).cloned().flatten();
                let unset = words::expand_and_list(text, self.directives.escape, &get);
                for name in unset.map(|(_, unset)| unset).unwrap_or_default() {
                    if !known.contains_key(&name) {
                        let message = format!("{name} in FROM is not an ARG before the first FROM");
                        let near = nearest(&name, known.keys().map(String::as_str));
                        found.add("UndefinedArgInFrom", suggest(message, near), &stage.line, 0);
                    }
                }
            }
            if stage.from.base.contains('$') && self.base_stage(&stage.from.base, at).is_none() {
                let base = self.expanded_base(stage, facts, false);
                if !base.is_some_and(|base| is_reference(&base)) {
                    let message = format!(
                        "the defaults of its arguments make {} not a name of an image",
                        stage.from.base
                    );
                    found.add("InvalidDefaultArgInFrom", message, &stage.line, 0);
                }
            }
            let Some(platform) = &stage.from.platform else { continue };
            if ["$TARGETPLATFORM", "${TARGETPLATFORM}"].contains(&platform.as_str()) {
                let message = format!("--platform={platform} is what FROM does anyway");
                found.add("RedundantTargetPlatform", message, &stage.line, 0);
            }
            let of_one_platform = stage.name.as_ref().is_some_and(|name| {
                platform.split('/').any(|part| !part.is_empty() && name.to_ascii_lowercase().contains(part))
            });
            if !platform.contains('$') && !of_one_platform {
                let message =
                    format!("--platform={platform} is a constant, so the file builds for one platform only");
                found.add("FromPlatformFlagConstDisallowed", message, &stage.line, 0);
            }
        }
    }

    /// Finds variables that nothing sets.
    fn undefined(&self, stage: &Stage, state: &mut State, found: &mut Found<'_>) {
        let Some(mut env) = state.set.take() else { return };
        let mut args: BTreeSet<String> =
            PROXY_ARGS.iter().chain(&BUILD_ARGS).map(|s| s.to_string()).collect();
        for statement in &stage.statements {
            let known = |name: &str| (env.contains(name) || args.contains(name)).then(|| "x".to_string());
            let escape = self.directives.escape;
            let in_texts = variable_texts(&statement.instruction).into_iter().flat_map(|text| {
                words::expand_and_list(text, escape, &known).map(|(_, unset)| unset).unwrap_or_default()
            });
            let in_bodies = bodies(&statement.instruction)
                .into_iter()
                .flat_map(|text| words::unset_in_body(text, &known).unwrap_or_default());
            for name in in_texts.chain(in_bodies) {
                let message = format!("nothing sets ${name}");
                let near =
                    nearest(&name, env.iter().chain(&args).map(String::as_str)).map(|n| format!("${n}"));
                let at = statement.line.text.find(&name).unwrap_or(0);
                let at = statement.line.text.find(&format!("${name}")).unwrap_or(at);
                found.add("UndefinedVar", suggest(message, near.as_deref()), &statement.line, at);
            }
            match &statement.instruction {
                Instruction::Arg(list) => args.extend(list.iter().map(|(name, _)| name.clone())),
                Instruction::Change(Change::Env(list)) => {
                    env.extend(list.iter().map(|(name, _)| name.clone()))
                }
                _ => {}
            }
        }
        // Arguments of a stage are those of the stages built on it as well.
        env.append(&mut args);
        state.set = Some(env);
    }
}

impl State {
    fn of(base: Base) -> State {
        State { set: Some(base.env.into_iter().collect()), has_shell: base.has_shell, has_workdir: false }
    }
}

fn suggest(message: String, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("{message} (did you mean {near}?)"),
        None => message,
    }
}

fn copied_texts(copy: &Copy) -> Vec<&str> {
    let paths = copy.sources.iter().filter_map(|source| match source {
        CopySource::Path(path) => Some(path.as_str()),
        CopySource::Inline(_) => None,
    });
    let flags = [&copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten().chain(&copy.exclude);
    paths.chain(flags.map(String::as_str)).chain([copy.destination.as_str()]).collect()
}

/// Returns the texts of an instruction in which variables are replaced.
fn variable_texts(instruction: &Instruction) -> Vec<&str> {
    match instruction {
        Instruction::Arg(list) => list.iter().filter_map(|(_, value)| value.as_deref()).collect(),
        Instruction::Copy(copy) | Instruction::Add(copy) => copied_texts(copy),
        Instruction::Run(run) => run.mounts.iter().flat_map(|mount| mount.values()).collect(),
        Instruction::Change(change) => match change {
            Change::Env(list) | Change::Label(list) => {
                list.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect()
            }
            Change::Expose(list) | Change::Volume(list) => list.iter().map(String::as_str).collect(),
            Change::Stopsignal(text) | Change::User(text) | Change::Workdir(text) => vec![text],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Returns the here-documents of an instruction in which variables are replaced.
fn bodies(instruction: &Instruction) -> Vec<&str> {
    let (Instruction::Copy(copy) | Instruction::Add(copy)) = instruction else { return Vec::new() };
    let mut out = Vec::new();
    for source in &copy.sources {
        if let CopySource::Inline(heredoc) = source
            && heredoc.expand
        {
            out.push(heredoc.body.as_str());
        }
    }
    out
}

fn stage_rules(stage: &Stage, facts: &Facts<'_>, state: &mut State, found: &mut Found<'_>) {
    let mut has_shell = state.has_shell;
    let mut last: BTreeMap<&'static str, &Statement> = BTreeMap::new();
    for statement in &stage.statements {
        let line = &statement.line;
        let shell_form = |name: &str, command: &CommandLine, found: &mut Found<'_>| {
            if matches!(command, CommandLine::Shell(_)) && !has_shell {
                let message =
                    format!("{name} as a JSON list gets signals itself; a shell stands between otherwise");
                found.add("JSONArgsRecommended", message, line, 0);
            }
        };
        let mut only_last = |name: &'static str| {
            if let Some(earlier) = last.insert(name, statement) {
                let message = format!("a later {name} of this stage replaces this one");
                found.add("MultipleInstructionsDisallowed", message, &earlier.line, 0);
            }
        };
        match &statement.instruction {
            Instruction::Shell(_) => has_shell = true,
            Instruction::Maintainer(_) => {
                let message = "MAINTAINER is deprecated: use LABEL org.opencontainers.image.authors=…";
                found.add("MaintainerDeprecated", message, line, 0);
            }
            Instruction::Arg(list) => {
                list.iter().for_each(|(name, _)| found.secret("ARG", name, line));
            }
            Instruction::Copy(copy) if copy.from.is_none() => ignored(copy, facts, line, found),
            Instruction::Add(copy) => ignored(copy, facts, line, found),
            Instruction::Change(change) => match change {
                Change::Cmd(command) => {
                    only_last("CMD");
                    shell_form("CMD", command, found);
                }
                Change::Entrypoint(command) => {
                    only_last("ENTRYPOINT");
                    shell_form("ENTRYPOINT", command, found);
                }
                Change::Healthcheck(..) => only_last("HEALTHCHECK"),
                Change::Env(list) => {
                    list.iter().for_each(|(name, _)| found.secret("ENV", name, line));
                    legacy("ENV", line, found);
                }
                Change::Label(_) => legacy("LABEL", line, found),
                Change::Workdir(path) => {
                    let path = path.trim_matches(['"', '\'']);
                    // Those that follow are right once the first one is.
                    let first = !std::mem::replace(&mut state.has_workdir, true);
                    if first && !path.starts_with(['/', '$']) {
                        let message = format!("the relative path {path} depends on the base image's WORKDIR");
                        found.add("WorkdirRelativePath", message, line, 0);
                    }
                }
                Change::Expose(ports) => ports.iter().for_each(|port| expose(port, line, found)),
                _ => {}
            },
            _ => {}
        }
    }
    state.has_shell = has_shell;
}

fn legacy(name: &str, line: &Line, found: &mut Found<'_>) {
    let (_, rest) = keyword(&line.text);
    if is_legacy_pair(rest, '\\') {
        let message = format!("{name} key=value is the form to use, not {name} key value");
        found.add("LegacyKeyValueFormat", message, line, 0);
    }
}

fn expose(port: &str, line: &Line, found: &mut Found<'_>) {
    if port.contains('$') {
        return;
    }
    let (ports, protocol) = port.split_once('/').unwrap_or((port, ""));
    if protocol.chars().any(|c| c.is_ascii_uppercase()) {
        found.add("ExposeProtoCasing", format!("the protocol in {port} should be lowercase"), line, 0);
    }
    if ports.contains(':') {
        let message = format!("EXPOSE takes a port, without the address or host port of {port}");
        found.add("ExposeInvalidFormat", message, line, 0);
    }
}

fn ignored(copy: &Copy, facts: &Facts<'_>, line: &Line, found: &mut Found<'_>) {
    let Some(ignore) = facts.ignore else { return };
    for source in &copy.sources {
        let CopySource::Path(path) = source else { continue };
        let special = path.contains(['$', '*', '?', '[', '\\']) || path.contains("://");
        let clean = super::clean(format!("/{path}").as_bytes());
        if !special && clean.len() > 1 && ignore.is_ignored(&clean[1..]) {
            let message = format!("{path} is left out of the context by the ignore file");
            found.add("CopyIgnoredFile", message, line, line.text.find(path.as_str()).unwrap_or(0));
        }
    }
}

/// Returns whether a text has the form of an image's name: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
fn is_reference(text: &str) -> bool {
    let (name, digest) = text.split_once('@').map_or((text, None), |(n, d)| (n, Some(d)));
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[slash..].split_once(':') {
        Some((last, tag)) => (&name[..slash + last.len()], Some(tag)),
        None => (name, None),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let component = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && part.chars().all(|c| word(c) || matches!(c, ':' | '[' | ']'))
    };
    path.split('/').all(component)
        && tag.is_none_or(|tag| {
            tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && tag.chars().all(word)
        })
        && digest.is_none_or(|digest| digest.contains(':'))
}

struct Found<'a> {
    checks: &'a Checks,
    out: Vec<Warning>,
}

impl Found<'_> {
    fn add(&mut self, rule: &'static str, message: impl Into<String>, line: &Line, at: usize) {
        self.at(rule, message, line.location(at));
    }

    fn at(&mut self, rule: &'static str, message: impl Into<String>, location: Location) {
        debug_assert!(RULES.contains(&rule));
        if self.checks.holds(rule) && self.out.len() < MAX_WARNINGS {
            self.out.push(Warning { rule, message: message.into(), location });
        }
    }

    /// Warns of names that look as if their value were a secret; those with `public` in them do not.
    fn secret(&mut self, instruction: &str, name: &str, line: &Line) {
        let words = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
        ];
        let lower = name.to_ascii_lowercase();
        let has = |wanted: &[&str]| lower.split('_').any(|part| wanted.contains(&part));
        if has(&words) && !has(&["public"]) {
            let message =
                format!("{instruction} {name} keeps its value in the image: use RUN --mount=type=secret");
            self.add("SecretsUsedInArgOrEnv", message, line, line.text.find(name).unwrap_or(0));
        }
    }
}
