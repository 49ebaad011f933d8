//! `treering report`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use treering::Control;
use treering::error::Error;
use treering::image::{Count, Image, Platform, Report as Facts};

use crate::context::Context;
use crate::table::Table;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering report app:v1                   what each step added, changed and wasted
  treering report app:v1 -o report.html    the same as a page to open in a browser
  treering report --json app:v1            all of it";

/// Show what an image consists of, and what it wastes
///
/// Reads every layer once, and unpacks nothing. WASTED are files that a later step overwrites or deletes: they are in a layer, and
/// not in the image. Sizes of files are before compression.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// The image: a name, an id, or the beginning of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Write a page of HTML that needs no network; - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The platform to show of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Report {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let control = Control::default();
        let image = Image::open(&store, &self.image, self.platform.as_ref())?;
        let facts = {
            let _progress = context.progress("reading layers", &control);
            Facts::of(&store, &image, &control)?
        };
        if let Some(file) = &self.output {
            output::stream(Some(file), |out| {
                let write = |bytes: &[u8], out: &mut dyn std::io::Write| {
                    out.write_all(bytes).map_err(|error| Error::io("write report", "", error))
                };
                match context.json {
                    true => json::document(out, &facts)?,
                    false => write(facts.to_html().as_bytes(), out)?,
                }
                Ok(())
            })?;
        } else if context.json {
            output::data(|out| json::document(out, &facts))?;
        } else {
            self.print(&facts)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, facts: &Facts) -> anyhow::Result<()> {
        let mut table = Table::new(&["STEP", "LAYER", "ADDED", "CHANGED", "DELETED", "WASTED", "CREATED BY"]);
        let size = |count: &Count| if count.files == 0 { String::new() } else { text::size(count.bytes) };
        for (at, step) in facts.steps.iter().enumerate() {
            let command = text::shorten(&text::tame(&step.created_by), 45);
            let cells = match &step.layer {
                None => [(); 5].map(|()| String::new()),
                Some(layer) => [
                    text::size(layer.size),
                    size(&layer.added),
                    size(&layer.changed),
                    size(&layer.deleted),
                    size(&layer.wasted),
                ],
            };
            table.row([at.to_string()].into_iter().chain(cells).chain([command]));
        }
        output::data(|out| {
            table.write(out).map_err(output::stdout_error)?;
            let (stored, wasted) = (text::size(facts.stored), text::size(facts.wasted));
            writeln!(out, "\n{stored} of files in all layers, {wasted} of them wasted")
                .map_err(output::stdout_error)?;
            for advice in &facts.advice {
                writeln!(out, "- {}", text::tame(&advice.text)).map_err(output::stdout_error)?;
            }
            Ok(())
        })
    }
}
