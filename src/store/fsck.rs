//! Checking a store: its structure, then what is reachable, then every byte.

use std::time::Duration;

use cap_std::fs::{MetadataExt, PermissionsExt};
use oci_spec::image::Descriptor;

use super::document::{DocumentKind, descriptor_digest};
use super::layout::Store;
use super::publish::{files, is_leftover};
use super::refs::Entry;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Found, Result};
use crate::progress::{Control, Counters, Share};

/// The depth of [`Store::fsck`]. Each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FsckLevel {
    /// The layout, `index.json`, names and modes of files.
    Structure,
    /// Also: every manifest, configuration and layer that is referred to is there with the right size, and every
    /// manifest parses.
    Reachability,
    /// Also: every blob hashes to its name.
    Bytes,
}

impl std::str::FromStr for FsckLevel {
    type Err = Error;

    /// Reads `structure`, `reachability` or `bytes`.
    fn from_str(text: &str) -> Result<FsckLevel> {
        Ok(match text {
            "structure" => FsckLevel::Structure,
            "reachability" => FsckLevel::Reachability,
            "bytes" => FsckLevel::Bytes,
            _ => {
                let message = "expected structure, reachability or bytes";
                return Err(Error::invalid("read level", message).with_path(text));
            }
        })
    }
}

/// The kind of a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// `oci-layout` is missing or not understood.
    BadLayout,
    /// `index.json` is missing, not JSON, or holds something that is not a descriptor.
    BadIndex,
    /// Others may read the store.
    NotPrivate,
    /// A file that does not belong there; prune removes known kinds.
    Stray,
    /// A blob that is referred to is not there.
    Missing,
    /// A blob has another size than its descriptor says.
    WrongSize,
    /// A blob does not hash to its name.
    WrongDigest,
    /// A manifest or index cannot be used.
    BadDocument,
    /// The record of a tree cannot be used.
    BadTree,
    /// The index of a layer cannot be used: reading files out of an image is slower until it is made again, as it is when one is
    /// read.
    BadLayerIndex,
    /// A record of a build cannot be used: the step is carried out again.
    BadCacheRecord,
}

/// A problem.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// The file, digest or image name it is about.
    pub subject: String,
    /// The message: what is wrong, in plain words.
    pub message: String,
}

/// The result of [`Store::fsck`].
#[derive(Debug, Clone, Default, serde::Serialize)]
#[non_exhaustive]
pub struct FsckReport {
    /// The problems; empty for a sound store.
    pub problems: Vec<Problem>,
    /// How many blobs were looked at.
    pub blobs: u64,
    /// How many bytes were hashed.
    pub bytes: u64,
}

impl FsckReport {
    fn add(&mut self, kind: ProblemKind, subject: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { kind, subject: subject.into(), message: message.into() });
    }
}

