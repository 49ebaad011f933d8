//! A look at an image: what each step added, changed and wasted, what is largest, and what could be smaller.

mod advice;
mod page;
mod tally;

use std::io::Read;

use serde::Serialize;

use super::open::Image;
use super::packages::{Databases, Package};
use crate::digest::Digest;
use crate::error::{At, Result};
use crate::layer::read::ReadLimits;
use crate::progress::Control;
use crate::store::Store;
use tally::Tally;

const OP: &str = "report on image";
/// How many of the largest files, and of those wasted, are listed.
const LISTED: usize = 50;

/// A report of an image. Paths are text, with `\xNN` for bytes that are not UTF-8; sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The name the image was opened by, if it was one.
    pub name: Option<String>,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The image id.
    pub image_id: Digest,
    /// Its platform, `os/arch[/variant]`.
    pub platform: String,
    /// When it was made, as the image says.
    pub created: Option<String>,
    /// The size of the layers as stored, compressed.
    pub size: u64,
    /// The size of the files of all layers.
    pub stored: u64,
    /// The size of the files of the image: `stored` without `wasted`.
    pub visible: u64,
    /// The size of files that a later layer overwrites or deletes.
    pub wasted: u64,
    /// The steps, oldest first.
    pub steps: Vec<ReportStep>,
    /// The largest files of the image.
    pub files: Vec<ReportFile>,
    /// The largest files that are wasted.
    pub wasted_files: Vec<WastedFile>,
    /// Installed packages, the largest first, where dpkg, apk or rpm list them.
    pub packages: Vec<ReportPackage>,
    /// Advice, the most worth first.
    pub advice: Vec<ReportAdvice>,
}

/// A step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportStep {
    /// By which command.
    pub created_by: String,
    /// When, as the image says.
    pub created: Option<String>,
    /// The comment.
    pub comment: String,
    /// The layer it made; `None` for a step that changed only the configuration.
    pub layer: Option<ReportLayer>,
}

/// The effect of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportLayer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The digest of the tar.
    pub diff_id: Digest,
    /// The size of the blob.
    pub size: u64,
    /// Files that were not there.
    pub added: Count,
    /// Files written over what was there.
    pub changed: Count,
    /// Files of layers below that are gone, with the size that they had.
    pub deleted: Count,
    /// Files of this layer that later ones overwrite or delete.
    pub wasted: Count,
    /// Its files by directories; small ones are put together.
    pub tree: ReportNode,
}

/// A number of files, and of their bytes. What is no directory counts as a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Count {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A directory of a layer, or a file in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportNode {
    /// A component of a path; empty for the root, and for the small ones of a directory.
    pub name: String,
    /// The bytes of all below.
    pub bytes: u64,
    /// How many of them are wasted.
    pub wasted: u64,
    /// How many files there are below.
    pub files: u64,
    /// The nodes in it, the largest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ReportNode>,
}

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportFile {
    /// The path of the file.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The step with the layer that holds it, counted from 0.
    pub step: usize,
}

/// A file that a later layer overwrites or deletes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WastedFile {
    /// The path that it had.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The step with the layer that holds it.
    pub step: usize,
    /// The step that overwrites or deletes it.
    pub by: usize,
    /// Whether it is gone; else it has other content.
    pub deleted: bool,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The installed size, by its database.
    pub bytes: u64,
    /// `dpkg`, `apk` or `rpm`.
    pub manager: &'static str,
}

/// A piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportAdvice {
    /// A word for programs: `overwritten`, `package-lists`, `package-cache`, `tool-cache`, `many-layers`.
    pub kind: &'static str,
    /// A sentence for people.
    pub text: String,
    /// How many bytes that would save, before compression.
    pub bytes: u64,
    /// The steps it is about.
    pub steps: Vec<usize>,
}

impl Report {
    /// Reads every layer of an image once, and says what it consists of. Nothing is unpacked.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when the store lacks a layer; [`crate::ErrorKind::Corrupt`] when a layer is not what manifest
    /// and configuration say.
    pub fn of(store: &Store, image: &Image, control: &Control) -> Result<Report> {
        let mut rows = image.history(store)?;
        rows.reverse();
        let mut tally = Tally::default();
        let mut databases = Databases::default();
        let mut layers = image.layers().iter();
        let mut made = Vec::new();
        for (step, row) in rows.iter().enumerate() {
            let layer = row.diff_id.and_then(|_| layers.next());
            if let Some(layer) = layer {
                let mut files = layer.files(store, ReadLimits::default(), control)?;
                tally.begin(step);
                while let Some(entry) = files.next_entry()? {
                    if let Some(most) = databases.wants(&entry) {
                        let mut bytes = Vec::new();
                        (&mut files).take(most).read_to_end(&mut bytes).at(OP, &entry.path)?;
                        databases.put(&entry.path, bytes);
                    }
                    tally.entry(entry)?;
                }
            }
            made.push(layer);
        }
        let mut steps = Vec::new();
        for (step, (row, layer)) in rows.into_iter().zip(made).enumerate() {
            let layer = layer.map(|layer| {
                let counts = tally.counts(step);
                ReportLayer {
                    digest: layer.digest,
                    diff_id: layer.diff_id,
                    size: layer.size,
                    added: counts.added,
                    changed: counts.changed,
                    deleted: counts.deleted,
                    wasted: counts.wasted,
                    tree: tally.tree(step),
                }
            });
            steps.push(ReportStep {
                created_by: row.created_by,
                created: row.created,
                comment: row.comment,
                layer,
            });
        }
        let (stored, wasted) = tally.totals();
        Ok(Report {
            name: image.name().map(ToString::to_string),
            digest: *image.digest(),
            image_id: *image.id(),
            platform: image.platform().to_string(),
            created: image.config().created().map(String::from),
            size: image.layers().iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size)),
            stored,
            visible: stored - wasted,
            wasted,
            files: tally.largest(LISTED),
            wasted_files: tally.largest_wasted(LISTED),
            packages: databases.packages(|path| tally.is_there(path)).into_iter().map(package).collect(),
            advice: advice::of(&tally, &steps),
            steps,
        })
    }

    /// Returns the report as one page of HTML that needs nothing else: no network, no other file.
    pub fn to_html(&self) -> String {
        page::render(self)
    }
}

fn package(package: Package) -> ReportPackage {
    let Package { name, version, bytes, manager, .. } = package;
    ReportPackage { name, version, bytes, manager }
}
