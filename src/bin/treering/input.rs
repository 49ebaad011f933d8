//! Where data comes from: a file, or standard input.

use std::fs::File;
use std::io::{IsTerminal, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use treering::error::{At, Error, Result};
use treering::fs::descriptors::closed_at_start;
use treering::fs::input::Input;
use treering::progress::{Cancel, Control};

use crate::ui::Usage;

/// Opens a file, or standard input when there is none or it is `-`. A terminal is refused: an archive is not typed.
pub fn open(file: Option<&Path>) -> anyhow::Result<Box<dyn Read + Send>> {
    match file {
        Some(path) if path != Path::new("-") => {
            let shown = path.as_os_str().as_bytes();
            let file = File::open(path).at("open", shown)?;
            // Opening a directory works and reading it does not; this says it better.
            if file.metadata().at("open", shown)?.is_dir() {
                return Err(std::io::Error::from_raw_os_error(libc::EISDIR))
                    .at("open", shown)
                    .map_err(Into::into);
            }
            Ok(Box::new(file))
        }
        _ if std::io::stdin().is_terminal() => {
            Err(Usage::new("nothing to read: standard input is a terminal")
                .with_hint("name a file, or send something to standard input")
                .into())
        }
        _ => Ok(Box::new(Input::new(stdin()?, Cancel::default()))),
    }
}

/// Announces how much [`open`] gives to read, where that is known: of files.
pub fn announce(file: Option<&Path>, control: &Control) {
    let ahead = match file {
        Some(path) if path != Path::new("-") => {
            path.metadata().ok().filter(|it| it.is_file()).map(|it| it.len())
        }
        _ => stdin().ok().and_then(|fd| {
            let mut file = File::from(fd);
            let found = file.metadata().ok().filter(|it| it.is_file())?;
            Some(found.len().saturating_sub(file.stream_position().ok()?))
        }),
    };
    if let Some(bytes) = ahead {
        control.counters.expect_stream(bytes);
    }
}

/// Gives an error that has no path the name of what was read.
pub fn named<T>(file: Option<&Path>, result: anyhow::Result<T>) -> anyhow::Result<T> {
    let shown = match file {
        Some(path) if path != Path::new("-") => path.as_os_str().as_bytes(),
        _ => b"standard input",
    };
    result.map_err(|error| match error.downcast::<Error>() {
        Ok(error) if error.path().is_none() => error.with_path(shown).into(),
        Ok(error) => error.into(),
        Err(other) => other,
    })
}

fn stdin() -> Result<OwnedFd> {
    if closed_at_start(0) {
        return Err(std::io::Error::from_raw_os_error(libc::EBADF)).at("open", "standard input");
    }
    std::io::stdin().as_fd().try_clone_to_owned().at("open", "standard input")
}
