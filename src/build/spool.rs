//! A file without a name that holds contents until a layer is written from them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::source::SourceTree;
use crate::compress::{Archive, Compression, DecodeOptions, Decoder, detect, foreign_name};
use crate::error::{At, Error, Result};
use crate::fs::staged::Staged;
use crate::layer::model::{Model, NoDisk};
use crate::layer::read::{Data, LayerReader, ReadLimits};
use crate::layer::whiteout::{self, Strictness, Whiteout};
use crate::progress::Control;
use crate::store::Store;
use crate::tree::builder::Builder;

const READ: &str = "read archive";

/// Contents one after the other, in the store's directory for temporary files. It vanishes with the last descriptor.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    file: Arc<File>,
    len: u64,
    /// The directory it is in, as messages have it.
    shown: Arc<[u8]>,
}

impl Spool {
    pub(super) fn new(store: &Store) -> Result<Spool> {
        let shown: Arc<[u8]> = store.path("tmp").into();
        let tmp = store.dir().open_dir("tmp").at(READ, &shown)?;
        let file = Staged::new(&tmp, &tmp, 0o600).and_then(Staged::into_unnamed).at(READ, &shown)?;
        Ok(Spool { file: Arc::new(file), len: 0, shown })
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Appends the content of the entry that a reader stands at. Gives its digest and where it begins.
    fn append<S: crate::layer::read::ChunkStream>(
        &mut self,
        reader: &mut LayerReader<S>,
        control: &Control,
    ) -> Result<([u8; 32], u64)> {
        let start = self.len;
        let mut hasher = Sha256::new();
        while let Some(data) = reader.next_data()? {
            control.check(READ)?;
            match data {
                Data::Bytes(slice) => {
                    let bytes = &slice.chunk[slice.range.clone()];
                    hasher.update(bytes);
                    self.file.write_all_at(bytes, self.len).at(READ, &self.shown)?;
                    self.len += bytes.len() as u64;
                }
                Data::Hole(mut length) => {
                    self.len += length;
                    while length > 0 {
                        // A hole of a terabyte takes a few bytes of an archive.
                        control.check(READ)?;
                        let n = length.min(65536);
                        hasher.update(&[0; 65536][..n as usize]);
                        length -= n;
                    }
                    self.file.set_len(self.len).at(READ, &self.shown)?;
                }
            }
        }
        Ok((hasher.finalize().into(), start))
    }

    /// Appends bytes.
    #[cfg(feature = "registry")]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.len).at(READ, &self.shown)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what was appended last, from `start` on.
    #[cfg(feature = "registry")]
    pub(super) fn forget(&mut self, start: u64) -> Result<()> {
        self.len = start;
        self.file.set_len(start).at(READ, &self.shown)
    }

    /// Appends all that a reader gives. Gives where it begins.
    pub(super) fn append_all(&mut self, content: &mut dyn Read) -> Result<u64> {
        let (start, mut buffer) = (self.len, vec![0; 64 << 10]);
        loop {
            match content.read(&mut buffer) {
                Ok(0) => {
                    self.file.set_len(self.len).at(READ, &self.shown)?;
                    return Ok(start);
                }
                Ok(count) => {
                    // A hole stays one.
                    if buffer[..count].iter().any(|&byte| byte != 0) {
                        self.file.write_all_at(&buffer[..count], self.len).at(READ, &self.shown)?;
                    }
                    self.len += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(READ, "", error)),
            }
        }
    }
}

/// Reads a whole tar, compressed or not, into a tree to copy from.
pub(super) fn read_tar(
    store: &Store,
    input: Box<dyn Read + Send>,
    name: &str,
    control: &Control,
) -> Result<SourceTree> {
    let named = |error: Error| if error.path().is_none() { error.with_path(name) } else { error };
    let options = DecodeOptions { hash_input: false, hash_output: false, ..DecodeOptions::default() };
    let archive = Archive::open(input, &options.limits, control).map_err(named)?;
    let decoder = archive.decoder(options, control.clone()).map_err(named)?;
    let limits = ReadLimits::default();
    let mut reader = LayerReader::new(decoder, limits.clone());
    let mut model = Model::new(Builder::empty(), Strictness::Strict, &limits);
    model.next_layer();
    let (mut spool, mut places) = (Spool::new(store)?, HashMap::new());
    while let Some(entry) = reader.next_entry().map_err(named)? {
        control.check(READ)?;
        let white = whiteout::classify(&entry.path, entry.kind, entry.size, Strictness::Strict);
        if white.map_err(named)? != Whiteout::None {
            let message = "names that begin with .wh. mark deletions in a layer and cannot be copied";
            return Err(Error::corrupt(READ, message).with_path(&entry.path));
        }
        let Some(node) = model.entry(&entry, &mut NoDisk).map_err(named)? else { continue };
        let (digest, start) = spool.append(&mut reader, control).map_err(named)?;
        model.tree.inode_mut(node).digest = Some(digest);
        places.insert(model.tree.inode_number(node), start);
    }
    reader.finish().and_then(Decoder::finish).map_err(named)?;
    Ok(SourceTree::spooled(model.tree, spool, places, name.to_string()))
}

/// Returns whether a content is a tar, or a compressed one: what is compressed and no tar is a file like others, as Docker has it.
pub(super) fn is_archive(content: &super::source::Content, size: u64, control: &Control) -> Result<bool> {
    let mut head = vec![0; size.min(512) as usize];
    content.open()?.read(0, &mut head)?;
    let tar = |bytes: &[u8]| {
        bytes.get(257..262) == Some(b"ustar")
            || bytes.first_chunk().is_some_and(crate::layer::read::is_header)
    };
    if tar(&head) {
        return Ok(true);
    }
    if detect(&head) == Compression::None && foreign_name(&head).is_none() {
        return Ok(false);
    }
    let quiet = Control { cancel: control.cancel.clone(), ..Control::default() };
    let options =
        DecodeOptions { hash_input: false, hash_output: false, threads: 0, ..DecodeOptions::default() };
    let reader = Box::new(ContentReader::new(content.clone(), size));
    let mut inside = [0; 512];
    let begun = Archive::open(reader, &options.limits, &quiet)
        .and_then(|archive| archive.decoder(options, quiet))
        .map(|mut decoder| decoder.read_exact(&mut inside));
    control.check(READ)?;
    Ok(matches!(begun, Ok(Ok(()))) && tar(&inside))
}

/// A reader of a content from its beginning.
pub(super) struct ContentReader {
    content: super::source::Content,
    size: u64,
    at: u64,
}

impl ContentReader {
    pub(super) fn new(content: super::source::Content, size: u64) -> ContentReader {
        ContentReader { content, size, at: 0 }
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = (self.size - self.at).min(buffer.len() as u64) as usize;
        let mut reader = self.content.open()?;
        reader.read(self.at, &mut buffer[..n])?;
        reader.verify()?;
        self.at += n as u64;
        Ok(n)
    }
}
