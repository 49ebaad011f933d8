//! Makes an image out of steps: one configuration and one manifest, whatever the number of layers. Naming the image is
//! separate.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::config::{History, ImageConfig};
use super::derive::{NewConfig, new_config};
use super::manifest::{ManifestOptions, OCI_CONFIG, OCI_MANIFEST, new_manifest};
use super::open::Image;
use super::platform::Platform;
use crate::compress::Written;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::hint::Hint;
use crate::progress::Control;
use crate::store::{BlobInfo, Descriptor, Document, Entry, LayerInfo, Reference, Store, descriptor};

/// From here on a warning: Docker's limit is near 125.
const DOCKER_LAYERS: usize = 120;

/// A layer that a step made: it is in the store.
#[derive(Debug, Clone)]
pub(crate) struct StepLayer {
    /// The digest of the tar inside the blob.
    pub diff_id: Digest,
    /// The blob.
    pub descriptor: Descriptor,
}

impl From<&LayerInfo> for StepLayer {
    fn from(info: &LayerInfo) -> Self {
        let blob = BlobInfo { digest: info.digest, size: info.size };
        StepLayer { diff_id: info.diff_id, descriptor: descriptor(&info.media_type, &blob) }
    }
}

/// A step of the making of an image: a row of its history (config.md, "history"), and the layer that goes with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Step {
    pub created: Option<Timestamp>,
    pub created_by: Option<String>,
    pub author: Option<String>,
    pub comment: Option<String>,
    /// `None` for a step that changed nothing in the tree: its row says `empty_layer`.
    pub layer: Option<StepLayer>,
}

/// Layers and rows of history in place of those of the base. As many rows have a layer as there are layers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Below {
    pub layers: Vec<StepLayer>,
    pub rows: Vec<Value>,
}

/// The recipe of an image. Everything but the time may be left at its default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recipe<'a> {
    /// The image the steps start from: its layers, history and parameters are inherited.
    pub base: Option<&'a Image>,
    /// The platform; the base's, else this machine's.
    pub platform: Option<Platform>,
    /// The steps on top of the base, first one first.
    pub steps: &'a [Step],
    /// The execution parameters (the `config` member), ready to be written, instead of the base's.
    pub config: Option<Map<String, Value>>,
    /// Dockerfile instructions to apply to the parameters, as `docker commit --change` takes them.
    pub changes: &'a [String],
    /// The author of the image.
    pub author: Option<String>,
    /// The image's time of creation; without it, none is written.
    pub created: Option<Timestamp>,
    /// Leave out the layers and the history of the base: the steps hold everything.
    pub squash: bool,
    /// The layers and history to start from instead of the base's.
    pub below: Option<Below>,
    /// Annotations of the manifest.
    pub annotations: &'a [(String, String)],
}

/// An image in the store that has no name yet.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// The manifest.
    pub manifest: BlobInfo,
    /// The digest of the configuration.
    pub image_id: Digest,
    /// The manifest's entry for an index.
    pub entry: Descriptor,
}

/// Puts the configuration and the manifest of an image into the store.
///
/// # Errors
/// [`ErrorKind::Limit`] for documents over the caps of the store, with nothing written: they could not be read again.
pub(crate) fn compose(store: &Store, recipe: &Recipe<'_>) -> Result<Made> {
    let rows: Vec<History> = recipe.steps.iter().map(row).collect();
    let diff_ids: Vec<Digest> =
        recipe.steps.iter().filter_map(|step| Some(step.layer.as_ref()?.diff_id)).collect();
    let below = recipe.below.as_ref();
    let below_ids: Vec<Digest> =
        below.map(|below| below.layers.iter().map(|layer| layer.diff_id).collect()).unwrap_or_default();
    let config = new_config(&NewConfig {
        base: recipe.base.map(Image::config),
        platform: recipe.platform.clone(),
        run: recipe.config.clone(),
        changes: recipe.changes,
        author: recipe.author.clone(),
        created: recipe.created,
        history: &rows,
        layers: &diff_ids,
        squash: recipe.squash,
        below: below.map(|below| (&below_ids[..], &below.rows[..])),
    })?;
    let below: Vec<Descriptor> = match below {
        Some(below) => below.layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        None => {
            let layers = recipe.base.filter(|_| !recipe.squash).map(Image::layers).unwrap_or_default();
            layers.iter().map(|layer| layer.descriptor.clone()).collect()
        }
    };
    let above = recipe.steps.iter().filter_map(|step| Some(step.layer.as_ref()?.descriptor.clone()));
    let layers: Vec<Descriptor> = below.into_iter().chain(above).collect();
    ImageConfig::parse(config.clone(), "the new configuration", store.limits()).map_err(too_large)?;
    let options = ManifestOptions {
        annotations: recipe.annotations.iter().cloned().collect(),
        ..ManifestOptions::default()
    };
    let manifest = new_manifest(&descriptor(OCI_CONFIG, &BlobInfo::of(&config)), &layers, &options)?;
    Document::parse(&manifest, Some(OCI_MANIFEST), "the new manifest", store.limits()).map_err(too_large)?;
    let image_id = put_document(store, &config)?.digest;
    let manifest = put_document(store, &manifest)?;
    Ok(Made { manifest, image_id, entry: descriptor(OCI_MANIFEST, &manifest) })
}

fn row(step: &Step) -> History {
    History {
        created: step.created.map(|time| time.to_string()),
        created_by: step.created_by.clone(),
        author: step.author.clone(),
        comment: step.comment.clone(),
        empty_layer: step.layer.is_none(),
    }
}

