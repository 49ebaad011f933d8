//! Logging in and out.

use super::Registries;
use super::credentials::{Credential, Credentials};
use super::session::Session;
use crate::error::{Error, Result};
use crate::progress::{Cancel, Control};
use crate::store::Reference;

const OP: &str = "log in to registry";

/// The result of [`login`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Login {
    /// The registry, as names write it.
    pub registry: String,
    /// The place where the credentials are kept now: a file, or a credential helper.
    pub kept_in: String,
}

/// Asks a registry whether it takes these credentials, and keeps them where [`Credentials`] keeps new ones.
///
/// # Errors
/// [`crate::ErrorKind::Unauthorized`] when the registry refuses them; nothing is kept then.
pub fn login(
    registries: &Registries,
    registry: &str,
    credential: &Credential,
    control: &Control,
) -> Result<Login> {
    let registry = name_of(registry)?;
    let given = credential.clone();
    let asked = std::sync::Arc::new(move |_: &str, _: &str| Ok(Some(given.clone())));
    let trial = registries.clone().with_credentials(Credentials::default().asking(asked));
    let session = Session::new(&trial, control);
    let endpoint = session.settle(&trial.config.registry(&registry)?)?;
    session.log_in(&endpoint)?;
    // Under the name of the place that took them, which is where a pull looks.
    let kept_in = registries.credentials.store(&endpoint.key, credential, &control.cancel)?;
    Ok(Login { registry, kept_in })
}

/// Forgets the credentials of a registry. False when there were none. Asks no registry.
pub fn logout(registries: &Registries, registry: &str) -> Result<bool> {
    let endpoint = registries.config.registry(&name_of(registry)?)?;
    registries.credentials.erase(&endpoint.key, &Cancel::default())
}

/// Returns a registry as names write it, from what people type: `docker.io`, `https://registry.example/`.
fn name_of(text: &str) -> Result<String> {
    let bare = text.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.split('/').next().unwrap_or_default();
    let refuse = || Error::invalid(OP, "not a registry: expected HOST or HOST:PORT").with_path(text);
    match bare {
        "" => Err(refuse()),
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => Ok("docker.io".into()),
        // `host/x` is read as registry and repository when the host has a dot, a colon, or is localhost.
        _ => match Reference::parse(&format!("{bare}/x")) {
            Ok(name) if name.domain() == bare => Ok(bare.into()),
            _ => Err(refuse()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_as_people_type_them() {
        for (text, name) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("https://a.example/", "a.example"),
            ("a.example:5000", "a.example:5000"),
            ("localhost", "localhost"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(name_of(text).unwrap(), name, "{text}");
        }
        for text in ["", "https://", "nodots", "a b", "user@a.example", "a.example:port"] {
            assert!(name_of(text).is_err(), "{text}");
        }
    }
}
