//! Files of a container, copied out of it and into it.

use super::arguments::{Bytes, Out};
use super::container::{open, treering_container};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::guard;
use super::report::{Report, hand_over, treering_report};
use super::status::treering_status;
use crate::image::LayerApplyOptions;
use crate::layer::Loss;
use crate::tree::OwnerPolicy;

/// Gives the caller what was lost, and for how many entries.
fn give((lost, count): (Vec<Loss>, u64), unkept: Out<'_, u64>, report: Out<'_, *mut treering_report>) {
    hand_over(report, Report::losses(lost));
    if let Some(place) = unkept.place() {
        place.write(count);
    }
}

/// Copies a file or directory of the host into a container, as `docker cp` does: a directory that is there at `path` gets it under its own
/// name, and a source that ends in `/.` is copied without its name. Symbolic links in `path` are followed inside the container.
///
/// A command may run in it: then a process beside that makes the files, which this function asks for over the socket of the container, a
/// file in the store, and files that are open stay what they are.
///
/// Errors: TREERING_NOT_FOUND where the source, or the directory of `path`, is missing; TREERING_INVALID_ARGUMENT for a directory in place
/// of a file, and for names that would delete files when the tree becomes a layer (`.wh.*`). After an error a part of it may be there.
///
/// @param source the file or directory of the host.
/// @param path where it goes in the container.
/// @param keep_owners files keep the owners that they have on the host, in place of becoming root's.
/// @param control may be NULL.
/// @param unkept receives for how many entries owners or attributes are lost; may be NULL.
/// @param report receives what was lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_copy_in(
    container: *const treering_container,
    source: *const u8,
    source_len: usize,
    path: *const u8,
    path_len: usize,
    keep_owners: bool,
    control: *const treering_control,
    unkept: *mut u64,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (source, path, unkept, report, err) = unsafe {
        (
            Bytes::new(source, source_len),
            Bytes::new(path, path_len),
            Out::new(unkept),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let (container, control) = (open(container)?, running(control)?);
        let owner = if keep_owners { OwnerPolicy::Keep } else { OwnerPolicy::Root };
        let (source, path) = (source.path("source")?, path.bytes("path")?);
        let options = LayerApplyOptions::default();
        let copied = container.copy_from_host(source, path, owner, &options, &control)?;
        give((copied.losses, copied.unkept), unkept, report);
        Ok(())
    })
}

/// Copies a file or directory of a container to the host, as `docker cp` does: a directory that is there at `target` gets it under its own
/// name, and a path that ends in `/.` is copied without its name. A command may run in the container.
///
/// Errors: TREERING_NOT_FOUND where nothing is at `path`; TREERING_INVALID_ARGUMENT for what is neither file nor directory.
/// A file that is there is replaced once all is written; of a directory a part may be there after an error.
///
/// @param path the file or directory of the container.
/// @param target where it goes on the host.
/// @param control may be NULL.
/// @param unkept receives for how many entries owners or attributes are lost, because the disk does not take them; may be NULL.
/// @param report receives what was lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_copy_out(
    container: *const treering_container,
    path: *const u8,
    path_len: usize,
    target: *const u8,
    target_len: usize,
    control: *const treering_control,
    unkept: *mut u64,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, target, unkept, report, err) = unsafe {
        (
            Bytes::new(path, path_len),
            Bytes::new(target, target_len),
            Out::new(unkept),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let (container, control) = (open(container)?, running(control)?);
        let (path, target) = (path.bytes("path")?, target.path("target")?);
        let copied = container.copy_to_host(path, target, &LayerApplyOptions::default(), &control)?;
        let lost = copied.directory.map(|it| (it.applied.losses, it.unkept)).unwrap_or_default();
        give(lost, unkept, report);
        Ok(())
    })
}
