//! git for builds, which a function of the caller runs. Nothing here starts a process.

use std::ffi::{CString, OsStr, OsString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};

use super::arguments::{Bytes, Out};
use super::error::treering_error;
use super::guard::guard;
use super::handle::{self, noun};
use super::status::{treering_pair, treering_slice, treering_status};
use super::stream::{Userdata, callback_failed};
use crate::build::{Git, GitAnswer, GitCall};
use crate::error::{Error, ErrorKind, Result};
use crate::threads::lock;

const OP: &str = "run git";

/// A call of git that a build asks for. Everything in it is there until the function returns.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_git_call {
    /// The working directory. Behind its bytes is a NUL.
    pub directory: treering_slice,
    /// Arguments, without the name of the program.
    pub arguments: *const *const c_char,
    /// Number of `arguments`.
    pub arguments_len: usize,
    /// The environment. PATH and what says how servers are reached (proxies, certificates) are to be added, and nothing else. May hold a
    /// secret.
    pub environment: *const treering_pair,
    /// Number of `environment`.
    pub environment_len: usize,
}

/// The answer of a treering_git_fn: given to it, and of no use after it has returned.
pub struct treering_git_answer {
    _opaque: (),
}
noun!(treering_git_answer, Mutex<Option<GitAnswer>>);

/// Runs git, waits for it, and calls treering_git_answer_set() with `answer`. Returns 0; any other number fails the operation with
/// TREERING_CALLBACK, and treering_error_callback_code() gives the number back.
///
/// `size` is how many bytes of `call` there are: sizeof(treering_git_call) in the library's header.
///
/// The library starts no git: this function does, with the arguments and the environment that it is given. It also has to end git when the
/// operation is cancelled. Called from threads of the library, never from two at once, always
/// before the function that was given it returns. For exceptions see treering_write_fn.
pub type treering_git_fn = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        call: *const treering_git_call,
        size: usize,
        answer: *mut treering_git_answer,
    ) -> i32,
>;

/// The function that runs git.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_git {
    /// See treering_git_fn. NULL for none: repositories are refused.
    pub run: treering_git_fn,
    /// Handed to `run`, and not used when the operation has returned.
    pub userdata: *mut c_void,
}

/// Answers for git. What it wrote is copied.
///
/// @param success whether it exited with 0.
/// @param output what it wrote to standard output.
/// @param errors what it wrote to standard error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_git_answer_set(
    answer: *mut treering_git_answer,
    success: bool,
    output: *const u8,
    output_len: usize,
    errors: *const u8,
    errors_len: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (output, errors, err) =
        unsafe { (Bytes::new(output, output_len), Bytes::new(errors, errors_len), Out::new(err)) };
    guard(err, || {
        let (output, errors) = (output.bytes("output")?.to_vec(), errors.bytes("errors")?.to_vec());
        *lock(&*handle::get(answer, "answer")?) = Some(GitAnswer { success, output, errors });
        Ok(())
    })
}

/// Returns the function for a build; `None` where there is none.
///
/// # Safety
/// `run` may be called with `userdata` from any thread, one call at a time, until the operation returns.
pub(super) unsafe fn runner(git: treering_git) -> Option<Git> {
    let function = git.run?;
    // SAFETY: the caller's contract; there is no finalizer.
    let userdata = Mutex::new(unsafe { Userdata::new(git.userdata, None) });
    Some(Git(Arc::new(move |call: &GitCall<'_>| {
        let texts = Texts::new(call)?;
        let (arguments, environment) = (texts.arguments(), texts.environment());
        let directory = texts.directory.as_bytes();
        let asked = treering_git_call {
            directory: treering_slice { data: directory.as_ptr(), len: directory.len() },
            arguments: arguments.as_ptr(),
            arguments_len: arguments.len(),
            environment: environment.as_ptr(),
            environment_len: environment.len(),
        };
        let userdata = lock(&userdata);
        let answer = handle::make::<treering_git_answer>(Mutex::new(None));
        let held = handle::get(answer, "answer")?;
        // SAFETY: the contract of `runner`; what `asked` points to is there for the call.
        let code = unsafe { function(userdata.pointer(), &raw const asked, size_of_val(&asked), answer) };
        handle::free(answer);
        match (code, lock(&held).take()) {
            (0, Some(answer)) => Ok(answer),
            (0, None) => Err(Error::new(ErrorKind::Callback, OP, "the callback gave no answer")),
            (code, _) => Err(callback_failed(OP, code)),
        }
    })))
}

/// The texts that the pointers of a call point to.
struct Texts {
    directory: CString,
    arguments: Vec<CString>,
    environment: Vec<(CString, CString)>,
}

impl Texts {
    fn new(call: &GitCall<'_>) -> Result<Texts> {
        let text = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| Error::invalid(OP, "a text has a NUL byte in it"))
        };
        let pair = |(name, value): &(OsString, OsString)| Ok((text(name)?, text(value)?));
        Ok(Texts {
            directory: text(call.directory.as_os_str())?,
            arguments: call.arguments.iter().map(|argument| text(argument)).collect::<Result<_>>()?,
            environment: call.environment.iter().map(pair).collect::<Result<_>>()?,
        })
    }

    fn arguments(&self) -> Vec<*const c_char> {
        self.arguments.iter().map(|argument| argument.as_ptr()).collect()
    }

    fn environment(&self) -> Vec<treering_pair> {
        let pair =
            |(key, value): &(CString, CString)| treering_pair { key: key.as_ptr(), value: value.as_ptr() };
        self.environment.iter().map(pair).collect()
    }
}
