//! Registries as the command reaches them.

use treering::error::Result;
use treering::registry::Registries;

/// What the environment says about registries. Credential helpers are started when a file names them, unless the process is
/// somebody else's Python program.
pub fn from_env() -> Result<Registries> {
    let registries = Registries::from_env()?;
    #[cfg(feature = "cli")]
    let registries = {
        let start = std::sync::Arc::new(crate::helper::start);
        let credentials = registries.credentials().clone().with_helpers(start);
        registries.with_credentials(credentials)
    };
    Ok(registries)
}
