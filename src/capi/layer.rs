//! Layers: writing one, applying one.

use std::ffi::c_void;
use std::io::{Read, Write};

use super::apply_options::treering_apply_options;
use super::arguments::{Bytes, Out};
use super::control::{control_of, running, treering_control};
use super::diff::treering_diff;
use super::error::treering_error;
use super::guard::guard;
use super::handle;
use super::layer_options::{Writing, treering_layer_options};
use super::report::{Report, hand_over, treering_report};
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::stream::{
    CallbackReader, CallbackWriter, Userdata, file, input, treering_finalizer, treering_read_fn,
    treering_write_fn,
};
use super::structures::{Given, Plain, Record};
use crate::compress::{DecodeOptions, Written};
use crate::error::Result;
use crate::image::{AppliedLayer, LayerApplyOptions, LayerSource, UnpackOptions, apply_layer, write_layer};
use crate::layer::{Files, Loss};

/// A layer that was written.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_layer_result {
    /// The digest of the tar stream, which an image's configuration lists as `diff_id`.
    pub diff_id: treering_digest,
    /// The digest of the blob, which a manifest names.
    pub digest: treering_digest,
    /// The length of the tar stream, in bytes.
    pub diff_size: u64,
    /// The length of the blob, in bytes.
    pub size: u64,
    /// How many tar entries it has.
    pub entries: u64,
}
impl Plain for treering_layer_result {}

/// A layer that was applied.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_apply_result {
    /// The digest of the tar stream. Compare it with what you expect: the bytes were applied as they came.
    pub diff_id: treering_digest,
    /// The digest of the blob as it was read.
    pub digest: treering_digest,
    /// The length of the tar stream, in bytes.
    pub diff_size: u64,
    /// The length of the blob, in bytes.
    pub size: u64,
    /// How many entries the tree has now, its root not counted.
    pub entries: u64,
    /// For how many entries the disk did not take owner, permissions, device or attributes, and nothing keeps them: 0 when
    /// the store does.
    pub unkept: u64,
    /// How many notes the report has.
    pub losses: u64,
}
impl Plain for treering_apply_result {}

/// Writes the layer that makes the old tree of a diff into the new one, from the files of the new tree.
///
/// Errors: TREERING_CHANGED when a file is not as it was compared; TREERING_UNSUPPORTED when the diff has no directory (of
/// images, or of snapshots without a tree). After an error what was written is a useless prefix.
///
/// @param options NULL for the defaults.
/// @param fd where to write, from its present position on; stays open and yours. Not flushed to disk. A pipe without a reader
/// raises SIGPIPE, as always, unless your program ignores it.
/// @param control may be NULL.
/// @param out_size sizeof(treering_layer_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_write_fd(
    diff: *const treering_diff,
    options: *const treering_layer_options,
    options_size: usize,
    fd: i32,
    control: *const treering_control,
    out: *mut treering_layer_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) =
        unsafe { (Given::new(options, options_size), Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        out.write(&write(diff, options, &mut file(fd, "fd")?, control)?);
        Ok(())
    })
}

/// Does what treering_layer_write_fd() does, to a callback.
///
/// @param write see treering_write_fn.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_write_callback(
    diff: *const treering_diff,
    options: *const treering_layer_options,
    options_size: usize,
    write: treering_write_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    control: *const treering_control,
    out: *mut treering_layer_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, options, out, err) = unsafe {
        (
            Userdata::new(userdata, finalizer),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let mut writer = CallbackWriter::new(write, userdata)?;
        out.write(&self::write(diff, options, &mut writer, control)?);
        Ok(())
    })
}

fn write(
    diff: *const treering_diff,
    options: Given<'_, treering_layer_options>,
    out: &mut (dyn Write + Send),
    control: *const treering_control,
) -> Result<treering_layer_result> {
    let diff = handle::get(diff, "diff")?;
    let Writing { profile, layer, threads } = options.read()?;
    let control = running(control)?;
    let source = LayerSource {
        changes: &diff.changes,
        old: diff.old.as_deref(),
        new: &diff.new,
        files: diff.files.as_deref().map(|files| files as &dyn Files),
    };
    let (written, entries) = write_layer(source, layer, &profile, threads, out, &control)?;
    let Written { diff_id, diff_size, digest, size } = written;
    Ok(treering_layer_result {
        diff_id: (&diff_id).into(),
        digest: (&digest).into(),
        diff_size,
        size,
        entries,
    })
}

/// Applies a layer, compressed or not, to a directory, which is made when it is not there. Whiteouts remove what is there.
///
/// Whatever the disk does not take of owners, permissions, devices and attributes goes where treering_unpack() put it: into
/// the store, when that has a record of the directory. Nothing keeps it otherwise, see treering_apply_result::unkept.
///
/// Errors: TREERING_CORRUPT, TREERING_LIMIT, TREERING_UNSUPPORTED for what the layer is; whatever writing can meet. After an
/// error the directory is in no defined state.
///
/// @param store what is known of the directory; NULL for none.
/// @param fd where to read, from its present position to its end; stays open and yours.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_apply_result).
/// @param report receives what was lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_apply_fd(
    store: *const treering_store,
    fd: i32,
    dir: *const u8,
    dir_len: usize,
    options: *const treering_apply_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_apply_result,
    out_size: usize,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (dir, options, out, report, err) = unsafe {
        (
            Bytes::new(dir, dir_len),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let (result, losses) =
            apply(store, || input(fd, "fd", &control_of(control)?), dir, options, control)?;
        hand_over(report, Report::losses(losses));
        out.write(&result);
        Ok(())
    })
}

/// Does what treering_layer_apply_fd() does, from a callback.
///
/// @param read see treering_read_fn.
/// @param userdata handed to the callback.
/// @param finalizer see treering_finalizer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_apply_callback(
    store: *const treering_store,
    read: treering_read_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    dir: *const u8,
    dir_len: usize,
    options: *const treering_apply_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_apply_result,
    out_size: usize,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, dir, options, out, report, err) = unsafe {
        (
            Userdata::new(userdata, finalizer),
            Bytes::new(dir, dir_len),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let reader = || Ok(Box::new(CallbackReader::new(read, userdata)?) as Box<dyn Read + Send>);
        let (result, losses) = apply(store, reader, dir, options, control)?;
        hand_over(report, Report::losses(losses));
        out.write(&result);
        Ok(())
    })
}

fn apply(
    store: *const treering_store,
    input: impl FnOnce() -> Result<Box<dyn Read + Send>>,
    dir: Bytes<'_>,
    options: Given<'_, treering_apply_options>,
    control: *const treering_control,
) -> Result<(treering_apply_result, Vec<Loss>)> {
    let input = input()?;
    let dir = dir.path("dir")?;
    let UnpackOptions { apply, decode, .. } = options.read()?;
    let store = handle::maybe(store, "store")?;
    let decode = DecodeOptions { limits: decode, ..DecodeOptions::with_threads(apply.threads) };
    let options = LayerApplyOptions { apply, decode, ..LayerApplyOptions::default() };
    let AppliedLayer { layer: decoded, applied, unkept } =
        apply_layer(store.as_deref(), input, dir, &options, &*running(control)?)?;
    let digest = |digest: &Option<_>| digest.as_ref().map_or(treering_digest::NONE, treering_digest::from);
    let result = treering_apply_result {
        diff_id: digest(&decoded.diff_id),
        digest: digest(&decoded.digest),
        diff_size: decoded.diff_size,
        size: decoded.size,
        entries: applied.snapshot.len() as u64 - 1,
        unkept,
        losses: applied.losses.len() as u64,
    };
    Ok((result, applied.losses))
}
