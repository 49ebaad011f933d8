//! Images: manifest, configuration, history, layers.

use std::ffi::{CString, c_char};
use std::sync::{Arc, OnceLock};

use super::arguments::{Out, Text};
use super::bytes::{self, treering_bytes};
use super::control::{running, treering_control};
use super::error::{c_string, treering_error};
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::report::copy_list;
use super::snapshot::treering_snapshot;
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::structures::{Items, Plain};
use crate::error::Result;
use crate::image::{Image, ImageFiles, Layer, Platform, Report, contents};
use crate::progress::Control;
use crate::store::Store;

/// An image for one platform: manifest and configuration read and checked, layers named. Owned by the caller, freed with
/// treering_image_free(). Never changes, so any number of threads may use it at once. It keeps its store open.
pub struct treering_image {
    _opaque: (),
}
noun!(treering_image, Opened);

/// A layer of an image. The pointers live as long as the image.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_layer {
    /// The digest of the blob.
    pub digest: treering_digest,
    /// The digest of the tar inside it.
    pub diff_id: treering_digest,
    /// The size of the blob, in bytes.
    pub size: u64,
    /// The media type of the blob.
    pub media_type: *const c_char,
}
impl Plain for treering_layer {}

/// An image and the store it is in.
pub struct Opened {
    store: Store,
    image: Image,
    layers: Vec<(treering_digest, treering_digest, u64, CString)>,
    platform: CString,
    /// The files, once they were asked for.
    files: OnceLock<Arc<ImageFiles>>,
}

impl Opened {
    /// Returns the store that the image is in.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the layers, base first.
    pub(super) fn layers(&self) -> &[Layer] {
        self.image.layers()
    }

    /// Returns the files of the image. Threads that ask at once for the first time may each look for them.
    pub(super) fn files(&self, control: &Control) -> Result<Arc<ImageFiles>> {
        if let Some(files) = self.files.get() {
            return Ok(Arc::clone(files));
        }
        let files = Arc::new(ImageFiles::open(&self.store, &self.image, control)?);
        Ok(Arc::clone(self.files.get_or_init(|| files)))
    }
}

/// Opens an image.
///
/// Errors: TREERING_NOT_FOUND when there is no such image or nothing for the platform; TREERING_CORRUPT when a document is
/// damaged or contradicts itself; TREERING_UNSUPPORTED for an artifact that is no image.
///
/// @param reference as treering_refs_resolve() takes it.
/// @param platform `os/arch[/variant]`, for choosing from a multi-platform image; NULL for this machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_open(
    store: *const treering_store,
    reference: *const c_char,
    platform: *const c_char,
    out: *mut *mut treering_image,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, platform, out, err) =
        unsafe { (Text::new(reference), Text::new(platform), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = Store::clone(&*handle::get(store, "store")?);
        let platform: Option<Platform> = platform.parse("platform")?;
        let image = Image::open(&store, reference.required("reference")?, platform.as_ref())?;
        let layers = image.layers().iter().map(|layer| {
            let media_type = c_string(layer.descriptor.media_type().to_string());
            ((&layer.digest).into(), (&layer.diff_id).into(), layer.size, media_type)
        });
        let layers = layers.collect();
        let platform = c_string(image.platform().to_string());
        Ok(Opened { store, image, layers, platform, files: OnceLock::new() })
    })
}

/// Gives the merged layers of an image as a snapshot with the digest of every file. Reading all layers for the digests takes a
/// while the first time; the store keeps them. treering_image_list() and treering_image_stat() need none.
///
/// Errors: TREERING_CORRUPT and TREERING_LIMIT for what the layers are.
///
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_contents(
    image: *const treering_image,
    control: *const treering_control,
    out: *mut *mut treering_snapshot,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let opened = handle::get(image, "image")?;
        Ok(Arc::new(contents(&opened.store, &opened.image, &*running(control)?)?))
    })
}

/// Frees an image. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_image_free(image: *mut treering_image) -> treering_status {
    handle::free(image)
}

/// Returns the image id: the digest of its configuration. An empty digest when `image` is no image.
#[unsafe(no_mangle)]
pub extern "C" fn treering_image_id(image: *const treering_image) -> treering_digest {
    handle::get(image, "image").map_or(treering_digest::NONE, |opened| opened.image.id().into())
}

