//! `treering rmi`: Docker's rules for what may go, and its lines for what went.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use treering::store::{PruneOptions, Reference, Store};
use treering::{Control, Digest, Error, ErrorKind, Result};

use crate::context::Context;
use crate::listing::{self, Row, derives};
use crate::{json, output};

const EXAMPLES: &str = "\
Examples:
  treering rmi app:v1             the name goes, and with the last name the image
  treering rmi -f 3f2a9c01b7d4    the image goes with all its names";

/// Remove images
///
/// A name goes; with its last name an image goes, and with the image what no other one needs. By its id an image is
/// removed unless it has several names, and never while another image is built on it. Trees that were unpacked from an
/// image keep what they need.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Rmi {
    /// The images: names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// With an id, remove all names of the image; an image that is not there is no failure
    #[arg(short, long)]
    force: bool,

    /// Leave the blobs to `treering prune`
    #[arg(long)]
    no_prune: bool,
}

/// A name or an image that went, as Docker reports it.
#[derive(Debug)]
enum Gone {
    Name(String),
    Blob(Digest),
}

impl Rmi {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let (mut gone, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for text in &self.images {
            match self.remove(context, &store, text) {
                Ok(more) => gone.extend(more),
                Err(error) => {
                    // The others go all the same, as docker does it.
                    let absent = error.kind() == ErrorKind::NotFound;
                    context.ui.error(&error.into());
                    if !(self.force && absent) {
                        code = ExitCode::FAILURE;
                    }
                }
            }
        }
        if context.json {
            let object = |gone: &Gone| match gone {
                Gone::Name(name) => json!({ "untagged": name }),
                Gone::Blob(digest) => json!({ "deleted": digest }),
            };
            output::data(|out| json::list(out, gone.iter().map(object)))?;
        } else {
            output::lines(gone.iter().map(|gone| match gone {
                Gone::Name(name) => format!("Untagged: {name}"),
                Gone::Blob(digest) => format!("Deleted: {digest}"),
            }))?;
        }
        Ok(code)
    }

    fn remove(&self, context: &Context, store: &Store, text: &str) -> Result<Vec<Gone>> {
        let resolved = store.resolve(text)?;
        let digest = match (treering::store::descriptor_digest(&resolved.descriptor), &resolved.name) {
            (Ok(digest), _) => digest,
            // Another tool's: this store cannot hold the image, but the name can go.
            (Err(_), Some(name)) => {
                store.untag(name)?;
                return Ok(vec![Gone::Name(name.to_string())]);
            }
            (Err(error), None) => return Err(error),
        };
        let rows = listing::rows(store, &context.ui)?;
        let leads_here = |row: &&Row| {
            let inside = |image: &treering::image::Image| *image.digest() == digest;
            row.digest == digest || row.image.as_ref().is_some_and(inside)
        };
        let Some(row) = rows.iter().find(leads_here) else {
            let message =
                "not a top-level image: it is part of a multi-platform image, or the base of a tree";
            return Err(Error::new(ErrorKind::InUse, "remove image", message)
                .with_path(text)
                .with_hint("remove that image by its name; with a tree it goes by treering prune --trees"));
        };
        let names: Vec<&Reference> = rows
            .iter()
            .filter(|other| other.digest == row.digest)
            .filter_map(|other| other.name.as_ref())
            .collect();
        let child = rows.iter().find(|other| derives(other, row));
        let mut gone = Vec::new();
        #[cfg(feature = "sandbox")]
        self.no_container(store, text, row, resolved.name.as_ref().is_some_and(|_| names.len() > 1))?;
        if let Some(name) = resolved.name.as_ref().filter(|name| name.digest().is_none()) {
            gone.push(Gone::Name(name.to_string()));
            // With names left, or an image on top, that was all, as docker has it: the image stays in the list.
            if names.len() > 1 || child.is_some() {
                store.untag_and_keep(name)?;
                return Ok(gone);
            }
            store.untag(name)?;
        } else {
            self.may_go(text, row, &names, child)?;
            store.remove(&row.digest)?;
            gone.extend(names.iter().map(|name| Gone::Name(name.to_string())));
        }
        gone.push(Gone::Blob(*row.id()));
        if !self.no_prune {
            gone.extend(self.parents(store, &rows, row)?);
            gone.extend(self.sweep(context, store, row));
        }
        Ok(gone)
    }

