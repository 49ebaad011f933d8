//! Archives: save, load, import, export.

use std::ffi::{CString, c_char, c_void};
use std::io::{Read, Write};

use super::arguments::{Bytes, Out, Text, bad, texts};
use super::commit::treering_commit_result;
use super::control::{control_of, running, treering_control};
use super::error::{c_string, treering_error};
use super::export_options::treering_export_options;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::import_options::treering_import_options;
use super::load_options::treering_load_options;
use super::report::copy_list;
use super::save_options::treering_save_options;
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::stream::{
    CallbackReader, CallbackWriter, Userdata, file, input, treering_finalizer, treering_read_fn,
    treering_write_fn,
};
use super::structures::{Given, Items, Plain, Record};
use crate::archive::{self, ExportSource};
use crate::error::Result;
use crate::store::Reference;

/// The images that an archive held, once for each of their names. Owned by the caller, freed with treering_loaded_free().
/// Never changes, so any number of threads may read it at once.
pub struct treering_loaded {
    _opaque: (),
}
noun!(treering_loaded, Vec<Row>);

/// An image that was loaded. The pointer lives as long as the list.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_loaded_image {
    /// The name it has in the store; NULL when it was loaded without one.
    pub name: *const c_char,
    /// The digest of its manifest, or of its index when it is for several platforms.
    pub manifest: treering_digest,
    /// The image id: the digest of its configuration.
    pub image_id: treering_digest,
}
impl Plain for treering_loaded_image {}

/// A row of [`treering_loaded`].
pub struct Row {
    name: Option<CString>,
    manifest: treering_digest,
    image_id: treering_digest,
}

/// Writes images as one archive, which `docker load`, podman and skopeo read. The same images make the same bytes.
///
/// @param references the images, as treering_refs_resolve() finds them: an array of `references_len` texts. One that is a
/// name becomes the image's name in the archive.
/// @param options NULL for the defaults.
/// @param fd where to write, from its present position on; stays open and yours.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_save_fd(
    store: *const treering_store,
    references: *const *const c_char,
    references_len: usize,
    options: *const treering_save_options,
    options_size: usize,
    fd: i32,
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, err) = unsafe { (Given::new(options, options_size), Out::new(err)) };
    guard(err, || {
        // SAFETY: the header's contract for pointers.
        let references = unsafe { texts(references, references_len, "references") }?;
        save(store, &references, options, control, &mut file(fd, "fd")?)
    })
}

/// Does what treering_archive_save_fd() does, to a callback.
///
/// @param write see treering_write_fn.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_save_callback(
    store: *const treering_store,
    references: *const *const c_char,
    references_len: usize,
    options: *const treering_save_options,
    options_size: usize,
    write: treering_write_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, options, err) =
        unsafe { (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(err)) };
    guard(err, || {
        let mut writer = CallbackWriter::new(write, userdata)?;
        // SAFETY: the header's contract for pointers.
        let references = unsafe { texts(references, references_len, "references") }?;
        save(store, &references, options, control, &mut writer)
    })
}

fn save(
    store: *const treering_store,
    references: &[String],
    options: Given<'_, treering_save_options>,
    control: *const treering_control,
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let options = options.read()?;
    archive::save(&*handle::get(store, "store")?, references, options, out, &*running(control)?)
}

/// Loads every image of an archive: what `docker save`, podman, skopeo, buildx or treering_archive_save_fd() wrote, compressed
/// or not. Everything is checked before the first name is given; nothing is visible in the store after an error.
///
/// Errors: TREERING_CORRUPT for an archive that contradicts itself, TREERING_LIMIT over the caps, TREERING_ALREADY_EXISTS as
/// treering_load_options::names says.
///
/// @param fd where to read, from its present position to its end; stays open and yours.
/// @param options NULL for the defaults.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_load_fd(
    store: *const treering_store,
    fd: i32,
    options: *const treering_load_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_loaded,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) = unsafe { (Given::new(options, options_size), Out::new(out), Out::new(err)) };
    give(err, out, || load(store, input(fd, "fd", &control_of(control)?)?, options, control))
}

/// Does what treering_archive_load_fd() does, from a callback.
///
/// @param read see treering_read_fn.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_load_callback(
    store: *const treering_store,
    read: treering_read_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    options: *const treering_load_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_loaded,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, options, out, err) = unsafe {
        (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || load(store, Box::new(CallbackReader::new(read, userdata)?), options, control))
}

fn load(
    store: *const treering_store,
    input: Box<dyn Read + Send>,
    options: Given<'_, treering_load_options>,
    control: *const treering_control,
) -> Result<Vec<Row>> {
    let loaded = archive::load(&*handle::get(store, "store")?, input, &options.read()?, &*running(control)?)?;
    let row = |one: archive::Loaded| Row {
        name: one.name.map(|name| c_string(name.to_string())),
        manifest: (&one.manifest).into(),
        image_id: (&one.image_id).into(),
    };
    Ok(loaded.into_iter().map(row).collect())
}

