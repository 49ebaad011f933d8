//! RUN: a command in a tree, by `sandbox`.

use serde_json::{Value, json};

use crate::build::layer::Tools;
use crate::build::options::BuildOptions;
use crate::build::state::State;
use crate::build::work_tree::WorkTree;
use crate::dockerfile::{CommandLine, Fault, PROXY_ARGS, Run, heredoc_name};
use crate::error::{Error, ErrorKind, Result};
use crate::event::StepId;
use crate::image::StepLayer;
use crate::sandbox::{Network, StepOptions, Stream, run, user};

const OP: &str = "run command";

/// An instruction as it is carried out.
#[derive(Debug)]
pub(in crate::build) struct Command {
    arguments: Vec<String>,
    /// Variables of the image and declared arguments.
    environment: Vec<(String, String)>,
    user: String,
    directory: String,
    network: Network,
    text: String,
}

impl Command {
    pub(in crate::build) fn new(run: &Run, state: &State) -> Result<Command, Fault> {
        if !run.mounts.is_empty() {
            return Err(Fault::new("--mount is not supported yet"));
        }
        let choice = |text: &Option<String>| text.as_deref().map(|text| state.scope.expand(text)).transpose();
        let network = match choice(&run.network)?.as_deref() {
            None | Some("default") => Network::Host,
            Some("none") => Network::None,
            Some(other) => {
                return Err(Fault::new(format!("--network={other} is for those who are granted it"))
                    .with_hint("there is no way to grant it yet; leave it out, or use none"));
            }
        };
        if choice(&run.security)?.is_some_and(|security| security != "sandbox") {
            return Err(Fault::new("--security=insecure is for those who are granted it")
                .with_hint("there is no way to grant it yet; leave it out"));
        }
        let (arguments, text) = match &run.command {
            CommandLine::Exec(words) => (words.clone(), serde_json::to_string(words).unwrap_or_default()),
            CommandLine::Shell(line) => {
                let mut shell = state.shell();
                shell.push(script(line, run)?);
                let first = line.lines().next().unwrap_or_default();
                (shell, first.to_string())
            }
        };
        let mut environment = state.scope.args.clone();
        environment.retain(|(name, _)| !state.scope.env.iter().any(|(known, _)| known == name));
        environment.splice(0..0, state.scope.env.iter().cloned());
        Ok(Command {
            arguments,
            environment,
            user: state.config.get("User").and_then(Value::as_str).unwrap_or_default().into(),
            directory: state.working_dir(),
            network,
            text,
        })
    }

    /// The instruction as progress shows it.
    pub(in crate::build) fn text(&self) -> String {
        format!("RUN {}", self.text)
    }

    /// What of a cache key depends on the instruction. Proxies say nothing about what comes out.
    pub(in crate::build) fn key(&self) -> Value {
        let environment: Vec<_> =
            self.environment.iter().filter(|(name, _)| !PROXY_ARGS.contains(&name.as_str())).collect();
        json!({
            "run": self.arguments, "environment": environment, "user": self.user, "directory": self.directory,
            "network": matches!(self.network, Network::None),
        })
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
        build: &BuildOptions,
        tools: Tools<'_>,
    ) -> Result<Option<StepLayer>> {
        let found = user::find(&tree.root, &self.user)?;
        let mut environment: Vec<Vec<u8>> =
            self.environment.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        if !self.environment.iter().any(|(name, _)| name == "HOME") {
            environment.push([b"HOME=", &found.home[..]].concat());
        }
        let options = StepOptions {
            arguments: self.arguments.iter().map(|word| word.clone().into_bytes()).collect(),
            environment,
            directory: self.directory.clone().into_bytes(),
            user: found.ids,
            hostname: b"buildkitsandbox".to_vec(),
            network: self.network,
            names: true,
            stdout: Stream::Events,
            stderr: Stream::Events,
            helper: build.helper.clone(),
            step,
            ..StepOptions::default()
        };
        let outcome = run(&tree.root, &mut tree.owners.ledger, &options, tools.control)?;
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

/// The text that the shell gets. One here-document alone is a script; others are put back for the shell to read.
fn script(line: &str, run: &Run) -> Result<String, Fault> {
    let [first, ..] = run.heredocs.as_slice() else { return Ok(line.into()) };
    if heredoc_name(line.trim()).is_some() {
        let content = first.content();
        return match content.starts_with("#!") {
            true => Err(Fault::new("a here-document that begins with #! is not supported yet")
                .with_hint("name the interpreter: RUN python3 <<EOF")),
            false => Ok(content),
        };
    }
    Ok(run
        .heredocs
        .iter()
        .fold(line.to_string(), |text, heredoc| format!("{text}\n{}{}", heredoc.body, heredoc.name)))
}
