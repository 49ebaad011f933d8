//! Options of an import.

use std::ffi::c_char;
use std::sync::Mutex;

use super::arguments::{Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::archive::ImportOptions;
use crate::compress::Profile;

/// How a tar becomes an image. Setters and use are safe from any thread.
pub struct treering_import_options {
    _opaque: (),
}
noun!(treering_import_options, Mutex<ImportOptions>);

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_new(
    out: *mut *mut treering_import_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_import_options_free(options: *mut treering_import_options) -> treering_status {
    handle::free(options)
}

/// Makes the configuration with a Dockerfile instruction, as treering_commit_options_add_change() takes it. May be called
/// again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_add_change(
    options: *mut treering_import_options,
    change: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (change, err) = unsafe { (Text::new(change), Out::new(err)) };
    set(err, options, |options| {
        options.changes.push(change.required("change")?.to_string());
        Ok(())
    })
}

/// A message for the history; NULL, the default, for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_message(
    options: *mut treering_import_options,
    message: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (message, err) = unsafe { (Text::new(message), Out::new(err)) };
    set(err, options, |options| {
        options.message = message.optional("message")?.map(String::from);
        Ok(())
    })
}

/// Who made the image; NULL, the default, for nobody.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_author(
    options: *mut treering_import_options,
    author: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (author, err) = unsafe { (Text::new(author), Out::new(err)) };
    set(err, options, |options| {
        options.author = author.optional("author")?.map(String::from);
        Ok(())
    })
}

/// The platform of the image. This machine's by default.
///
/// @param platform `os/arch[/variant]`; NULL for the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_platform(
    options: *mut treering_import_options,
    platform: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (platform, err) = unsafe { (Text::new(platform), Out::new(err)) };
    set(err, options, |options| {
        options.platform = platform.optional("platform")?.map(str::parse).transpose()?;
        Ok(())
    })
}

/// When the image was made. Now by default.
///
/// @param seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_created(
    options: *mut treering_import_options,
    seconds: i64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.created = Some(seconds);
        Ok(())
    })
}

/// Compress the layer anew. By default its bytes stay as they come.
///
/// @param compression `none`, `gzip` or `zstd`; NULL for the default.
/// @param level 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_compression(
    options: *mut treering_import_options,
    compression: *const c_char,
    level: i32,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (compression, err) = unsafe { (Text::new(compression), Out::new(err)) };
    set(err, options, |options| {
        options.profile = match compression.optional("compression")? {
            Some(compression) => Some(Profile::new(compression.parse()?, (level != 0).then_some(level))?),
            None => None,
        };
        Ok(())
    })
}

/// How many threads to use; 0, the default, for one per processor. The result does not depend on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_threads(
    options: *mut treering_import_options,
    threads: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.threads = threads;
        Ok(())
    })
}

/// How many bytes the tar may have uncompressed. By default that is 256 GiB, and 1 TiB for its files with their holes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_max_bytes(
    options: *mut treering_import_options,
    max_bytes: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.limits.max_bytes = max_bytes;
        options.decode.max_output = max_bytes;
        Ok(())
    })
}

/// How many entries the tar may have. Ten million by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_import_options_set_max_entries(
    options: *mut treering_import_options,
    max_entries: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.limits.max_entries = max_entries;
        Ok(())
    })
}
