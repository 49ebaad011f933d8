//! Reading a directory's names.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::RawDir;

/// The names in a directory, kept NUL-terminated in one buffer so that no name costs an allocation.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    buffer: Vec<u8>,
}

impl Names {
    /// Reads all names in `dir` but `.` and `..`, sorted by bytes. The previous names are forgotten.
    pub fn read(&mut self, dir: impl AsFd) -> io::Result<()> {
        self.bytes.clear();
        self.starts.clear();
        // 64 KiB: below that, the number of getdents64 calls on large directories begins to show.
        self.buffer.reserve(64 * 1024);
        let spare: &mut [MaybeUninit<u8>] = self.buffer.spare_capacity_mut();
        let mut raw = RawDir::new(dir, spare);
        while let Some(entry) = raw.next() {
            let name = entry?;
            let name = name.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let start =
                u32::try_from(self.bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            self.starts.push(start);
            self.bytes.extend_from_slice(name.to_bytes_with_nul());
        }
        let bytes = &self.bytes;
        self.starts.sort_unstable_by(|&a, &b| name_at(bytes, a).cmp(name_at(bytes, b)));
        Ok(())
    }

    /// How many names were read.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether the directory is empty.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The `i`-th name in byte order.
    pub fn get(&self, i: usize) -> &std::ffi::CStr {
        name_at(&self.bytes, self.starts[i])
    }
}

fn name_at(bytes: &[u8], start: u32) -> &std::ffi::CStr {
    std::ffi::CStr::from_bytes_until_nul(&bytes[start as usize..])
        .expect("every name was stored with its NUL")
}
