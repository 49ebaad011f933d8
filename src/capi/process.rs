//! A command that was started: waited for, ended.

use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

use super::arguments::{Bytes, Out};
use super::container_options::treering_container_options;
use super::control::{control_of, treering_control};
use super::error::{c_string, treering_error};
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::run_options::treering_run_options;
use super::status::treering_status;
use super::store::treering_store;
use super::stream::{Userdata, callback_failed, treering_finalizer};
use super::structures::{Given, Plain, Record};
use crate::container::{Process, Sink};
use crate::error::Result;
use crate::event::OutputStream;
use crate::sandbox::WindowSize;

/// A command that runs, or has ended. Owned by the caller, freed with treering_process_free(), which ends the command. Any number of
/// threads may use it at once. The calls that make one start one process, the helper; the command and what supervises it are that one's
/// children. The calling process gets no SIGCHLD handler, and no child that it would have to wait for.
pub struct treering_process {
    _opaque: (),
}
noun!(treering_process, Running);

/// A command, and the name of its rung.
pub struct Running {
    process: Process,
    rung: CString,
}

impl Running {
    /// Returns a command that was started.
    pub(super) fn new(process: Process) -> Running {
        let rung = process.rung().map_or_else(String::new, |rung| rung.to_string());
        Running { process, rung: c_string(rung) }
    }
}

/// Takes what a command writes: `stream` is 1 for standard output, 2 for standard error. Returns 0 to go on; any other number ends the
/// command, and waiting for it gives TREERING_CALLBACK.
///
/// Called from a thread of the library, never from two at once, until the command has ended: also after the function that was given it
/// has returned. Must neither free its process nor wait for its end. For exceptions see treering_write_fn.
pub type treering_output_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, stream: i32, data: *const u8, len: usize) -> i32>;

/// Returns a function of the caller's as what gets output; `None` where it is NULL.
pub(super) fn sink(output: treering_output_fn, userdata: Userdata) -> Option<Box<Sink>> {
    let function = output?;
    Some(Box::new(move |stream, bytes| {
        let number = if stream == OutputStream::Stderr { 2 } else { 1 };
        // SAFETY: the contract of `Userdata::new`; the bytes are there for the call.
        match unsafe { function(userdata.pointer(), number, bytes.as_ptr(), bytes.len()) } {
            0 => Ok(()),
            code => Err(callback_failed("write to callback", code).into()),
        }
    }))
}

/// The end of a command.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_process_result {
    /// Whether it has ended; everything else is zero as long as it runs.
    pub ended: bool,
    /// The exit code; 128 and the signal's number for a command that a signal ended.
    pub exit_code: i32,
    /// Whether it did not end: the process was attached to a container and left it, and the command goes on.
    pub detached: bool,
}
impl Plain for treering_process_result {}

/// Returns a time limit in milliseconds; a negative one is none.
pub(super) fn limit(limit_ms: i64) -> Option<Duration> {
    u64::try_from(limit_ms).ok().map(Duration::from_millis)
}

/// Runs a command in a directory that was unpacked, checked out, cloned or committed. Owners, devices, capabilities and all else that the
/// disk does not take without privileges are kept in the store, and every later commit and comparison of the directory has them.
///
/// Starts a process, the helper. Returns when the command has started; treering_process_wait() waits for its end. Cancelling the control
/// ends the command and all that it started.
///
/// Errors: TREERING_NOT_FOUND when the store has no record of the directory; TREERING_BUSY when another command runs in it;
/// TREERING_UNSUPPORTED when there is no way to run a command here.
///
/// @param settings settings of the command besides the directory: of it count `entrypoint`, `environment`, `user`,
/// `directory`, `hostname`, `volumes`, `tmpfs`, `network`, `read_only` and `rung`. NULL for the defaults.
/// @param output gets the streams that have no descriptor; may be NULL.
/// @param userdata handed to the function.
/// @param finalizer called once with `userdata` when it will not be used any more, from whatever thread: the command has
/// ended, or was not started. May be NULL.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_tree_run(
    store: *const treering_store,
    dir: *const u8,
    dir_len: usize,
    settings: *const treering_container_options,
    settings_size: usize,
    options: *const treering_run_options,
    options_size: usize,
    output: treering_output_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    control: *const treering_control,
    out: *mut *mut treering_process,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, dir, settings, options, out, err) = unsafe {
        (
            Userdata::new(userdata, finalizer),
            Bytes::new(dir, dir_len),
            Given::new(settings, settings_size),
            Given::new(options, options_size),
            Out::new(out),
            Out::new(err),
        )
    };
    give(err, out, || {
        let sink = sink(output, userdata);
        let store = handle::get(store, "store")?;
        let (dir, settings) = (dir.path("dir")?, settings.read()?.settings);
        let options = options.read()?.with(sink)?;
        Ok(Running::new(Process::in_tree(&store, dir, &settings, options, &control_of(control)?)?))
    })
}

