//! Growing an image by what changed in a directory.

use std::path::{Path, PathBuf};

use super::compose::{
    Made, Recipe, Step, StepLayer, compose, creation_time, enter, too_large, warn_of_layers,
};
use super::contents::keep_list_of_one;
use super::diff::{Base, DiffOptions, Examined, TreeDiff, examine};
use super::notes::Notes;
use super::open::Image;
use super::platform::Platform;
use super::tree::Tree;
use crate::compress::{Profile, Written};
use crate::diff::{CompareMode, Stat, all_added};
use crate::digest::Digest;
use crate::dockerfile::Ignore;
use crate::error::{At, Error, Result};
use crate::event::Event;
use crate::fs::Root;
use crate::hint::Hint;
use crate::layer::header::MtimePrecision;
use crate::layer::{Files, LayerOptions, LayerPlan, LayerTar};
use crate::progress::Control;
use crate::store::{BlobInfo, Reference, Store, check_new_name};
use crate::threads;
use crate::tree::scan::Skipped;
use crate::tree::{OwnersWanted, Snapshot};

const COMMIT: &str = "commit";

/// Options of a commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The base of the image.
    pub base: Base,
    /// How far the comparison trusts metadata.
    pub compare: CompareMode,
    /// The owners of the files; by default those the tree was bound with, else 0:0. With [`CommitOptions::lowers`]: the
    /// policy that one of these was bound with if that is not 0:0, else [`OwnerPolicy::as_seen`](crate::tree::OwnerPolicy::as_seen).
    pub owners: OwnersWanted,
    /// How the layer is compressed.
    pub profile: Profile,
    /// Time stamps in the layer.
    pub layer: LayerOptions,
    /// The author of the image.
    pub author: Option<String>,
    /// A message for the history.
    pub message: Option<String>,
    /// Dockerfile instructions to change the configuration with: `CMD`, `ENV`, `LABEL` and so on.
    pub changes: Vec<String>,
    /// When the image was made, in seconds since 1970; `None` for now.
    pub created: Option<i64>,
    /// Put everything into one layer and drop the base's layers and history; its configuration stays.
    pub squash: bool,
    /// The platform of the new image, and of a multi-platform base; `None` for the base's, else this machine's.
    pub platform: Option<Platform>,
    /// Make no image where nothing changed and nothing is asked for but a name: the base gets the name. Otherwise the image
    /// has a row of history more than its base, as Docker has it.
    pub only_if_changed: bool,
    /// Annotations of the manifest.
    pub annotations: Vec<(String, String)>,
    /// Let times say nothing, see [`DiffOptions::ignore_times`].
    pub ignore_times: bool,
    /// Paths that are left out, see [`excludes`](super::excludes): what the base has there stays.
    pub exclude: Ignore,
    /// Do not look at what is mounted: a mount point counts as unchanged, or as empty where there was nothing.
    pub one_file_system: bool,
    /// Threads; 0 for one per processor.
    pub threads: usize,
    /// The lower directories, topmost first, of which the tree is the overlay upper directory. Empty for a plain tree.
    pub lowers: Vec<PathBuf>,
}

/// The result of a commit.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Committed {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The image id: the digest of the configuration.
    pub image_id: Digest,
    /// The new layer; `None` when nothing changed and only the configuration is new.
    pub layer: Option<Written>,
    /// The changes in numbers.
    pub stat: Stat,
    /// Entries of the directory that cannot be in a layer.
    pub skipped: Vec<Skipped>,
    /// How many entries got another owner than they have on disk, by the owner policy.
    pub owners_replaced: u64,
    /// With [`Base::Auto`], for a directory that the store does not have: the image of another one that was at its path. All
    /// in the directory then counts as new.
    pub former_image: Option<String>,
}

