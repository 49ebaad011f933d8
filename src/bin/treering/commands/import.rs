//! `treering import`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use treering::archive::{ImportOptions, import};
use treering::store::Reference;

use super::commit::report;
use crate::context::Context;
use crate::input;
use crate::options::{ImageFields, Repacking, Times};

const EXAMPLES: &str = "\
Examples:
  treering import rootfs.tar.gz base:v1
  debootstrap-tar | treering import - base:v1 -c 'CMD [\"/bin/sh\"]'";

/// Make an image with one layer of a tar file
///
/// Prints the image id. The tar may be compressed with gzip or zstd, and is kept as it is unless --compression says
/// otherwise; one in xz or bzip2 is compressed anew, as no layer may be in either.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Import {
    /// The tar; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,

    /// Author, such as 'Ada <ada@example.org>'
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,

    #[command(flatten)]
    fields: ImageFields,

    #[command(flatten)]
    repacking: Repacking,
}

impl Import {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        input::named(Some(&self.file), self.import(context))
    }

    fn import(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let name = self.reference.as_deref().map(Reference::parse).transpose()?;
        let input = input::open(Some(&self.file))?;
        let store = context.store()?;
        let control = context.control();
        input::announce(Some(&self.file), &control);
        let options = ImportOptions {
            changes: self.fields.changes.clone(),
            message: self.fields.message.clone(),
            platform: self.fields.platform.clone(),
            author: self.author.clone(),
            created: Times::from_environment()?,
            profile: self.repacking.profile()?,
            threads: context.threads,
            ..ImportOptions::default()
        };
        let made = {
            let _progress = context.progress("importing", &control);
            import(&store, input, name.as_ref(), &options, &control)?
        };
        report(context, self.reference.as_deref(), &made)
    }
}
