//! Loading images out of an archive.

use std::io::Read;

use super::intake::Intake;
use super::{INDEX_FILE, LOAD, MANIFEST_FILE, REPOSITORIES_FILE, docker, legacy, oci};
use crate::compress::DecodeLimits;
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::image::{Admission, AdmissionLimits, Loaded, NamePolicy};
use crate::layer::read::ReadLimits;
use crate::progress::Control;
use crate::store::Store;

/// Options of a load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The policy for the names in the archive.
    pub names: NamePolicy,
    /// Caps on the archive's own structure.
    pub limits: ReadLimits,
    /// Caps on what is decompressed: the archive itself, and the layers in it.
    pub decode: DecodeLimits,
}

impl Default for LoadOptions {
    /// Names are kept; at most 100,000 entries.
    fn default() -> Self {
        let limits = ReadLimits { max_entries: 100_000, ..ReadLimits::default() };
        let decode = DecodeLimits { max_output: limits.max_bytes, ..DecodeLimits::default() };
        LoadOptions { names: NamePolicy::Keep, limits, decode }
    }
}

/// Loads every image of an archive, in any shape the [module](super) lists, compressed as a whole (gzip, zstd, xz, bzip2) or not.
///
/// The archive is read once, to its end; its entries may come in any order. Sizes, digests and DiffIDs of everything an
/// image consists of are checked before the first name is given. From Docker's shapes, where there is no manifest, one is
/// made; the configuration's bytes stay, and so the image id. Where `manifest.json` and `index.json` are both there, they
/// must agree.
///
/// # Errors
/// Nothing is visible in the store after an error; what was written until then goes with the next
/// [`Store::prune`]. [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for an archive that contradicts itself or refers to what it does not hold,
/// [`ErrorKind::Limit`](crate::ErrorKind::Limit) over the caps, [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) as [`NamePolicy::Keep`] says.
pub fn load(
    store: &Store,
    input: Box<dyn Read + Send>,
    options: &LoadOptions,
    control: &Control,
) -> Result<Vec<Loaded>> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let mut intake = Intake::read(store, input, &options.limits, &options.decode, control)?;
    let limits = AdmissionLimits { max_entries: options.limits.max_entries, decode: options.decode.clone() };
    let noted = intake.take_notes();
    let mut admission = Admission::new(store, LOAD, limits, control).with_notes(noted);
    let layout =
        intake.has(INDEX_FILE) && !(intake.has(MANIFEST_FILE) && oci::is_hollow(&intake, &mut admission)?);
    let images = if layout {
        oci::read(&intake, &mut admission)?
    } else if intake.has(MANIFEST_FILE) {
        docker::read(&intake, &mut admission)?
    } else if intake.has(REPOSITORIES_FILE) {
        legacy::read(&intake, &mut admission)?
    } else {
        let message = "not an image archive: it has neither index.json nor manifest.json nor repositories";
        return Err(Error::invalid(LOAD, message).with_hint(Hint::Import));
    };
    if images.is_empty() {
        return Err(Error::corrupt(LOAD, "the archive holds no image"));
    }
    admission.finish(images, options.names)
}
