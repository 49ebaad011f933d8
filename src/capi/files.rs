//! Files of an image, without unpacking it.

use std::sync::Mutex;

use super::arguments::{Bytes, Out};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle;
use super::image::treering_image;
use super::reader::treering_reader;
use super::snapshot::{entry, treering_entry};
use super::status::treering_status;
use super::structures::Record;
use super::walk::{Walk, treering_walk};
use crate::error::Error;
use crate::fs::Kind;

/// Finds an entry of an image, symbolic links followed inside the image: absolute targets begin at its root, and `..` does not
/// leave it. The first time this takes as long as reading all layers; the store keeps the list.
///
/// Errors: TREERING_NOT_FOUND when there is none; TREERING_INVALID_ARGUMENT for a component that is no directory, and for too many
/// links.
///
/// @param path below the root of the image; empty (NULL, 0) for the root itself. treering_entry::path is this very pointer, its
/// target lives as long as the image, and its `index` is the one it has in treering_image_contents().
/// @param follow whether a symbolic link that the path ends with is followed as well.
/// @param control may be NULL.
/// @param out_size sizeof(treering_entry).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_stat(
    image: *const treering_image,
    path: *const u8,
    path_len: usize,
    follow: bool,
    control: *const treering_control,
    out: *mut treering_entry,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, out, err) = unsafe { (Bytes::new(path, path_len), Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let path = path.bytes("path")?;
        let files = handle::get(image, "image")?.files(&*running(control)?)?;
        let index = if follow { files.resolve(path) } else { files.resolve_link(path) }?;
        out.write(&entry(files.list(), index, path));
        Ok(())
    })
}

/// Lists a directory of an image, without what is below its directories. Symbolic links are followed as by
/// treering_image_stat().
///
/// Errors: those of treering_image_stat(); TREERING_INVALID_ARGUMENT for what is no directory.
///
/// @param path below the root of the image; empty (NULL, 0) for the root itself.
/// @param control may be NULL.
/// @param out receives what gives the entries, by treering_walk_next(), in byte order of their names; their paths are those from
/// the root of the image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_list(
    image: *const treering_image,
    path: *const u8,
    path_len: usize,
    control: *const treering_control,
    out: *mut *mut treering_walk,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, out, err) = unsafe { (Bytes::new(path, path_len), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let path = path.bytes("path")?;
        let files = handle::get(image, "image")?.files(&*running(control)?)?;
        let list = files.shared_list();
        let directory = files.resolve(path)?;
        if list.meta(directory).kind != Kind::Directory {
            let error = Error::invalid("list directory of image", "it is not a directory");
            return Err(error.with_path(list.path(directory)));
        }
        let order = list.children(directory).collect();
        Ok(Mutex::new(Walk::new(list, order)))
    })
}

/// Opens a file of an image, whichever layer holds it, symbolic links followed as by treering_image_stat(). What is given was
/// verified, piece by piece: it is what the layer with the DiffID of the configuration has.
///
/// Errors: those of treering_image_stat(); TREERING_INVALID_ARGUMENT for what is no regular file; TREERING_CORRUPT when the image
/// does not have the content that its list promises.
///
/// @param path below the root of the image.
/// @param control may be NULL; cancelling it ends what is read later as well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_image_file(
    image: *const treering_image,
    path: *const u8,
    path_len: usize,
    control: *const treering_control,
    out: *mut *mut treering_reader,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, out, err) = unsafe { (Bytes::new(path, path_len), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let path = path.bytes("path")?;
        let control = running(control)?;
        let files = handle::get(image, "image")?.files(&control)?;
        Ok(Mutex::new(files.reader(files.resolve(path)?, &control)?))
    })
}
