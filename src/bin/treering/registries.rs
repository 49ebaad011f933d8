//! Registries as the command reaches them.

#[cfg(not(feature = "cli"))]
use std::sync::{Mutex, PoisonError};

use treering::error::Result;
use treering::registry::{HelperRunner, Registries};

/// The function that starts credential helpers where the command is a library: of the program that it is a part of, if that has one.
#[cfg(not(feature = "cli"))]
static RUNNER: Mutex<Option<HelperRunner>> = Mutex::new(None);

/// Has credential helpers started by this function from now on, or by none.
#[cfg(not(feature = "cli"))]
pub fn start_helpers_by(runner: Option<HelperRunner>) {
    *RUNNER.lock().unwrap_or_else(PoisonError::into_inner) = runner;
}

#[cfg(not(feature = "cli"))]
fn runner() -> Option<HelperRunner> {
    RUNNER.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(feature = "cli")]
fn runner() -> Option<HelperRunner> {
    Some(std::sync::Arc::new(crate::helper::start))
}

/// Reads the settings of registries from the environment. Credential helpers are started when a file names them and this process has a
/// function for that.
pub fn from_env() -> Result<Registries> {
    let registries = Registries::from_env()?;
    let credentials = registries.credentials().clone();
    Ok(match runner() {
        Some(runner) => registries.with_credentials(credentials.with_helpers(runner)),
        None => registries,
    })
}
