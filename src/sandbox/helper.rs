//! Where the helper program is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The environment variable that names it.
pub const VARIABLE: &str = "TREERING_INIT";

/// Finds the helper: what was given, else what `$TREERING_INIT` names, else `treering-init` beside this program or in `../libexec/treering`,
/// else `treering` on PATH, which is the helper too.
pub fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_path_buf());
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let mut places = Vec::new();
    if let Some(dir) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push(dir.join("treering-init"));
        places.push(dir.join("../libexec/treering/treering-init"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    places
        .extend(std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("treering")));
    places.into_iter().find(|path| is_program(path)).ok_or_else(|| {
        Error::not_found("find helper", "neither treering-init nor treering is where it is looked for")
            .with_hint(format!("set {VARIABLE} to the path of one of them, or install treering on PATH"))
    })
}

fn is_program(path: &Path) -> bool {
    let bytes: &OsStr = path.as_os_str();
    rustix::fs::access(bytes, rustix::fs::Access::EXEC_OK).is_ok()
}
