//! Producing the bytes of a layer: any part of the tar, on any thread, straight from the files.

use std::io;
use std::os::fd::OwnedFd;

use super::header::{BLOCK, TRAILER};
use super::outline::Outline;
use super::plan::LayerPlan;
use super::source::{Filled, TarSource};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::root::{c_name, split, was_replaced};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};
use crate::tree::{NONE, Snapshot};

const READ: &str = "read file";
/// Below this length holes are not looked for: two lseek calls cost more than reading the zeros.
const SPARSE_FROM: u64 = 128 * 1024;

/// The content of a snapshot's files.
pub trait Files: Sync {
    /// Returns the root and the path below it where the content of entry `index` is found.
    fn locate(&self, snapshot: &Snapshot, index: u32) -> (&Root, Vec<u8>);

    /// Fills `buffer` from an offset of the content of entry `index`, where that is no file below a root, and checks that
    /// the content is what the snapshot says. `None` where [`Files::locate`] says where the content is.
    fn read(&self, _index: u32, _offset: u64, _buffer: &mut [u8]) -> Result<Option<Filled>> {
        Ok(None)
    }

    /// Returns whether the content is in another inode than the one the snapshot describes (overlayfs's metacopy).
    fn is_borrowed(&self, _index: u32) -> bool {
        false
    }
}

impl Files for crate::diff::overlay::Sources {
    fn locate(&self, snapshot: &Snapshot, index: u32) -> (&Root, Vec<u8>) {
        Self::locate(self, snapshot, index)
    }

    fn is_borrowed(&self, index: u32) -> bool {
        Self::is_borrowed(self, index)
    }
}

impl Files for Root {
    fn locate(&self, snapshot: &Snapshot, index: u32) -> (&Root, Vec<u8>) {
        (self, snapshot.path(index))
    }
}

/// A layer's tar as a [`TarSource`].
pub struct LayerTar<'a> {
    plan: LayerPlan<'a>,
    files: &'a dyn Files,
}

impl<'a> LayerTar<'a> {
    /// Returns the tar of a plan, with the content taken from `files`.
    pub fn new(plan: LayerPlan<'a>, files: &'a dyn Files) -> LayerTar<'a> {
        LayerTar { plan, files }
    }

    /// Returns the tar without the contents of files, for a reader that passes over them.
    pub(crate) fn outline(&self) -> Outline<'_> {
        Outline::new(&self.plan)
    }

    /// Returns the plan.
    pub fn plan(&self) -> &LayerPlan<'a> {
        &self.plan
    }
}

/// The files that one thread keeps open between calls: the directory it reads from, and the file it was in the middle of.
#[derive(Default)]
pub struct Reader {
    header: Vec<u8>,
    /// The directory's number in the snapshot, its root's address (to distinguish overlay layers), its descriptor.
    directory: Option<(u32, usize, OwnedFd)>,
    file: Option<(u32, OwnedFd)>,
}

impl TarSource for LayerTar<'_> {
    type Worker = Reader;

    fn len(&self) -> u64 {
        self.plan.entries_len() + TRAILER
    }

    fn worker(&self) -> Reader {
        Reader::default()
    }

    fn fill(&self, reader: &mut Reader, offset: u64, buf: &mut [u8]) -> Result<Filled> {
        let mut zero = true;
        let mut at = 0;
        let mut next = self.plan.entry_at(offset);
        let mut header = std::mem::take(&mut reader.header);
        while at < buf.len() {
            let here = offset + at as u64;
            let Some(placed) = self.plan.entry(next, &mut header)? else {
                buf[at..].fill(0);
                break;
            };
            next += 1;
            let content = placed.offset + header.len() as u64;
            let end = content + placed.size;
            let padded = content + placed.size.next_multiple_of(BLOCK as u64);
            if here < content {
                let from = (here - placed.offset) as usize;
                let n = (header.len() - from).min(buf.len() - at);
                buf[at..at + n].copy_from_slice(&header[from..from + n]);
                at += n;
                zero = false;
            }
            let here = offset + at as u64;
            if at < buf.len() && here < end {
                let n = ((end - here) as usize).min(buf.len() - at);
                zero &=
                    self.content(reader, placed.file, here - content, &mut buf[at..at + n])? == Filled::Zero;
                at += n;
            }
            let here = offset + at as u64;
            if at < buf.len() && here < padded {
                let n = ((padded - here) as usize).min(buf.len() - at);
                buf[at..at + n].fill(0);
                at += n;
            }
        }
        reader.header = header;
        Ok(if zero { Filled::Zero } else { Filled::Data })
    }
}

