//! The records of many build steps in one manifest, as registries carry it beside those of each step.

use super::step_record::{MEDIA_TYPE, artifact};
use crate::error::Result;
use crate::store::{Descriptor, Document};

/// The annotation with the records.
const LIST: &str = "io.github.treering.build-cache.records";
/// The largest manifest of a list that is read, in bytes.
pub(crate) const MAX_LIST_MANIFEST: u64 = 2 << 20;

/// Records of many steps in one manifest, as another machine wrote them: nothing in it is checked.
#[derive(Debug)]
pub(crate) struct RecordList {
    /// The text of the annotation.
    pub text: String,
    /// The layers that are kept with it.
    pub layers: Vec<Descriptor>,
}

impl RecordList {
    /// Finds the list in a manifest.
    pub fn of(manifest: &Document) -> Option<RecordList> {
        manifest.config().filter(|config| config.media_type().as_ref() == MEDIA_TYPE)?;
        let (_, text) = manifest.annotations().find(|(name, _)| *name == LIST)?;
        Some(RecordList { text: text.to_string(), layers: manifest.layers().to_vec() })
    }

    /// Makes the manifest of the list, and describes it.
    pub fn manifest(&self) -> Result<(Descriptor, Vec<u8>)> {
        artifact(LIST, &self.text, &self.layers)
    }
}

/// Returns the tag of the list: that of a step with a key of nothing but zeros, which no step has.
pub(crate) fn list_tag(prefix: &str) -> String {
    format!("{prefix}-{:040}", 0)
}