/// Returns the digest of its manifest. An empty digest when `image` is no image.
#[unsafe(no_mangle)]
pub extern "C" fn treering_image_digest(image: *const treering_image) -> treering_digest {
    handle::get(image, "image").map_or(treering_digest::NONE, |opened| opened.image.digest().into())
}

/// Returns the platform it is for, `os/arch[/variant]`; lives as long as the image. NULL when `image` is no image.
#[unsafe(no_mangle)]
pub extern "C" fn treering_image_platform(image: *const treering_image) -> *const c_char {
    handle::get(image, "image").map_or(std::ptr::null(), |opened| opened.platform.as_ptr())
}

/// Returns the size of manifest, configuration and layers as stored (compressed), in bytes; 0 when `image` is no image.
#[unsafe(no_mangle)]
pub extern "C" fn treering_image_size(image: *const treering_image) -> u64 {
    handle::get(image, "image").map_or(0, |opened| opened.image.size())
}

/// Returns the manifest, exactly as stored: JSON. The bytes live as long as the image. NULL when `image` is no image.
///
/// @param len receives the number of bytes; may be NULL. No NUL stands behind them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_manifest(image: *const treering_image, len: *mut usize) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    document(image, unsafe { Out::new(len) }, Image::manifest_bytes)
}

/// Returns the configuration, exactly as stored: JSON. The bytes live as long as the image. NULL when `image` is no image.
///
/// @param len receives the number of bytes; may be NULL. No NUL stands behind them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_config(image: *const treering_image, len: *mut usize) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    document(image, unsafe { Out::new(len) }, |image| image.config().bytes())
}

fn document(
    image: *const treering_image,
    len: Out<'_, usize>,
    part: impl FnOnce(&Image) -> &[u8],
) -> *const u8 {
    let opened = handle::get(image, "image").ok();
    let bytes = opened.as_ref().map(|opened| part(&opened.image));
    if let Some(place) = len.place() {
        place.write(bytes.map_or(0, <[u8]>::len));
    }
    bytes.map_or(std::ptr::null(), <[u8]>::as_ptr)
}

/// Gives the history, newest row first: a JSON list of objects with `id`, `created`, `created_by`, `size`, `diff_size`,
/// `diff_id`, `comment`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_history(
    image: *const treering_image,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let opened = handle::get(image, "image")?;
        bytes::json(&opened.image.history(&opened.store)?)
    })
}

/// Reports what each step of an image added, changed and wasted, the largest files and packages, and what could be smaller.
/// Reads every layer once and unpacks nothing.
///
/// Errors: TREERING_NOT_FOUND when the store lacks a layer; TREERING_CORRUPT and TREERING_LIMIT for what the layers are.
///
/// @param html whether it is a page of HTML that needs nothing else; else a JSON object with `name`, `digest`, `image_id`,
/// `platform`, `created`, `size`, `stored`, `visible`, `wasted`, `steps`, `files`, `wasted_files`, `packages`, `advice`.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_report(
    image: *const treering_image,
    html: bool,
    control: *const treering_control,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let opened = handle::get(image, "image")?;
        let report = Report::of(&opened.store, &opened.image, &*running(control)?)?;
        if html { Ok(bytes::owned(report.to_html().into_bytes())) } else { bytes::json(&report) }
    })
}

/// Gives the JSON object that `docker inspect` prints for an image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_inspect(
    image: *const treering_image,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let opened = handle::get(image, "image")?;
        bytes::json(&crate::image::inspect(&opened.store, &opened.image)?)
    })
}

/// Returns how many layers it has; 0 when `image` is no image.
#[unsafe(no_mangle)]
pub extern "C" fn treering_image_layer_count(image: *const treering_image) -> usize {
    handle::get(image, "image").map_or(0, |opened| opened.layers.len())
}

/// Copies layers out, base first.
///
/// @param first the number of the first layer wanted, from 0.
/// @param out room for `max` layers.
/// @param layer_size sizeof(treering_layer).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_layers(
    image: *const treering_image,
    first: usize,
    out: *mut treering_layer,
    layer_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, layer_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        let opened = handle::get(image, "image")?;
        copy_list(&opened.layers, first, out, n, |(digest, diff_id, size, media_type)| treering_layer {
            digest: *digest,
            diff_id: *diff_id,
            size: *size,
            media_type: media_type.as_ptr(),
        })
    })
}
