//! Where the helper program is.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The environment variable that names it.
pub const VARIABLE: &str = "TREERING_INIT";

/// The helper program that is used here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Helper {
    /// The path of the program.
    pub path: PathBuf,
    /// Whether it runs without a dynamic loader, as it must where there is none; `None` for what cannot be read.
    pub is_static: Option<bool>,
}

/// Finds the helper program, see [`super::StepOptions::helper`], and looks at it.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] when it is nowhere.
pub fn helper(given: Option<&Path>) -> Result<Helper> {
    let path = find(given)?;
    let mut start = Vec::new();
    let read =
        crate::fs::root::open_given(&path).and_then(|file| file.take(64 << 10).read_to_end(&mut start));
    let is_static = read.ok().and_then(|_| super::handle::needs_loader(&start)).map(|needs| !needs);
    Ok(Helper { path, is_static })
}

/// Finds the helper: what was given, else what `$TREERING_INIT` names, else `treering-init` beside this library or this program or in
/// `../libexec/treering`, else `treering` on PATH, which is the helper too.
pub fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_path_buf());
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let mut places = Vec::new();
    let program = std::env::current_exe().ok();
    for dir in [library().as_deref(), program.as_deref()].into_iter().flatten().filter_map(Path::parent) {
        places.push(dir.join("treering-init"));
        places.push(dir.join("../libexec/treering/treering-init"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    places
        .extend(std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("treering")));
    first(places).ok_or_else(|| {
        Error::not_found("find helper", "neither treering-init nor treering is where it is looked for")
            .with_hint(format!("set {VARIABLE} to the path of one of them, or install treering on PATH"))
    })
}

/// Returns the file that this code was loaded from: the library in a program that has it as one, else the program. Only an
/// absolute path is of use.
fn library() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let here: fn(&Path) -> bool = is_program;
    // SAFETY: the address is one of this code; the structure lives through the call, and all zero bits are valid.
    let found = unsafe {
        if libc::dladdr(here as *const libc::c_void, found.as_mut_ptr()) == 0 {
            return None;
        }
        found.assume_init()
    };
    if found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader keeps the name for as long as the library is loaded.
    let name = unsafe { std::ffi::CStr::from_ptr(found.dli_fname) };
    let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
    path.is_absolute().then_some(path)
}

/// Takes the first that is a program. The script that a Python package calls `treering` is none: it is another version of the command, and
/// needs what a tree does not have.
fn first(places: Vec<PathBuf>) -> Option<PathBuf> {
    places.into_iter().find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    if rustix::fs::access(path.as_os_str(), rustix::fs::Access::EXEC_OK).is_err() {
        return false;
    }
    let mut magic = [0; 4];
    match crate::fs::root::open_given(path) {
        Ok(mut file) => file.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF",
        // It may be executed and not read.
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_passed_over() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let (script, program) = (temp.path().join("treering"), std::env::current_exe().unwrap());
        std::fs::write(&script, "#!/usr/bin/python3\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(first(vec![temp.path().into(), script.clone(), program.clone()]), Some(program));
        assert_eq!(first(vec![script]), None);
    }
}
