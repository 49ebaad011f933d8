//! Saving images into an archive.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};

use serde_json::{Value, json};

use super::members::Members;
use super::{CONTAINERD_NAME, INDEX_FILE, LAYOUT_FILE, MANIFEST_FILE, SAVE, blob_path};
use crate::compress::{Compression, DecodeOptions, Decoder, detect};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::event::Event;
use crate::image::{
    Blobs, Image, Layer, ManifestOptions, OCI_LAYER, OCI_MANIFEST, Platform, new_index, new_manifest,
    to_oci_layer,
};
use crate::progress::{Control, Share};
use crate::store::{
    BlobInfo, Descriptor, REF_NAME, Reference, Store, descriptor, descriptor_digest, json_to_bytes,
};

/// From this size on, and this many times its blob's, a layer that is written uncompressed is worth a warning.
const MUCH: u64 = 64 << 20;
const TIMES: u64 = 10;

/// The kind of archive that [`save`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// The format of `docker save` since Docker 25: an OCI image layout with `manifest.json` beside it. `docker load` of
    /// any version since 1.10 takes it, and so does everything that reads `docker-archive:` or `oci-archive:`.
    ///
    /// Of an image for several platforms it holds the one for this machine. Layers compressed with zstd, which Docker before
    /// 23 cannot read, are written uncompressed; the manifest then is another one, the image id stays.
    #[default]
    DockerArchive,
    /// A plain OCI image layout: every blob as it is, all platforms the store holds.
    OciArchive,
}

impl Format {
    /// Returns the name options and `--json` use.
    pub fn name(self) -> &'static str {
        match self {
            Format::DockerArchive => "docker-archive",
            Format::OciArchive => "oci-archive",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "docker-archive" | "docker" => Ok(Format::DockerArchive),
            "oci-archive" | "oci" => Ok(Format::OciArchive),
            _ => Err(Error::invalid("read format", "expected docker-archive or oci-archive").with_path(text)),
        }
    }
}

/// Options of [`save`]. A [`Format`] alone converts into it.
#[derive(Debug, Clone, Default)]
pub struct SaveOptions {
    /// The kind of archive.
    pub format: Format,
    /// The platform to save of an image for several; `None` for this machine's in a Docker archive, and for all that the store
    /// holds in an OCI archive.
    pub platform: Option<Platform>,
}

impl From<Format> for SaveOptions {
    fn from(format: Format) -> SaveOptions {
        SaveOptions { format, ..SaveOptions::default() }
    }
}

