//! `treering man`: the manual, one page per verb.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use treering::error::At;

use crate::context::Context;
use crate::text;

const EXAMPLES: &str = "\
Examples:
  treering man ~/.local/share/man/man1";

/// Write the manual pages into a directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Man {
    /// Where to write them; made when it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let shown = self.dir.as_os_str().as_bytes();
        std::fs::create_dir_all(&self.dir).at("create directory", shown)?;
        let mut command = crate::args::command();
        command.build();
        let pages = write(&self.dir, command, "treering").at("write manual", shown)?;
        context.ui.note(format!("wrote {}", text::plural(pages, "page", "pages")));
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the page of a command and those of the verbs below it, `help` left out.
fn write(dir: &std::path::Path, command: clap::Command, name: &str) -> std::io::Result<u64> {
    let mut pages = 1;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        pages += write(dir, below.clone(), &format!("{name}-{}", below.get_name()))?;
    }
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.display_name(name.to_string())).title(name.to_uppercase());
    man.render(&mut page)?;
    std::fs::write(dir.join(format!("{name}.1")), page)?;
    Ok(pages)
}
