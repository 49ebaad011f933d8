//! Options of a commit.

use std::ffi::c_char;
use std::sync::Mutex;

use super::arguments::{Bytes, Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::compress::Profile;
use crate::image::CommitOptions;
use crate::layer::MtimePrecision;
use crate::tree::OwnerSource;

/// How a directory becomes an image. Setters and use are safe from any thread.
pub struct treering_commit_options {
    _opaque: (),
}
noun!(treering_commit_options, Mutex<CommitOptions>);

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_new(
    out: *mut *mut treering_commit_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_commit_options_free(options: *mut treering_commit_options) -> treering_status {
    handle::free(options)
}

/// What the image is built on.
///
/// @param base `auto` (the default, also for NULL) for the image the directory was unpacked from or last committed to, if
/// any; `scratch` for nothing; else the reference of an image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_base(
    options: *mut treering_commit_options,
    base: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (base, err) = unsafe { (Text::new(base), Out::new(err)) };
    set(err, options, |options| {
        options.base = base.optional("base")?.map(str::parse).transpose()?.unwrap_or_default();
        Ok(())
    })
}

/// How far metadata is trusted.
///
/// @param compare `auto` (the default, also for NULL) trusts device, inode, ctime and the like, and compares the content
/// of everything else whose metadata agrees; `metadata` trusts size and times alone; `content` trusts nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_compare(
    options: *mut treering_commit_options,
    compare: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (compare, err) = unsafe { (Text::new(compare), Out::new(err)) };
    set(err, options, |options| {
        options.compare = compare.optional("compare")?.map(str::parse).transpose()?.unwrap_or_default();
        Ok(())
    })
}

/// Whose the files are.
///
/// @param owner `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`; NULL, the default, for what the tree is known
/// with in the store, else `root`; with lower directories, for those on disk when root commits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_owner(
    options: *mut treering_commit_options,
    owner: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (owner, err) = unsafe { (Text::new(owner), Out::new(err)) };
    set(err, options, |options| {
        options.owner = owner.optional("owner")?.map(str::parse).transpose()?;
        Ok(())
    })
}

/// Whose record of owners to go by. What it says counts for more than the owner set and what the store knows.
///
/// @param source `none`; `rootlesscontainers` or `override-stat` for the extended attribute `user.rootlesscontainers` or
/// `user.containers.override_stat`, which then is no attribute of the file; `fakeroot:FILE` for what `fakeroot -s FILE`
/// saved, which is read at once. NULL, the default, for what the tree is known with in the store, else `none`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_owner_from(
    options: *mut treering_commit_options,
    source: *const u8,
    source_len: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (source, err) = unsafe { (Bytes::new(source, source_len), Out::new(err)) };
    set(err, options, |options| {
        options.owner_from = source.optional_path("source")?.map(OwnerSource::parse).transpose()?;
        Ok(())
    })
}

/// How the layer is compressed.
///
/// @param compression `none`, `gzip` or `zstd`; NULL for `gzip`, the default.
/// @param level 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_compression(
    options: *mut treering_commit_options,
    compression: *const c_char,
    level: i32,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (compression, err) = unsafe { (Text::new(compression), Out::new(err)) };
    set(err, options, |options| {
        let compression = compression.optional("compression")?.unwrap_or("gzip").parse()?;
        options.profile = Profile::new(compression, (level != 0).then_some(level))?;
        Ok(())
    })
}

/// Write time stamps with nanoseconds. Off by default: whole seconds, as most tools write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_nanoseconds(
    options: *mut treering_commit_options,
    nanoseconds: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.layer.precision =
            if nanoseconds { MtimePrecision::Nanoseconds } else { MtimePrecision::Seconds };
        Ok(())
    })
}

/// No time stamp in the layer is later than this, as SOURCE_DATE_EPOCH gives it. No limit by default.
///
/// @param seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_clamp_mtime(
    options: *mut treering_commit_options,
    seconds: i64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.layer.clamp_mtime = Some(seconds);
        Ok(())
    })
}

/// Who made the image; NULL, the default, for nobody: the author of the base is that of the base.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_author(
    options: *mut treering_commit_options,
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

/// A message for the history; NULL, the default, for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_message(
    options: *mut treering_commit_options,
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

/// Changes the configuration with a Dockerfile instruction, as `docker commit --change` takes it: `CMD`, `ENTRYPOINT`,
/// `ENV`, `EXPOSE`, `HEALTHCHECK`, `LABEL`, `ONBUILD`, `STOPSIGNAL`, `USER`, `VOLUME`, `WORKDIR`. May be called again;
/// they are applied in order, and read when the commit runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_add_change(
    options: *mut treering_commit_options,
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

/// When the image was made. Now by default; set it (and nothing else that varies) for an image whose digest depends on
/// its content alone.
///
/// @param seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_created(
    options: *mut treering_commit_options,
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

/// Put everything into one layer and drop the base's layers and history; its configuration stays. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_squash(
    options: *mut treering_commit_options,
    squash: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.squash = squash;
        Ok(())
    })
}

/// The platform of the new image, and of a multi-platform base. The base's by default, else this machine's.
///
/// @param platform `os/arch[/variant]`; NULL for the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_platform(
    options: *mut treering_commit_options,
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

/// Adds an annotation to the manifest. May be called again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_add_annotation(
    options: *mut treering_commit_options,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (key, value, err) = unsafe { (Text::new(key), Text::new(value), Out::new(err)) };
    set(err, options, |options| {
        options.annotations.push((key.required("key")?.into(), value.required("value")?.into()));
        Ok(())
    })
}

/// Do not look below mount points: a mount point counts as an empty directory. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_one_file_system(
    options: *mut treering_commit_options,
    one_file_system: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.one_file_system = one_file_system;
        Ok(())
    })
}

/// How many threads to use; 0, the default, for one per processor. The result does not depend on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_set_threads(
    options: *mut treering_commit_options,
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

/// Adds a lower directory: the tree is then the upper directory of an overlay over these, of which the topmost is added
/// first. Such a commit needs its base named.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit_options_add_lower(
    options: *mut treering_commit_options,
    path: *const u8,
    path_len: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, err) = unsafe { (Bytes::new(path, path_len), Out::new(err)) };
    set(err, options, |options| {
        options.lowers.push(path.path("path")?.to_path_buf());
        Ok(())
    })
}
