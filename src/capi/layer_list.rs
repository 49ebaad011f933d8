//! Lists of the entries of a layer.

use std::ffi::c_void;
use std::io::Read;

use super::arguments::{Out, bad};
use super::control::{control_of, running, treering_control};
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::layer_list_options::treering_layer_list_options;
use super::report::copy_list;
use super::snapshot::{treering_file_kind, treering_xattr, xattr};
use super::status::treering_status;
use super::stream::{CallbackReader, Userdata, input, treering_finalizer, treering_read_fn};
use super::structures::{Given, Items, Plain};
use crate::compress::{DecodeOptions, Decoder};
use crate::error::Result;
use crate::layer::list;
use crate::layer::read::TarEntry;

/// The entries of a layer, in its order. Owned by the caller, freed with treering_layer_list_free(). Never changes, so any
/// number of threads may read it at once.
pub struct treering_layer_list {
    _opaque: (),
}
noun!(treering_layer_list, Vec<TarEntry>);

/// An entry of a layer. The pointers live as long as the list.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_layer_entry {
    /// The path, components joined by `/`, without a leading one; empty for the root. A whiteout is a file `.wh.NAME`.
    pub path: *const u8,
    /// The bytes in `path`.
    pub path_len: usize,
    /// The target of a symbolic link, or the path of the entry that a hard link joins; else empty.
    pub link: *const u8,
    /// The bytes in `link`.
    pub link_len: usize,
    /// The length of a regular file in bytes; 0 for everything else.
    pub size: u64,
    /// Last change of content: seconds since 1970.
    pub mtime_secs: i64,
    /// Last change of content: nanoseconds to add, 0 to 999999999.
    pub mtime_nanos: u32,
    /// The kind of the entry.
    pub kind: treering_file_kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major number of a device.
    pub rdev_major: u32,
    /// Minor number of a device.
    pub rdev_minor: u32,
    /// How many extended attributes it has, see treering_layer_list_xattrs().
    pub xattrs: u32,
}
impl Plain for treering_layer_entry {}

/// Returns an entry as a C structure.
pub(super) fn plain(entry: &TarEntry) -> treering_layer_entry {
    treering_layer_entry {
        path: entry.path.as_ptr(),
        path_len: entry.path.len(),
        link: entry.link.as_ptr(),
        link_len: entry.link.len(),
        size: entry.size,
        mtime_secs: entry.mtime.0,
        mtime_nanos: entry.mtime.1,
        kind: entry.kind.into(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        rdev_major: entry.rdev.0,
        rdev_minor: entry.rdev.1,
        xattrs: entry.xattrs.len() as u32,
    }
}

/// Lists what is in a layer, compressed or not, without putting it anywhere.
///
/// Errors: TREERING_CORRUPT, TREERING_LIMIT (also for a list that takes more memory than it may), TREERING_UNSUPPORTED for what
/// the layer is.
///
/// @param fd where to read, from its present position to its end; stays open and yours.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_fd(
    fd: i32,
    options: *const treering_layer_list_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_layer_list,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) = unsafe { (Given::new(options, options_size), Out::new(out), Out::new(err)) };
    give(err, out, || read(input(fd, "fd", &control_of(control)?)?, options, control))
}

/// Does what treering_layer_list_fd() does, from a callback.
///
/// @param read see treering_read_fn.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_callback(
    read: treering_read_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    options: *const treering_layer_list_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_layer_list,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, options, out, err) = unsafe {
        (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || self::read(Box::new(CallbackReader::new(read, userdata)?), options, control))
}

fn read(
    input: Box<dyn Read + Send>,
    options: Given<'_, treering_layer_list_options>,
    control: *const treering_control,
) -> Result<Vec<TarEntry>> {
    let (options, control) = (options.read()?, running(control)?);
    let decode = DecodeOptions { limits: options.decode, ..DecodeOptions::default() };
    list(Decoder::new(input, decode, control.clone())?, &options.list, &control)
}

/// Frees a list. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_layer_list_free(list: *mut treering_layer_list) -> treering_status {
    handle::free(list)
}

/// Returns how many entries a list has; 0 when `list` is no list.
#[unsafe(no_mangle)]
pub extern "C" fn treering_layer_list_len(list: *const treering_layer_list) -> usize {
    handle::get(list, "list").map_or(0, |list| list.len())
}

/// Copies entries out.
///
/// @param first the number of the first entry wanted, from 0.
/// @param out room for `max` entries.
/// @param entry_size sizeof(treering_layer_entry).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_get(
    list: *const treering_layer_list,
    first: usize,
    out: *mut treering_layer_entry,
    entry_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, entry_size, max), Out::new(n), Out::new(err)) };
    guard(err, || copy_list(&handle::get(list, "list")?, first, out, n, plain))
}

/// Copies the extended attributes of an entry out.
///
/// @param index the number of the entry, from 0.
/// @param first the number of the first attribute wanted, from 0.
/// @param out room for `max` attributes; their pointers live as long as the list.
/// @param xattr_size sizeof(treering_xattr).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_xattrs(
    list: *const treering_layer_list,
    index: usize,
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
        let list = handle::get(list, "list")?;
        let entry = list.get(index).ok_or_else(|| bad(format!("the list has no entry number {index}")))?;
        copy_list(&entry.xattrs, first, out, n, |(name, value)| xattr(name, value))
    })
}
