//! Copying files and directories out of an image that is not unpacked, or out of a tree.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::tarout::TarOut;
use super::tree_files::CopySource;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Kind;
use crate::fs::output::Output;
use crate::fs::publish::Durability;
use crate::fs::stat::kind_at;
use crate::image::{AppliedLayer, LayerApplyOptions, apply_layer};
use crate::layer::MtimePrecision;
use crate::layer::header::{EntryKind, HeaderEntry};
use crate::progress::Control;
use crate::threads;
use crate::tree::Snapshot;

pub(super) const COPY: &str = "copy files";
/// How much is copied at once.
const PIECE: usize = 256 << 10;

/// Writes an entry of an image or a tree, and what is below it, as a tar: parents first, then files in the order in which the layers hold
/// them, hard links last. The entry has `name` in the tar, a path without a slash at its ends; with none, it is left out where it is
/// a directory, and what is in it is at the top.
///
/// A hard link to a file that is not below the entry is a file of its own.
///
/// # Errors
/// Those of the source, and those of writing. What was written until then is useless.
pub fn copy_tar(
    files: &(impl CopySource + ?Sized),
    entry: u32,
    name: &[u8],
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<()> {
    tar_of(files, entry, name, !name.is_empty(), out, control)
}

/// Does what [`copy_tar`] does; `top` says whether a directory at the top is an entry itself.
pub(super) fn tar_of(
    files: &(impl CopySource + ?Sized),
    entry: u32,
    name: &[u8],
    top: bool,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<()> {
    let mut out = TarOut::new(out, MtimePrecision::Nanoseconds, control);
    each_entry(files, entry, name, top, &mut out, control)?;
    out.finish()
}

/// A receiver of entries, each followed by its content.
pub(crate) trait Entries {
    /// Takes an entry.
    fn entry(&mut self, entry: &HeaderEntry<'_>) -> Result<()>;

    /// Takes content of the file that came last.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;
}

impl Entries for TarOut<'_> {
    fn entry(&mut self, entry: &HeaderEntry<'_>) -> Result<()> {
        TarOut::entry(self, entry)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        TarOut::data(self, bytes)
    }
}

/// Gives an entry, and what is below it, in the order of [`copy_tar`].
pub(crate) fn each_entry(
    files: &(impl CopySource + ?Sized),
    entry: u32,
    name: &[u8],
    top: bool,
    out: &mut dyn Entries,
    control: &Control,
) -> Result<()> {
    let list = files.list();
    let above = list.path(entry);
    let path = |node: u32| {
        let path = list.path(node);
        let below = path.strip_prefix(&above[..]).unwrap_or(&path);
        let below = below.strip_prefix(b"/").unwrap_or(below);
        match (name, below) {
            (b"", below) => below.to_vec(),
            (name, b"") => name.to_vec(),
            (name, below) => [name, b"/", below].concat(),
        }
    };
    // The first name of a file that is copied leads the others.
    let mut leaders = std::collections::HashMap::new();
    let (mut content, mut links) = (Vec::new(), Vec::new());
    let mut todo = vec![entry];
    while let Some(node) = todo.pop() {
        control.check(COPY)?;
        let meta = list.meta(node);
        if meta.kind == Kind::Directory {
            if node != entry || top {
                write_entry(out, list, node, &path(node), None)?;
            }
            todo.extend(list.children(node).rev());
            continue;
        }
        let leader = *leaders.entry(list.leader(node)).or_insert(node);
        if leader != node {
            links.push((node, leader));
        } else if meta.kind == Kind::File && meta.size > 0 {
            content.push(node);
        } else {
            write_entry(out, list, node, &path(node), None)?;
        }
    }
    files.read_each(&content, control, &mut |node, content| {
        write_entry(out, list, node, &path(node), None)?;
        let mut buffer = vec![0; PIECE];
        loop {
            match content.read(&mut buffer).at(COPY, path(node))? {
                0 => return Ok(()),
                count => out.data(&buffer[..count])?,
            }
        }
    })?;
    for (node, leader) in links {
        write_entry(out, list, node, &path(node), Some(&path(leader)))?;
    }
    Ok(())
}

fn write_entry(
    out: &mut dyn Entries,
    list: &Snapshot,
    node: u32,
    path: &[u8],
    leader: Option<&[u8]>,
) -> Result<()> {
    let meta = list.meta(node);
    let (kind, link) = match leader {
        Some(leader) => (EntryKind::Hardlink, leader),
        None => {
            let kind = EntryKind::of(meta.kind)
                .ok_or_else(|| Error::corrupt(COPY, "a socket came out of a layer").with_path(path))?;
            (kind, list.link_target(node))
        }
    };
    let xattrs: Vec<(&[u8], &[u8])> = match leader {
        None => list.xattrs(node).into_iter().collect(),
        Some(_) => Vec::new(),
    };
    out.entry(&HeaderEntry {
        path,
        kind,
        mode: u32::from(meta.mode),
        uid: meta.uid,
        gid: meta.gid,
        size: if kind == EntryKind::File { meta.size } else { 0 },
        mtime: (meta.mtime.secs, meta.mtime.nanos),
        link,
        rdev: meta.rdev,
        xattrs: &xattrs,
    })
}

/// Copies a directory of an image or a tree to a directory on disk, which is made when it is not there, and otherwise gets what the image
/// has besides what it has. Owners and attributes that the disk does not take are in the result.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] when the entry is no directory; those of the source and of [`apply_layer`]. After an
/// error a part of it may be there.
pub fn copy_directory(
    files: &(impl CopySource + ?Sized),
    entry: u32,
    to: impl AsRef<Path>,
    options: &LayerApplyOptions,
    control: &Control,
) -> Result<AppliedLayer> {
    let to = to.as_ref();
    if files.list().meta(entry).kind != Kind::Directory {
        return Err(Error::invalid(COPY, "it is not a directory").with_path(files.list().path(entry)));
    }
    let write = |out: &mut (dyn Write + Send)| copy_tar(files, entry, b"", out, control);
    copy_through(write, |input| apply_layer(None, input, to, options, control))
}

/// The result of [`copy_out`].
#[derive(Debug)]
#[non_exhaustive]
pub struct CopiedOut {
    /// The file or directory that was written.
    pub path: std::path::PathBuf,
    /// The directory afterwards; `None` for a file.
    pub directory: Option<AppliedLayer>,
}

/// Copies an entry of an image or a tree to a path of the host, as `docker cp` does: a directory that is there gets it under its own name,
/// which is the last one of `path`, the path that was asked for; a path that ends in `/.` is copied without its name.
///
/// # Errors
/// Those of [`copy_directory`] and [`copy_file`].
pub fn copy_out(
    files: &(impl CopySource + ?Sized),
    entry: u32,
    path: &[u8],
    to: impl AsRef<Path>,
    options: &LayerApplyOptions,
    control: &Control,
) -> Result<CopiedOut> {
    let (to, name) = (to.as_ref(), own_name(path));
    let to = match kind_at(to, true) == Some(Kind::Directory) && !name.is_empty() {
        true => to.join(std::ffi::OsStr::from_bytes(name)),
        false => to.to_path_buf(),
    };
    if files.list().meta(entry).kind == Kind::Directory {
        let directory = copy_directory(files, entry, &to, options, control)?;
        return Ok(CopiedOut { path: to, directory: Some(directory) });
    }
    copy_file(files, entry, &to, control)?;
    Ok(CopiedOut { path: to, directory: None })
}

/// Returns the name that was asked for, and not that of the target of a link; none for what ends in a dot.
fn own_name(path: &[u8]) -> &[u8] {
    let asked = path.split(|&byte| byte == b'/').rfind(|name| !name.is_empty());
    asked.filter(|name| ![&b"."[..], b".."].contains(name)).unwrap_or(b"")
}

/// Has a tar written on another thread and read on this one.
pub(super) fn copy_through<T>(
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()> + Send,
    read: impl FnOnce(Box<dyn Read + Send>) -> Result<T>,
) -> Result<T> {
    let (send, receive) = sync_channel(4);
    std::thread::scope(|scope| {
        let write = move || {
            let mut sender = Sender(send);
            if let Err(error) = write(&mut sender) {
                // Where applying failed the receiver is gone, and that error counts.
                let _ = sender.0.send(Err(error));
            }
        };
        threads::spawn(scope, "treering-copy", write)
            .map_err(|error| Error::limit(COPY, "the system refuses another thread").with_source(error))?;
        read(Box::new(Receiving { receive, piece: Vec::new(), at: 0 }))
    })
}

/// Copies a file of an image or a tree to a file on disk, with its permissions and its time, but no owner. A file that is there is replaced
/// once all is written; a link is followed; a pipe or a device, and an open file by its name in `/dev/fd`, gets the content alone. Gives
/// the size.
///
/// # Errors
/// Those of the source, and those of writing; the old file is then as it was.
pub fn copy_file(
    files: &(impl CopySource + ?Sized),
    entry: u32,
    to: impl AsRef<Path>,
    control: &Control,
) -> Result<u64> {
    let to = to.as_ref();
    let shown = to.as_os_str().as_bytes();
    let mut out = Output::open(to, COPY, &control.cancel)?;
    let size = files.copy(entry, out.file(), control)?;
    if let Some(file) = out.new_file() {
        let meta = files.list().meta(entry);
        let mode = rustix::fs::Mode::from_raw_mode(u32::from(meta.mode) & 0o777);
        rustix::fs::fchmod(&*file, mode).at(COPY, shown)?;
        let time = rustix::fs::Timespec { tv_sec: meta.mtime.secs, tv_nsec: i64::from(meta.mtime.nanos) };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&*file, &times).at(COPY, shown)?;
    }
    out.finish(Durability::Content)?;
    Ok(size)
}

/// Hands pieces of a stream to another thread.
struct Sender(SyncSender<Result<Vec<u8>>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send(Ok(bytes.to_vec())) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(Error::new(ErrorKind::Cancelled, COPY, "the reading side has ended").into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The other end.
struct Receiving {
    receive: Receiver<Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Receiving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receive.recv() {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = out.len().min(self.piece.len() - self.at);
        out[..count].copy_from_slice(&self.piece[self.at..][..count]);
        self.at += count;
        Ok(count)
    }
}