/// Commits a directory: compares it with its base, writes what changed as a layer, and a configuration and manifest for
/// base and layer together. With a reference, the image gets that name. The directory is then bound to the new image, so
/// that the next commit or comparison reads only what changed since.
///
/// Nothing is visible in the store before everything is there; an error leaves it as it was.
///
/// # Errors
/// [`crate::ErrorKind::Changed`] when a file changes while it is read, and everything reading and writing can meet.
pub fn commit(
    store: &Store,
    tree: impl AsRef<Path>,
    reference: Option<&str>,
    options: &CommitOptions,
    control: &Control,
) -> Result<Committed> {
    let tree = tree.as_ref();
    let name = reference.map(Reference::parse).transpose()?;
    // Before the work, not after it.
    name.as_ref().map(check_new_name).transpose()?;
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let root = Root::open(tree)?;
    let Some(_lock) = root.lock(false).at(COMMIT, root.describe(b""))? else {
        return Err(super::checkout::busy(&root));
    };
    let diff_options = DiffOptions {
        owners: options.owners.clone(),
        compare: options.compare,
        // What would be written is compared.
        exact_times: options.layer.precision == MtimePrecision::Nanoseconds,
        clamp_mtime: options.layer.clamp_mtime,
        platform: options.platform.clone(),
        ignore_times: options.ignore_times,
        exclude: options.exclude.clone(),
        one_file_system: options.one_file_system,
        threads: options.threads,
        ..DiffOptions::default()
    };
    if !options.lowers.is_empty() {
        return commit_overlay(store, &root, name.as_ref(), options, &diff_options, control);
    }
    let mut tree = Tree::open(store, &root)?;
    tree.check_whole(COMMIT)?;
    let former_image = if options.base == Base::Auto { tree.former_image()? } else { None };
    let examined = examine(Some(store), &root, Some(&mut tree), &options.base, &diff_options, control)?;
    let Examined { mut diff, base, owners, owners_replaced, whole } = examined;
    let stat = diff.stat();
    if options.squash {
        diff.changes = all_added(&diff.new);
        diff.old = None;
    }
    // What lies below a mount point, or was left out, is in the image all the same, so the scan is no index of it.
    let index = whole.then_some(&diff.new);
    let stage = || tree.stage(&owners, index);
    let (made, staged) = std::thread::scope(|scope| {
        // The index is as large as the tree, whatever changed: it goes to the disk beside the layer.
        let thread = match options.threads {
            1 => None,
            _ => threads::spawn(scope, "treering-write", stage).ok(),
        };
        let made = match base.as_ref().filter(|base| is_unchanged(base, &diff, options)) {
            Some(base) => Ok((made_before(base), None)),
            None => write_image(store, base.as_ref(), (&diff, whole), &root, options, control),
        };
        let staged = thread.map(threads::join);
        let made = made?;
        Ok((made, staged.unwrap_or_else(stage)?))
    })?;
    let (made, layer) = made;
    let (manifest, image_id) = (made.manifest.digest, made.image_id);
    let record = staged.seal(&tree, manifest, reference)?;
    enter(store, name.as_ref(), &made.entry)?;
    // The image has its name: that the record stays the old one is no failure of the commit.
    if let Err(error) = record.publish() {
        let message = format!("the directory stays bound to its former image: {error}");
        control.events.send(Event::Warning { rule: String::new(), message, location: None });
    }
    let skipped = diff.skipped;
    Ok(Committed { manifest, image_id, layer, stat, skipped, owners_replaced, former_image })
}

/// Returns whether the image would be the base again, with a row of history more that says nothing.
fn is_unchanged(base: &Image, diff: &TreeDiff, options: &CommitOptions) -> bool {
    options.only_if_changed
        && diff.changes.is_empty()
        && !options.squash
        && options.changes.is_empty()
        && (options.author.is_none() && options.message.is_none() && options.annotations.is_empty())
        && options.platform.as_ref().is_none_or(|platform| *platform == base.platform())
}

/// Returns the base as the outcome of a commit that made nothing.
pub(super) fn made_before(base: &Image) -> Made {
    let size = base.manifest_bytes().len() as u64;
    let manifest = BlobInfo { digest: *base.digest(), size };
    let mut entry = base.descriptor().clone();
    // They are about the index that the image was found in.
    entry.set_annotations(None);
    entry.set_data(None);
    Made { manifest, image_id: *base.id(), entry }
}

