//! One pass over an archive: every file goes into the store under its digest, small documents into memory.
//!
//! The use of a file is only found when the archive's entry point has been read, and that may be its last entry. So every
//! file is kept under its content's digest, and its path is a key in a table.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::compress::{Archive, DecodeLimits, DecodeOptions, Decoder, LayerIndex, TarHasher};
use crate::digest::Digest;
use crate::error::{At, Error, Result, escape};
use crate::image::{Beside, Noted, Notes, Source, check_document};
use crate::layer::header::EntryKind;
use crate::layer::read::{Data, LayerReader, ReadLimits, Slice, TarEntry};
use crate::progress::{Control, Counters};
use crate::store::{BlobInfo, Store};
use crate::threads;

use super::{BLOBS, INDEX_FILE, LAYOUT_FILE, LOAD, MANIFEST_FILE, REPOSITORIES_FILE};

/// How much of all small documents together is kept in memory; what comes after goes to disk like the rest.
const MEMORY: u64 = 64 << 20;
/// Files of this size are kept in memory whatever they hold.
const SMALL: u64 = 4 << 10;
/// From here on, hashing and writing get a thread each.
const LARGE: u64 = 1 << 20;
/// How many symbolic links one name may lead through.
const MAX_LINKS: usize = 40;

/// The content of a file of the archive.
#[derive(Debug)]
pub(super) enum Stored {
    /// Not in the store yet.
    Memory(Vec<u8>, Digest),
    /// In the store; nothing refers to it yet.
    Blob(BlobInfo),
}

impl Source for Stored {
    fn info(&self) -> BlobInfo {
        match self {
            Stored::Memory(bytes, digest) => BlobInfo { digest: *digest, size: bytes.len() as u64 },
            Stored::Blob(info) => *info,
        }
    }

    fn document(&self, store: &Store, operation: &'static str, shown: &str) -> Result<Cow<'_, [u8]>> {
        match self {
            Stored::Memory(bytes, _) => {
                check_document(bytes.len() as u64, store.limits().json_bytes, operation, shown)?;
                Ok(Cow::Borrowed(bytes))
            }
            Stored::Blob(info) => info.document(store, operation, shown),
        }
    }

    fn open(&self, store: &Store) -> Result<Box<dyn Read + Send>> {
        match self {
            Stored::Memory(bytes, _) => Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            Stored::Blob(info) => info.open(store),
        }
    }

    fn keep(&self, store: &Store) -> Result<()> {
        match self {
            Stored::Memory(bytes, _) => store.put_blob(bytes).map(drop),
            Stored::Blob(info) => info.keep(store),
        }
    }
}

#[derive(Debug)]
enum Node {
    Directory,
    File(Stored),
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Other(&'static str),
}

/// The files of an archive by their paths.
#[derive(Debug, Default)]
pub(super) struct Intake {
    nodes: HashMap<Vec<u8>, Node>,
    memory: u64,
    /// Bytes of the paths and link targets of all entries.
    held: u64,
    /// Those of layers that are not compressed; the others are read when they are decoded.
    notes: Notes,
    noted: HashMap<Digest, Noted>,
}

impl Intake {
    /// Reads a whole archive to its end.
    pub fn read(
        store: &Store,
        input: Box<dyn Read + Send>,
        limits: &ReadLimits,
        decode: &DecodeLimits,
        control: &Control,
    ) -> Result<Self> {
        // Every blob is hashed on its own; of the archive as a whole no digest is known.
        let decode = DecodeOptions {
            hash_input: false,
            hash_output: false,
            limits: decode.clone(),
            ..DecodeOptions::default()
        };
        let archive = Archive::open(input, &decode.limits, control)?;
        let decoder = archive.decoder(decode, control.clone())?;
        let mut reader = LayerReader::new(decoder, limits.clone());
        let mut intake = Intake::default();
        while let Some(entry) = reader.next_entry()? {
            control.check(LOAD)?;
            Counters::add(&control.counters.entries, 1);
            intake.held += (entry.path.len() + entry.link.len()) as u64;
            if intake.held > limits.max_held {
                let message = format!("names and links of more than {} bytes", limits.max_held);
                return Err(Error::limit(LOAD, message).with_path(&entry.path));
            }
            intake.entry(store, &mut reader, entry, control)?;
        }
        reader.finish()?.finish()?;
        Ok(intake)
    }

