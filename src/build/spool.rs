//! A file without a name that holds contents until a layer is written from them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::source::SourceTree;
use crate::compress::{DecodeOptions, Decoder};
use crate::error::{At, Error, Result};
use crate::fs::staged::Staged;
use crate::image::Layer;
use crate::layer::EntryKind;
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
}

impl Spool {
    pub(super) fn new(store: &Store) -> Result<Spool> {
        let tmp = store.dir().open_dir("tmp").at(READ, "tmp")?;
        let file = Staged::new(&tmp, &tmp, 0o600).and_then(Staged::into_unnamed).at(READ, "tmp")?;
        Ok(Spool { file: Arc::new(file), len: 0 })
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Appends the content of the entry that a reader stands at. Gives its digest and where it begins.
    fn append<S: crate::layer::read::ChunkStream>(
        &mut self,
        reader: &mut LayerReader<S>,
    ) -> Result<([u8; 32], u64)> {
        let start = self.len;
        let mut hasher = Sha256::new();
        while let Some(data) = reader.next_data()? {
            match data {
                Data::Bytes(slice) => {
                    let bytes = &slice.chunk[slice.range.clone()];
                    hasher.update(bytes);
                    self.file.write_all_at(bytes, self.len).at(READ, "tmp")?;
                    self.len += bytes.len() as u64;
                }
                Data::Hole(mut length) => {
                    self.len += length;
                    while length > 0 {
                        let n = length.min(65536);
                        hasher.update(&[0; 65536][..n as usize]);
                        length -= n;
                    }
                    self.file.set_len(self.len).at(READ, "tmp")?;
                }
            }
        }
        Ok((hasher.finalize().into(), start))
    }

    /// Forgets what was appended last, from `start` on.
    fn forget(&mut self, start: u64) -> Result<()> {
        self.len = start;
        self.file.set_len(start).at(READ, "tmp")
    }

    /// Reads a layer and keeps those contents that are wanted, by digest and size.
    pub(super) fn take_from_layer(
        &mut self,
        store: &Store,
        layer: &Layer,
        wanted: &HashMap<[u8; 32], u64>,
        control: &Control,
    ) -> Result<Vec<([u8; 32], u64)>> {
        let file = store.open_blob(&layer.digest)?;
        let decoder = Decoder::new(Box::new(file), layer.decode_options(store)?, control.clone())?;
        let mut reader = LayerReader::new(decoder, ReadLimits::default());
        let mut found: HashMap<[u8; 32], u64> = HashMap::new();
        while let Some(entry) = reader.next_entry()? {
            control.check(READ)?;
            if entry.kind != EntryKind::File || !wanted.values().any(|size| *size == entry.size) {
                continue;
            }
            let (digest, start) = self.append(&mut reader)?;
            if wanted.contains_key(&digest) && !found.contains_key(&digest) {
                found.insert(digest, start);
            } else {
                self.forget(start)?;
            }
        }
        layer.check(&reader.finish()?.finish()?)?;
        Ok(found.into_iter().collect())
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
    let decoder = Decoder::new(input, options, control.clone()).map_err(named)?;
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
        let (digest, start) = spool.append(&mut reader).map_err(named)?;
        model.tree.inode_mut(node).digest = Some(digest);
        places.insert(model.tree.inode_number(node), start);
    }
    reader.finish().and_then(Decoder::finish).map_err(named)?;
    Ok(SourceTree::spooled(model.tree, spool, places, name.to_string()))
}

/// Whether a content begins like a tar, or like a compressed one that holds a tar.
pub(super) fn is_archive(content: &super::source::Content, size: u64) -> Result<bool> {
    let mut head = vec![0; size.min(1024) as usize];
    content.open()?.read(0, &mut head)?;
    let tar = |bytes: &[u8]| {
        bytes.get(257..262) == Some(b"ustar")
            || bytes.first_chunk().is_some_and(crate::layer::read::is_header)
    };
    if tar(&head) {
        return Ok(true);
    }
    Ok(match &head[..] {
        [0x1f, 0x8b, 0x08, ..] => {
            // A gzip file is unpacked only if there is a tar in it, as Docker does.
            let mut inside = [0; 512];
            let mut whole = vec![0; size.min(1 << 20) as usize];
            content.open()?.read(0, &mut whole)?;
            let mut decoder = flate2::read::GzDecoder::new(&whole[..]);
            decoder.read_exact(&mut inside).is_ok() && tar(&inside)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => true,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => true,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => true,
        _ => false,
    })
}

/// Reads a content from its beginning.
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
