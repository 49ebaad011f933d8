//! Streams that a caller gives: a file descriptor, or a callback.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::BorrowedFd;

use super::arguments::bad;
use super::error::CallbackFailed;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::input::Input;
use crate::progress::Control;

/// Takes bytes that the library writes. Returns 0 when all of them were taken; any other number fails the operation with
/// TREERING_CALLBACK, and treering_error_callback_code() gives the number back.
///
/// Called from threads of the library, never from two at once, always before the function that was given it returns. Must
/// not let a C++ exception or a longjmp out: that is undefined behaviour. Catch it and return a number, or have TREERING_CATCH()
/// do so.
pub type treering_write_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, data: *const u8, len: usize) -> i32>;

/// Gives bytes that the library reads: puts at most `capacity` of them into `buffer`, their number into `len` (0 at the end)
/// and returns 0. Any other number fails the operation with TREERING_CALLBACK. For the rest, see treering_write_fn.
pub type treering_read_fn = Option<
    unsafe extern "C" fn(userdata: *mut c_void, buffer: *mut u8, capacity: usize, len: *mut usize) -> i32,
>;

/// Called exactly once with the `userdata` of a callback, when the library will not use it any more: before the function
/// that was given it returns, whatever it returns, also when an argument was refused (treering_control_set_progress() has its own
/// rule). NULL where nothing is to be done.
pub type treering_finalizer = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// A stream that an operation reads: of a callback, or of a descriptor.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_input {
    /// Gives the bytes, see treering_read_fn. NULL for `fd`.
    pub read: treering_read_fn,
    /// Handed to `read`, and not used when the operation has returned.
    pub userdata: *mut c_void,
    /// A descriptor to read from without `read`, from its present position to its end. Stays open and yours.
    pub fd: i32,
}

/// Opens the stream that a [`treering_input`] describes.
///
/// # Safety
/// `read` may be called with `userdata` from any thread, one call at a time, as long as the reader lives.
pub(super) unsafe fn open_input(
    from: &treering_input,
    argument: &str,
    control: &Control,
) -> Result<Box<dyn Read + Send>> {
    if from.read.is_none() {
        return input(from.fd, argument, control);
    }
    // SAFETY: the caller's contract; there is no finalizer.
    let userdata = unsafe { Userdata::new(from.userdata, None) };
    Ok(Box::new(CallbackReader::new(from.read, userdata)?))
}

/// Returns a duplicate of a descriptor of the caller's, which stays theirs. Both share the position in the file.
pub(super) fn file(fd: i32, argument: &str) -> Result<File> {
    if fd < 0 {
        return Err(bad(format!("{argument} is {fd}, not a file descriptor")));
    }
    // SAFETY: not -1. Whether it is open is what the call below finds out, and nothing is done with it if not.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    match rustix::io::fcntl_dupfd_cloexec(borrowed, 3) {
        Ok(fd) => Ok(File::from(fd)),
        Err(rustix::io::Errno::BADF) => Err(bad(format!("{argument} is {fd}, which is not open"))),
        Err(error) => Err(Error::io("duplicate descriptor", "", error)),
    }
}

/// Returns the same, to read from: waiting for it ends when the operation is cancelled. What a file has from here on is
/// announced.
pub(super) fn input(fd: i32, argument: &str, control: &Control) -> Result<Box<dyn Read + Send>> {
    let mut file = file(fd, argument)?;
    let ahead = file.metadata().ok().filter(|found| found.is_file()).zip(file.stream_position().ok());
    if let Some((found, at)) = ahead {
        control.counters.expect_stream(found.len().saturating_sub(at));
    }
    Ok(Box::new(Input::new(file, control.cancel.clone())))
}

/// The pointer that goes along with a callback. Made first of all in an entry point, so that the finalizer is called
/// whatever comes.
pub(super) struct Userdata {
    pointer: *mut c_void,
    finalizer: treering_finalizer,
}

// SAFETY: the header demands that the callback may be called from any thread, one at a time.
unsafe impl Send for Userdata {}

impl Userdata {
    /// # Safety
    /// `finalizer` may be called with `pointer`, once, and callbacks with it before that, from any thread.
    pub unsafe fn new(pointer: *mut c_void, finalizer: treering_finalizer) -> Userdata {
        Userdata { pointer, finalizer }
    }

    /// Returns the pointer that the callback is called with.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for Userdata {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: the contract of `new`, and a value is dropped once.
            unsafe { finalizer(self.pointer) }
        }
    }
}

fn failed(operation: &'static str, code: i32) -> io::Error {
    callback_failed(operation, code).into()
}

/// Returns the error for a callback that returned a number other than 0.
pub(super) fn callback_failed(operation: &'static str, code: i32) -> Error {
    Error::new(ErrorKind::Callback, operation, format!("the callback failed with {code}"))
        .with_source(CallbackFailed(code))
}

/// A writer to a callback.
pub(super) struct CallbackWriter {
    function: unsafe extern "C" fn(*mut c_void, *const u8, usize) -> i32,
    userdata: Userdata,
}

impl CallbackWriter {
    pub fn new(function: treering_write_fn, userdata: Userdata) -> Result<CallbackWriter> {
        let function = function.ok_or_else(|| bad("write is NULL"))?;
        Ok(CallbackWriter { function, userdata })
    }
}

impl Write for CallbackWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        // SAFETY: the contract of `Userdata::new`; the bytes are there for the call.
        match unsafe { (self.function)(self.userdata.pointer, buf.as_ptr(), buf.len()) } {
            0 => Ok(buf.len()),
            code => Err(failed("write to callback", code)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader from a callback.
pub(super) struct CallbackReader {
    function: unsafe extern "C" fn(*mut c_void, *mut u8, usize, *mut usize) -> i32,
    userdata: Userdata,
    ended: bool,
}

impl CallbackReader {
    pub fn new(function: treering_read_fn, userdata: Userdata) -> Result<CallbackReader> {
        let function = function.ok_or_else(|| bad("read is NULL"))?;
        Ok(CallbackReader { function, userdata, ended: false })
    }
}

impl Read for CallbackReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // After its end a stream is not asked again: not every callback could answer.
        if buf.is_empty() || self.ended {
            return Ok(0);
        }
        let mut len = 0;
        // SAFETY: the contract of `Userdata::new`; the buffer is there and initialised, and `len` is a local variable.
        match unsafe { (self.function)(self.userdata.pointer, buf.as_mut_ptr(), buf.len(), &raw mut len) } {
            0 if len <= buf.len() => {
                self.ended = len == 0;
                Ok(len)
            }
            0 => {
                let message = format!("the callback says it read {len} bytes into room for {}", buf.len());
                Err(Error::new(ErrorKind::Callback, "read from callback", message).into())
            }
            code => {
                self.ended = true;
                Err(failed("read from callback", code))
            }
        }
    }
}
