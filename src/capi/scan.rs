//! From a directory to a snapshot.

use std::sync::Arc;

use super::arguments::{Bytes, Out};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::give;
use super::report::{Report, hand_over, treering_report};
use super::scan_options::treering_scan_options;
use super::snapshot::treering_snapshot;
use super::status::treering_status;
use super::structures::Given;
use crate::fs::Root;
use crate::image::{owners_of, scan_options};
use crate::tree::{ScanOptions, scan};

/// Lists everything in a tree.
///
/// Errors: TREERING_CHANGED when something vanishes meanwhile, and whatever reading a directory can meet; nothing is left out
/// silently.
///
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param report receives what was left out (sockets; mount points where asked); may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_scan(
    tree: *const u8,
    tree_len: usize,
    options: *const treering_scan_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_snapshot,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (tree, options, out, report, err) = unsafe {
        (
            Bytes::new(tree, tree_len),
            Given::new(options, options_size),
            Out::new(out),
            Out::new(report),
            Out::new(err),
        )
    };
    give(err, out, || {
        let root = Root::open(tree.path("tree")?)?;
        let options = options.read()?;
        let store = options.store.as_deref();
        let owners = owners_of(store, &root, &options.owners)?;
        let scan_options = ScanOptions {
            threads: options.threads,
            previous: options.previous.as_deref(),
            one_file_system: options.one_file_system,
            all_xattrs: options.all_xattrs,
            exclude: Some(&options.exclude),
            ..scan_options(&owners, store)?
        };
        let found = scan(&root, &scan_options, &*running(control)?)?;
        hand_over(report, Report::skipped(found.skipped));
        Ok(Arc::new(found.snapshot))
    })
}
