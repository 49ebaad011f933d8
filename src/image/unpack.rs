//! Putting an image's tree into a directory.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::open::Image;
use super::platform::Platform;
use super::tree::Tree;
use crate::compress::{DecodeLimits, DecodeOptions, Decoder};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::dirents::Names;
use crate::fs::remove::remove_all;
use crate::fs::root::c_name;
use crate::fs::stat::{is_mount_point, stat_at, stat_fd};
use crate::fs::{Kind, Root};
use crate::layer::apply::{Applied, ApplyOptions, Loss, Target};
use crate::progress::Control;
use crate::store::{SCRATCH_MARK, Scratch, Store};
use crate::tree::{OwnerSource, Owners};

const UNPACK: &str = "unpack image";

/// How an image is unpacked.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// How the layers are applied.
    pub apply: ApplyOptions,
    /// Which platform of a multi-platform image; `None` for this machine's.
    pub platform: Option<Platform>,
    /// Make everything durable before returning: the files before the tree gets its place (syncfs(2)), and then its name
    /// there.
    pub sync: bool,
    /// Caps on the decompression of each layer.
    pub decode: DecodeLimits,
}

/// What was unpacked.
#[derive(Debug)]
pub struct Unpacked {
    /// The digest of the image's manifest.
    pub manifest: Digest,
    /// How many entries the tree has, its root not counted.
    pub entries: u64,
    /// How many of them are in the ledger.
    pub in_ledger: u64,
    /// What could not be kept.
    pub losses: Vec<Loss>,
}

/// Unpacks an image: its tree becomes `dir`, which must not exist or be an empty directory. Snapshot and ledger go into
/// the store, bound to the directory, so that [`commit`](super::commit::commit) and the comparisons find them.
///
/// Everything is made beside `dir`, each layer's digest and DiffID checked, and then renamed into place: after an error or
/// a crash there is no half-unpacked tree. What a killed process leaves beside `dir` goes with the next prune, or the next
/// unpack to the same place. Where that is not possible (a mount point, a symbolic link to a directory, or no right to write
/// beside it) the empty directory is filled directly, and emptied again on an error.
pub fn unpack(
    store: &Store,
    reference: &str,
    dir: &Path,
    options: &UnpackOptions,
    control: &Control,
) -> Result<Unpacked> {
    let _lease = store.lease_for(control)?;
    let image = Image::open(store, reference, options.platform.as_ref())?;
    let place = Place::prepare(store, dir)?;
    let applied = match apply(store, &image, &place.root, options, control) {
        Ok(applied) => applied,
        Err(error) => {
            place.discard();
            return Err(error);
        }
    };
    if options.sync {
        rustix::fs::syncfs(&place.root).at(UNPACK, place.root.describe(b""))?;
    }
    let manifest = *image.digest();
    let Applied { snapshot, ledger, owner, losses } = applied;
    let owner_from = options.apply.owner_xattr.map(OwnerSource::Xattr).unwrap_or_default();
    let owners = Owners { policy: owner, source: owner_from, ledger };
    // Before the tree has its place: one that the store knows nothing of would have lost its owners.
    let bound = Tree::open(store, &place.root)
        .and_then(|tree| tree.bind(manifest, Some(reference), &owners, Some(&snapshot)));
    let key = match bound {
        Ok(key) => key,
        Err(error) => {
            place.discard();
            return Err(error);
        }
    };
    let parent = place.publish(dir).inspect_err(|_| {
        // The tree is gone again; its record, if it stays, is one of those that prune forgets.
        let _ = store.unbind(&key);
    })?;
    if let Some(parent) = parent.filter(|_| options.sync) {
        rustix::fs::fsync(&parent).at(UNPACK, parent.describe(b""))?;
    }
    Ok(Unpacked {
        manifest,
        entries: snapshot.len() as u64 - 1,
        in_ledger: owners.ledger.len() as u64,
        losses,
    })
}

fn apply(
    store: &Store,
    image: &Image,
    root: &Root,
    options: &UnpackOptions,
    control: &Control,
) -> Result<Applied> {
    let mut target = Target::empty(root, options.apply.clone())?;
    for layer in image.layers() {
        let name_layer = |error: Error| match error.path() {
            None => error.with_path(layer.digest.to_string()),
            Some(_) => error,
        };
        let file = store.open_blob(&layer.digest)?;
        let decode = DecodeOptions {
            limits: options.decode.clone(),
            threads: DecodeOptions::with_threads(options.apply.threads).threads,
            ..layer.decode_options(store)?
        };
        let decoder = Decoder::new(Box::new(file), decode, control.clone()).map_err(name_layer)?;
        let decoder = target.apply(decoder, control).map_err(name_layer)?;
        layer.check(&decoder.finish().map_err(name_layer)?)?;
    }
    target.finish()
}

/// Where the tree grows until it is published.
pub(super) struct Place {
    /// The directory to fill.
    pub root: Root,
    /// The scratch directory's parent and name, when there is one, and the claim that it is ours.
    scratch: Option<(Root, String, Scratch)>,
}

