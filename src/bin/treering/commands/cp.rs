//! `treering cp`.

#[cfg(feature = "sandbox")]
use std::ffi::OsStr;
use std::ffi::OsString;
#[cfg(feature = "sandbox")]
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::Control;
#[cfg(feature = "sandbox")]
use treering::Error;
#[cfg(feature = "sandbox")]
use treering::archive::CopyTarget;
use treering::archive::{CopySource, TreeFiles, copy_out, copy_tar};
#[cfg(feature = "sandbox")]
use treering::container::Container;
use treering::image::{LayerApplyOptions, Platform};
#[cfg(feature = "sandbox")]
use treering::tree::OwnerPolicy;

use super::unpack::{loss_object, losses};
use crate::context::Context;
use crate::inside::{Inside, in_tree};
#[cfg(feature = "sandbox")]
use crate::progress::Progress;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering cp debian:12:/etc/os-release .        a file
  treering cp debian:12:/etc etc                 a directory and what is below it
  treering cp debian:12:/usr/share - | tar -t    the same as a tar
  treering cp ./work:/etc etc                    out of a directory, with its owners
  treering cp box:/var/log/dpkg.log .            out of a container
  treering cp site.conf box:/etc/nginx/conf.d    into a container";

/// Copy files out of an image, a directory or a container, or into a container
///
/// An operand that begins with /, ./ or ../ is a directory; its owners and attributes are those that the store has of it. A
/// destination that is a directory gets the source in it under its own name; what ends in /. is copied without its name.
/// Symbolic links in the path are followed inside the image. Owners and attributes that the disk does not take are lost,
/// and reported. Into a container, which may run, files of the host are copied as root's, those of an image or a container
/// with their owners.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cp {
    /// An image, a container or a directory, and a file or directory in it; for a container as destination also a path of the host
    #[arg(value_name = "IMAGE:/PATH|CONTAINER:/PATH|DIR:/PATH|PATH")]
    from: OsString,

    /// The file or directory to write; - for a tar on standard output
    #[arg(value_name = "DEST|CONTAINER:/PATH")]
    to: PathBuf,

    /// Keep the owners that files have on the host, instead of root
    #[arg(short, long)]
    archive: bool,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Cp {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let progress = context.progress("copying", &control);
        #[cfg(feature = "sandbox")]
        if let Some((container, path)) = self.copy_into_container(context)? {
            return self.copy_in(context, &container, path, &control, progress);
        }
        self.with_source(context, &control, &mut |files, entry, path| {
            self.copy(context, files, entry, path, &control)
        })?;
        drop(progress);
        Ok(ExitCode::SUCCESS)
    }

    /// Opens what is copied from, and gives its files, the entry and its path to what is done with them.
    fn with_source(&self, context: &Context, control: &Control, act: Act<'_>) -> anyhow::Result<()> {
        if let Some((dir, path)) = in_tree(&self.from) {
            let files = TreeFiles::open(context.store_if_any()?.as_ref(), &dir, control)?;
            let entry = files.resolve(&path)?;
            return act(&files, entry, &path);
        }
        #[cfg(feature = "sandbox")]
        if let Some((container, path)) = in_container(context, &self.from)? {
            let (files, entry) = container.files(&path, control)?;
            return act(&files, entry, &path);
        }
        let inside = Inside::of(&self.from)?;
        let path = inside.required()?;
        let store = context.store()?;
        let files = inside.open(&store, self.platform.as_ref(), control)?;
        let entry = files.resolve(path)?;
        act(&files, entry, path)
    }

    #[cfg(feature = "sandbox")]
    fn copy_into_container(&self, context: &Context) -> anyhow::Result<Option<(Container, Vec<u8>)>> {
        let to = self.to.as_os_str();
        if to == "-" || in_tree(to).is_some() {
            return Ok(None);
        }
        match in_container(context, to)? {
            // What looks like one and is none would be written as a file of the host.
            None if to.as_bytes().windows(2).any(|two| two == b":/") => {
                let error = Error::not_found("copy files", "no such container").with_path(to.as_bytes());
                Err(error.with_hint("a path of the host with a colon in it begins with ./ or /").into())
            }
            found => Ok(found),
        }
    }

    #[cfg(feature = "sandbox")]
    fn copy_in(
        &self,
        context: &Context,
        container: &Container,
        path: Vec<u8>,
        control: &Control,
        progress: Progress,
    ) -> anyhow::Result<ExitCode> {
        let options = || {
            let mut options = LayerApplyOptions::default();
            options.apply.threads = context.threads;
            options
        };
        let mut copied = None;
        let mut into = |files: &dyn CopySource, entry: u32, name: &[u8]| {
            let target = CopyTarget { path: path.clone(), name: name.to_vec() };
            copied = Some(container.copy_in(files, entry, &target, &options(), control)?);
            Ok(())
        };
        let elsewhere =
            in_tree(&self.from).is_some() || self.from.as_bytes().windows(2).any(|two| two == b":/");
        let host = std::path::Path::new(&self.from);
        if elsewhere && std::fs::symlink_metadata(host).is_err() {
            self.with_source(context, control, &mut |files, entry, path| into(files, entry, own_name(path)))?;
        } else {
            let owner = if self.archive { OwnerPolicy::Keep } else { OwnerPolicy::Root };
            copied = Some(container.copy_from_host(host, &path, owner, &options(), control)?);
        }
        drop(progress);
        if let Some(copied) = copied {
            losses(context, &copied.losses);
            if context.json {
                let object = json!({
                    "container": container.name(),
                    "unkept": copied.unkept,
                    "losses": copied.losses.iter().map(loss_object).collect::<Vec<_>>(),
                });
                output::data(|out| json::document(out, &object))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn copy(
        &self,
        context: &Context,
        files: &dyn CopySource,
        entry: u32,
        path: &[u8],
        control: &Control,
    ) -> anyhow::Result<()> {
        if self.to.as_os_str() == "-" {
            let name = own_name(path);
            output::stream(None, |out| Ok(copy_tar(files, entry, name, out, control)?))?;
            return Ok(());
        }
        let mut options = LayerApplyOptions::default();
        options.apply.threads = context.threads;
        let copied = copy_out(files, entry, path, &self.to, &options, control)?;
        let directory = copied.directory.map(|it| (it.applied.losses, it.unkept));
        let (lost, unkept) = directory.unwrap_or_default();
        losses(context, &lost);
        if unkept > 0 {
            let entries = text::plural(unkept, "entry", "entries");
            context
                .ui
                .warn(format!("owners or attributes of {entries} are lost: the disk does not take them"));
        }
        if context.json {
            let object = json!({
                "path": copied.path.to_string_lossy(),
                "unkept": unkept,
                "losses": lost.iter().map(loss_object).collect::<Vec<_>>(),
            });
            output::data(|out| json::document(out, &object))?;
        }
        Ok(())
    }
}

/// A function that takes files, an entry and its path.
type Act<'a> = &'a mut dyn FnMut(&dyn CopySource, u32, &[u8]) -> anyhow::Result<()>;

/// Returns the name that was asked for, and not that of what a link leads to; none for what ends in a dot.
fn own_name(path: &[u8]) -> &[u8] {
    let asked = path.split(|&byte| byte == b'/').rfind(|name| !name.is_empty());
    asked.filter(|name| ![&b"."[..], b".."].contains(name)).unwrap_or(b"")
}

/// Reads `CONTAINER:PATH`, where there is a container of that name; its path begins with a slash, or is one from the root.
#[cfg(feature = "sandbox")]
fn in_container(context: &Context, text: &OsStr) -> anyhow::Result<Option<(Container, Vec<u8>)>> {
    let bytes = text.as_bytes();
    let Some(at) =
        bytes.windows(2).position(|two| two == b":/").or_else(|| bytes.iter().position(|&c| c == b':'))
    else {
        return Ok(None);
    };
    let (Ok(name), Some(store)) = (std::str::from_utf8(&bytes[..at]), context.store_if_any()?) else {
        return Ok(None);
    };
    let Some(container) = Container::find(&store, name)? else { return Ok(None) };
    let path = &bytes[at + 1..];
    let path = if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() };
    Ok(Some((container, path)))
}
