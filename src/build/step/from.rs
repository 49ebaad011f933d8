//! FROM: the state that a stage begins with.

use crate::build::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Image, Platform};
use crate::store::Store;

/// Opens a base image.
pub(in crate::build) fn image(
    store: &Store,
    name: &str,
    platform: Option<&Platform>,
    escape: char,
) -> Result<State> {
    if name == "scratch" {
        return Ok(State::scratch(platform.cloned().unwrap_or_else(Platform::host), escape));
    }
    let image = Image::open(store, name, platform).map_err(|error: Error| match error.kind() {
        ErrorKind::NotFound if error.hint().is_none() => {
            error.with_hint("load, import or pull the image first; `images` lists what is in the store")
        }
        _ => error,
    })?;
    Ok(State::image(image, escape))
}
