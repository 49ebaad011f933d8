//! RUN: a command in a tree, by `sandbox`.

use serde_json::{Value, json};

use super::mounts::{self, Asked, Files, Prepared, With};
use crate::build::events::Clipped;
use crate::build::options::BuildOptions;
use crate::build::state::State;
use crate::build::work_tree::WorkTree;
use crate::dockerfile::{CommandLine, Fault, PROXY_ARGS, Run, heredoc_name};
use crate::error::{Error, ErrorKind, Result};
use crate::event::StepId;
use crate::image::StepLayer;
use crate::sandbox::{FileMount, Network, StepOptions, Stream, run, user};

const OP: &str = "run command";
/// The host name of commands, as BuildKit has it.
const HOSTNAME: &str = "buildkitsandbox";

/// An instruction as it is carried out.
#[derive(Debug)]
pub(in crate::build) struct RunStep {
    arguments: Vec<String>,
    /// Variables of the image and declared arguments.
    environment: Vec<(String, String)>,
    /// Proxies that were given as build arguments. They are in no key and no history, unless ARG declares them.
    proxies: Vec<(String, String)>,
    hostname: String,
    user: String,
    directory: String,
    network: Network,
    text: String,
    shown: String,
    /// The mounts that it asks for.
    pub(in crate::build) mounts: Vec<Asked>,
    /// A here-document that is a program: where it is, and its text.
    program: Option<(String, String)>,
}

impl RunStep {
    pub(in crate::build) fn new(run: &Run, state: &State, build: &BuildOptions) -> Result<RunStep, Fault> {
        let mounts = mounts::resolve(run, state)?;
        let choice = |text: &Option<String>| text.as_deref().map(|text| state.scope.expand(text)).transpose();
        let network = match choice(&run.network)?.as_deref() {
            None | Some("default") if build.no_network => Network::None,
            // There is no network of a step's own but none: the usual one is the machine's, which `host` says.
            None | Some("default" | "host") => Network::Host,
            Some("none") => Network::None,
            Some(other) => {
                return Err(Fault::new(format!("--network takes default, none or host, not {other:?}")));
            }
        };
        match choice(&run.security)?.as_deref() {
            None | Some("sandbox") => {}
            Some("insecure") => {
                return Err(Fault::new(
                    "--security=insecure is refused: commands of a build never get more rights",
                )
                .with_hint(
                    "leave it out; what needs devices or mounts of the machine is no step of an image",
                ));
            }
            Some(other) => return Err(Fault::new(format!("--security takes sandbox, not {other:?}"))),
        }
        let program = program(run);
        let (arguments, line) = match &run.command {
            CommandLine::Exec(words) => (words.clone(), serde_json::to_string(words).unwrap_or_default()),
            CommandLine::Shell(line) => {
                let arguments = match &program {
                    Some((path, _)) => vec![path.clone()],
                    None => state.shell().into_iter().chain([script(line, run)]).collect(),
                };
                (arguments, line.lines().next().unwrap_or_default().to_string())
            }
        };
        let shown = shown(&line, run);
        let text = with_bodies(&line, run);
        Ok(RunStep {
            arguments,
            environment: state.scope.variables(),
            proxies: proxies(build),
            hostname: build.build_arg("BUILDKIT_SANDBOX_HOSTNAME").unwrap_or_else(|| HOSTNAME.into()),
            user: state.config.get("User").and_then(Value::as_str).unwrap_or_default().into(),
            directory: state.working_dir(),
            network,
            text,
            shown,
            mounts,
            program,
        })
    }

    /// Returns the instruction as the history has it: without flags, and with the here-documents.
    pub(in crate::build) fn text(&self) -> String {
        format!("RUN {}", self.text)
    }

    /// Returns the instruction as progress shows it.
    pub(in crate::build) fn shown(&self) -> String {
        format!("RUN {}", self.shown)
    }

    /// Returns the part of a cache key that depends on the instruction. Proxies say nothing about what comes out.
    pub(in crate::build) fn key(&self, build: &BuildOptions) -> Value {
        let environment: Vec<_> =
            self.environment.iter().filter(|(name, _)| !PROXY_ARGS.contains(&name.as_str())).collect();
        let mut key = json!({
            "run": self.arguments, "environment": environment, "user": self.user, "directory": self.directory,
            "network": matches!(self.network, Network::None),
        });
        if !self.mounts.is_empty() {
            key["mounts"] = self.mounts.iter().map(Asked::key).cloned().collect();
        }
        if let Some((_, text)) = &self.program {
            key["program"] = json!(text);
        }
        if self.hostname != HOSTNAME {
            key["hostname"] = json!(self.hostname);
        }
        if !build.hosts.is_empty() {
            key["hosts"] = json!(build.hosts);
        }
        if build.shm_size != 0 {
            key["shm"] = json!(build.shm_size);
        }
        if !build.limits.is_empty() {
            let limits = build.limits.iter().map(|it| json!([it.name, it.soft, it.hard]));
            key["limits"] = limits.collect();
        }
        key
    }