    fn entry(
        &mut self,
        store: &Store,
        reader: &mut LayerReader<Decoder>,
        entry: TarEntry,
        control: &Control,
    ) -> Result<()> {
        let node = match entry.kind {
            EntryKind::Directory => Node::Directory,
            EntryKind::File => Node::File(self.file(store, reader, &entry, control)?),
            EntryKind::Symlink => Node::Symlink(entry.link.clone()),
            EntryKind::Hardlink => Node::Hardlink(entry.link.clone()),
            EntryKind::CharDevice | EntryKind::BlockDevice => Node::Other("a device"),
            EntryKind::Fifo => Node::Other("a named pipe"),
        };
        if let Node::File(stored) = &node {
            check_name(&entry.path, &stored.info().digest)?;
        }
        if let Some(before) = self.nodes.get(&entry.path) {
            let same = match (before, &node) {
                (Node::Directory, Node::Directory) => true,
                (Node::File(a), Node::File(b)) => a.info() == b.info(),
                (Node::Symlink(a), Node::Symlink(b)) | (Node::Hardlink(a), Node::Hardlink(b)) => a == b,
                _ => false,
            };
            // Some readers would take the first, some the last.
            if !same {
                let message = "the archive has two different entries of this name";
                return Err(Error::corrupt(LOAD, message).with_path(&entry.path));
            }
            return Ok(());
        }
        self.nodes.insert(entry.path, node);
        Ok(())
    }

    fn file(
        &mut self,
        store: &Store,
        reader: &mut LayerReader<Decoder>,
        entry: &TarEntry,
        control: &Control,
    ) -> Result<Stored> {
        // What can only be a document is refused before it is read, not after gigabytes of it.
        let names = [LAYOUT_FILE, INDEX_FILE, MANIFEST_FILE, REPOSITORIES_FILE];
        if let Some(name) = names.into_iter().find(|name| name.as_bytes() == entry.path) {
            store.limits().check_json(LOAD, name, entry.size)?;
        }
        let fits = entry.size <= store.limits().json_bytes && self.memory + entry.size <= MEMORY;
        let first = next_slice(reader, &entry.path)?;
        let document = first.as_ref().is_some_and(|first| matches!(first[0], b'{' | b'['));
        if fits && (document || entry.size <= SMALL) {
            let mut bytes = first.map(|first| first.to_vec()).unwrap_or_default();
            while let Some(slice) = next_slice(reader, &entry.path)? {
                bytes.extend_from_slice(&slice);
            }
            self.memory += bytes.len() as u64;
            let digest = Digest::of(&bytes);
            if is_tar(&bytes) {
                self.note(digest, bytes.clone(), control);
            }
            return Ok(Stored::Memory(bytes, digest));
        }
        let shown = escape(&entry.path);
        if entry.size < LARGE {
            let mut blob = store.blob_writer()?;
            let mut tar = first.as_ref().is_some_and(|first| is_tar(first)).then(Vec::new);
            let mut slice = first;
            while let Some(bytes) = slice {
                blob.write_all(&bytes).at(LOAD, &shown)?;
                tar.iter_mut().for_each(|tar| tar.extend_from_slice(&bytes));
                slice = next_slice(reader, &entry.path)?;
            }
            let info = blob.finish(None)?;
            if let Some(tar) = tar {
                self.note(info.digest, tar, control);
            }
            return Ok(Stored::Blob(info));
        }
        let mut blob = store.unhashed_blob_writer()?;
        let notes = &self.notes;
        let (digest, noted) = std::thread::scope(|scope| -> Result<_> {
            let (send, receive) = sync_channel::<Slice>(8);
            let hash = move || {
                let mut hasher = TarHasher::noting();
                while let Ok(slice) = receive.recv() {
                    hasher.update(&slice[..]);
                }
                hasher
            };
            // Where no thread is to be had, this one takes the digest, too.
            let thread = threads::spawn(scope, "treering-hash", hash);
            let mut hasher = TarHasher::noting();
            let tar = threads::processors() > 1 && first.as_ref().is_some_and(|first| is_tar(first));
            let beside = tar.then(|| notes.beside(scope, control)).flatten();
            let mut slice = first;
            while let Some(bytes) = slice {
                control.check(LOAD)?;
                match &thread {
                    // It takes until the sender is let go, so this cannot fail.
                    Ok(_) => drop(send.send(bytes.clone())),
                    Err(_) => hasher.update(&bytes[..]),
                }
                if let Some(beside) = &beside {
                    beside.show(match bytes.range == (0..bytes.chunk.len()) {
                        true => Arc::clone(&bytes.chunk),
                        false => Arc::new(bytes.to_vec()),
                    });
                }
                blob.write_all(&bytes).at(LOAD, &shown)?;
                Counters::add(&control.counters.bytes_written, bytes.len() as u64);
                slice = next_slice(reader, &entry.path)?;
            }
            drop(send);
            if let Ok(thread) = thread {
                hasher = thread.join().map_err(|panic| Error::defect(LOAD, &*panic).with_path(&shown))?;
            }
            let (digest, states) = hasher.finish();
            Ok((digest, beside.and_then(Beside::finish).zip(states)))
        })?;
        let size = blob.size();
        if let Some((reading, states)) = noted {
            self.noted.insert(digest, reading.finish(Some(LayerIndex::of_plain(size, states)), size));
        }
        Ok(Stored::Blob(blob.finish_with(digest, size)?))
    }