/// Puts a document into the store; one that is there whole is not written again.
pub(crate) fn put_document(store: &Store, bytes: &[u8]) -> Result<BlobInfo> {
    let info = BlobInfo::of(bytes);
    match store.read_blob(&info.digest, Some(info.size), info.size) {
        Ok(there) if there == bytes => Ok(info),
        _ => store.put_blob(bytes),
    }
}

/// Enters an image into the index of the store, under a name or without one. Nothing is written where it is entered already.
pub(crate) fn enter(store: &Store, name: Option<&Reference>, entry: &Descriptor) -> Result<()> {
    let wanted = name.map(|name| name.clone().or_latest());
    let same = |known: &Entry| {
        let kept = known.descriptor.annotations().as_ref();
        let noted = |(key, value): (&String, &String)| kept.and_then(|kept| kept.get(key)) == Some(value);
        known.descriptor.digest() == entry.digest()
            && (wanted.is_none() || known.name == wanted)
            && entry.annotations().iter().flatten().all(noted)
    };
    if store.entries()?.iter().any(same) {
        return Ok(());
    }
    match name {
        Some(name) => store.tag(name, entry).map(drop),
        None => store.add_untagged(entry),
    }
}

/// Records both digests of a layer that was just written into a blob of the store.
pub(crate) fn record_layer(store: &Store, written: &Written, media_type: &str) -> Result<StepLayer> {
    let info = LayerInfo {
        diff_id: written.diff_id,
        digest: written.digest,
        size: written.size,
        media_type: media_type.to_string(),
        diff_size: Some(written.diff_size),
    };
    store.put_layer_info(&info)?;
    Ok(StepLayer::from(&info))
}

/// Returns a time of creation from seconds since 1970; `None` is now, in whole seconds, as other tools write and compare it.
pub(crate) fn creation_time(seconds: Option<i64>, operation: &'static str) -> Result<Timestamp> {
    let seconds = seconds.unwrap_or_else(|| Timestamp::now().as_second());
    Timestamp::from_second(seconds).map_err(|error| {
        Error::invalid(operation, format!("creation time out of range: {seconds}")).with_source(error)
    })
}

/// Warns of more layers than Docker takes.
pub(crate) fn warn_of_layers(layers: usize, control: &Control) {
    if layers > DOCKER_LAYERS {
        let message = format!(
            "the image has {layers} layers; Docker takes {DOCKER_LAYERS} or few more, and squashing drops those of the base"
        );
        control.events.send(Event::Warning { rule: String::new(), message, location: None });
    }
}

/// Adds what helps where an image would be over the caps.
pub(super) fn too_large(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Limit => error.with_hint(Hint::Squash),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Limits;

    fn layer(store: &Store, content: &[u8]) -> StepLayer {
        let blob = store.put_blob(content).unwrap();
        StepLayer { diff_id: blob.digest, descriptor: descriptor(super::super::OCI_LAYER, &blob) }
    }

    #[test]
    fn several_steps_make_one_image_with_a_row_for_each() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let second = |second: i64| Some(Timestamp::from_second(second).unwrap());
        let base_steps = [Step { layer: Some(layer(&store, b"base")), ..Step::default() }];
        let base = Recipe { steps: &base_steps, changes: &["USER me".into()], ..Recipe::default() };
        let base = compose(&store, &base).unwrap();
        let base = Image::from_descriptor(&store, &base.entry, None).unwrap();
        let steps = [
            Step { created: second(1), created_by: Some("ENV a=1".into()), ..Step::default() },
            Step { created: second(2), layer: Some(layer(&store, b"one")), ..Step::default() },
            Step { comment: Some("note".into()), layer: Some(layer(&store, b"two")), ..Step::default() },
        ];
        let config = Map::from_iter([("Env".to_string(), serde_json::json!(["a=1"]))]);
        let mut recipe = Recipe {
            base: Some(&base),
            steps: &steps,
            config: Some(config),
            created: second(3),
            ..Recipe::default()
        };
        let made = compose(&store, &recipe).unwrap();
        assert!(store.refs().unwrap().is_empty(), "it has no name");
        let image = Image::from_descriptor(&store, &made.entry, None).unwrap();
        assert_eq!((image.digest(), image.id()), (&made.manifest.digest, &made.image_id));
        let diff_ids: Vec<Digest> = [&b"base"[..], b"one", b"two"].map(Digest::of).to_vec();
        assert_eq!(image.config().diff_ids(), diff_ids);
        assert_eq!(image.layers().iter().map(|layer| layer.digest).collect::<Vec<_>>(), diff_ids);
        assert_eq!(image.config().created(), Some("1970-01-01T00:00:03Z"));
        assert_eq!(image.config().run().env.as_deref(), Some(&["a=1".to_string()][..]));
        assert_eq!(image.config().run().user, None, "the parameters that were given, not the base's");
        let rows: Vec<_> =
            image.config().history().iter().map(|row| (row.created.as_deref(), row.empty_layer)).collect();
        let expected = [
            (None, false),
            (Some("1970-01-01T00:00:01Z"), true),
            (Some("1970-01-01T00:00:02Z"), false),
            (None, false),
        ];
        assert_eq!(rows, expected);
        recipe.squash = true;
        let made = compose(&store, &recipe).unwrap();
        let image = Image::from_descriptor(&store, &made.entry, None).unwrap();
        assert_eq!((image.config().diff_ids(), image.config().history().len()), (&diff_ids[1..], 3));
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let temp = tempfile::tempdir().unwrap();
        let limits = Limits { layers: 2, ..Limits::default() };
        let store = Store::open_with(temp.path(), limits).unwrap();
        let one = layer(&store, b"one");
        let steps = vec![Step { layer: Some(one), ..Step::default() }; 3];
        let error = compose(&store, &Recipe { steps: &steps, ..Recipe::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(compose(&store, &Recipe { steps: &steps[..2], ..Recipe::default() }).is_ok());
    }
}
