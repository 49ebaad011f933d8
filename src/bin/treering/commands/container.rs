//! `treering container`: Docker's names for the verbs of containers, and its prune.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use treering::ErrorKind;
use treering::container::{Container, Status};

use crate::commands as verb;
use crate::context::Context;
use crate::{json, output};

/// Docker's names for the same: container ls, container rm, ...
#[derive(Debug, Subcommand)]
pub enum Group {
    #[command(visible_aliases = ["list", "ps"])]
    Ls(verb::ps::Ps),
    Create(Box<verb::create::Create>),
    Run(Box<verb::run::Run>),
    Start(verb::start::Start),
    Exec(verb::exec::Exec),
    Attach(verb::attach::Attach),
    Stop(verb::stop::Stop),
    Restart(verb::stop::Restart),
    Kill(verb::stop::Kill),
    Wait(verb::stop::Wait),
    Logs(verb::logs::Logs),
    Rename(verb::rename::Rename),
    Inspect(verb::inspect::Inspect),
    Cp(verb::cp::Cp),
    #[command(visible_alias = "remove")]
    Rm(verb::rm::Rm),
    Prune(Prune),
}

impl Group {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Group::Ls(args) => args.run(context),
            Group::Create(args) => args.run(context),
            Group::Run(args) => args.run(context),
            Group::Start(args) => args.run(context),
            Group::Exec(args) => args.run(context),
            Group::Attach(args) => args.run(context),
            Group::Stop(args) => args.run(context),
            Group::Restart(args) => args.run(context),
            Group::Kill(args) => args.run(context),
            Group::Wait(args) => args.run(context),
            Group::Logs(args) => args.run(context),
            Group::Rename(args) => args.run(context),
            Group::Inspect(args) => args.run(context),
            Group::Cp(args) => args.run(context),
            Group::Rm(args) => args.run(context),
            Group::Prune(args) => args.run(context),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  treering container prune -f";

/// Remove all containers that do not run
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Prune {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        if !self.force && !super::prune::confirmed("all containers that do not run, with their trees")? {
            return Ok(ExitCode::FAILURE);
        }
        let (mut gone, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for container in Container::list(&context.store()?)? {
            let id = container.id().to_string();
            match removed(container) {
                Ok(true) => gone.push(id),
                Ok(false) => {}
                // Others may go, and those that went are named.
                Err(error) => {
                    context.ui.error(&error.into());
                    code = ExitCode::FAILURE;
                }
            }
        }
        match context.json {
            true => output::data(|out| json::list(out, gone.iter()))?,
            false => output::lines(&gone)?,
        }
        Ok(code)
    }
}

/// Removes a container that does not run. Returns whether it did.
fn removed(container: Container) -> treering::Result<bool> {
    let remove = |container: Container| -> treering::Result<bool> {
        match container.state()?.status {
            Status::Running => Ok(false),
            _ => container.remove().map(|()| true),
        }
    };
    match remove(container) {
        // It was started, another process works in it, or it is gone.
        Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::NotFound) => Ok(false),
        done => done,
    }
}