impl Store {
    /// Checks the store without changing it. An `Err` means the check itself could not be done; what is wrong with the
    /// store is in the report. Takes a [`super::Lease`], so that prune does not remove what is being looked at.
    pub fn fsck(&self, level: FsckLevel, control: &Control) -> Result<FsckReport> {
        let mut report = FsckReport::default();
        // While another process writes, a temporary file may be its own: only in an idle store it is a dead writer's.
        let idle = self.lock_all(Duration::ZERO, control).ok();
        self.check_structure(idle.is_some(), &mut report)?;
        drop(idle);
        let _lease = self.lease_for(control)?;
        let entries = match self.entries() {
            Ok(entries) => entries,
            Err(error) if is_finding(&error) => {
                report.add(ProblemKind::BadIndex, "oci/index.json", error.message());
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        if level >= FsckLevel::Reachability {
            self.check_reachable(&entries, &mut report, control)?;
            self.check_trees(&mut report)?;
            for (subject, message) in self.bad_layer_indexes()? {
                report.add(ProblemKind::BadLayerIndex, subject, message);
            }
            for subject in self.bad_records()? {
                report.add(ProblemKind::BadCacheRecord, subject, "damaged; the next prune removes it");
            }
        }
        self.check_blobs(level >= FsckLevel::Bytes, &mut report, control)?;
        Ok(report)
    }

    fn check_structure(&self, idle: bool, report: &mut FsckReport) -> Result<()> {
        const OP: &str = "check store";
        if let Err(error) = self.check_layout() {
            if !is_finding(&error) && error.kind() != ErrorKind::Unsupported {
                return Err(error);
            }
            report.add(ProblemKind::BadLayout, "oci/oci-layout", error.message());
        }
        let meta = self.0.dir.dir_metadata().at(OP, self.path(""))?;
        if meta.permissions().mode() & 0o077 != 0 {
            let message = format!("mode {:04o}, expected 0700", meta.permissions().mode() & 0o7777);
            report.add(ProblemKind::NotPrivate, ".", message);
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            report.add(ProblemKind::NotPrivate, ".", format!("it belongs to user {}", meta.uid()));
        }
        for entry in self.0.oci.entries().at(OP, self.path("oci"))? {
            let name = entry.at(OP, self.path("oci"))?.file_name().to_string_lossy().into_owned();
            let of_a_writer = is_leftover(&name) && !idle;
            if !["oci-layout", "index.json", "blobs"].contains(&name.as_str()) && !of_a_writer {
                let message =
                    if is_leftover(&name) { "left by a dead writer" } else { "not part of an image layout" };
                report.add(ProblemKind::Stray, format!("oci/{name}"), message);
            }
        }
        Ok(())
    }

    fn check_reachable(&self, entries: &[Entry], report: &mut FsckReport, control: &Control) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        for entry in entries {
            let name = entry.text.clone().unwrap_or_else(|| entry.descriptor.digest().to_string());
            let mut queue = vec![(entry.descriptor.clone(), 1)];
            while let Some((descriptor, depth)) = queue.pop() {
                control.check("check store")?;
                let Ok(digest) = descriptor_digest(&descriptor) else { continue };
                if !seen.insert((digest, descriptor.media_type().to_string(), descriptor.size())) {
                    continue;
                }
                self.check_one(&name, &descriptor, &digest, depth, &mut queue, report)?;
            }
        }
        Ok(())
    }

    fn check_one(
        &self,
        name: &str,
        descriptor: &Descriptor,
        digest: &Digest,
        depth: usize,
        queue: &mut Vec<(Descriptor, usize)>,
        report: &mut FsckReport,
    ) -> Result<()> {
        match self.blob_size(digest) {
            Ok(size) if size == descriptor.size() => {}
            Ok(size) => {
                let message = format!("{size} bytes, {} expected by {name}", descriptor.size());
                report.add(ProblemKind::WrongSize, digest.to_string(), message);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                report.add(ProblemKind::Missing, digest.to_string(), format!("needed by {name}"));
                return Ok(());
            }
            Err(error) if is_finding(&error) => {
                report.add(
                    ProblemKind::Missing,
                    digest.to_string(),
                    format!("needed by {name}, but {}", error.message()),
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let Some(kind) = DocumentKind::of_media_type(descriptor.media_type().as_ref()) else { return Ok(()) };
        match self.read_document(descriptor) {
            Ok(document) => {
                if kind == DocumentKind::Index && depth >= self.limits().index_depth {
                    let message = format!("indexes nested too deep in {name}");
                    report.add(ProblemKind::BadDocument, digest.to_string(), message);
                    return Ok(());
                }
                queue.extend(self.expected(document.manifests()).map(|child| (child.clone(), depth + 1)));
                queue.extend(
                    document.layers().iter().chain(document.config()).map(|child| (child.clone(), depth)),
                );
                Ok(())
            }
            Err(error) if is_finding(&error) || error.kind() == ErrorKind::Unsupported => {
                report.add(
                    ProblemKind::BadDocument,
                    digest.to_string(),
                    format!("{} (in {name})", error.message()),
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the manifests of an index that have to be there. An image for many platforms may be in a store for some of
    /// them alone (image-spec, image-layout.md, "Blobs"); only when none is there is something missing.
    fn expected<'a>(&self, manifests: &'a [Descriptor]) -> impl Iterator<Item = &'a Descriptor> {
        let is_there =
            |child: &Descriptor| match descriptor_digest(child).map(|digest| self.blob_size(&digest)) {
                Ok(Err(error)) => error.kind() != ErrorKind::NotFound,
                Ok(Ok(_)) => true,
                Err(_) => false,
            };
        let some = manifests.iter().any(is_there);
        manifests.iter().filter(move |child| !some || is_there(child))
    }

    /// Checks the records of trees: what they were made from keeps blobs from prune, and the ledger holds what exists
    /// nowhere else. An index only saves time: one that cannot be used is done without.
    fn check_trees(&self, report: &mut FsckReport) -> Result<()> {
        for key in self.trees()? {
            let subject = format!("containers/{key}");
            match self.find_tree(&key).and_then(|tree| tree.map_or(Ok(()), |tree| tree.check())) {
                Ok(()) => {}
                // It may be a file where a directory belongs.
                Err(error)
                    if is_finding(&error)
                        || matches!(error.kind(), ErrorKind::Io | ErrorKind::InvalidArgument) =>
                {
                    report.add(ProblemKind::BadTree, subject, error.message());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn check_blobs(&self, hash: bool, report: &mut FsckReport, control: &Control) -> Result<()> {
        const OP: &str = "check store";
        for entry in self.0.blobs.entries().at(OP, self.path("oci/blobs/sha256"))? {
            let entry = entry.at(OP, self.path("oci/blobs/sha256"))?;
            let name = entry.file_name();
            // Not what the directory says of it: some filesystems, as fuse-overlayfs, leave that open.
            let meta = self.0.blobs.symlink_metadata(&name).found();
            let Some(meta) = meta.at(OP, self.path("oci/blobs/sha256"))? else { continue };
            if !meta.is_file() {
                let name = name.to_string_lossy().into_owned();
                let subject = format!("oci/blobs/sha256/{name}");
                report.add(ProblemKind::Stray, subject, "not a regular file");
            }
        }
        let blobs = files(&self.0.blobs, self.path("oci/blobs/sha256"))?;
        let total = blobs.iter().map(|(_, size)| size).sum();
        let share = Share::new(control, if hash { total } else { 0 });
        for (name, size) in blobs {
            control.check("check store")?;
            Counters::add(&control.counters.entries, 1);
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else {
                report.add(
                    ProblemKind::Stray,
                    format!("oci/blobs/sha256/{name}"),
                    "its name is not a digest",
                );
                continue;
            };
            report.blobs += 1;
            if !hash {
                continue;
            }
            let Some(file) = self.open_blob(&digest).found()? else { continue };
            let counted = Watched { inner: file, control, share: &share };
            match super::VerifiedReader::new(counted, digest, size).finish() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    report.add(ProblemKind::WrongDigest, digest.to_string(), error.message());
                }
                Err(error) => return Err(error),
            }
            report.bytes += size;
        }
        Ok(())
    }
}

/// Returns whether an error is about the store rather than about the check.
fn is_finding(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Limit | ErrorKind::NotFound)
}

/// Counts bytes and lets a caller cancel within a large blob.
struct Watched<'a> {
    inner: std::fs::File,
    control: &'a Control,
    share: &'a Share,
}

impl std::io::Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.control.check("check store")?;
        let n = self.inner.read(buffer)?;
        self.share.add(n as u64);
        Ok(n)
    }
}
