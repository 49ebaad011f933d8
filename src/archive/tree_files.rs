//! Files of a directory as an image would have them: owners and attributes as the store has them, links followed inside.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::root::{c_name, open_file_at, parent_of, split};
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root};
use crate::image::{Base, DiffOptions, ImageFiles, diff_root, resolve_path};
use crate::progress::{Control, Share};
use crate::store::Store;
use crate::tree::builder::{Builder, Inode, ROOT};
use crate::tree::{Meta, OwnerPolicy, Snapshot};

const READ: &str = "read file";

/// Takes the content of entries, by their numbers.
pub type Sink<'a> = &'a mut dyn FnMut(u32, &mut dyn Read) -> Result<()>;

/// A source of files and directories to copy.
pub trait CopySource: Sync {
    /// Returns all entries.
    fn list(&self) -> &Snapshot;

    /// Gives the content of each of these files once.
    ///
    /// # Errors
    /// Those of reading, and those of `sink`.
    fn read_each(&self, wanted: &[u32], control: &Control, sink: Sink<'_>) -> Result<()>;

    /// Writes the content of a file to `out`, and gives its size.
    ///
    /// # Errors
    /// Those of reading and of writing.
    fn copy(&self, entry: u32, out: &mut dyn Write, control: &Control) -> Result<u64>;
}

impl CopySource for ImageFiles {
    fn list(&self) -> &Snapshot {
        self.list()
    }

    fn read_each(&self, wanted: &[u32], control: &Control, sink: Sink<'_>) -> Result<()> {
        self.read_each(wanted, control, sink)
    }

    fn copy(&self, entry: u32, out: &mut dyn Write, control: &Control) -> Result<u64> {
        self.copy(entry, out, control)
    }
}

/// The files of a directory.
#[derive(Debug)]
pub struct TreeFiles {
    root: Root,
    list: Snapshot,
    /// The one file there is, as the disk has it: a list that was made here has other numbers.
    single: Option<Meta>,
}

impl TreeFiles {
    /// Looks at a directory. What the store has of it, such as owners that the disk did not take, counts; of a directory that
    /// it does not have, the files are root's.
    ///
    /// # Errors
    /// Those of a comparison of the directory.
    pub fn open(store: Option<&Store>, dir: &Path, control: &Control) -> Result<TreeFiles> {
        let root = Root::open(dir)?;
        let list = diff_root(store, &root, &Base::Scratch, &DiffOptions::default(), control)?.new;
        Ok(TreeFiles { root, list, single: None })
    }

    /// Looks at a directory without a record in a store; its files have the owners of this policy.
    ///
    /// # Errors
    /// Those of a comparison of the directory.
    pub fn open_owned(dir: &Path, owner: OwnerPolicy, control: &Control) -> Result<TreeFiles> {
        let root = Root::open(dir)?;
        let options = DiffOptions { owners: owner.into(), ..DiffOptions::default() };
        let list = diff_root(None, &root, &Base::Scratch, &options, control)?.new;
        Ok(TreeFiles { root, list, single: None })
    }

    /// Looks at a single file or symbolic link, without what is beside it; gives its entry too.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is neither; those of reading it.
    pub fn of_file(path: &Path, owner: OwnerPolicy) -> Result<(TreeFiles, u32)> {
        let shown = path.as_os_str().as_encoded_bytes();
        let Some(name) = path.file_name() else {
            return Err(Error::invalid(READ, "a file needs a name").with_path(shown));
        };
        let root = Root::open(parent_of(path))?;
        let name = name.as_encoded_bytes();
        let stat = stat_at(&root, &c_name(name).at(READ, shown)?).at(READ, shown)?;
        let mut inode = Inode::new(Meta::from_stat(&stat));
        match stat.kind {
            Kind::File => {}
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(&root, name, Vec::new()).at(READ, shown)?;
                inode.target = target.into_bytes();
            }
            kind => {
                let message = format!("it is a {}, which cannot be copied by itself", kind.name());
                return Err(Error::invalid(READ, message).with_path(shown));
            }
        }
        (inode.meta.uid, inode.meta.gid) = owner.apply(stat.uid, stat.gid).unwrap_or((0, 0));
        let mut builder = Builder::empty();
        builder.insert(ROOT, name, inode);
        let list = builder.finish(None)?;
        let entry =
            list.lookup(name).ok_or_else(|| Error::not_found(READ, "no such file").with_path(shown))?;
        Ok((TreeFiles { root, list, single: Some(Meta::from_stat(&stat)) }, entry))
    }

    /// Returns the entry that a path leads to, symbolic links followed inside the directory.
    ///
    /// # Errors
    /// As [`ImageFiles::resolve`].
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<u32> {
        resolve_path(&self.list, path.as_ref(), true)
    }

    /// Opens a file. What is read of it counts as a part of `share`.
    fn open_file(&self, entry: u32, share: Share, control: &Control) -> Result<TreeFile<'_>> {
        let meta = self.list.meta(entry);
        let path = self.list.path(entry);
        let shown = self.root.describe(&path);
        if meta.kind != Kind::File {
            let message = format!("it is a {}, and has no content", meta.kind.name());
            return Err(Error::invalid(READ, message).with_path(shown));
        }
        let (parent, name) = split(&path);
        let name = c_name(name).at(READ, &shown)?;
        let file = self.root.open_dir(parent).and_then(|dir| open_file_at(&dir, &name)).at(READ, &shown)?;
        let file = TreeFile {
            file: file.into(),
            left: meta.size,
            list: self,
            entry,
            share,
            control: control.clone(),
        };
        file.check()?;
        Ok(file)
    }
}

impl CopySource for TreeFiles {
    fn list(&self) -> &Snapshot {
        &self.list
    }

    fn read_each(&self, wanted: &[u32], control: &Control, sink: Sink<'_>) -> Result<()> {
        let size = |entry: u32| self.list.meta(entry).size;
        let whole = Share::new(control, wanted.iter().map(|&entry| size(entry)).sum());
        wanted.iter().try_for_each(|&entry| {
            sink(entry, &mut self.open_file(entry, whole.split(size(entry)), control)?)
        })
    }

    fn copy(&self, entry: u32, out: &mut dyn Write, control: &Control) -> Result<u64> {
        let share = Share::new(control, self.list.meta(entry).size);
        let mut file = self.open_file(entry, share, control)?;
        io::copy(&mut file, out).at_path(READ, || self.root.describe(&self.list.path(entry)))
    }
}

/// A file that has to stay as it was listed until all of it was read.
struct TreeFile<'a> {
    file: File,
    left: u64,
    list: &'a TreeFiles,
    entry: u32,
    share: Share,
    control: Control,
}

impl TreeFile<'_> {
    fn shown(&self) -> Vec<u8> {
        self.list.root.describe(&self.list.list.path(self.entry))
    }

    fn changed(&self) -> Error {
        Error::new(ErrorKind::Changed, READ, "the file changed while it was read").with_path(self.shown())
    }

    fn check(&self) -> Result<()> {
        let stat = stat_fd(&self.file).at_path(READ, || self.shown())?;
        let meta = self.list.single.unwrap_or_else(|| self.list.list.meta(self.entry));
        if meta.is_as_in(&stat) { Ok(()) } else { Err(self.changed()) }
    }
}

impl Read for TreeFile<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.control.check(READ)?;
        let most = self.left.min(out.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut out[..most])?;
        if count == 0 {
            return Err(self.changed().into());
        }
        self.left -= count as u64;
        if self.left == 0 {
            self.check()?;
        }
        self.share.add(count as u64);
        Ok(count)
    }
}