    /// Takes notes of a layer that is in memory.
    fn note(&mut self, digest: Digest, tar: Vec<u8>, control: &Control) {
        self.noted.extend(self.notes.of_bytes(tar, control).map(|noted| (digest, noted)));
    }

    /// Returns what was noted of the layers among the files.
    pub fn take_notes(&mut self) -> (Notes, HashMap<Digest, Noted>) {
        (std::mem::take(&mut self.notes), std::mem::take(&mut self.noted))
    }

    /// Returns whether the archive has something of this name.
    pub fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path.as_bytes())
    }

    /// Returns the file a document of the archive calls by this path: relative, inside, and through links of the archive
    /// only.
    pub fn find(&self, path: &str) -> Result<&Stored> {
        let refuse = |message: &str| Err(Error::corrupt(LOAD, message).with_path(path));
        let mut at = match clean(path.as_bytes()) {
            Some(at) => at,
            None => return refuse("the archive refers to a path outside of it"),
        };
        for _ in 0..MAX_LINKS {
            match self.nodes.get(&at) {
                None => return refuse("the archive refers to a file it does not hold"),
                Some(Node::File(stored)) => return Ok(stored),
                Some(Node::Directory) => return refuse("the archive refers to a directory as a file"),
                Some(Node::Other(kind)) => return refuse(&format!("the archive refers to {kind} as a file")),
                Some(Node::Hardlink(target)) => at.clone_from(target),
                Some(Node::Symlink(target)) => {
                    let parent = at.iter().rposition(|&byte| byte == b'/').map_or(&at[..0], |i| &at[..=i]);
                    at = match clean(&[parent, target].concat()).filter(|_| target[0] != b'/') {
                        Some(at) => at,
                        None => return refuse("a symbolic link of the archive leads out of it"),
                    };
                }
            }
        }
        refuse("too many links")
    }

    /// Returns the blob of an image layout, if the archive holds it.
    pub fn blob(&self, digest: &Digest) -> Result<Option<&Stored>> {
        let path = super::blob_path(digest);
        if !self.has(&path) {
            return Ok(None);
        }
        let stored = self.find(&path)?;
        // It may have come by a link to another name.
        if stored.info().digest != *digest {
            let message = format!("the content has another digest: {}", stored.info().digest);
            return Err(Error::corrupt(LOAD, message).with_path(path));
        }
        Ok(Some(stored))
    }
}

/// Returns the next piece of content. Holes are refused: no tool writes archives with them, and a short one could fill a
/// disk.
fn next_slice(reader: &mut LayerReader<Decoder>, path: &[u8]) -> Result<Option<Slice>> {
    match reader.next_data()? {
        None => Ok(None),
        Some(Data::Bytes(slice)) => Ok(Some(slice)),
        Some(Data::Hole(_)) => {
            Err(Error::corrupt(LOAD, "a sparse file has no place in an image archive").with_path(path))
        }
    }
}

/// Refuses a file in the place of a blob that is not that blob. A digest with a suffix (`HEX.tar.gz`, of Bazel's rules) is no
/// blob's name, only a path for `manifest.json` to refer to.
fn check_name(path: &[u8], digest: &Digest) -> Result<()> {
    let Some(name) = path.strip_prefix(BLOBS.as_bytes()).and_then(|rest| rest.strip_prefix(b"/")) else {
        return Ok(());
    };
    let is_path = name.len() > 65
        && name[64] == b'.'
        && name[..64].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_path && name != digest.hex().as_bytes() {
        let message = format!("the content has another digest: {digest}");
        return Err(Error::corrupt(LOAD, message).with_path(path));
    }
    Ok(())
}

/// Returns whether a file begins as a tar does (POSIX pax, "ustar Interchange Format": the magic).
fn is_tar(first: &[u8]) -> bool {
    first.get(257..262) == Some(b"ustar")
}

/// Returns a relative path with `.` and `..` taken out; `None` if it is absolute, empty, or leads above where it starts.
fn clean(path: &[u8]) -> Option<Vec<u8>> {
    if path.first() == Some(&b'/') || path.contains(&0) {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { None } else { Some(parts.join(&b'/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, cleaned) in [
            ("a", Some("a")),
            ("./a//b", Some("a/b")),
            ("a/../b", Some("b")),
            ("..", None),
            ("../a", None),
            ("a/../../b", None),
            ("/a", None),
            ("", None),
            ("a\0", None),
        ] {
            let got = clean(path.as_bytes()).map(|path| String::from_utf8(path).unwrap());
            assert_eq!(got.as_deref(), cleaned, "{path:?}");
        }
    }
}
