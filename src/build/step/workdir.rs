//! WORKDIR: the directory is made when it is not there, for the user of the steps.

use crate::build::layer::{Tools, write_layer};
use crate::build::merge::Merge;
use crate::build::state::State;
use crate::error::{ErrorKind, Result};
use crate::fs::Timestamp;
use crate::image::StepLayer;

/// Makes the working directory of a state. `None` when it is there.
pub(in crate::build) fn make(state: &State, now: Timestamp, tools: Tools<'_>) -> Result<Option<StepLayer>> {
    let mut merge = Merge::new(state.tree(tools.store, tools.control)?, now);
    // As BuildKit has it: the user's, and root's where nothing says which user that is.
    merge.owner = match state.user().map(|user| state.owner(user, tools.store, tools.control)) {
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => None,
        owner => owner.transpose()?,
    };
    merge.make_directories(state.working_dir().as_bytes())?;
    match merge.is_unchanged() {
        true => Ok(None),
        false => write_layer(merge, Some(&state.layers), tools).map(Some),
    }
}
