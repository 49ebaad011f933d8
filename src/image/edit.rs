//! An image out of an image, without a tree.

use std::collections::BTreeMap;
use std::io::Read;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::append::take_layer;
use super::commit::made_before;
use super::compose::{Recipe, StepLayer, compose, creation_time, enter, warn_of_layers};
use super::config::History;
use super::contents::contents_of;
use super::notes::Notes;
use super::open::{Image, Layer};
use super::platform::Platform;
use super::read::ImageFiles;
use super::rebase::merge;
use super::rows::Rows;
use super::spool::Spool;
use crate::compress::{DecodeLimits, Profile, Written};
use crate::diff::{CompareOptions, all_added, compare};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::{LayerOptions, LayerPlan, LayerTar, MtimePrecision};
use crate::progress::{Control, Counters};
use crate::store::{Reference, Store, check_new_name};
use crate::tree::NONE;

const EDIT: &str = "edit image";
/// The base image's digest and name (image-spec, annotations.md).
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// How many DiffIDs a row of history names.
const NAMED: usize = 8;

/// Which layers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squash {
    /// All of them.
    All,
    /// The last so many.
    Last(usize),
}

/// Options of an edit. With everything at its default, nothing is: the image gets a name more.
///
/// The order is always this one: another base, layers dropped, layers appended, layers squashed, then the configuration.
#[derive(Debug, Clone, Default)]
pub struct EditOptions {
    /// Which platform of a multi-platform image; `None` for this machine's.
    pub platform: Option<Platform>,
    /// The image it is built on, and the one to take its place.
    pub rebase: Option<(String, String)>,
    /// How many of the last layers go.
    pub drop_last: usize,
    /// Which layers become one.
    pub squash: Option<Squash>,
    /// Dockerfile instructions to change the configuration with: `CMD`, `ENV`, `LABEL` and so on.
    pub changes: Vec<String>,
    /// Labels of the configuration, set after the instructions.
    pub labels: Vec<(String, String)>,
    /// Annotations of the manifest. Those of the image stay.
    pub annotations: Vec<(String, String)>,
    /// Author of the image; `None` for that of the old one.
    pub author: Option<String>,
    /// A message for the history.
    pub message: Option<String>,
    /// When the image was made, in seconds since 1970; `None` for now.
    pub created: Option<i64>,
    /// How a squashed layer is compressed.
    pub profile: Profile,
    /// Caps on the decompression of appended layers.
    pub decode: DecodeLimits,
    /// Threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

impl EditOptions {
    /// Returns whether anything is asked for, besides a name and a platform.
    pub fn is_edit(&self) -> bool {
        !self.words().is_empty()
            || self.squash.is_some()
            || self.author.is_some()
            || self.message.is_some()
            || self.created.is_some()
    }

    /// Returns what is asked for besides appending and squashing, as a row of history says it.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some((old, new)) = &self.rebase {
            words.push(format!("--rebase {old} {new}"));
        }
        if self.drop_last > 0 {
            words.push(format!("--drop-last {}", self.drop_last));
        }
        words.extend(self.changes.iter().map(|change| format!("-c {change}")));
        words.extend(self.labels.iter().map(|(key, value)| format!("--label {key}={value}")));
        words.extend(self.annotations.iter().map(|(key, _)| format!("--annotation {key}")));
        words
    }
}

/// The result of an edit.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The image id: the digest of the configuration.
    pub image_id: Digest,
    /// How many layers the image has.
    pub layers: usize,
    /// The layers that were appended.
    pub appended: Vec<Written>,
    /// The layer that others were squashed to.
    pub squashed: Option<Written>,
}

