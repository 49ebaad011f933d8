//! From a Dockerfile to an image.

use super::arguments::Out;
use super::build_options::treering_build_options;
use super::bytes::{self, treering_bytes};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle;
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::structures::{Given, Plain, Record};
use crate::build;
use serde_json::json;

/// The result of a build.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_build_result {
    /// The digest of the manifest.
    pub manifest: treering_digest,
    /// The image id: the digest of the configuration.
    pub image_id: treering_digest,
    /// The size of the manifest, in bytes.
    pub manifest_size: u64,
    /// How many steps came out of the cache.
    pub cached: u64,
    /// How many steps were carried out.
    pub carried_out: u64,
    /// How many warnings the checks gave; each is an event as well.
    pub warnings: u64,
}
impl Plain for treering_build_result {}

/// Builds an image from a Dockerfile, in BuildKit's language. Steps that nothing changed for come out of the cache. What happens goes
/// out as events, see treering_control_enable_events(): steps that begin and end, their output, transfers, warnings, errors.
///
/// Starts processes for RUN, with the helper program, each isolated in a tree of its own, and opens sockets where `registries` is set or
/// the Dockerfile asks for something of the network. Cancelling the control ends the commands.
///
/// Errors: TREERING_SYNTAX with treering_error_location(); TREERING_COMMAND_FAILED with treering_error_exit_code(); TREERING_NOT_FOUND
/// for a base image or a file that is not there; TREERING_UNSUPPORTED for what this machine cannot run.
///
/// @param options NULL for the defaults, which have neither context nor Dockerfile.
/// @param control may be NULL.
/// @param out_size sizeof(treering_build_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_build(
    store: *const treering_store,
    options: *const treering_build_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_build_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) =
        unsafe { (Given::new(options, options_size), Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let built = build::build(&store, &options.read()?, &*running(control)?)?;
        out.write(&treering_build_result {
            manifest: (&built.manifest).into(),
            image_id: (&built.image_id).into(),
            manifest_size: built.manifest_size,
            cached: built.cached,
            carried_out: built.carried_out,
            warnings: built.warnings.len() as u64,
        });
        Ok(())
    })
}

/// Checks a Dockerfile by the rules of BuildKit's linter, and builds nothing.
///
/// @param options as for treering_build().
/// @param control may be NULL.
/// @param fails receives whether the Dockerfile, or `checks`, asks for warnings to be errors; may be NULL.
/// @param out receives a JSON list of objects with `rule`, `message`, `file`, `line`, `column` and `text`, in the order of lines.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_build_check(
    store: *const treering_store,
    options: *const treering_build_options,
    options_size: usize,
    control: *const treering_control,
    fails: *mut bool,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, fails, out, err) =
        unsafe { (Given::new(options, options_size), Out::new(fails), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = handle::get(store, "store")?;
        let (found, failing) = build::check(&store, &options.read()?, &*running(control)?)?;
        if let Some(place) = fails.place() {
            place.write(failing);
        }
        let list: Vec<_> = found
            .iter()
            .map(|warning| {
                let at = &warning.location;
                json!({
                    "rule": warning.rule,
                    "message": warning.message,
                    "file": String::from_utf8_lossy(&at.file),
                    "line": at.line,
                    "column": at.column,
                    "text": at.text,
                })
            })
            .collect();
        bytes::json(&list)
    })
}

/// Lists what a target of a Dockerfile takes, and builds nothing.
///
/// @param options as for treering_build().
/// @param control may be NULL.
/// @param out receives a JSON object with `name`, `description`, `args` (objects with `name`, `description`, `value` and `location`),
/// `secrets` and `ssh` (objects with `id`, `required` and `location`). A location has `file`, `line`, `column` and `text`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_build_outline(
    store: *const treering_store,
    options: *const treering_build_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) = unsafe { (Given::new(options, options_size), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = handle::get(store, "store")?;
        bytes::json(&build::outline(&store, &options.read()?, &*running(control)?)?)
    })
}

/// Lists the stages of a Dockerfile that can be built, and builds nothing.
///
/// @param options as for treering_build().
/// @param control may be NULL.
/// @param out receives a JSON list of objects with `name`, `description`, `base` and `default`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_build_targets(
    store: *const treering_store,
    options: *const treering_build_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, err) = unsafe { (Given::new(options, options_size), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = handle::get(store, "store")?;
        bytes::json(&build::targets(&store, &options.read()?, &*running(control)?)?)
    })
}
