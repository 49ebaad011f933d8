//! `treering ls`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use treering::Control;
use treering::fs::Kind;
use treering::image::Platform;

use crate::context::Context;
use crate::inside::{Inside, tar_entry};
use crate::{entry, json, output};

const EXAMPLES: &str = "\
Examples:
  treering ls debian:12                  what is at the top of an image
  treering ls -lR debian:12:/etc         what is in /etc and below, with modes, owners and sizes";

/// List files of an image, without unpacking it
///
/// Symbolic links in the path are followed inside the image.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Ls {
    /// The image, and a file or directory in it
    #[arg(value_name = "IMAGE[:/PATH]")]
    what: OsString,

    /// Show types, modes, owners, sizes and times, as tar -tv does
    #[arg(short, long)]
    long: bool,

    /// Show what is in directories, too
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Ls {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let inside = Inside::of(&self.what)?;
        let store = context.store()?;
        let files = {
            let _progress = context.progress("reading", &control);
            inside.open(&store, self.platform.as_ref(), &control)?
        };
        let list = files.list();
        let top = files.resolve(inside.path().unwrap_or(b"/"))?;
        let mut entries = Vec::new();
        match list.meta(top).kind {
            Kind::Directory => {
                // Names relative to the directory, in the order of a walk.
                let mut todo: Vec<(u32, Vec<u8>)> =
                    list.children(top).rev().map(|node| (node, list.name(node).to_vec())).collect();
                while let Some((node, path)) = todo.pop() {
                    if self.recursive && list.meta(node).kind == Kind::Directory {
                        let below = list.children(node).rev();
                        todo.extend(below.map(|node| (node, [&path, &b"/"[..], list.name(node)].concat())));
                    }
                    entries.extend(tar_entry(list, node, path));
                }
            }
            _ => entries.extend(tar_entry(list, top, list.name(top).to_vec())),
        }
        match context.json {
            true => output::data(|out| json::list(out, entries.iter().map(entry::object)))?,
            false => {
                output::data(|out| entries.iter().try_for_each(|it| entry::line(out, it, !self.long, b'\n')))?
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