/// Makes an image out of another one: other layers, another base, another configuration. `append` are layers as
/// [`write_layer`](super::write_layer) writes them, plain, gzip or zstd, to be put on top, first one first. With a name, the new image gets it.
///
/// Layers that stay are not read. Those that are squashed are read once, and those below them only where a squashed layer has a
/// hard link to a file of theirs, or where the store has no list of what they contain. The old image stays as it is.
///
/// Rows of history go with their layers; rows without a layer stay, because the configuration they speak of does. A new row says
/// what was done. What an image inherited from its old base in its configuration it inherits from the new one.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when there are fewer layers than are to go, and when the image is
/// not built on the base that is to be replaced. Nothing has a name after an error.
pub fn edit(
    store: &Store,
    reference: &str,
    name: Option<&str>,
    append: Vec<Box<dyn Read + Send>>,
    options: &EditOptions,
    control: &Control,
) -> Result<Edited> {
    let name = name.map(Reference::parse).transpose()?;
    // Before the work, not after it.
    name.as_ref().map(check_new_name).transpose()?;
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let image = Image::open(store, reference, options.platform.as_ref())?;
    let words = options.words();
    if append.is_empty() && !options.is_edit() {
        let made = made_before(&image);
        enter(store, name.as_ref(), &made.entry)?;
        let layers = image.layers().len();
        let (manifest, image_id) = (made.manifest.digest, made.image_id);
        return Ok(Edited { manifest, image_id, layers, appended: Vec::new(), squashed: None });
    }
    let created = creation_time(options.created, EDIT)?;
    let author = options.author.clone().or_else(|| image.config().author().map(String::from));
    let notes = Notes::default();
    let work = Edit { store, image: &image, options, created, notes: &notes, control };
    let mut rows = Rows::of(&image);
    let mut run = parameters(&image);
    let mut annotations: BTreeMap<String, String> =
        image.annotations().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    if let Some((old, new)) = &options.rebase {
        run = work.rebase(&mut rows, run, &mut annotations, old, new)?;
    }
    let named = |error: Error| if error.path().is_none() { error.with_path(reference) } else { error };
    rows.drop_last(options.drop_last).map_err(named)?;
    if !words.is_empty() || (append.is_empty() && options.squash.is_none()) {
        let last = append.is_empty() && options.squash.is_none();
        rows.push(&work.row(&words.join(" "), last), None)?;
    }
    let (mut appended, count) = (Vec::new(), append.len());
    for (number, input) in append.into_iter().enumerate() {
        let (written, layer) = take_layer(store, input, &options.decode, options.threads, &notes, control)?;
        let last = number + 1 == count && options.squash.is_none();
        rows.push(&work.row(&format!("--append {}", written.diff_id.short()), last), Some(&layer))?;
        appended.push(written);
    }
    let squashed = options.squash.map(|squash| work.squash(&mut rows, squash).map_err(named)).transpose()?;
    super::changes::apply_changes(&mut run, &options.changes)?;
    label(&mut run, &options.labels);
    annotations.extend(options.annotations.iter().cloned());
    let annotations: Vec<(String, String)> = annotations.into_iter().collect();
    let below = rows.into_below();
    let layers = below.layers.len();
    let recipe = Recipe {
        base: Some(&image),
        config: Some(run),
        author,
        created: Some(created),
        below: Some(below),
        annotations: &annotations,
        ..Recipe::default()
    };
    let made = compose(store, &recipe)?;
    warn_of_layers(layers, control);
    notes.list_images(store, [&made.entry], control);
    enter(store, name.as_ref(), &made.entry)?;
    Ok(Edited { manifest: made.manifest.digest, image_id: made.image_id, layers, appended, squashed })
}

/// Writes the layer that leads from the first `stay` of some layers to all of them.
pub(crate) fn squash_layers(
    store: &Store,
    layers: &[Layer],
    stay: usize,
    profile: &Profile,
    threads: usize,
    control: &Control,
) -> Result<StepLayer> {
    squashed(store, layers, stay, (profile, threads), &Notes::default(), control).map(|(_, layer)| layer)
}

