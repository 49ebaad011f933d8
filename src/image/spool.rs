//! Contents of files in a file without a name, until a layer is written from them.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::read::ImageFiles;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::staged::Staged;
use crate::fs::{Kind, Root};
use crate::layer::{Files, Filled};
use crate::progress::Control;
use crate::store::Store;
use crate::tree::Snapshot;

const SPOOL: &str = "read file of image";
/// How much is copied at once.
const PIECE: usize = 256 << 10;

/// Contents of entries of one list. A layer is written by several threads, in the order of its paths; the layers that hold the
/// contents are read once, in theirs. The file is in the store's directory for temporary files and vanishes with the value.
pub(super) struct Spool {
    file: File,
    /// The directory it is in, as messages have it.
    shown: Vec<u8>,
    /// The offset of the content of an entry, by the number of the entry.
    places: HashMap<u32, u64>,
}

impl Spool {
    /// Reads what the files among these entries of an image hold.
    pub fn fill(store: &Store, files: &ImageFiles, entries: &[u32], control: &Control) -> Result<Spool> {
        let list = files.list();
        let has_content = |&&entry: &&u32| {
            let meta = list.meta(entry);
            meta.kind == Kind::File && meta.size > 0
        };
        // All names of a file are one content.
        let mut names: HashMap<u32, Vec<u32>> = HashMap::new();
        for &entry in entries.iter().filter(has_content) {
            names.entry(list.leader(entry)).or_default().push(entry);
        }
        let mut wanted: Vec<u32> = names.keys().copied().collect();
        wanted.sort_unstable();
        let shown = store.path("tmp");
        let tmp = store.dir().open_dir("tmp").at(SPOOL, &shown)?;
        let file = Staged::new(&tmp, &tmp, 0o600).and_then(Staged::into_unnamed).at(SPOOL, &shown)?;
        let mut spool = Spool { file, shown, places: HashMap::new() };
        let (mut end, mut buffer) = (0u64, vec![0; PIECE]);
        files.read_each(&wanted, control, &mut |entry, content| {
            let begin = end;
            loop {
                control.check(SPOOL)?;
                let count = content.read(&mut buffer).at_path(SPOOL, || list.path(entry))?;
                if count == 0 {
                    break;
                }
                let piece = &buffer[..count];
                // A hole stays one.
                if piece.iter().any(|&byte| byte != 0) {
                    spool.file.write_all_at(piece, end).at(SPOOL, &spool.shown)?;
                }
                end += count as u64;
            }
            spool.places.extend(names[&entry].iter().map(|&name| (name, begin)));
            Ok(())
        })?;
        spool.file.set_len(end).at(SPOOL, &spool.shown)?;
        Ok(spool)
    }
}

impl Files for Spool {
    fn read(&self, index: u32, offset: u64, buffer: &mut [u8]) -> Result<Option<Filled>> {
        let begin = self.places.get(&index).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "write layer", "the content of a file has no place")
        })?;
        self.file.read_exact_at(buffer, begin + offset).at(SPOOL, &self.shown)?;
        Ok(Some(Filled::Data))
    }

    fn locate(&self, _: &Snapshot, _: u32) -> (&Root, Vec<u8>) {
        unreachable!("all contents are read above")
    }
}