impl Place {
    pub fn prepare(store: &Store, dir: &Path) -> Result<Place> {
        let shown = dir.as_os_str().as_bytes();
        let exists = match Root::open(dir) {
            Ok(root) => {
                let mut names = Names::default();
                names.read(&root).at(UNPACK, shown)?;
                if !names.is_empty() {
                    return Err(Error::new(ErrorKind::AlreadyExists, UNPACK, "the directory is not empty")
                        .with_path(shown)
                        .with_hint("name a new directory, or remove this one first"));
                }
                Some(root)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match exists {
            Some(root) => match Self::beside(store, dir, Some(&root)) {
                Ok(Some(place)) => Ok(place),
                Ok(None) | Err(_) => Ok(Place { root, scratch: None }),
            },
            None => Ok(Self::beside(store, dir, None)?.expect("nothing is there to be kept")),
        }
    }

    /// A scratch directory beside the target; none where it could not take the place of what is there.
    fn beside(store: &Store, dir: &Path, exists: Option<&Root>) -> Result<Option<Place>> {
        let shown = dir.as_os_str().as_bytes();
        let name = dir
            .file_name()
            .ok_or_else(|| Error::invalid(UNPACK, "this is not the name of a directory").with_path(shown))?;
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let above = std::path::absolute(parent).at(UNPACK, shown)?;
        let parent = Root::open(parent)?;
        if let Some(root) = exists
            && !replaceable(&parent, name, root).at(UNPACK, shown)?
        {
            return Ok(None);
        }
        // What an unpack left that was killed here before; that it cannot be removed is no reason not to go on.
        let _ = store.clear_scratch(Some(&above));
        // The process id and a counter: unique among everything alive, and what a crash leaves is easy to recognise.
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let mut tail = name.as_bytes().to_vec();
        tail.truncate(200);
        for _ in 0..1000 {
            let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let scratch = format!(
                ".{}{SCRATCH_MARK}{}-{number}",
                crate::error::escape(&tail).replace('\\', "_"),
                rustix::process::getpid().as_raw_nonzero()
            );
            let claim = store.claim_scratch(&above.join(&scratch))?;
            match rustix::fs::mkdirat(&parent, scratch.as_str(), rustix::fs::Mode::RWXU) {
                Ok(()) => {
                    let opened = parent.open_dir(scratch.as_bytes()).at(UNPACK, shown);
                    let fd = opened.inspect_err(|_| {
                        // It is empty and needs no descriptor to go; the error that led here is the one to tell.
                        let _ =
                            rustix::fs::unlinkat(&parent, scratch.as_str(), rustix::fs::AtFlags::REMOVEDIR);
                    })?;
                    let root = Root::from_fd(fd, dir);
                    return Ok(Some(Place { root, scratch: Some((parent, scratch, claim)) }));
                }
                Err(rustix::io::Errno::EXIST) => continue,
                Err(error) => return Err(Error::io(UNPACK, shown, error)),
            }
        }
        Err(Error::new(ErrorKind::AlreadyExists, UNPACK, "no free name for a scratch directory")
            .with_path(shown))
    }

    /// Removes what was made.
    pub fn discard(self) {
        // The error that led here matters more than one in cleaning up after it.
        match &self.scratch {
            Some((parent, name, _)) => {
                // Where descriptors are what is missing, removing it needs this one.
                drop(self.root);
                if let Ok(name) = c_name(name.as_bytes()) {
                    let _ = remove_all(parent, &name);
                }
            }
            None => {
                let mut names = Names::default();
                if names.read(&self.root).is_ok() {
                    for i in 0..names.len() {
                        let _ = remove_all(&self.root, names.get(i));
                    }
                }
            }
        }
    }

    /// Gives the tree its place, and the directory that has a new name in it.
    pub fn publish(mut self, dir: &Path) -> Result<Option<Root>> {
        let Some((parent, scratch, _)) = &self.scratch else { return Ok(None) };
        let shown = dir.as_os_str().as_bytes();
        let name = dir.file_name().expect("checked when the scratch directory was made");
        match rustix::fs::renameat(parent, scratch.as_str(), parent, name) {
            Ok(()) => Ok(self.scratch.take().map(|(parent, ..)| parent)),
            Err(error) => {
                let error = Error::io(UNPACK, shown, error);
                self.discard();
                Err(error.with_hint("the directory must not exist, or be empty and no mount point"))
            }
        }
    }
}

/// Whether a directory can be replaced by a rename: it is one by this very name, no link to it, and nothing is mounted there.
fn replaceable(parent: &Root, name: &std::ffi::OsStr, dir: &Root) -> std::io::Result<bool> {
    let (above, there, named) =
        (stat_fd(parent)?, stat_fd(dir)?, stat_at(parent, &c_name(name.as_bytes())?)?);
    Ok(named.kind == Kind::Directory
        && (named.dev, named.ino) == (there.dev, there.ino)
        && there.dev == above.dev
        && !is_mount_point(dir)?)
}