    /// Removes the untagged images that only the removed one was built on, the nearest first, as Docker does.
    fn parents(&self, store: &Store, rows: &[Row], removed: &Row) -> Result<Vec<Gone>> {
        let mut below: Vec<&Row> =
            rows.iter().filter(|row| row.is_untagged() && derives(removed, row)).collect();
        below
            .sort_by_key(|row| std::cmp::Reverse(row.image.as_ref().map_or(0, |image| image.layers().len())));
        let mut left: Vec<&Row> = rows.iter().filter(|row| row.digest != removed.digest).collect();
        let mut gone = Vec::new();
        for parent in below {
            if left.iter().any(|other| derives(other, parent)) {
                break;
            }
            store.remove(&parent.digest)?;
            left.retain(|row| row.digest != parent.digest);
            gone.push(Gone::Blob(*parent.id()));
        }
        Ok(gone)
    }

    /// Refuses as Docker does for containers: an image that one came from keeps its last name, and with -f only while one
    /// runs.
    #[cfg(feature = "sandbox")]
    fn no_container(&self, store: &Store, text: &str, row: &Row, other_names: bool) -> Result<()> {
        if other_names {
            return Ok(());
        }
        for container in treering::container::made_from(store, row.id())? {
            let runs = container.is_running()?;
            if self.force && !runs {
                continue;
            }
            let (force, what) = match runs {
                true => ("cannot be forced", "the running container"),
                false => ("must be forced", "the container"),
            };
            let message = format!(
                "conflict: unable to delete {} ({force}): {what} {} came from the image",
                row.id().short(),
                container.name()
            );
            return Err(Error::new(ErrorKind::InUse, "remove image", message)
                .with_path(text)
                .with_hint("remove the container first: treering rm"));
        }
        Ok(())
    }

    /// Refuses as Docker does for an image that is removed by its id.
    fn may_go(&self, text: &str, row: &Row, names: &[&Reference], child: Option<&Row>) -> Result<()> {
        let conflict = |force: &str, why: String, hint: &'static str| {
            let message = format!("conflict: unable to delete {} ({force}): {why}", row.id().short());
            Err(Error::new(ErrorKind::InUse, "remove image", message).with_path(text).with_hint(hint))
        };
        match child {
            Some(child) => {
                let name = child.text.clone().unwrap_or_else(|| child.id().short());
                let why = format!("{name} is built on the image");
                conflict("cannot be forced", why, "remove what is built on it first, or take its names away")
            }
            None if names.len() > 1 && !self.force => {
                let why = "several names refer to the image".into();
                conflict("must be forced", why, "remove it with -f, or by name")
            }
            None => Ok(()),
        }
    }

    /// Removes what nothing needs any more; gives the layers of the image that went.
    fn sweep(&self, context: &Context, store: &Store, row: &Row) -> Vec<Gone> {
        let options = PruneOptions { untagged: false, wait: Duration::ZERO, ..PruneOptions::default() };
        let layers = row.image.as_ref().map(|image| image.layers()).unwrap_or_default();
        match store.prune(&options, &Control::default()) {
            Ok(report) => {
                let went: HashSet<Digest> = report.blobs.into_iter().collect();
                let layers = layers.iter().rev().map(|layer| layer.digest);
                layers.filter(|digest| went.contains(digest)).map(Gone::Blob).collect()
            }
            // The image is gone from the index; its blobs can wait for the next prune.
            Err(error) => {
                context.ui.note(format!("blobs stay until the next prune: {}", error.message()));
                Vec::new()
            }
        }
    }
}
