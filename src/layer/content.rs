//! Finding the content of files in layers, by reading them from their start.
//!
//! A file's content is known by its digest. It usually stands under the file's own path in the topmost layer that has this path;
//! that is tried first, from the top. A layer may also have written it through a symbolic link, or under the name of a hard
//! link that is gone: what is still missing then is looked for by size and digest.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::apply::WHOLE;
use super::header::EntryKind;
use super::read::{ChunkStream, Data, LayerReader, ReadLimits};
use super::reshape::Content;
use crate::error::Result;
use crate::progress::Control;

const FIND: &str = "read layer";

#[derive(Debug)]
struct File {
    id: u32,
    size: u64,
    digest: [u8; 32],
    replaces: bool,
    found: bool,
}

/// Files whose content is wanted.
#[derive(Debug, Default)]
pub(super) struct Contents {
    files: Vec<File>,
    by_path: HashMap<Vec<u8>, usize>,
    by_size: HashMap<u64, Vec<usize>>,
    left: usize,
}

impl Contents {
    /// Adds a file: a number for it, all its paths, and whether something is in its place.
    pub fn add(&mut self, id: u32, paths: Vec<Vec<u8>>, size: u64, digest: [u8; 32], replaces: bool) {
        let number = self.files.len();
        self.by_path.extend(paths.into_iter().map(|path| (path, number)));
        self.by_size.entry(size).or_default().push(number);
        self.files.push(File { id, size, digest, replaces, found: false });
        self.left += 1;
    }

    /// A file that was not found.
    pub fn missing(&self) -> Option<u32> {
        self.files.iter().find(|file| !file.found).map(|file| file.id)
    }

    fn by_path(&self, path: &[u8], size: u64) -> Option<usize> {
        let number = *self.by_path.get(path)?;
        (!self.files[number].found && self.files[number].size == size).then_some(number)
    }

    fn with_size(&self, size: u64) -> impl Iterator<Item = usize> + '_ {
        let all = self.by_size.get(&size).into_iter().flatten().copied();
        all.filter(|&number| !self.files[number].found)
    }

    fn found(&mut self, number: usize) -> &File {
        self.files[number].found = true;
        self.left -= 1;
        &self.files[number]
    }
}

/// How an entry is recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Path,
    Digest,
}

/// Reads as many of the layers as are needed, the last one first, and gives the files their content: `give` gets a file's number,
/// whether something is in its place, and the next piece.
pub(super) fn fill<S: ChunkStream>(
    contents: &mut Contents,
    limits: &ReadLimits,
    layers: usize,
    open: impl Fn(usize) -> Result<S>,
    control: &Control,
    mut give: impl FnMut(u32, bool, Content) -> Result<()>,
) -> Result<()> {
    for by in [By::Path, By::Digest] {
        for layer in (0..layers).rev() {
            if contents.left == 0 {
                return Ok(());
            }
            let reader = || Ok::<_, crate::Error>(LayerReader::new(open(layer)?, limits.clone()));
            let large = read(contents, reader()?, by, control, &mut give)?;
            if !large.is_empty() {
                read_large(contents, reader()?, large, control, &mut give)?;
            }
        }
    }
    Ok(())
}

/// One pass over one layer. Gives the numbers of entries that are large and turned out to be wanted.
fn read<S: ChunkStream>(
    contents: &mut Contents,
    mut reader: LayerReader<S>,
    by: By,
    control: &Control,
    give: &mut impl FnMut(u32, bool, Content) -> Result<()>,
) -> Result<HashMap<u64, usize>> {
    let (mut number, mut large) = (0u64, HashMap::new());
    let mut promised = HashSet::new();
    while contents.left > promised.len() {
        let Some(entry) = reader.next_entry()? else { break };
        control.check(FIND)?;
        number += 1;
        if entry.kind != EntryKind::File || entry.size == 0 {
            continue;
        }
        let place = contents.by_path(&entry.path, entry.size);
        let candidate = match by {
            By::Path => place.is_some(),
            By::Digest => contents.with_size(entry.size).next().is_some(),
        };
        if !candidate {
            continue;
        }
        let mut hasher = Sha256::new();
        if entry.size <= WHOLE {
            let mut pieces = Vec::new();
            while let Some(piece) = reader.next_data()? {
                hash(&mut hasher, &piece);
                pieces.push(piece);
            }
            let digest: [u8; 32] = hasher.finalize().into();
            // Files that are copies of each other are all there is need of.
            let same: Vec<usize> =
                contents.with_size(entry.size).filter(|&at| contents.files[at].digest == digest).collect();
            for at in same {
                let file = contents.found(at);
                give(file.id, file.replaces, Content::Whole(pieces.clone()))?;
            }
            continue;
        }
        // Too large to be held: one under its own path is written while it is read, another one when its digest is known.
        let into = place.filter(|_| by == By::Path);
        if let Some(at) = into {
            give(contents.files[at].id, contents.files[at].replaces, Content::Begin)?;
        }
        while let Some(piece) = reader.next_data()? {
            control.check(FIND)?;
            hash(&mut hasher, &piece);
            if let Some(at) = into {
                give(contents.files[at].id, false, Content::More(piece))?;
            }
        }
        let digest: [u8; 32] = hasher.finalize().into();
        if let Some(at) = into {
            give(contents.files[at].id, false, Content::End)?;
            match contents.files[at].digest == digest {
                true => drop(contents.found(at)),
                // Of an older layer, or what a link led to: the right one will take its place.
                false => contents.files[at].replaces = true,
            }
        } else {
            let wanted = |at: &usize| contents.files[*at].digest == digest && !promised.contains(at);
            let found: Vec<usize> = contents.with_size(entry.size).filter(wanted).take(1).collect();
            for at in found {
                promised.insert(at);
                large.insert(number, at);
            }
        }
    }
    Ok(large)
}

/// A second pass over a layer, for large files whose places in it are known.
fn read_large<S: ChunkStream>(
    contents: &mut Contents,
    mut reader: LayerReader<S>,
    mut places: HashMap<u64, usize>,
    control: &Control,
    give: &mut impl FnMut(u32, bool, Content) -> Result<()>,
) -> Result<()> {
    let mut number = 0;
    while !places.is_empty() {
        let Some(_) = reader.next_entry()? else { break };
        number += 1;
        let Some(at) = places.remove(&number) else { continue };
        let (id, replaces) = (contents.files[at].id, contents.files[at].replaces);
        give(id, replaces, Content::Begin)?;
        let mut hasher = Sha256::new();
        while let Some(piece) = reader.next_data()? {
            control.check(FIND)?;
            hash(&mut hasher, &piece);
            give(id, false, Content::More(piece))?;
        }
        give(id, false, Content::End)?;
        let digest: [u8; 32] = hasher.finalize().into();
        match contents.files[at].digest == digest {
            true => drop(contents.found(at)),
            false => contents.files[at].replaces = true,
        }
    }
    Ok(())
}

fn hash(hasher: &mut Sha256, piece: &Data) {
    static ZEROS: [u8; 65536] = [0; 65536];
    match piece {
        Data::Bytes(slice) => hasher.update(&slice.chunk[slice.range.clone()]),
        Data::Hole(len) => {
            let mut rest = *len;
            while rest > 0 {
                let n = rest.min(ZEROS.len() as u64);
                hasher.update(&ZEROS[..n as usize]);
                rest -= n;
            }
        }
    }
}