impl LayerTar<'_> {
    /// Reads part of one file's content, and makes sure that the file still is what the snapshot says.
    fn content(&self, reader: &mut Reader, index: u32, offset: u64, buf: &mut [u8]) -> Result<Filled> {
        let snapshot = self.plan.snapshot();
        debug_assert_ne!(index, NONE);
        if let Some(filled) = self.files.read(index, offset, buf)? {
            return Ok(filled);
        }
        let fail = |error: io::Error| self.explain(index, error);
        if reader.file.as_ref().is_none_or(|(open, _)| *open != index) {
            reader.file = None;
            let fd = self.open(reader, index).map_err(fail)?;
            reader.file = Some((index, fd));
        }
        let (_, fd) = reader.file.as_ref().expect("opened above");
        let meta = snapshot.meta(index);
        let borrowed = self.files.is_borrowed(index);
        let before =
            if borrowed || meta.size >= SPARSE_FROM { Some(stat_fd(fd).map_err(fail)?) } else { None };
        let sparse = before.is_some_and(|stat| stat.blocks.saturating_mul(512) < stat.size);
        let filled = if sparse {
            read_sparse(fd, offset, buf).map_err(fail)?
        } else {
            read_exact(fd, offset, buf).map_err(fail)?;
            Filled::Data
        };
        // The stat after the read is what counts: whatever happened to the file since the scan moved its ctime.
        let stat = stat_fd(fd).map_err(fail)?;
        let same = match before.filter(|_| borrowed) {
            Some(before) => stat.kind == Kind::File && stat.size == meta.size && stat.ctime == before.ctime,
            None => {
                meta.is_as_in(&stat) || meta.is_as_in(&self.files.locate(snapshot, index).0.as_scanned(stat))
            }
        };
        if !same {
            return Err(changed(self.describe(index)));
        }
        if offset + buf.len() as u64 == meta.size {
            reader.file = None;
        }
        Ok(filled)
    }

    fn describe(&self, index: u32) -> Vec<u8> {
        let (root, path) = self.files.locate(self.plan.snapshot(), index);
        root.describe(&path)
    }

    fn explain(&self, index: u32, error: io::Error) -> Error {
        let path = self.describe(index);
        match error.raw_os_error() {
            _ if was_replaced(&error) => changed(path).with_source(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => changed(path),
            Some(libc::EACCES | libc::EPERM) => Error::io(READ, path, error).with_hint(
                "every file of a layer must be readable: leave it out, chmod u+r it, or run as its owner",
            ),
            _ => Error::io(READ, path, error),
        }
    }

    fn open(&self, reader: &mut Reader, index: u32) -> io::Result<OwnedFd> {
        let snapshot = self.plan.snapshot();
        let (root, path) = self.files.locate(snapshot, index);
        let (parent, name) = split(&path);
        let key = (snapshot.parent(index), std::ptr::from_ref(root) as usize);
        let known = reader.directory.as_ref().is_some_and(|(directory, of, _)| (*directory, *of) == key);
        // An entry that lies elsewhere than its path says (an overlay's renamed directory) is opened by its own way.
        let plain = name == snapshot.name(index) && parent == snapshot.path(key.0);
        if !plain {
            return root.open_file_in(root.open_dir(parent)?, &c_name(name)?, &path);
        }
        if !known {
            reader.directory = Some((key.0, key.1, root.open_dir(parent)?));
        }
        let (_, _, directory) = reader.directory.as_ref().expect("opened above");
        root.open_file_in(directory, &c_name(name)?, &path)
    }
}

fn changed(path: Vec<u8>) -> Error {
    Error::new(ErrorKind::Changed, READ, "the file changed, shrank, grew or vanished while it was read")
        .with_path(path)
        .with_hint("nothing was published; commit again when nothing writes to the tree")
}

fn read_exact(fd: &OwnedFd, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match rustix::io::pread(fd, &mut *buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Does what [`read_exact`] does, but asks the filesystem for holes (lseek(2), SEEK_DATA) and does not read them.
fn read_sparse(fd: &OwnedFd, offset: u64, buf: &mut [u8]) -> io::Result<Filled> {
    use rustix::fs::SeekFrom;
    let end = offset + buf.len() as u64;
    let mut at = offset;
    let mut filled = Filled::Zero;
    while at < end {
        let data = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            Ok(data) => data.min(end),
            // Nothing but a hole up to the end of the file.
            Err(rustix::io::Errno::NXIO) => end,
            Err(_) => {
                read_exact(fd, at, &mut buf[(at - offset) as usize..])?;
                return Ok(Filled::Data);
            }
        };
        buf[(at - offset) as usize..(data - offset) as usize].fill(0);
        if data < end {
            let hole =
                rustix::fs::seek(fd, SeekFrom::Hole(data)).map_or(end, |hole| hole.min(end)).max(data + 1);
            read_exact(fd, data, &mut buf[(data - offset) as usize..(hole - offset) as usize])?;
            filled = Filled::Data;
            at = hole;
        } else {
            at = data;
        }
    }
    Ok(filled)
}