/// Writes images as one archive to `out`, which need not be able to seek. Blobs they share are there once.
///
/// Sizes are known before anything is written, so nothing is kept on disk or in memory on the way. The same images under
/// the same names, given in the same order, make the same bytes: entries are sorted, owned by root and dated 1970. A
/// reference that is a name becomes the image's name in the archive; one that is a digest or id saves it without a name.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] when an image or one of its blobs is not there, [`crate::ErrorKind::Corrupt`] when a blob is damaged. What
/// was written until then is useless.
pub fn save(
    store: &Store,
    references: &[String],
    options: impl Into<SaveOptions>,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<()> {
    if references.is_empty() {
        return Err(Error::invalid(SAVE, "no image is named"));
    }
    let SaveOptions { format, platform } = options.into();
    let platform = platform.as_ref();
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let mut members = Members::default();
    let mut entries = Vec::new();
    match format {
        Format::DockerArchive => docker(store, references, platform, &mut members, &mut entries, control)?,
        Format::OciArchive => oci(store, references, platform, &mut members, &mut entries, control)?,
    }
    members.bytes(INDEX_FILE, new_index(&entries, &BTreeMap::new())?);
    members.bytes(LAYOUT_FILE, json_to_bytes(&json!({ "imageLayoutVersion": "1.0.0" }))?);
    members.write(store, out, control)
}

/// Returns an image as the user named it. A name with a digest is no name to give.
fn name_of(name: Option<&Reference>) -> Option<Reference> {
    name.filter(|name| name.digest().is_none()).cloned()
}

/// Returns the entry of `index.json`; the name is the only annotation.
fn entry(descriptor: &Descriptor, name: Option<&Reference>, ref_name: Option<&str>) -> Descriptor {
    let mut entry = descriptor.clone();
    entry.set_data(None);
    entry.set_annotations(name.zip(ref_name).map(|(name, ref_name)| {
        HashMap::from([
            (CONTAINERD_NAME.to_string(), name.canonical()),
            (REF_NAME.to_string(), ref_name.to_string()),
        ])
    }));
    entry
}

/// Adds an entry unless there is one like it.
fn add(entries: &mut Vec<Descriptor>, entry: Descriptor) {
    if !entries.contains(&entry) {
        entries.push(entry);
    }
}

fn docker(
    store: &Store,
    references: &[String],
    platform: Option<&Platform>,
    members: &mut Members,
    entries: &mut Vec<Descriptor>,
    control: &Control,
) -> Result<()> {
    let mut items: Vec<(Digest, Value, Vec<String>)> = Vec::new();
    for reference in references {
        let image = Image::open(store, reference, platform)?;
        let name = name_of(image.name());
        let mut layers = Vec::new();
        for layer in image.layers() {
            layers.push(docker_layer(store, layer, members, control)?);
        }
        members.blob(BlobInfo { digest: *image.id(), size: image.config().bytes().len() as u64 });
        let same = layers.iter().zip(image.layers()).all(|(new, old)| *new == old.descriptor);
        let manifest = match same {
            true => {
                members.bytes(blob_path(image.digest()), image.manifest_bytes().to_vec());
                image.descriptor().clone()
            }
            false => {
                let config = image.manifest().config().expect("an image has a configuration");
                let options = ManifestOptions {
                    annotations: image.annotations().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
                    ..ManifestOptions::default()
                };
                let bytes = new_manifest(config, &layers, &options)?;
                let info = BlobInfo::of(&bytes);
                members.bytes(blob_path(&info.digest), bytes);
                descriptor(OCI_MANIFEST, &info)
            }
        };
        add(entries, entry(&manifest, name.as_ref(), name.as_ref().and_then(Reference::tag)));
        let paths = layers.iter().map(|layer| Ok(blob_path(&descriptor_digest(layer)?)));
        let tags = match items.iter_mut().find(|(digest, ..)| digest == image.digest()) {
            Some((_, _, tags)) => tags,
            None => {
                let paths = Value::from(paths.collect::<Result<Vec<String>>>()?);
                items.push((*image.digest(), paths, Vec::new()));
                let item = items.last_mut().expect("pushed above");
                item.1 = json!({ "Config": blob_path(image.id()), "RepoTags": null, "Layers": item.1 });
                &mut item.2
            }
        };
        if let Some(name) = name.map(|name| name.to_string()).filter(|name| !tags.contains(name)) {
            tags.push(name);
        }
    }
    let list: Vec<Value> = items
        .into_iter()
        .map(|(_, mut item, tags)| {
            if !tags.is_empty() {
                item["RepoTags"] = tags.into();
            }
            item
        })
        .collect();
    members.bytes(MANIFEST_FILE, json_to_bytes(&list)?);
    Ok(())
}

/// Returns the descriptor of a layer in a Docker archive: as it is, or uncompressed where it is zstd.
fn docker_layer(
    store: &Store,
    layer: &Layer,
    members: &mut Members,
    control: &Control,
) -> Result<Descriptor> {
    let shown = layer.digest.to_string();
    let mut head = Vec::new();
    store.open_blob(&layer.digest)?.take(512).read_to_end(&mut head).at(SAVE, &shown)?;
    if detect(&head) != Compression::Zstd {
        members.blob(BlobInfo { digest: layer.digest, size: layer.size });
        return Ok(layer.descriptor.clone());
    }
    let known = store.layer_info(&layer.digest)?.filter(|info| info.diff_id == layer.diff_id);
    let size = match known.and_then(|info| info.diff_size) {
        Some(size) => size,
        // The header comes before the content, so the size takes a pass of its own.
        None => {
            let options = DecodeOptions { hash_input: false, hash_output: false, ..DecodeOptions::default() };
            let file = store.open_blob(&layer.digest)?;
            let share = Share::new(control, layer.size);
            Decoder::counting(Box::new(file), options, control.clone(), share)?.finish()?.diff_size
        }
    };
    if size > MUCH && size / TIMES > layer.size {
        let message = format!(
            "layer {shown} is written uncompressed, {size} bytes instead of {}: an OCI archive keeps it as it is",
            layer.size
        );
        control.events.send(Event::Warning { rule: String::new(), message, location: None });
    }
    let info = BlobInfo { digest: layer.diff_id, size };
    members.plain(layer, size);
    let mut plain = to_oci_layer(&layer.descriptor);
    let annotations = plain.annotations().clone();
    plain = descriptor(OCI_LAYER, &info);
    plain.set_annotations(annotations);
    Ok(plain)
}

fn oci(
    store: &Store,
    references: &[String],
    platform: Option<&Platform>,
    members: &mut Members,
    entries: &mut Vec<Descriptor>,
    control: &Control,
) -> Result<()> {
    let mut blobs = Blobs::new(store, SAVE, control);
    for reference in references {
        let resolved = store.resolve(reference)?;
        let descriptor = match platform {
            None => resolved.descriptor,
            Some(_) => Image::open(store, reference, platform)?.descriptor().clone(),
        };
        blobs.add(&descriptor)?;
        let name = name_of(resolved.name.as_ref());
        let shown = name.as_ref().map(Reference::to_string);
        add(entries, entry(&descriptor, name.as_ref(), shown.as_deref()));
    }
    blobs.into_parts().into_iter().for_each(|part| members.blob(part));
    Ok(())
}