fn commit_overlay(
    store: &Store,
    upper: &Root,
    name: Option<&Reference>,
    options: &CommitOptions,
    diff_options: &DiffOptions,
    control: &Control,
) -> Result<Committed> {
    if options.squash {
        return Err(Error::invalid(COMMIT, "an upper directory alone cannot be squashed")
            .with_hint("mount the overlay and commit the merged directory"));
    }
    let base = match &options.base {
        Base::Image(reference) => Some(Image::open(store, reference, options.platform.as_ref())?),
        Base::Scratch => None,
        Base::Auto => {
            return Err(Error::invalid(COMMIT, "an overlay upper directory needs its image named")
                .with_path(upper.describe(b""))
                .with_hint(Hint::NameOverlayBase));
        }
    };
    let overlay = super::diff::overlay(Some(store), upper, &options.lowers, diff_options, control)?;
    let (made, layer) =
        write_image(store, base.as_ref(), (&overlay.diff, false), &overlay.files, options, control)?;
    enter(store, name, &made.entry)?;
    Ok(Committed {
        manifest: made.manifest.digest,
        image_id: made.image_id,
        layer,
        stat: overlay.diff.stat(),
        skipped: overlay.diff.skipped,
        owners_replaced: overlay.owners_replaced,
        former_image: None,
    })
}

/// Writes layer, configuration and manifest. `whole` says whether the image has just what the list of the difference has.
fn write_image(
    store: &Store,
    base: Option<&Image>,
    (diff, whole): (&TreeDiff, bool),
    files: &dyn Files,
    options: &CommitOptions,
    control: &Control,
) -> Result<(Made, Option<Written>)> {
    if let Some(base) = base.filter(|_| !options.squash) {
        // Before a layer is written that no manifest could hold.
        let layers = base.layers().len() + usize::from(!diff.changes.is_empty());
        let cap = store.limits().layers;
        if layers > cap {
            let message = format!("the image would have {layers} layers, more than the cap of {cap}");
            return Err(too_large(Error::limit(COMMIT, message)));
        }
        warn_of_layers(layers, control);
    }
    let notes = Notes::default();
    let plan = LayerPlan::new(&diff.changes, diff.old.as_ref(), &diff.new, options.layer)?;
    let layer = match plan.entry_count() {
        // Nothing changed: an image without a base still has one layer, if an empty one.
        0 if base.is_some() => None,
        _ if whole && (base.is_none() || options.squash) => {
            Some(write_only_layer(store, plan, &diff.new, files, options, control)?)
        }
        _ => {
            let tar = LayerTar::new(plan, files);
            Some(notes.write(store, &tar, &options.profile, options.threads, control)?)
        }
    };
    let short = layer.as_ref().map_or("(no change)".to_string(), |(written, _)| written.diff_id.short());
    let (written, layer) = layer.unzip();
    let created = creation_time(options.created, COMMIT)?;
    let step = Step {
        created: Some(created),
        created_by: Some(format!("treering commit {short}")),
        author: options.author.clone(),
        comment: options.message.clone(),
        layer,
    };
    let recipe = Recipe {
        base,
        platform: options.platform.clone(),
        steps: &[step],
        config: None,
        changes: &options.changes,
        author: options.author.clone(),
        created: Some(created),
        squash: options.squash,
        below: None,
        annotations: &options.annotations,
    };
    let made = compose(store, &recipe)?;
    notes.list_images(store, [&made.entry], control);
    Ok((made, written))
}

/// Writes the layer of an image that has no other. Its list is that of the tree.
fn write_only_layer(
    store: &Store,
    plan: LayerPlan<'_>,
    tree: &Snapshot,
    files: &dyn Files,
    options: &CommitOptions,
    control: &Control,
) -> Result<(Written, StepLayer)> {
    let tar = LayerTar::new(plan, files);
    let notes = Notes::of_indexes();
    let (written, layer) = notes.write(store, &tar, &options.profile, options.threads, control)?;
    let plan = tar.plan();
    let places = plan.places();
    let list = tree.as_layer_list(
        written.diff_id.bytes(),
        |time| plan.written_time(time),
        |entry| places.get(&tree.leader(entry)).copied(),
    );
    keep_list_of_one(store, &written, &list);
    Ok((written, layer))
}
