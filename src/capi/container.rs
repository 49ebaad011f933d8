//! Containers: made, found, run, ended, committed, removed.

use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::arguments::{Out, Text, number};
use super::bytes::{self, treering_bytes};
use super::checkout::{treering_changes, treering_checkout_result};
use super::checkout_options::treering_checkout_options;
use super::commit::treering_commit_result;
use super::commit_options::treering_commit_options;
use super::container_options::treering_container_options;
use super::control::{control_of, running, treering_control};
use super::error::{c_string, treering_error};
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::process::{
    Running, check_signal, limit, sink, treering_output_fn, treering_process, treering_process_result,
};
use super::report::{Report, hand_over, treering_report};
use super::run_options::treering_run_options;
use super::status::treering_status;
use super::store::treering_store;
use super::stream::{Userdata, treering_finalizer};
use super::structures::{Given, Plain, Record};
use crate::container::{Container, LogOptions, Process, StartOptions, Status};
use crate::error::{Error, Result};
use crate::store::Store;

/// A container: a tree of a store with a name, settings and a state. Owned by the caller, freed with treering_container_free(), which leaves
/// the container where it is. Any number of threads may use it at once. It keeps its store open.
pub struct treering_container {
    _opaque: (),
}
noun!(treering_container, Known);

/// A container by its id: what is known of it is read anew in every call.
pub struct Known {
    store: Store,
    id: CString,
    tree: Vec<u8>,
}

impl Known {
    fn of(store: &Store, container: &Container) -> Known {
        let tree = container.tree().as_os_str().as_bytes().to_vec();
        Known { store: store.clone(), id: c_string(container.id().to_string()), tree }
    }

    fn open(&self) -> Result<Container> {
        Container::open(&self.store, &self.id.to_string_lossy())
    }
}

pub(super) fn open(container: *const treering_container) -> Result<Container> {
    handle::get(container, "container")?.open()
}

/// The status of a container.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum treering_container_status {
    /// No command was run in it.
    TREERING_CONTAINER_CREATED = 1,
    /// A command runs in it.
    TREERING_CONTAINER_RUNNING = 2,
    /// The command ended.
    TREERING_CONTAINER_EXITED = 3,
}

/// The state of a container.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_container_state {
    /// Its status.
    pub status: treering_container_status,
    /// How its command ended: the exit code, or 128 and the number of a signal.
    pub exit_code: i32,
}
impl Plain for treering_container_state {}

/// Makes a container of an image of the store: a tree, unpacked or moved from one that a container of the image left, and its settings.
///
/// Errors: TREERING_ALREADY_EXISTS when another container has the name.
///
/// @param reference the image, as treering_refs_resolve() finds it.
/// @param options NULL for the defaults.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_create(
    store: *const treering_store,
    reference: *const c_char,
    options: *const treering_container_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_container,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, options, out, err) =
        unsafe { (Text::new(reference), Given::new(options, options_size), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = handle::get(store, "store")?;
        let reference = reference.required("reference")?;
        let made = Container::create(&store, reference, &options.read()?, &*running(control)?)?;
        Ok(Known::of(&store, &made))
    })
}

/// Finds a container of a store.
///
/// @param name its name, its id, or the first four or more digits of that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_open(
    store: *const treering_store,
    name: *const c_char,
    out: *mut *mut treering_container,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, out, err) = unsafe { (Text::new(name), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = handle::get(store, "store")?;
        let found = Container::open(&store, name.required("name")?)?;
        Ok(Known::of(&store, &found))
    })
}

/// Frees a container. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_container_free(container: *mut treering_container) -> treering_status {
    handle::free(container)
}

/// Lists the containers of a store.
///
/// @param out receives a JSON list, the newest first: objects with `id`, `name`, `image`, `image_id`, `created`, `status`, `exit_code`, `labels`
/// and `tree`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_list(
    store: *const treering_store,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = handle::get(store, "store")?;
        let row = |container: &Container| {
            let (record, state) = (container.record(), container.state()?);
            Ok(serde_json::json!({
                "id": record.id, "name": record.name, "image": record.image, "image_id": record.image_id,
                "created": record.created, "status": state.status.name(), "exit_code": state.exit_code,
                "labels": record.settings.labels, "tree": container.tree().to_string_lossy(),
            }))
        };
        bytes::json(&Container::list(&store)?.iter().map(row).collect::<Result<Vec<_>>>()?)
    })
}

/// Returns the id, 64 hexadecimal digits; lives as long as the handle. NULL when `container` is no container.
#[unsafe(no_mangle)]
pub extern "C" fn treering_container_id(container: *const treering_container) -> *const c_char {
    handle::get(container, "container").map_or(std::ptr::null(), |container| container.id.as_ptr())
}

