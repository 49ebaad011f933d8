//! `treering cp`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::Control;
use treering::archive::{copy_directory, copy_file, copy_tar};
use treering::fs::Kind;
use treering::image::{LayerApplyOptions, Platform};

use super::unpack::{loss_object, losses};
use crate::context::Context;
use crate::inside::Inside;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering cp debian:12:/etc/os-release .        a file
  treering cp debian:12:/etc etc                 a directory and what is below it
  treering cp debian:12:/usr/share - | tar -t    the same as a tar";

/// Copy a file or directory out of an image, without unpacking it
///
/// A destination that is a directory gets the source in it under its own name; what ends in /. is copied without its name.
/// Symbolic links in the path are followed inside the image. Owners and attributes that the disk does not take are lost, and
/// reported.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cp {
    /// The image, and a file or directory in it
    #[arg(value_name = "IMAGE:/PATH")]
    from: OsString,

    /// The file or directory to write; - for a tar on standard output
    #[arg(value_name = "DEST")]
    to: PathBuf,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Cp {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let inside = Inside::of(&self.from)?;
        let path = inside.required()?;
        let store = context.store()?;
        let progress = context.progress("copying", &control);
        let files = inside.open(&store, self.platform.as_ref(), &control)?;
        let list = files.list();
        let entry = files.resolve(path)?;
        // The name that was asked for, and not that of what a link leads to.
        let asked = path.split(|&byte| byte == b'/').rfind(|name| !name.is_empty());
        let name = asked.filter(|name| ![&b"."[..], b".."].contains(name)).unwrap_or(b"");
        if self.to.as_os_str() == "-" {
            output::stream(None, |out| Ok(copy_tar(&files, entry, name, out, &control)?))?;
            return Ok(ExitCode::SUCCESS);
        }
        let to = match self.to.is_dir() && !name.is_empty() {
            true => self.to.join(OsStr::from_bytes(name)),
            false => self.to.clone(),
        };
        let (mut lost, mut unkept) = (Vec::new(), 0);
        if list.meta(entry).kind == Kind::Directory {
            let mut options = LayerApplyOptions::default();
            options.apply.threads = context.threads;
            let applied = copy_directory(&files, entry, &to, &options, &control)?;
            (lost, unkept) = (applied.applied.losses, applied.unkept);
        } else {
            copy_file(&files, entry, &to, &control)?;
        }
        drop(progress);
        losses(context, &lost);
        if unkept > 0 {
            let entries = text::plural(unkept, "entry", "entries");
            context
                .ui
                .warn(format!("owners or attributes of {entries} are lost: the disk does not take them"));
        }
        if context.json {
            let object = json!({
                "path": to.to_string_lossy(),
                "unkept": unkept,
                "losses": lost.iter().map(loss_object).collect::<Vec<_>>(),
            });
            output::data(|out| json::document(out, &object))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
