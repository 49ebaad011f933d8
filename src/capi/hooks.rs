//! Hooks for the tests of this library and of its bindings: `tests/c/treering_test.h` declares them, not the header of the library.

use super::arguments::Out;
use super::control::running;
use super::control::{control_of, treering_control};
use super::error::treering_error;
use super::guard::guard;
use super::handle;
use super::status::treering_status;
use crate::error::{Error, ErrorKind};
use crate::event::example;

/// Panics inside, as a defect would, and returns what every call then returns: TREERING_INTERNAL and an
/// error. It changes nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_test_panic(err: *mut *mut treering_error) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || panic!("treering_test_panic was called"))
}

/// Returns the number of handles of all types that are live in this process. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn treering_test_live_handles() -> usize {
    handle::count()
}

/// Has an operation with this control panic inside, on whatever thread of the library it happens, the
/// `look`-th time that one of them looks whether it was cancelled, counted from 1. Once; 0 for never. What becomes of it is
/// TREERING_INTERNAL, as of every defect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_test_panic_at(
    control: *const treering_control,
    look: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        handle::get(control, "control")?;
        control_of(control)?.cancel.panic_at(look);
        Ok(())
    })
}

/// Fails as a command in a Dockerfile does: TREERING_COMMAND_FAILED with the exit code 7 at line 3, column 5 of `Dockerfile`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_test_error(err: *mut *mut treering_error) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        Err(Error::new(ErrorKind::CommandFailed, "run command", "the command failed")
            .with_exit_code(7)
            .with_location(example::location()))
    })
}

/// Runs an operation that sends one event of each kind, first to last, and does nothing else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_test_events(
    control: *const treering_control,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        let control = running(control)?;
        for event in example::events() {
            control.events.send(event);
        }
        Ok(())
    })
}
