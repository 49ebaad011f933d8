//! Making directories that their maker can use, whatever the umask.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::Mode;

use super::chmod::chmod_at;
use super::stat::stat_at;

/// Makes directories of mode 0700. Whether the umask takes bits of the owner is seen by the first one.
#[derive(Debug, Default)]
pub struct PrivateDirs {
    masked: Option<bool>,
}

impl PrivateDirs {
    /// Makes a directory.
    pub fn make(&mut self, dir: impl AsFd, name: &CStr) -> io::Result<()> {
        let dir = dir.as_fd();
        rustix::fs::mkdirat(dir, name, Mode::RWXU)?;
        let masked = match self.masked {
            Some(masked) => masked,
            None => stat_at(dir, name)?.mode & 0o700 != 0o700,
        };
        self.masked = Some(masked);
        if masked { chmod_at(dir, name, 0o700) } else { Ok(()) }
    }
}
