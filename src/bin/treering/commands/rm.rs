//! `treering rm`.

use std::process::ExitCode;

use clap::Args;
use treering::ErrorKind;
use treering::container::Container;

use crate::context::Context;
use crate::{boxes, interrupt};

const EXAMPLES: &str = "\
Examples:
  treering rm box
  treering ps -aq | xargs -r treering rm -f";

/// Remove containers, with their trees
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Rm {
    /// The containers: names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,

    /// Kill running containers first, and ignore missing ones
    #[arg(short, long)]
    force: bool,

    /// Accepted: volumes always go with their container
    #[arg(short, long)]
    volumes: bool,
}

impl Rm {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        // A volume has no name by which it could be kept.
        let _ = self.volumes;
        let control = interrupt::control();
        let store = context.store()?;
        let mut names = self.containers;
        if self.force {
            // One that is not there is as it should be.
            let mut there = Vec::new();
            for name in names {
                match Container::open(&store, &name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    _ => there.push(name),
                }
            }
            names = there;
        }
        boxes::each(context, &names, |container| match self.force {
            true => container.remove_by_force(&control),
            false => container.remove(),
        })
    }
}
