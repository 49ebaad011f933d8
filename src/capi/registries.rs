//! Registries: how they are reached, with which credentials.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Mutex};

use super::arguments::{Out, Text, bad};
use super::bytes::{self, treering_bytes};
use super::control::{running, treering_control};
use super::error::{c_string, treering_error};
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::registries_options::{Reached, treering_registries_options};
use super::status::treering_status;
use super::stream::{Userdata, callback_failed, treering_finalizer};
use super::structures::Given;
use crate::error::Result;
use crate::registry::{Asked, Credential, Registries};
use crate::threads::lock;

/// The registries as a program reaches them: where they are, credentials, proxies, patience. Owned by the caller, freed with
/// treering_registries_free(). Never changes, so any number of threads may use it at once. Connections belong to single operations.
pub struct treering_registries {
    _opaque: (),
}
noun!(treering_registries, Registries);

/// The answer of a treering_credentials_fn: given to it, and of no use after it has returned.
pub struct treering_answer {
    _opaque: (),
}
noun!(treering_answer, Mutex<Option<Credential>>);

/// Is asked for the credentials of a repository before any file is looked at: it calls treering_answer_basic() or
/// treering_answer_token() with `answer`, or neither, which sends the question on to the files. Returns 0; any other number fails the
/// operation with TREERING_CALLBACK, and treering_error_callback_code() gives the number back.
///
/// This is the place for credential helpers: the library starts none, and an entry of a file that a helper holds is an error.
/// Called from threads of the library, never from two at once. Must not use the treering_registries it belongs to. For exceptions
/// see treering_write_fn.
pub type treering_credentials_fn = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        registry: *const c_char,
        repository: *const c_char,
        answer: *mut treering_answer,
    ) -> i32,
>;

/// Makes registries. Reads the files of the options or of the environment.
///
/// @param options NULL for the defaults.
/// @param credentials see treering_credentials_fn; NULL for none, and refused beside a `username`.
/// @param userdata handed to the callback.
/// @param finalizer called once with `userdata` when it will not be used any more: the registries were freed and the last operation
/// with them has ended; at once when an argument was refused. May be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registries_new(
    options: *const treering_registries_options,
    options_size: usize,
    credentials: treering_credentials_fn,
    userdata: *mut c_void,
    finalizer: treering_finalizer,
    out: *mut *mut treering_registries,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers and callbacks.
    let (userdata, options, out, err) = unsafe {
        (Userdata::new(userdata, finalizer), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || {
        let Reached { registries, asked } = options.read()?;
        let Some(function) = credentials else { return Ok(registries) };
        if asked {
            return Err(bad("a username and a function for credentials exclude each other"));
        }
        let function = Mutex::new((function, userdata));
        let asked: Asked = Arc::new(move |registry: &str, repository: &str| {
            let (registry, repository) = (text(registry)?, text(repository)?);
            let (function, userdata) = &*lock(&function);
            let answer = handle::make::<treering_answer>(Mutex::new(None));
            let held = handle::get(answer, "answer")?;
            // SAFETY: the contract of `Userdata::new`; the texts are there for the call.
            let code =
                unsafe { function(userdata.pointer(), registry.as_ptr(), repository.as_ptr(), answer) };
            handle::free(answer);
            match code {
                0 => Ok(lock(&held).take()),
                code => Err(callback_failed("ask for credentials", code)),
            }
        });
        let credentials = registries.credentials().clone().asking(asked);
        Ok(registries.with_credentials(credentials))
    })
}

fn text(text: &str) -> Result<CString> {
    Ok(c_string(text.to_string()))
}

/// Returns the registries behind a handle; those of the environment for NULL.
pub(super) fn registries_of(handle: *const treering_registries) -> Result<Registries> {
    match handle::maybe(handle, "registries")? {
        Some(registries) => Ok(Registries::clone(&registries)),
        None => Registries::from_env(),
    }
}

/// Answers with a user name and a password, which are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_answer_basic(
    answer: *mut treering_answer,
    username: *const c_char,
    password: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (username, password, err) = unsafe { (Text::new(username), Text::new(password), Out::new(err)) };
    guard(err, || {
        let credential = Credential::basic(username.required("username")?, password.required("password")?);
        *lock(&*handle::get(answer, "answer")?) = Some(credential);
        Ok(())
    })
}

/// Answers with a token, which is copied.
///
/// @param identity whether the registry's token server exchanges it for others (an identity token); else it is sent to the
/// registry as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_answer_token(
    answer: *mut treering_answer,
    token: *const c_char,
    identity: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (token, err) = unsafe { (Text::new(token), Out::new(err)) };
    guard(err, || {
        let token = token.required("token")?;
        let credential =
            if identity { Credential::identity_token(token) } else { Credential::registry_token(token) };
        *lock(&*handle::get(answer, "answer")?) = Some(credential);
        Ok(())
    })
}

/// Asks a registry whether it takes a user name and a password, and keeps them where Docker does, or in `auth_file`. Opens sockets.
///
/// Errors: TREERING_UNAUTHORIZED when the registry refuses them, and nothing is kept; TREERING_NETWORK.
///
/// @param registries NULL for those of the environment.
/// @param registry as names write it: `docker.io`, `registry.example:5000`.
/// @param control may be NULL.
/// @param kept_in receives where they are kept now, for people to read; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_login(
    registries: *const treering_registries,
    registry: *const c_char,
    username: *const c_char,
    password: *const c_char,
    control: *const treering_control,
    kept_in: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (registry, username, password, kept_in, err) = unsafe {
        (Text::new(registry), Text::new(username), Text::new(password), Out::new(kept_in), Out::new(err))
    };
    guard(err, || {
        let credential = Credential::basic(username.required("username")?, password.required("password")?);
        let registry = registry.required("registry")?;
        let registries = registries_of(registries)?;
        let done = crate::registry::login(&registries, registry, &credential, &*running(control)?)?;
        if let Some(place) = kept_in.place() {
            place.write(handle::make(bytes::owned(done.kept_in.into_bytes())));
        }
        Ok(())
    })
}

/// Forgets the credentials of a registry. Asks no registry.
///
/// @param registries NULL for those of the environment.
/// @param registry as names write it.
/// @param was receives whether there were any; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_logout(
    registries: *const treering_registries,
    registry: *const c_char,
    was: *mut bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (registry, was, err) = unsafe { (Text::new(registry), Out::new(was), Out::new(err)) };
    guard(err, || {
        let there = crate::registry::logout(&registries_of(registries)?, registry.required("registry")?)?;
        if let Some(place) = was.place() {
            place.write(there);
        }
        Ok(())
    })
}

/// Lists every tag of a repository, in the registry's order. Opens sockets.
///
/// Errors: TREERING_NOT_FOUND when the registry does not have the repository; TREERING_UNAUTHORIZED, TREERING_NETWORK.
///
/// @param registries NULL for those of the environment.
/// @param repository a name without tag and digest.
/// @param control may be NULL.
/// @param out receives a JSON list of texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_tags(
    registries: *const treering_registries,
    repository: *const c_char,
    control: *const treering_control,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (repository, out, err) = unsafe { (Text::new(repository), Out::new(out), Out::new(err)) };
    give(err, out, || {
        let repository = repository.required("repository")?;
        let tags = crate::registry::tags(&registries_of(registries)?, repository, &*running(control)?)?;
        bytes::json(&tags)
    })
}

/// Frees registries. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_registries_free(registries: *mut treering_registries) -> treering_status {
    handle::free(registries)
}