/// Returns the path of its tree, which all functions take that take the path of one; lives as long as the handle. NULL when
/// `container` is no container.
///
/// @param len receives how many bytes it has; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_tree(
    container: *const treering_container,
    len: *mut usize,
) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    let len = unsafe { Out::new(len) };
    let Ok(container) = handle::get(container, "container") else { return std::ptr::null() };
    if let Some(place) = len.place() {
        place.write(container.tree.len());
    }
    container.tree.as_ptr()
}

/// Says how a container is. One has ended when its supervisor was killed.
///
/// @param out_size sizeof(treering_container_state).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_get_state(
    container: *const treering_container,
    out: *mut treering_container_state,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let state = open(container)?.state()?;
        let status = match state.status {
            Status::Created => treering_container_status::TREERING_CONTAINER_CREATED,
            Status::Running => treering_container_status::TREERING_CONTAINER_RUNNING,
            Status::Exited => treering_container_status::TREERING_CONTAINER_EXITED,
        };
        out.write(&treering_container_state { status, exit_code: state.exit_code });
        Ok(())
    })
}

/// Gives the object that `docker inspect` prints of a container, as JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_inspect(
    container: *const treering_container,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || bytes::json(&open(container)?.inspect()?))
}

/// Runs a container's command, or another one, supervised by this process: it ends with it. Opens the socket of the container, a file in
/// the store, by which other processes reach it. For the rest, see treering_tree_run().
///
/// Errors: TREERING_BUSY when it runs already.
///
/// @param output gets the streams that have no descriptor; may be NULL.
/// @param userdata handed to the function.
/// @param finalizer see treering_tree_run(); may be NULL.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_run(
    container: *const treering_container,
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
    let (userdata, options, out, err) = unsafe {
        (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || {
        let options = options.read()?.with(sink(output, userdata))?;
        Ok(Running::new(Process::of_container(open(container)?, options, &control_of(control)?)?))
    })
}

/// Runs one more command in a container that runs: it has the same files and processes, and ends with the container. For
/// the rest, see treering_tree_run(). Opens the socket of the container, a file in the store.
///
/// Errors: TREERING_INVALID_ARGUMENT when the container does not run, and for `rung` and `helper`, which are the container's;
/// TREERING_UNSUPPORTED where the rung runs one command at a time (`paths`).
///
/// @param output gets the streams that have no descriptor; may be NULL.
/// @param userdata handed to the function.
/// @param finalizer see treering_tree_run(); may be NULL.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_exec(
    container: *const treering_container,
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
    let (userdata, options, out, err) = unsafe {
        (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || {
        let options = options.read()?.with(sink(output, userdata))?;
        Ok(Running::new(Process::beside(&open(container)?, options, &control_of(control)?)?))
    })
}

/// Starts a container's command, or another one, with a supervisor of its own, which goes on when this process ends. What it writes is in
/// the log. Starts a process, the helper, which leaves this one; both open sockets, files in the store.
///
/// Errors: TREERING_BUSY when it runs already.
///
/// @param options of it count `command`, `environment`, `user`, `directory`, `rung`, `helper`, `tty`, `rows`, `columns` and `interactive`;
/// NULL for the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_start(
    container: *const treering_container,
    options: *const treering_run_options,
    options_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, err) = unsafe { (Given::new(options, options_size), Out::new(err)) };
    guard(err, || {
        let run = options.read()?;
        let interactive = run.interactive;
        let options = run.without_streams()?;
        let start = StartOptions {
            command: options.command,
            environment: options.environment,
            user: options.user,
            directory: options.directory,
            rung: options.rung,
            helper: options.helper,
            terminal: options.terminal.then_some(true),
            window: options.window,
            interactive,
            ..StartOptions::default()
        };
        open(container)?.start(&start).map(drop)
    })
}

/// Joins in with the command of a container that runs by itself: gives its output from now on, and passes input on. The process stands for
/// that: treering_process_wait() gives the end of the command, or that it was left. It is left, and the command goes on, by
/// treering_process_detach(), treering_process_kill(), treering_process_free(), a cancelled control, and where the command has a
/// terminal by Ctrl-P Ctrl-Q in its input. Starts no process, and opens the socket of the container, a file in the store. For the rest,
/// see treering_tree_run().
///
/// Errors: TREERING_INVALID_ARGUMENT when the container does not run.
///
/// @param options of it count `stdin_fd`, `stdout_fd`, `stderr_fd`, `merge`, `rows` and `columns`; NULL for the defaults.
/// @param output gets the streams that have no descriptor; may be NULL.
/// @param userdata handed to the function.
/// @param finalizer see treering_tree_run(); may be NULL.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_attach(
    container: *const treering_container,
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
    let (userdata, options, out, err) = unsafe {
        (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || {
        let options = options.read()?.with(sink(output, userdata))?;
        Ok(Running::new(Process::attached(&open(container)?, options, &control_of(control)?)?))
    })
}

