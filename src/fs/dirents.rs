//! Reading a directory's names.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::RawDir;

/// The names in a directory, kept NUL-terminated in one buffer so that no name costs an allocation.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    names: Vec<Name>,
    buffer: Vec<u8>,
}

/// The place of a name, and its first eight bytes as a number that sorts like them: most comparisons need no more.
#[derive(Debug)]
struct Name {
    front: u64,
    start: u32,
    len: u16,
}

impl Names {
    /// Reads all names in `dir` but `.` and `..`, sorted by bytes, however far the descriptor was read before. The previous
    /// names are forgotten.
    pub fn read(&mut self, dir: impl AsFd) -> io::Result<()> {
        let dir = dir.as_fd();
        rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
        self.bytes.clear();
        self.names.clear();
        // 64 KiB: below that, the number of getdents64 calls on large directories begins to show.
        self.buffer.reserve(64 * 1024);
        let spare: &mut [MaybeUninit<u8>] = self.buffer.spare_capacity_mut();
        let mut raw = RawDir::new(dir, spare);
        while let Some(entry) = raw.next() {
            let name = match entry {
                // Nothing was read by a call that was interrupted; the next one reads it.
                Err(rustix::io::Errno::INTR) => continue,
                entry => entry?,
            };
            let name = name.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let start =
                u32::try_from(self.bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            let bytes = name.to_bytes();
            let len = u16::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            let mut front = [0; 8];
            let known = bytes.len().min(front.len());
            front[..known].copy_from_slice(&bytes[..known]);
            self.names.push(Name { front: u64::from_be_bytes(front), start, len });
            self.bytes.extend_from_slice(name.to_bytes_with_nul());
        }
        let whole = |name: &Name| &self.bytes[name.start as usize..][..usize::from(name.len)];
        // Zeros fill up a short front, and sort it before whatever continues it; no name has a zero in it.
        self.names.sort_unstable_by(|a, b| a.front.cmp(&b.front).then_with(|| whole(a).cmp(whole(b))));
        Ok(())
    }

    /// Returns how many names were read.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns whether the directory is empty.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the `i`-th name in byte order.
    pub fn get(&self, i: usize) -> &CStr {
        let Name { start, len, .. } = self.names[i];
        let bytes = &self.bytes[start as usize..][..usize::from(len) + 1];
        CStr::from_bytes_with_nul(bytes).expect("every name was stored with its NUL")
    }
}
