//! Layers as streams, and their entries one after the other with their content.

use std::ffi::c_void;
use std::io::Read;
use std::sync::Mutex;

use super::arguments::{Buffer, Out, bad};
use super::control::{control_of, running, treering_control};
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::image::treering_image;
use super::layer_list::{plain, treering_layer_entry};
use super::layer_list_options::treering_layer_list_options;
use super::reader::{read, treering_reader};
use super::report::copy_list;
use super::snapshot::{treering_xattr, xattr};
use super::status::treering_status;
use super::stream::{CallbackReader, Userdata, input, treering_finalizer, treering_read_fn};
use super::structures::{Given, Items, Record};
use super::walk::alone;
use crate::compress::DecodeOptions;
use crate::error::Result;
use crate::image::{Layer, LayerFiles};
use crate::layer::read::TarEntry;

/// The entries of a layer, one after the other with their content; nothing is gathered. Owned by the caller, freed with
/// treering_layer_files_free(). One thread at a time: a call while another thread is in one is TREERING_BUSY.
pub struct treering_layer_files {
    _opaque: (),
}
noun!(treering_layer_files, Mutex<State>);

/// A layer that is read, and the entry it is at.
pub struct State {
    files: LayerFiles,
    entry: Option<TarEntry>,
}

impl State {
    fn new(files: LayerFiles) -> Mutex<State> {
        Mutex::new(State { files, entry: None })
    }
}

/// Opens a layer of an image as a stream. When the end is reached it was verified: TREERING_CORRUPT when it is not what manifest
/// and configuration say.
///
/// @param index the number of the layer, from 0, base first.
/// @param tar whether the tar inside is wanted, decompressed; else the blob as it is stored.
/// @param control may be NULL; cancelling it ends what is read later as well, of a tar.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_layer(
    image: *const treering_image,
    index: usize,
    tar: bool,
    control: *const treering_control,
    out: *mut *mut treering_reader,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let opened = handle::get(image, "image")?;
        let (store, layer) = (opened.store(), layer(opened.layers(), index)?);
        let stream: Box<dyn Read + Send> = match tar {
            false => Box::new(layer.open(store)?),
            true => Box::new(layer.open_tar(store, &*running(control)?)?),
        };
        Ok(Mutex::new(stream))
    })
}

fn layer(layers: &[Layer], index: usize) -> Result<&Layer> {
    layers.get(index).ok_or_else(|| bad(format!("the image has no layer number {index}")))
}

/// Opens a layer of an image to read its entries. When the end is reached it was verified, as by treering_image_layer().
///
/// @param index the number of the layer, from 0, base first.
/// @param options NULL for the defaults; `max_ratio` and `max_memory` are of no matter here.
/// @param control may be NULL; cancelling it ends what is read later as well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_files_image(
    image: *const treering_image,
    index: usize,
    options: *const treering_layer_list_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_layer_files,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) = unsafe { (Given::new(options, options_size), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let opened = handle::get(image, "image")?;
        let layer = layer(opened.layers(), index)?;
        let limits = options.read()?.list.limits;
        Ok(State::new(layer.files(opened.store(), limits, &*running(control)?)?))
    })
}

/// Opens a layer, compressed or not, to read its entries.
///
/// @param fd where to read, from its present position on; stays open and yours, and is read from until the handle is freed.
/// @param options NULL for the defaults; `max_memory` is of no matter here.
/// @param control may be NULL; cancelling it ends what is read later as well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_files_fd(
    fd: i32,
    options: *const treering_layer_list_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_layer_files,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) = unsafe { (Given::new(options, options_size), Out::new(out), Out::new(err)) };
    give(err, out, || open(input(fd, "fd", &control_of(control)?)?, options, control))
}

/// Does what treering_layer_files_fd() does, from a callback.
///
/// @param read see treering_read_fn; it is called until the handle is freed, also between calls with the handle.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer, but called when the handle is freed; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_files_callback(
    read: treering_read_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    options: *const treering_layer_list_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_layer_files,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, options, out, err) = unsafe {
        (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || open(Box::new(CallbackReader::new(read, userdata)?), options, control))
}

fn open(
    input: Box<dyn Read + Send>,
    options: Given<'_, treering_layer_list_options>,
    control: *const treering_control,
) -> Result<Mutex<State>> {
    let options = options.read()?;
    let decode = DecodeOptions { limits: options.decode, ..DecodeOptions::default() };
    Ok(State::new(LayerFiles::new(input, &options.list, decode, &*running(control)?)?))
}

/// Goes to the next entry. What was not read of the content of the one before is passed over.
///
/// Errors: those of treering_layer_list_fd().
///
/// @param out receives the entry; its pointers live until the next call of this function. Left alone at the end.
/// @param out_size sizeof(treering_layer_entry).
/// @param more receives whether there was one; false at the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_files_next(
    files: *mut treering_layer_files,
    out: *mut treering_layer_entry,
    out_size: usize,
    more: *mut bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, more, err) = unsafe { (Record::new(out, out_size), Out::new(more), Out::new(err)) };
    guard(err, || {
        let (out, more) = (out.required("out")?, more.required("more")?);
        let files = handle::get(files, "files")?;
        let State { files, entry } = &mut *alone(&files)?;
        *entry = None;
        *entry = files.next_entry()?;
        if let Some(entry) = entry {
            out.write(&plain(entry));
        }
        more.write(entry.is_some());
        Ok(())
    })
}

/// Copies the extended attributes of the present entry out; none before the first and behind the last.
///
/// @param first the number of the first attribute wanted, from 0.
/// @param out room for `max` attributes; their pointers live until the next call of treering_layer_files_next().
/// @param xattr_size sizeof(treering_xattr).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_files_xattrs(
    files: *mut treering_layer_files,
    first: usize,
    out: *mut treering_xattr,
    xattr_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, xattr_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        let files = handle::get(files, "files")?;
        let state = alone(&files)?;
        let xattrs = state.entry.as_ref().map_or(&[][..], |entry| &entry.xattrs);
        copy_list(xattrs, first, out, n, |(name, value)| xattr(name, value))
    })
}

/// Reads the next bytes of the content of the present entry, holes as zeros.
///
/// @param buffer room for `capacity` bytes.
/// @param capacity how many bytes are wanted at most.
/// @param n receives how many were written, which may be fewer; 0 at the end of the content, and when `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_files_read(
    files: *mut treering_layer_files,
    buffer: *mut u8,
    capacity: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (buffer, n, err) = unsafe { (Buffer::new(buffer, capacity), Out::new(n), Out::new(err)) };
    guard(err, || {
        let n = n.required("n")?;
        let buffer = buffer.bytes("buffer")?;
        let files = handle::get(files, "files")?;
        let count = if buffer.is_empty() { 0 } else { read(&mut alone(&files)?.files, buffer)? };
        n.write(count);
        Ok(())
    })
}

/// Frees it. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already. Waits for a read of a callback that is
/// under way.
#[unsafe(no_mangle)]
pub extern "C" fn treering_layer_files_free(files: *mut treering_layer_files) -> treering_status {
    handle::free(files)
}