/// Asks a container's command to stop, and kills it when it has not ended after a while. One that does not run is stopped.
/// Opens the socket of the container, a file in the store.
///
/// @param patience_ms milliseconds to wait before it is killed.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_stop(
    container: *const treering_container,
    patience_ms: u64,
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || open(container)?.stop(Duration::from_millis(patience_ms), &*running(control)?))
}

/// Sends a container's command a signal. Opens the socket of the container, a file in the store.
///
/// Errors: TREERING_INVALID_ARGUMENT when the container does not run.
///
/// @param signal its number, as in signal.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_kill(
    container: *const treering_container,
    signal: i32,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || open(container)?.kill(check_signal(signal)?))
}

/// Waits until a container's command has ended, whichever process supervises it. Where none runs it is the last one's exit code.
/// Opens the socket of the container, a file in the store.
///
/// @param limit_ms milliseconds to wait at most; a negative number for no limit, 0 to look only.
/// @param control may be NULL.
/// @param out_size sizeof(treering_process_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_wait(
    container: *const treering_container,
    limit_ms: i64,
    control: *const treering_control,
    out: *mut treering_process_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let (container, control) = (open(container)?, running(control)?);
        let code = match limit(limit_ms) {
            Some(limit) => container.wait_for(limit, &control)?,
            None => Some(container.wait(&control)?),
        };
        out.write(&treering_process_result {
            ended: code.is_some(),
            exit_code: code.unwrap_or_default(),
            detached: false,
        });
        Ok(())
    })
}

/// Gives what a container's command wrote, oldest first, line by line.
///
/// @param follow whether to go on until the command ends.
/// @param tail how many of the last lines; NULL for all.
/// @param output gets the lines.
/// @param userdata handed to the function.
/// @param finalizer see treering_finalizer; may be NULL.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_logs(
    container: *const treering_container,
    follow: bool,
    tail: *const usize,
    output: treering_output_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, err) = unsafe { (Userdata::new(userdata, finalizer), Out::new(err)) };
    guard(err, || {
        let sink = sink(output, userdata);
        // SAFETY: the header's contract for pointers.
        let tail = unsafe { number(tail, "tail") }?;
        let mut sink = sink.ok_or_else(|| super::arguments::bad("output is NULL"))?;
        let options = LogOptions { follow, tail };
        open(container)?.logs(&options, &*running(control)?, |entry| {
            sink(entry.stream, &entry.bytes).map_err(|error| Error::io("read log", "", error))
        })
    })
}

/// Gives a container another name. It may run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_rename(
    container: *const treering_container,
    name: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, err) = unsafe { (Text::new(name), Out::new(err)) };
    guard(err, || open(container)?.rename(name.required("name")?))
}

/// Removes a container with its tree. Its handles find nothing then. With `force` it opens the socket of the container, a file in the store.
///
/// Errors: TREERING_BUSY when it runs, unless `force` is set.
///
/// @param force whether its command is killed first.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_remove(
    container: *const treering_container,
    force: bool,
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        let container = open(container)?;
        match force {
            true => container.remove_by_force(&*running(control)?),
            false => container.remove(),
        }
    })
}

/// Commits a container's tree as treering_commit() does, with what was said of the container in the configuration: command, variables,
/// user, directory and labels. `changes` come after those.
///
/// Errors: TREERING_BUSY while a command runs in it.
///
/// @param reference the name the image gets; NULL for none.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_commit_result).
/// @param report receives what was left out; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_commit(
    container: *const treering_container,
    reference: *const c_char,
    options: *const treering_commit_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_commit_result,
    out_size: usize,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, options, out, report, err) = unsafe {
        (
            Text::new(reference),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let reference = reference.optional("reference")?;
        let made = open(container)?.commit(reference, &options.read()?, &*running(control)?)?;
        out.write(&(&made).into());
        hand_over(report, Report::skipped(made.skipped));
        Ok(())
    })
}

/// Makes a container's tree what an image says, as treering_checkout() does.
///
/// Errors: TREERING_BUSY while a command runs in it.
///
/// @param reference the image, as treering_refs_resolve() finds it; `-` for the one the tree was before its present one.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_checkout_result).
/// @param changes receives the paths that are, or would be, different. May be NULL.
/// @param report receives what was lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_container_checkout(
    container: *const treering_container,
    reference: *const c_char,
    options: *const treering_checkout_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_checkout_result,
    out_size: usize,
    changes: *mut *mut treering_changes,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, options, out, changes, report, err) = unsafe {
        (
            Text::new(reference),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(changes),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let reference = reference.required("reference")?;
        let made = open(container)?.checkout(reference, &options.read()?, &*running(control)?)?;
        super::checkout::hand_over_checkout(made, &out, changes, report);
        Ok(())
    })
}
