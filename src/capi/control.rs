//! Progress and cancelling.

use std::sync::atomic::Ordering;

use super::arguments::{Out, Plain, Record, give, guard};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::error::Result;
use crate::progress::Control;

/// Counters to poll and a way to cancel, for one or several operations. Every long operation takes one, or NULL. Any number
/// of threads may use it at once, while operations run and after. It may be freed while an operation that was given it still
/// runs; that one then can no longer be polled or cancelled.
pub struct treering_control {
    _opaque: (),
}
noun!(treering_control, Control);

/// What an operation has done so far.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_progress {
    /// Filesystem or tar entries handled.
    pub entries: u64,
    /// Bytes of content read (uncompressed).
    pub bytes_read: u64,
    /// Bytes written to the result (compressed, or into files).
    pub bytes_written: u64,
    /// Bytes of content that will be read in all; 0 while unknown.
    pub bytes_total: u64,
    /// Whether treering_control_cancel() was called.
    pub cancelled: bool,
}
impl Plain for treering_progress {}

/// The control behind a handle, or a fresh one for NULL.
pub(super) fn controlled(handle: *const treering_control) -> Result<Control> {
    Ok(handle::maybe(handle, "control")?.map(|control| Control::clone(&control)).unwrap_or_default())
}

/// A new control: counters at 0, not cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_new(
    out: *mut *mut treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Control::default()))
}

/// Frees a control. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_control_free(control: *mut treering_control) -> treering_status {
    handle::free(control)
}

/// Asks every operation that has this control, now or later, to stop with TREERING_CANCELLED. Returns at once. Any thread.
/// Not for signal handlers: it takes a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_cancel(
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        handle::get(control, "control")?.cancel.cancel();
        Ok(())
    })
}

/// Reads the counters. Any thread, as often as you like.
///
/// @param out_size sizeof(treering_progress).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_progress(
    control: *const treering_control,
    out: *mut treering_progress,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let control = handle::get(control, "control")?;
        let counters = &control.counters;
        out.required("out")?.write(&treering_progress {
            entries: counters.entries.load(Ordering::Relaxed),
            bytes_read: counters.bytes_read.load(Ordering::Relaxed),
            bytes_written: counters.bytes_written.load(Ordering::Relaxed),
            bytes_total: counters.bytes_total.load(Ordering::Relaxed),
            cancelled: control.cancel.is_cancelled(),
        });
        Ok(())
    })
}
