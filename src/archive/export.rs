//! An image or a directory as one plain tar of its filesystem.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use super::tarout::TarOut;
use crate::compress::{Compression, DecodeOptions, Decoder, Profile, write};
use crate::diff::all_added;
use crate::error::{Error, Result};
use crate::fs::{Kind, Root};
use crate::hint::Hint;
use crate::image::{Base, DiffOptions, Image, Layer, Platform, diff_root};
use crate::layer::header::{EntryKind, HeaderEntry};
use crate::layer::model::{Model, NoDisk};
use crate::layer::read::{Data, LayerReader, ReadLimits};
use crate::layer::whiteout::Strictness;
use crate::layer::{LayerOptions, LayerPlan, LayerTar};
use crate::progress::{Control, Share};
use crate::store::Store;
use crate::tree::builder::{Builder, ROOT};
use crate::tree::{Flags, OwnersWanted};

const EXPORT: &str = "export";

/// The source of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportSource<'a> {
    /// An image: a name, digest or id.
    Image(&'a str),
    /// A directory.
    Tree(&'a Path),
}

/// Options of an export.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Which platform of a multi-platform image; `None` for this machine's.
    pub platform: Option<Platform>,
    /// Time stamps in the tar.
    pub layer: LayerOptions,
    /// The owners of a directory's files; by default those it was bound with, else 0:0.
    pub owners: OwnersWanted,
    /// Threads to use; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

/// Writes a filesystem as one tar, as `docker export` does: layers merged, whiteouts done, every header canonical.
///
/// An image is never unpacked: one pass over its layers decides which entries remain, a second one copies their content,
/// so its files come in the order of the layers. Directories come first, hard links last. A directory comes in the order
/// of its paths. The same image or directory always gives the same bytes.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when a layer is damaged; what was written until then is useless.
pub fn export(
    store: &Store,
    source: ExportSource<'_>,
    options: &ExportOptions,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<()> {
    match source {
        ExportSource::Image(reference) => {
            let pin = store.pin(control)?;
            let image = Image::open(&pin, reference, options.platform.as_ref())?;
            export_image(&pin, &image, options, out, control)
        }
        ExportSource::Tree(path) => export_tree(store, path, options, out, control),
    }
}

fn export_tree(
    store: &Store,
    path: &Path,
    options: &ExportOptions,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<()> {
    let scan =
        DiffOptions { owners: options.owners.clone(), threads: options.threads, ..DiffOptions::default() };
    // The tree that is listed is the one that is read, whatever the path leads to meanwhile.
    let root = Root::open(path)?;
    let diff = diff_root(Some(store), &root, &Base::Scratch, &scan, control)?;
    let changes = all_added(&diff.new);
    let plan = LayerPlan::new(&changes, None, &diff.new, options.layer)?;
    let threads = crate::threads::count(options.threads);
    let profile = Profile::new(Compression::None, None)?;
    write(&LayerTar::new(plan, &root), &profile, threads, out, control)?;
    Ok(())
}

/// The entries that remain when all layers are applied.
struct Merged {
    tree: Builder,
    /// For each layer, and in it for each file with content in order, its node.
    files: Vec<Vec<u32>>,
}

fn export_image(
    store: &Store,
    image: &Image,
    options: &ExportOptions,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<()> {
    // Once for the list of what remains, and once for the content.
    let blobs = image.layers().iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
    let share = Share::new(control, blobs.saturating_mul(2));
    let merged = merge(store, image, options.threads, &share, control)?;
    let tree = &merged.tree;
    let mut out =
        Output { out: TarOut::new(out, options.layer.precision, control), options: options.layer, tree };

    let mut others = Vec::new();
    let mut links = Vec::new();
    // Names of one file share their inode; the first one in the order of the walk leads.
    let mut leaders: HashMap<u32, u32> = HashMap::new();
    let mut todo = vec![ROOT];
    while let Some(node) = todo.pop() {
        if tree.kind(node) == Kind::Directory {
            let described = node != ROOT || !tree.inode(ROOT).meta.flags.contains(Flags::IMPLICIT);
            if described {
                out.entry(node, None)?;
            }
            let first = todo.len();
            todo.extend(tree.children(node).map(|(_, child)| child));
            todo[first..].reverse();
            continue;
        }
        let leader = *leaders.entry(tree.inode_number(node)).or_insert(node);
        if leader != node {
            links.push((node, leader));
        } else if tree.inode(node).meta.size == 0 {
            others.push(node);
        }
    }
    for node in others {
        out.entry(node, None)?;
    }
    let alive = |node: u32| (tree.names(node) > 0).then(|| leaders.get(&tree.inode_number(node))).flatten();
    for (layer, files) in image.layers().iter().zip(&merged.files) {
        let leaders: Vec<Option<u32>> = files.iter().map(|&node| alive(node).copied()).collect();
        copy(store, layer, &leaders, (options.threads, &share), &mut out, control)?;
    }
    for (node, leader) in links {
        out.entry(node, Some(leader))?;
    }
    out.out.finish()
}

/// Applies all layers in memory.
fn merge(store: &Store, image: &Image, threads: usize, share: &Share, control: &Control) -> Result<Merged> {
    let limits = ReadLimits::default();
    let mut model = Model::new(Builder::empty(), Strictness::Lenient, &limits);
    let mut files = Vec::new();
    for layer in image.layers() {
        model.next_layer();
        // The second pass takes both digests; here it is enough that it will read the same blob.
        let mut reader = open(store, layer, &limits, (false, threads), share, control)?;
        let mut nodes = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            control.check(EXPORT)?;
            nodes.extend(model.entry(&entry, &mut NoDisk)?);
        }
        let decoded = reader.finish()?.finish()?;
        if (decoded.size, decoded.digest) != (layer.size, Some(layer.digest)) {
            return Err(Error::corrupt(EXPORT, "the layer's blob is damaged")
                .with_path(layer.digest.to_string())
                .with_hint(Hint::GetDamagedAgain));
        }
        files.push(nodes);
    }
    Ok(Merged { tree: model.tree, files })
}

fn open(
    store: &Store,
    layer: &Layer,
    limits: &ReadLimits,
    (hash_output, threads): (bool, usize),
    share: &Share,
    control: &Control,
) -> Result<LayerReader<Decoder>> {
    let file = store.open_blob(&layer.digest)?;
    let options = DecodeOptions { hash_input: true, hash_output, ..DecodeOptions::with_threads(threads) };
    let share = share.split(layer.size);
    let decoder = Decoder::counting(Box::new(file), options, control.clone(), share)?;
    Ok(LayerReader::new(decoder, limits.clone()))
}

/// Writes those files of a layer that remain. `leaders` has one item for each file with content.
fn copy(
    store: &Store,
    layer: &Layer,
    leaders: &[Option<u32>],
    (threads, share): (usize, &Share),
    out: &mut Output<'_>,
    control: &Control,
) -> Result<()> {
    let mut reader = open(store, layer, &ReadLimits::default(), (true, threads), share, control)?;
    let mut next = leaders.iter();
    while let Some(entry) = reader.next_entry()? {
        if !has_content(&entry) {
            continue;
        }
        let Some(&leader) = next.next() else { return Err(changed(layer)) };
        let Some(node) = leader else { continue };
        if out.tree.inode(node).meta.size != entry.size {
            return Err(changed(layer));
        }
        out.entry(node, None)?;
        while let Some(data) = reader.next_data()? {
            match data {
                Data::Bytes(bytes) => out.out.data(&bytes)?,
                Data::Hole(len) => out.out.zeros(len)?,
            }
        }
    }
    layer.check(&reader.finish()?.finish()?)
}

/// Returns whether the model gives a node for an entry, as [`Model::entry`] decides it: a file with content, and no
/// whiteout.
fn has_content(entry: &crate::layer::read::TarEntry) -> bool {
    use crate::layer::whiteout::{Whiteout, classify};
    entry.kind == EntryKind::File
        && entry.size > 0
        && matches!(classify(&entry.path, entry.kind, entry.size, Strictness::Lenient), Ok(Whiteout::None))
}

fn changed(layer: &Layer) -> Error {
    Error::new(crate::ErrorKind::Changed, EXPORT, "the layer's blob changed while it was read")
        .with_path(layer.digest.to_string())
}

struct Output<'a> {
    out: TarOut<'a>,
    options: LayerOptions,
    tree: &'a Builder,
}

impl Output<'_> {
    /// Starts the entry of a node; with a leader, a hard link to it.
    fn entry(&mut self, node: u32, leader: Option<u32>) -> Result<()> {
        let inode = self.tree.inode(node);
        let meta = &inode.meta;
        let path = self.tree.path(node);
        let xattrs: Vec<(&[u8], &[u8])> = match leader {
            None => self.tree.xattrs(node).into_iter().collect(),
            Some(_) => Vec::new(),
        };
        let (kind, link) = match leader {
            Some(leader) => (EntryKind::Hardlink, self.tree.path(leader)),
            None => {
                let kind = EntryKind::of(meta.kind)
                    .ok_or_else(|| Error::corrupt(EXPORT, "a socket came out of a layer").with_path(&path))?;
                (kind, inode.target.clone())
            }
        };
        let mut mtime = (meta.mtime.secs, meta.mtime.nanos);
        if let Some(clamp) = self.options.clamp_mtime.filter(|&clamp| mtime.0 >= clamp) {
            mtime = (clamp, 0);
        }
        self.out.entry(&HeaderEntry {
            path: &path,
            kind,
            mode: meta.mode as u32,
            uid: meta.uid,
            gid: meta.gid,
            size: if kind == EntryKind::File { meta.size } else { 0 },
            mtime,
            link: &link,
            rdev: meta.rdev,
            xattrs: &xattrs,
        })
    }
}
