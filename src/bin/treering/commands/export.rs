//! `treering export`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use treering::Control;
use treering::archive::{Exported, export};

use crate::context::Context;
use crate::operand::Operand;
use crate::output;
use crate::ui::Usage;

const EXAMPLES: &str = "\
Examples:
  treering export app:v1 -o app.tar      the tree of an image, its layers merged
  treering export work | tar -tv         a directory, with the owners it was unpacked with";

/// Write the tree of an image, or a directory, as one tar
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    /// The image or the directory; what exists as a directory is one
    #[arg(value_name = "IMAGE|TREE")]
    what: PathBuf,

    /// The file to write; standard output when not given, or -
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let what = match Operand::of(&self.what)? {
            Operand::Directory(tree) => Exported::Tree(tree),
            Operand::Image(name) => Exported::Image(name),
            Operand::Snapshot(_) => {
                let usage = Usage::new("this is a file, and neither a directory nor an image");
                return Err(usage.with_hint("treering export IMAGE|TREE -o FILE").into());
            }
        };
        let store = context.store()?;
        output::stream(self.output.as_deref(), |out| {
            let _progress = context.progress("exporting", &control);
            export(&store, &what, out, &control)?;
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
