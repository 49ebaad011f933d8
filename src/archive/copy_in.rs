//! Copying files and directories into a tree that has a record in a store.

use std::path::Path;

use super::copy::{COPY, copy_through, tar_of};
use super::tree_files::{CopySource, TreeFiles};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Kind;
use crate::fs::root::split;
use crate::image::{AppliedLayer, LayerApplyOptions, apply_layer};
use crate::layer::whiteout;
use crate::progress::Control;
use crate::store::Store;
use crate::tree::Snapshot;

/// The destination of a copy.
#[derive(Debug, Clone, Default)]
pub struct CopyTarget {
    /// The path in the tree. Symbolic links in it are followed inside the tree.
    pub path: Vec<u8>,
    /// The name that the source gets in a directory that is there; empty for what is in the source, without the source itself.
    pub name: Vec<u8>,
}

/// Copies an entry of an image or a tree, and what is below it, into a tree, as `docker cp` does: into a directory that is there
/// under its own name, in place of a file, or under a new name in a directory that is there. Owners and attributes that the disk
/// does not take are in the store afterwards, or in the result where the tree has no record in the store.
///
/// # Errors
/// [`ErrorKind::NotFound`] where the directory of the target is missing; [`ErrorKind::InvalidArgument`] for a directory in place of a file,
/// and for names that would delete files when the tree becomes a layer (`.wh.*`). After an error a part of it may be there.
pub fn copy_in(
    files: &(impl CopySource + ?Sized),
    entry: u32,
    store: Option<&Store>,
    tree: &Path,
    target: &CopyTarget,
    options: &LayerApplyOptions,
    control: &Control,
) -> Result<AppliedLayer> {
    let is_directory = files.list().meta(entry).kind == Kind::Directory;
    if target.name.contains(&b'/') || matches!(&target.name[..], b"." | b"..") {
        return Err(Error::invalid(COPY, "this is a path, not a name").with_path(&target.name));
    }
    let there = TreeFiles::open(store, tree, control)?;
    let (path, exists) = destination(&there, target, is_directory)?;
    drop(there);
    no_whiteouts(files.list(), entry, &path)?;
    // A directory that is there stays what it is when only its contents are meant.
    let top = !(is_directory && target.name.is_empty() && exists);
    let write = |out: &mut (dyn std::io::Write + Send)| tar_of(files, entry, &path, top, out, control);
    copy_through(write, |input| apply_layer(store, input, tree, options, control))
}

/// Returns the path in the tree that the source is to have, and whether something is there.
fn destination(there: &TreeFiles, target: &CopyTarget, is_directory: bool) -> Result<(Vec<u8>, bool)> {
    let wrong = |what: &str| Error::invalid(COPY, what).with_path(&target.path);
    let list = there.list();
    match there.resolve(&target.path) {
        Ok(node) => {
            let (path, kind) = (list.path(node), list.meta(node).kind);
            match (kind, is_directory) {
                (Kind::Directory, true) if target.name.is_empty() => Ok((path, true)),
                (Kind::Directory, false) if target.name.is_empty() => {
                    Err(wrong("a file without a name cannot be in a directory"))
                }
                (Kind::Directory, _) => {
                    let inside = [&path[..], &target.name].join(&b'/');
                    let inside = inside.strip_prefix(b"/").unwrap_or(&inside).to_vec();
                    let old = list.lookup(&inside).map(|node| list.meta(node).kind);
                    match (old, is_directory) {
                        (Some(Kind::Directory), false) => {
                            Err(wrong("a directory there has the name of the file"))
                        }
                        (Some(old), true) if old != Kind::Directory => {
                            Err(wrong("a file there has the name of the directory"))
                        }
                        (old, _) => Ok((inside, old.is_some())),
                    }
                }
                (_, true) => Err(wrong("a directory cannot take the place of a file")),
                (_, false) if target.path.ends_with(b"/") => Err(wrong("it is not a directory")),
                (_, false) => Ok((path, true)),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if target.path.ends_with(b"/") && !is_directory {
                return Err(wrong("no such directory in the tree"));
            }
            let end = target.path.iter().rposition(|&c| c != b'/').map_or(0, |at| at + 1);
            let (above, name) = split(&target.path[..end]);
            if name.is_empty() || name == b"." || name == b".." {
                return Err(error);
            }
            let above = there.resolve(above)?;
            if list.meta(above).kind != Kind::Directory {
                return Err(wrong("what it is to be in is not a directory"));
            }
            let path = [&list.path(above)[..], name].join(&b'/');
            Ok((path.strip_prefix(b"/").unwrap_or(&path).to_vec(), false))
        }
        Err(error) => Err(error),
    }
}

/// Refuses names that delete files where a layer is applied, which is how the files arrive.
pub(crate) fn no_whiteouts(list: &Snapshot, entry: u32, path: &[u8]) -> Result<()> {
    let refuse =
        |name: &[u8], shown: Vec<u8>| match name.starts_with(whiteout::PREFIX) {
            true => Err(Error::invalid(COPY, "a name that begins with .wh. deletes a file in a layer")
                .with_path(shown)),
            false => Ok(()),
        };
    refuse(split(path).1, path.to_vec())?;
    let mut todo: Vec<u32> = list.children(entry).collect();
    while let Some(node) = todo.pop() {
        refuse(list.name(node), list.path(node))?;
        todo.extend(list.children(node));
    }
    Ok(())
}