fn squashed(
    store: &Store,
    layers: &[Layer],
    stay: usize,
    (profile, threads): (&Profile, usize),
    notes: &Notes,
    control: &Control,
) -> Result<(Written, StepLayer)> {
    let new = contents_of(store, layers, control)?;
    let old = match stay {
        0 => None,
        stay => Some(contents_of(store, &layers[..stay], control)?),
    };
    // To the nanosecond, as far as the layers have them.
    let exact = CompareOptions { exact_times: true, ..CompareOptions::default() };
    let changes = match &old {
        Some(old) => compare(old, &new, &exact).changes,
        None => all_added(&new),
    };
    let files = ImageFiles::of(store, layers, new);
    let precision = LayerOptions { precision: MtimePrecision::Nanoseconds, ..LayerOptions::default() };
    let plan = LayerPlan::new(&changes, old.as_ref(), files.list(), precision)?;
    Counters::add(&control.counters.entries, plan.entry_count() as u64);
    let entries: Vec<u32> = changes.iter().map(|change| change.new).filter(|&new| new != NONE).collect();
    // What the spool reads is counted; the layer is not read a second time.
    let spool = Spool::fill(store, &files, &entries, control)?;
    let quiet = Control { cancel: control.cancel.clone(), ..Control::default() };
    let tar = LayerTar::new(plan, &spool);
    notes.write(store, &tar, profile, threads, &quiet)
}

/// Returns the execution parameters of an image, without what old Docker versions wrote of the container it was made in.
fn parameters(image: &Image) -> Map<String, Value> {
    let mut run = match image.config().value().get("config") {
        Some(Value::Object(run)) => run.clone(),
        _ => Map::new(),
    };
    for key in ["Image", "Hostname", "Domainname"] {
        run.shift_remove(key);
    }
    run
}

fn label(run: &mut Map<String, Value>, labels: &[(String, String)]) {
    if labels.is_empty() {
        return;
    }
    let mut all = match run.get("Labels") {
        Some(Value::Object(labels)) => labels.clone(),
        _ => Map::new(),
    };
    all.extend(labels.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))));
    run.insert("Labels".into(), Value::Object(all));
}

struct Edit<'a> {
    store: &'a Store,
    image: &'a Image,
    options: &'a EditOptions,
    created: Timestamp,
    notes: &'a Notes,
    control: &'a Control,
}

impl Edit<'_> {
    /// Returns a row that says what was done. The message stands in the last one.
    fn row(&self, what: &str, last: bool) -> History {
        History {
            created: Some(self.created.to_string()),
            created_by: Some(format!("treering edit {what}").trim_end().to_string()),
            author: self.options.author.clone(),
            comment: self.options.message.clone().filter(|_| last),
            empty_layer: false,
        }
    }

    /// Puts another base below the image. Gives its execution parameters as they are then.
    fn rebase(
        &self,
        rows: &mut Rows,
        run: Map<String, Value>,
        annotations: &mut BTreeMap<String, String>,
        old: &str,
        new: &str,
    ) -> Result<Map<String, Value>> {
        let platform = self.image.platform();
        let old = Image::open(self.store, old, Some(&platform))?;
        let new = Image::open(self.store, new, Some(&platform))?;
        rows.rebase(&Rows::of(&old), Rows::of(&new)).map_err(|error| match self.image.name() {
            Some(name) => error.with_path(name.to_string()),
            None => error.with_path(self.image.digest().to_string()),
        })?;
        annotations.insert(BASE_DIGEST.into(), new.digest().to_string());
        match new.name() {
            Some(name) => annotations.insert(BASE_NAME.into(), name.to_string()),
            None => annotations.remove(BASE_NAME),
        };
        Ok(merge(&run, &parameters(&old), &parameters(&new)))
    }

    /// Makes one layer of several.
    fn squash(&self, rows: &mut Rows, squash: Squash) -> Result<Written> {
        let have = rows.layer_count();
        let count = match squash {
            Squash::All => have,
            Squash::Last(count) if count > have => {
                let message = format!("the last {count} layers cannot become one: the image has {have}");
                return Err(Error::invalid(EDIT, message));
            }
            Squash::Last(count) => count,
        };
        if count == 0 {
            return Err(Error::invalid(EDIT, "there is no layer to squash"));
        }
        let all = rows.layers();
        let how = (&self.options.profile, self.options.threads);
        let (written, layer) = squashed(self.store, &all, all.len() - count, how, self.notes, self.control)?;
        let gone = rows.drop_last(count)?;
        let mut names: Vec<String> = gone.iter().take(NAMED).map(|layer| layer.diff_id.short()).collect();
        if gone.len() > NAMED {
            names.push(format!("and {} more", gone.len() - NAMED));
        }
        let what = format!("--squash {count} ({})", names.join(", "));
        rows.push(&self.row(&what, true), Some(&layer))?;
        Ok(written)
    }
}