/// Waits until a command has ended and all its output was passed on. Any number of threads may wait, and every call after the end gives the
/// same.
///
/// Errors: a command that runs and fails is none. TREERING_COMMAND_FAILED with treering_error_exit_code() when it could not be
/// executed (126, 127) or ended with its supervisor (137); TREERING_CANCELLED after treering_process_kill() or when its control was
/// cancelled; TREERING_CALLBACK; TREERING_INVALID_ARGUMENT where its output function waits without a limit.
///
/// @param limit_ms milliseconds to wait at most; a negative number for no limit, 0 to look only.
/// @param out_size sizeof(treering_process_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_process_wait(
    process: *const treering_process,
    limit_ms: i64,
    out: *mut treering_process_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let process = handle::get(process, "process")?;
        let ended = process.process.wait(limit(limit_ms))?;
        out.write(&treering_process_result {
            ended: ended.is_some(),
            exit_code: ended.map_or(0, |ended| ended.code),
            detached: ended.is_some_and(|ended| ended.detached),
        });
        Ok(())
    })
}

/// Sends a signal to the first process of a command. One that has ended gets none, and that is no error. Any thread.
///
/// @param signal its number, as in signal.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_process_signal(
    process: *const treering_process,
    signal: i32,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        let process = handle::get(process, "process")?;
        process.process.signal(check_signal(signal)?)
    })
}

/// Refuses what is no signal's number.
pub(super) fn check_signal(signal: i32) -> Result<i32> {
    crate::container::signal_number(&signal.to_string())
}

/// Gives the terminal of a command another size. One that has ended gets none, and that is no error. Any thread.
///
/// Errors: TREERING_INVALID_ARGUMENT for a command without a terminal.
///
/// @param rows lines.
/// @param columns characters in a line.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_process_resize(
    process: *const treering_process,
    rows: u16,
    columns: u16,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || handle::get(process, "process")?.process.resize(WindowSize { rows, columns }))
}

/// Leaves a container that treering_container_attach() joined in with, without waiting for that; its command goes on. Any thread.
///
/// Errors: TREERING_INVALID_ARGUMENT for another process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_process_detach(
    process: *const treering_process,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || handle::get(process, "process")?.process.detach())
}

/// Ends a command and all that it started, without waiting for that. One of a container that this process is attached to goes on. Of a command beside a container's own, what it started stays there
/// until the container's ends. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_process_kill(
    process: *const treering_process,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        handle::get(process, "process")?.process.kill();
        Ok(())
    })
}

/// Returns the rung by which a command is run, such as `notify`; lives as long as the process. Empty for one that is beside
/// a container's own, NULL when `process` is no process.
#[unsafe(no_mangle)]
pub extern "C" fn treering_process_rung(process: *const treering_process) -> *const c_char {
    handle::get(process, "process").map_or(std::ptr::null(), |process| process.rung.as_ptr())
}

/// Frees a process: ends its command, unless it has ended, and waits until nothing of it is left. NULL is fine.
/// TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_process_free(process: *mut treering_process) -> treering_status {
    // A thread that waits holds it as well, and goes on when it is killed.
    if let Ok(process) = handle::get(process, "process") {
        process.process.kill();
    }
    handle::free(process)
}
