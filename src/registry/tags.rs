//! The tags of a repository.

use super::Registries;
use super::pull::from_any;
use super::session::Session;
use crate::error::{Error, Result};
use crate::progress::Control;
use crate::store::Reference;

/// Returns every tag of a repository, in the registry's order. `repository` is a name without tag and digest: `debian`,
/// `registry.example:5000/app`.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] when the registry does not have the repository.
pub fn tags(registries: &Registries, repository: &str, control: &Control) -> Result<Vec<String>> {
    let name = Reference::parse(repository)?;
    if name.tag().is_some() || name.digest().is_some() {
        let message = "the name of a repository has neither tag nor digest";
        return Err(Error::invalid("list tags", message).with_path(repository));
    }
    let session = Session::new(registries, control);
    from_any(&session, &name, |repository| repository.tags())
}
