//! `treering tag`.

use std::process::ExitCode;

use clap::Args;
use treering::Control;
use treering::store::Reference;

use crate::context::Context;

const EXAMPLES: &str = "\
Examples:
  treering tag app:v1 app:latest
  treering tag 3f2a9c app:stable";

/// Give an image one more name
///
/// A name that another image has moves to this one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Tag {
    /// The image: a name, an id, or the beginning of one
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,

    /// The new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

impl Tag {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let target = Reference::parse(&self.target)?;
        let store = context.store()?;
        // An image that was found must not be pruned before it is named.
        let store = store.pin(&Control::default())?;
        let source = store.resolve(&self.source)?;
        store.tag(&target, &source.descriptor)?;
        Ok(ExitCode::SUCCESS)
    }
}
