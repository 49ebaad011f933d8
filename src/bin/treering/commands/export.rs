//! `treering export`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use treering::Control;
use treering::archive::{ExportOptions, ExportSource, export};
use treering::image::Platform;

use crate::context::Context;
use crate::operand::Operand;
use crate::options::{Owners, Precision};
use crate::output;
use crate::ui::Usage;

const EXAMPLES: &str = "\
Examples:
  treering export app:v1 -o app.tar      the tree of an image, its layers merged
  treering export work | tar -tv         a directory, with the owners it was unpacked with
  treering export box -o box.tar         a container";

/// Write the tree of an image, or a directory, as one tar
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    /// The image, the container or the directory; what exists as a directory is one, then a container
    #[arg(value_name = "IMAGE|CONTAINER|TREE")]
    what: PathBuf,

    /// The file to write; standard output when not given, or -
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    #[command(flatten)]
    owners: Owners,

    #[command(flatten)]
    precision: Precision,
}

impl Export {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        #[cfg(feature = "sandbox")]
        let what = match crate::boxes::named(context, &self.what)? {
            Some(container) => Operand::Directory(container.tree()),
            None => Operand::of(&self.what)?,
        };
        #[cfg(not(feature = "sandbox"))]
        let what = Operand::of(&self.what)?;
        let source = match &what {
            Operand::Directory(tree) => ExportSource::Tree(tree),
            Operand::Image(name) => ExportSource::Image(name),
            Operand::Snapshot(_) => {
                let usage = Usage::new("this is a file, and neither a directory nor an image");
                return Err(usage.with_hint("treering export IMAGE|TREE -o FILE").into());
            }
        };
        let store = context.store()?;
        let owners = self.owners.wanted()?;
        let options = ExportOptions {
            platform: self.platform,
            owners,
            layer: self.precision.options(),
            threads: context.threads,
        };
        output::stream(self.output.as_deref(), |out| {
            let _progress = context.progress("exporting", &control);
            Ok(export(&store, source, &options, out, &control)?)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
