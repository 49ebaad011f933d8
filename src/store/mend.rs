//! Permissions that are changed for a moment, so that a file of one's own can be read, and what puts them back after a kill.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::layout::Store;
use super::publish::open_regular;
use super::scratch::is_named;
use crate::error::{At, Found, Result};
use crate::fs::lock::Locked;
use crate::fs::locked::Mend;
use crate::fs::root::c_name;
use crate::fs::stat::stat_at;
use crate::fs::{Root, Stat, chmod};

const OP: &str = "restore permissions";
/// The prefix of these files in `tmp/`.
const CLAIM: &str = "mend-";
/// The longest one that is read, in bytes.
const CAP: u64 = 64 << 10;

/// A file in `tmp/` that says how the permissions of another one were. It goes with this value, once they are so again.
struct Promise {
    store: Store,
    name: String,
    file: Locked,
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.file.is_ours() {
            let _ = self.store.0.tmp.remove_file(&self.name);
        }
    }
}

/// Makes promises in a store.
#[derive(Debug)]
pub(crate) struct Mender(Store);

impl Mend for Mender {
    fn promise(&self, path: &Path, stat: &Stat) -> io::Result<Box<dyn Send>> {
        let mut text = format!("{:o} {} {}\n", stat.mode, stat.dev, stat.ino).into_bytes();
        text.extend_from_slice(path.as_os_str().as_bytes());
        let (name, file) = self.0.write_claim(CLAIM, &text)?;
        Ok(Box::new(Promise { store: self.0.unpinned(), name, file }))
    }
}

impl Store {
    /// Returns what writes down permissions that are changed for a moment.
    pub(crate) fn mender(&self) -> Mender {
        Mender(self.unpinned())
    }

    /// Puts back the permissions that killed processes had changed for a moment.
    pub(crate) fn mend(&self) -> Result<()> {
        let (tmp, shown) = (&self.0.tmp, self.path("tmp"));
        for entry in tmp.entries().at(OP, &shown)? {
            let name = entry.at(OP, &shown)?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(CLAIM) {
                continue;
            }
            let Some(mut file) = open_regular(tmp, &name, &shown).found()? else { continue };
            // Another process may have seen to it meanwhile.
            if file.try_lock().is_err() || !is_named(&file, tmp, &name).at(OP, &shown)? {
                continue;
            }
            restore(&mut file);
            tmp.remove_file(&name).found().at(OP, &shown)?;
        }
        Ok(())
    }
}

/// Puts one back, if the file is still there and has the permissions that were to be for a moment. What was moved away or
/// changed by another process is theirs.
fn restore(file: &mut File) -> Option<()> {
    let mut text = Vec::new();
    file.take(CAP).read_to_end(&mut text).ok()?;
    let end = text.iter().position(|&byte| byte == b'\n')?;
    let mut numbers = std::str::from_utf8(&text[..end]).ok()?.split(' ');
    let mode = u16::from_str_radix(numbers.next()?, 8).ok()?;
    let identity: (u64, u64) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let path = Path::new(OsStr::from_bytes(&text[end + 1..]));
    let name = c_name(path.file_name()?.as_bytes()).ok()?;
    let parent = Root::open(path.parent()?).ok()?;
    let stat = stat_at(&parent, &name).ok()?;
    if (stat.dev, stat.ino) == identity && stat.mode == mode | 0o400 {
        chmod::chmod_at(&parent, &name, mode.into()).ok()?;
    }
    Some(())
}
