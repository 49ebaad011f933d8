//! Options of how registries are reached.

use std::ffi::c_char;
use std::path::PathBuf;
use std::time::Duration;

use super::arguments::{Bytes, Text, bad};
use super::status::treering_slice;
use super::structures::Options;
use crate::error::Result;
use crate::registry::{Config, Credential, Credentials, Registries};

/// Options of access to registries. Zero stands for what the environment says: `$TREERING_REGISTRIES` and the files of
/// Docker and podman, and the proxies in `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_registries_options {
    /// File that says where registries are (`registries.toml`). Empty for that of the environment.
    pub config_file: treering_slice,
    /// File that credentials are read from and kept in, in Docker's format. Empty for those of the environment.
    pub auth_file: treering_slice,
    /// User name for every registry that is asked, before any file is looked at. NULL for none. With a `password`.
    pub username: *const c_char,
    /// Password or token of that user.
    pub password: *const c_char,
    /// Milliseconds that a connection may stand still; 0 for 60000.
    pub stall_ms: u32,
    /// Number of times a request is tried in all; 0 for 5.
    pub attempts: u32,
}

/// The options, before a callback is asked.
pub struct Reached {
    pub(super) registries: Registries,
    /// Whether a user name was given.
    pub(super) asked: bool,
}

// SAFETY: `repr(C)`, of pointers and numbers.
unsafe impl Options for treering_registries_options {
    type Value = Reached;

    unsafe fn read(&self) -> Result<Reached> {
        // SAFETY: the caller's contract.
        let (config, auth, username, password) = unsafe {
            (
                path(self.config_file, "config_file")?,
                path(self.auth_file, "auth_file")?,
                Text::new(self.username).owned("username")?,
                Text::new(self.password).owned("password")?,
            )
        };
        let config = config.map_or_else(Config::from_env, |path| Config::read(&path))?;
        let asked = username.is_some();
        let mut credentials = auth.map_or_else(Credentials::from_env, Credentials::in_file);
        credentials = match (username, password) {
            (None, None) => credentials,
            (Some(username), Some(password)) => {
                let credential = Credential::basic(username, password);
                credentials.asking(std::sync::Arc::new(move |_: &str, _: &str| Ok(Some(credential.clone()))))
            }
            _ => return Err(bad("username and password go together")),
        };
        let mut registries = Registries::new(config, credentials).with_proxies_of_env();
        if self.stall_ms != 0 || self.attempts != 0 {
            let stall = if self.stall_ms == 0 { 60_000 } else { self.stall_ms };
            let attempts = if self.attempts == 0 { 5 } else { self.attempts };
            let (stall, backoff) = (Duration::from_millis(stall.into()), Duration::from_millis(250));
            registries = registries.with_patience(stall, attempts, backoff);
        }
        Ok(Reached { registries, asked })
    }
}

/// # Safety
/// The contract of [`Bytes::new`] for the slice.
unsafe fn path(slice: treering_slice, argument: &str) -> Result<Option<PathBuf>> {
    // SAFETY: the caller's contract.
    let bytes = unsafe { Bytes::new(slice.data, slice.len) };
    Ok(bytes.optional_path(argument)?.map(PathBuf::from))
}
