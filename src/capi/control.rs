//! Progress and cancelling.

use std::ffi::c_void;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::arguments::Out;
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::status::treering_status;
use super::stream::{Userdata, treering_finalizer};
use super::structures::{Plain, Record};
use crate::error::{At, Result};
use crate::event::Events;
use crate::progress::Control;
use crate::threads::lock;

/// Receives how far an operation is. Returns 0 to go on; any other number cancels everything that has the control, as
/// treering_control_cancel() does. `size` is how many bytes of `progress` there are: sizeof(treering_progress) in the library's
/// version.
///
/// Called from a thread of the library, never from two at once. Must not run an operation with the same control. For exceptions
/// see treering_write_fn.
pub type treering_progress_fn = Option<
    unsafe extern "C" fn(userdata: *mut c_void, progress: *const treering_progress, size: usize) -> i32,
>;

/// Counters to poll and a way to cancel, for one or several operations. Every long operation takes one, or NULL. Any number
/// of threads may use it at once, while operations run and after. It may be freed while an operation that was given it still
/// runs; that one then can no longer be polled or cancelled.
pub struct treering_control {
    _opaque: (),
}
noun!(treering_control, Shared);

/// The object behind a control.
#[derive(Default)]
pub struct Shared {
    control: Control,
    /// The queue of events, where they are wanted.
    pub(super) events: Mutex<Events>,
    /// The progress function and the interval to call it at.
    listener: Mutex<Option<(Arc<Mutex<Listener>>, Duration)>>,
}

/// A progress function. The lock around it keeps operations that share a control from calling at once.
struct Listener {
    function: unsafe extern "C" fn(*mut c_void, *const treering_progress, usize) -> i32,
    userdata: Userdata,
}

impl Listener {
    fn report(&self, control: &Control) {
        let progress = progress(control);
        let size = size_of::<treering_progress>();
        // SAFETY: the contract of `Userdata::new`; the structure is a local variable.
        if unsafe { (self.function)(self.userdata.pointer(), &raw const progress, size) } != 0 {
            control.cancel.cancel();
        }
    }
}

/// The control of an operation that runs, and the thread that reports its progress: for the last time when it has ended.
pub(super) struct Running {
    control: Control,
    reporter: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Deref for Running {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.reporter.take() {
            drop(end);
            // Nothing in it panics.
            let _ = thread.join();
        }
    }
}

/// Returns the control behind a handle; for NULL one that nothing cancels.
pub(super) fn control_of(handle: *const treering_control) -> Result<Control> {
    Ok(handle::maybe(handle, "control")?.map(|shared| shared.control.clone()).unwrap_or_default())
}

/// Returns the control behind a handle, or a fresh one for NULL, for as long as an operation runs: its progress is reported.
pub(super) fn running(handle: *const treering_control) -> Result<Running> {
    let Some(shared) = handle::maybe(handle, "control")? else {
        return Ok(Running { control: Control::default(), reporter: None });
    };
    let control = Control { events: lock(&shared.events).clone(), ..shared.control.clone() };
    let Some((listener, interval)) = lock(&shared.listener).clone() else {
        return Ok(Running { control, reporter: None });
    };
    let (end, ended) = channel::<()>();
    let theirs = control.clone();
    let report = move || {
        loop {
            let wait = ended.recv_timeout(interval);
            lock(&listener).report(&theirs);
            if wait == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    };
    let thread =
        std::thread::Builder::new().name("treering-report".into()).spawn(report).at("start thread", "")?;
    Ok(Running { control, reporter: Some((end, thread)) })
}

/// The progress of an operation so far.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_progress {
    /// The number of entries of trees and tars, files of archives, and blobs that were handled.
    pub entries: u64,
    /// Bytes of input that were read, as they are where they are read: files with their size, blobs and archives compressed
    /// as they are, a layer that is made with the size of its tar.
    pub bytes_read: u64,
    /// Bytes written to the result: of blobs, archives or files.
    pub bytes_written: u64,
    /// Bytes of input that will have been read at the end, as far as is known; 0 while nothing is. Equals `bytes_read` when an
    /// operation has succeeded.
    pub bytes_total: u64,
    /// Whether treering_control_cancel() was called.
    pub cancelled: bool,
}
impl Plain for treering_progress {}

/// Makes a control: counters at 0, not cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_new(
    out: *mut *mut treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Shared::default()))
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
        handle::get(control, "control")?.control.cancel.cancel();
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
        out.required("out")?.write(&progress(&handle::get(control, "control")?.control));
        Ok(())
    })
}

fn progress(control: &Control) -> treering_progress {
    let counters = &control.counters;
    treering_progress {
        entries: counters.entries.load(Ordering::Relaxed),
        bytes_read: counters.bytes_read.load(Ordering::Relaxed),
        bytes_written: counters.bytes_written.load(Ordering::Relaxed),
        bytes_total: counters.bytes_total.load(Ordering::Relaxed),
        cancelled: control.cancel.is_cancelled(),
    }
}

/// Has a function called while an operation with this control runs, and once when it has ended, before it returns. Takes the
/// place of one that was set before; operations that run already keep that.
///
/// @param progress see treering_progress_fn; NULL for none.
/// @param userdata handed to the callback.
/// @param finalizer called once with `userdata` when it will not be used any more: another function was set or the control
/// freed, and the last operation has ended; at once when an argument was refused or `progress` is NULL. May be NULL.
/// @param interval_ms milliseconds from one call to the next; 0 for 100.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_control_set_progress(
    control: *const treering_control,
    progress: treering_progress_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    interval_ms: u32,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, err) = unsafe { (Userdata::new(userdata, finalizer), Out::new(err)) };
    guard(err, || {
        let shared = handle::get(control, "control")?;
        let interval = Duration::from_millis(if interval_ms == 0 { 100 } else { interval_ms.into() });
        let new = progress.map(|function| (Arc::new(Mutex::new(Listener { function, userdata })), interval));
        // The old one's finalizer is called behind the lock: it may use the control.
        let old = std::mem::replace(&mut *lock(&shared.listener), new);
        drop(old);
        Ok(())
    })
}
