//! Annotations, and which documents they go to: `[TYPE[PLATFORM],…:]KEY`, as buildx has it.

use std::collections::BTreeMap;

use super::options::BuildOptions;
use crate::error::{Error, Result};
use crate::image::Platform;
use crate::store::Descriptor;

const OP: &str = "annotate image";

/// A document that has annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The manifest of an image, where no other is named.
    Manifest,
    /// The entry for a manifest in an image index, or in the store's where there is none.
    ManifestDescriptor,
    /// The image index.
    Index,
    /// The entry for the image index in the store's.
    IndexDescriptor,
}

#[derive(Debug)]
struct Annotation {
    level: Level,
    /// The only platform it is for.
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// The annotations of a build.
#[derive(Debug)]
pub(super) struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Reads the annotations of a build that makes an image index or makes none.
    ///
    /// # Errors
    /// There is no such document.
    pub(super) fn new(options: &BuildOptions, index: bool) -> Result<Annotations> {
        let mut out = Vec::new();
        for (name, value) in &options.annotations {
            let (levels, key) = name.split_once(':').unwrap_or(("manifest", name));
            for text in levels.split(',') {
                let (text, platform) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
                    Some((level, platform)) => (level, Some(platform.parse::<Platform>()?)),
                    None => (text, None),
                };
                let level = match text {
                    "manifest" => Level::Manifest,
                    "manifest-descriptor" => Level::ManifestDescriptor,
                    "index" => Level::Index,
                    "index-descriptor" => Level::IndexDescriptor,
                    _ => {
                        return Err(Error::invalid(OP, format!("there is no document {text:?}"))
                            .with_path(name)
                            .with_hint("manifest, index, manifest-descriptor or index-descriptor"));
                    }
                };
                if matches!(level, Level::Index | Level::IndexDescriptor) && !index {
                    return Err(Error::invalid(OP, "the image has no index")
                        .with_path(name)
                        .with_hint("several platforms, attestations or BUILDKIT_MULTI_PLATFORM=1 make one"));
                }
                out.push(Annotation { level, platform, key: key.into(), value: value.clone() });
            }
        }
        Ok(Annotations(out))
    }

    /// Returns those of a document; `platform` is that of its image.
    pub(super) fn of(&self, level: Level, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let here = self
            .0
            .iter()
            .filter(|it| it.level == level && (it.platform.is_none() || it.platform.as_ref() == platform));
        here.map(|it| (it.key.clone(), it.value.clone())).collect()
    }

    /// Adds those of a level to an entry of an index.
    pub(super) fn put(&self, level: Level, platform: Option<&Platform>, entry: &mut Descriptor) {
        let own = self.of(level, platform);
        if !own.is_empty() {
            let mut all = entry.annotations().clone().unwrap_or_default();
            all.extend(own);
            entry.set_annotations(Some(all));
        }
    }
}