/// Frees a list. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_loaded_free(loaded: *mut treering_loaded) -> treering_status {
    handle::free(loaded)
}

/// Returns how many images a list has; 0 when `loaded` is no list.
#[unsafe(no_mangle)]
pub extern "C" fn treering_loaded_len(loaded: *const treering_loaded) -> usize {
    handle::get(loaded, "loaded").map_or(0, |loaded| loaded.len())
}

/// Copies images out.
///
/// @param first the number of the first image wanted, from 0.
/// @param out room for `max` images.
/// @param image_size sizeof(treering_loaded_image).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_loaded_get(
    loaded: *const treering_loaded,
    first: usize,
    out: *mut treering_loaded_image,
    image_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, image_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        let loaded = handle::get(loaded, "loaded")?;
        copy_list(&loaded, first, out, n, |row| treering_loaded_image {
            name: row.name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()),
            manifest: row.manifest,
            image_id: row.image_id,
        })
    })
}

/// Makes an image of a tar of a filesystem, compressed or not, as `docker import` does. Nothing is visible in the store after
/// an error.
///
/// @param fd where to read, from its present position to its end; stays open and yours.
/// @param reference the name the image gets; NULL for none.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_commit_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_import_fd(
    store: *const treering_store,
    fd: i32,
    reference: *const c_char,
    options: *const treering_import_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_commit_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, options, out, err) = unsafe {
        (Text::new(reference), Given::new(options, options_size), Record::new(out, out_size), Out::new(err))
    };
    guard(err, || {
        let out = out.required("out")?;
        out.write(&import(store, input(fd, "fd", &control_of(control)?)?, reference, options, control)?);
        Ok(())
    })
}

/// Does what treering_archive_import_fd() does, from a callback.
///
/// @param read see treering_read_fn.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_import_callback(
    store: *const treering_store,
    read: treering_read_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    reference: *const c_char,
    options: *const treering_import_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_commit_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, reference, options, out, err) = unsafe {
        (
            Userdata::new(userdata, finalizer),
            Text::new(reference),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let reader = Box::new(CallbackReader::new(read, userdata)?);
        out.write(&import(store, reader, reference, options, control)?);
        Ok(())
    })
}

fn import(
    store: *const treering_store,
    input: Box<dyn Read + Send>,
    reference: Text<'_>,
    options: Given<'_, treering_import_options>,
    control: *const treering_control,
) -> Result<treering_commit_result> {
    let store = handle::get(store, "store")?;
    let name = reference.optional("reference")?.map(Reference::parse).transpose()?;
    let made = archive::import(&store, input, name.as_ref(), &options.read()?, &*running(control)?)?;
    Ok((&made).into())
}

/// Writes a filesystem as one tar, as `docker export` does: that of an image, with its layers merged, or that of a directory.
/// The same content gives the same bytes.
///
/// @param reference the image; NULL for a directory.
/// @param tree the directory; (NULL, 0) for an image. Exactly one of the two must be given.
/// @param options NULL for the defaults.
/// @param fd where to write, from its present position on; stays open and yours.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_export_fd(
    store: *const treering_store,
    reference: *const c_char,
    tree: *const u8,
    tree_len: usize,
    options: *const treering_export_options,
    options_size: usize,
    fd: i32,
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, tree, options, err) = unsafe {
        (Text::new(reference), Bytes::new(tree, tree_len), Given::new(options, options_size), Out::new(err))
    };
    guard(err, || export(store, reference, tree, options, &mut file(fd, "fd")?, control))
}

/// Does what treering_archive_export_fd() does, to a callback.
///
/// @param write see treering_write_fn.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_archive_export_callback(
    store: *const treering_store,
    reference: *const c_char,
    tree: *const u8,
    tree_len: usize,
    options: *const treering_export_options,
    options_size: usize,
    write: treering_write_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, reference, tree, options, err) = unsafe {
        (
            Userdata::new(userdata, finalizer),
            Text::new(reference),
            Bytes::new(tree, tree_len),
            Given::new(options, options_size),
            Out::new(err),
        )
    };
    guard(err, || {
        let mut writer = CallbackWriter::new(write, userdata)?;
        export(store, reference, tree, options, &mut writer, control)
    })
}

fn export(
    store: *const treering_store,
    reference: Text<'_>,
    tree: Bytes<'_>,
    options: Given<'_, treering_export_options>,
    out: &mut (dyn Write + Send),
    control: *const treering_control,
) -> Result<()> {
    let store = handle::get(store, "store")?;
    let source = match (reference.optional("reference")?, tree.bytes("tree")?) {
        (Some(reference), []) => ExportSource::Image(reference),
        (None, [_, ..]) => ExportSource::Tree(tree.path("tree")?),
        _ => return Err(bad("exactly one of reference and tree must be given")),
    };
    archive::export(&store, source, &options.read()?, out, &*running(control)?)
}
