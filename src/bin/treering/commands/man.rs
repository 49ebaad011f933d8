//! `treering man`: the manual, one page per verb.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use treering::error::At;
use treering::fs::output::{Output, make_directories};
use treering::fs::publish::Durability;
use treering::progress::Cancel;

use crate::context::Context;
use crate::text;

const WRITE: &str = "write manual";
const EXAMPLES: &str = "\
Examples:
  treering man ~/.local/share/man/man1";

/// Write the manual pages into a directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Man {
    /// Directory to write them to; made when it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        make_directories(&self.dir, "create directory")?;
        let mut command = crate::args::command().disable_help_subcommand(true);
        command.build();
        let pages = write(&self.dir, command, "treering")?;
        context.ui.note(format!("wrote {}", text::plural(pages, "page", "pages")));
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the page of a command and those of the verbs below it.
fn write(dir: &Path, command: clap::Command, name: &str) -> anyhow::Result<u64> {
    let mut pages = 1;
    for below in command.get_subcommands() {
        pages += write(dir, below.clone(), &format!("{name}-{}", below.get_name()))?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let below = command.has_subcommands();
    let man = clap_mangen::Man::new(command.display_name(name.to_string()))
        .title(name.to_uppercase())
        .source(concat!("treering ", env!("CARGO_PKG_VERSION")))
        .manual("treering manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if below {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend_from_slice(sections(&after).as_bytes());
    let path = dir.join(format!("{name}.1"));
    let mut file = Output::open(&path, WRITE, &Cancel::default())?;
    file.file().write_all(&page).at(WRITE, path.as_os_str().as_bytes())?;
    file.finish(Durability::None)?;
    Ok(pages)
}

/// Returns the text after a command's options: `Heading:` lines become sections, everything else stays line by line.
fn sections(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            Some(heading) => {
                out += if inside { ".fi\n" } else { "" };
                out += &format!(".SH \"{}\"\n.nf\n", heading.to_uppercase());
                inside = true;
            }
            None => {
                out += if inside { "" } else { ".SH NOTES\n.nf\n" };
                inside = true;
                // A line that starts with a dot or a quote is a request, and a dash may become a hyphen.
                let line = line.replace('\\', "\\e").replace('-', "\\-");
                out += if line.starts_with(['.', '\'']) { "\\&" } else { "" };
                out += &line;
                out.push('\n');
            }
        }
    }
    out + if inside { ".fi\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_become_sections() {
        let text = sections("Examples:\n  a -b\n\n.x\\y\nExit codes:\n  0  done");
        let expected =
            ".SH \"EXAMPLES\"\n.nf\n  a \\-b\n\n\\&.x\\ey\n.fi\n.SH \"EXIT CODES\"\n.nf\n  0  done\n.fi\n";
        assert_eq!(text, expected);
        assert_eq!(sections(""), "");
    }
}