    /// Runs the command in a tree that is at the state, and writes what it changed as a layer.
    ///
    /// # Errors
    /// [`ErrorKind::CommandFailed`] with the exit code; the tree is then of no use any more.
    pub(in crate::build) fn run(
        &self,
        tree: &mut WorkTree,
        state: &State,
        step: StepId,
        files: &mut Files<'_>,
        with: With<'_>,
    ) -> Result<Option<StepLayer>> {
        let (build, tools) = (with.options, with.tools);
        let found = user::find(&tree.root, &self.user)?;
        let mut prepared = Prepared::new(&self.mounts, files, tree, with)?;
        let mut environment: Vec<Vec<u8>> = self
            .environment
            .iter()
            .filter(|(name, _)| !prepared.environment.iter().any(|(known, _)| known == name))
            .map(|(name, value)| format!("{name}={value}").into_bytes())
            .collect();
        for (name, value) in std::mem::take(&mut prepared.environment) {
            environment.push([name.as_bytes(), b"=", &value].concat());
        }
        let proxies = self.proxies.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        for (name, value) in proxies.chain([("HOME", &found.home[..])]) {
            let begin = [name.as_bytes(), b"="].concat();
            if !environment.iter().any(|variable| variable.starts_with(&begin)) {
                environment.push([&begin[..], value].concat());
            }
        }
        let mut shown = std::mem::take(&mut prepared.files);
        shown.extend(self.program.as_ref().map(|(path, text)| FileMount {
            target: path.clone().into_bytes(),
            content: text.clone().into_bytes(),
            mode: 0o755,
            program: true,
            ..FileMount::default()
        }));
        let options = StepOptions {
            arguments: self.arguments.iter().map(|word| word.clone().into_bytes()).collect(),
            environment,
            directory: self.directory.clone().into_bytes(),
            user: found.ids,
            hostname: self.hostname.clone().into_bytes(),
            network: self.network,
            names: true,
            hosts: build.hosts.clone(),
            binds: prepared.binds.clone(),
            memory: std::mem::take(&mut prepared.memory),
            files: shown,
            shm_size: build.shm_size,
            limits: build.limits.clone(),
            stdout: Stream::Events,
            stderr: Stream::Events,
            rung: build.rung,
            helper: build.helper.clone(),
            journal: tree.journal()?,
            step,
            ..StepOptions::default()
        };
        let clipped = Clipped::new(tools.control, step, &self.shown());
        let outcome = run(&tree.root, &mut tree.owners.ledger, &options, &clipped.control);
        drop(clipped);
        // What caches have of their files is kept whatever the command said.
        let left = prepared.leave(tree);
        let outcome = outcome?;
        left?;
        if outcome.code != 0 {
            let message = match outcome.signal {
                Some(signal) => format!("the command was ended by signal {signal}"),
                None => format!("the command ended with exit code {}", outcome.code),
            };
            return Err(Error::new(ErrorKind::CommandFailed, OP, message).with_exit_code(outcome.code));
        }
        tree.commit(state, tools)
    }
}

/// Returns the proxies among the build arguments, in both spellings: programs differ in which one they read.
fn proxies(build: &BuildOptions) -> Vec<(String, String)> {
    let pairs = PROXY_ARGS.chunks_exact(2).flat_map(|pair| [(pair[0], pair[1]), (pair[1], pair[0])]);
    let given = pairs.filter_map(|(name, other)| {
        Some((name.to_string(), build.build_arg(name).or_else(|| build.build_arg(other))?))
    });
    given.filter(|(_, value)| !value.is_empty()).collect()
}

/// Returns a here-document alone that says what executes it: where the command finds it, and its text.
fn program(run: &Run) -> Option<(String, String)> {
    let CommandLine::Shell(line) = &run.command else { return None };
    let [only] = run.heredocs.as_slice() else { return None };
    let text = only.content();
    let alone = heredoc_name(line.trim()).is_some() && text.starts_with("#!");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name =
        if only.name.chars().all(plain) && !only.name.starts_with('.') { &only.name } else { "script" };
    alone.then(|| (format!("/dev/pipes/{name}"), text))
}

/// Returns the text that the shell gets. One here-document alone is a script; others are put back for the shell to read.
fn script(line: &str, run: &Run) -> String {
    match run.heredocs.as_slice() {
        [only] if heredoc_name(line.trim()).is_some() => only.content(),
        _ => with_bodies(line, run),
    }
}

/// Returns a line with its here-documents as they stand.
fn with_bodies(line: &str, run: &Run) -> String {
    run.heredocs
        .iter()
        .fold(line.to_string(), |text, heredoc| format!("{text}\n{}{}", heredoc.body, heredoc.name))
}

/// Returns a line with its flags, and behind a here-document alone the first line of that, as BuildKit shows it.
fn shown(line: &str, run: &Run) -> String {
    let mut words = vec![run.flags.as_str()];
    words.retain(|flags| !flags.is_empty());
    words.push(line);
    let alone = run.heredocs.first().filter(|_| heredoc_name(line.trim()).is_some());
    let summary = alone.map(|only| {
        let body = only.body.trim();
        let first = body.lines().next().unwrap_or_default();
        format!("({first}{})", if body.lines().nth(1).is_some() { "..." } else { "" })
    });
    words.extend(summary.as_deref());
    words.join(" ")
}
