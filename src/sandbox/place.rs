//! Files that are made in a step that runs: a process beside its command makes them, as `cp` or `tar` would.
//!
//! What it calls goes through the step's supervisor as the calls of any program do, so owners, devices and attributes are in the
//! ledger, and paths lead where they lead for the command. No program of the tree is needed for it.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    lsetxattr, statat,
};
use rustix::io::Errno;

use super::failure::Failure;
use super::protocol::{Channel, Message, Reader, Writer};
use crate::error::{ErrorKind, escape};
use crate::fs::Kind;

/// How many symbolic links a path may lead through (path_resolution(7)).
const MOST_LINKS: usize = 40;
const NO_DIRECTORY: &str = "it is not a directory";

/// The place that files go to, as `docker cp` has it.
#[derive(Debug)]
pub struct Place {
    /// The path in the step. A directory that is there gets the source under its own name.
    pub path: Vec<u8>,
    /// The source's own name; empty for what is in it, without the source itself.
    pub name: Vec<u8>,
    /// Whether the source is a directory.
    pub is_directory: bool,
}

impl Place {
    /// Returns the body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(&self.path).bytes(&self.name).number(self.is_directory.into());
        out.finish()
    }

    fn decode(body: &[u8]) -> io::Result<Place> {
        let mut body = Reader::new(body);
        let place = Place { path: body.bytes()?, name: body.bytes()?, is_directory: body.number()? == 1 };
        body.end()?;
        Ok(place)
    }
}

/// The kind of an [`Entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A file, a directory, a link or a device.
    Node(Kind),
    /// One more name of a file that came before.
    HardLink,
}

/// A file, a directory or a link to be made.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the source; empty for the source itself.
    pub path: Vec<u8>,
    /// Its kind.
    pub what: What,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// The target of a symbolic link; of a hard link the path below the source.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Names and values of extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

const KINDS: [Kind; 6] =
    [Kind::File, Kind::Directory, Kind::Symlink, Kind::CharDevice, Kind::BlockDevice, Kind::Fifo];

impl Entry {
    /// Returns the body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let what = match self.what {
            What::HardLink => KINDS.len(),
            What::Node(kind) => KINDS.iter().position(|&it| it == kind).unwrap_or(usize::MAX),
        };
        out.bytes(&self.path).number(what as u64).number(self.mode.into());
        out.number(self.owner.0.into()).number(self.owner.1.into());
        out.number(self.mtime.0 as u64).number(self.mtime.1.into()).bytes(&self.link);
        out.number(self.device.0.into()).number(self.device.1.into()).number(self.xattrs.len() as u64);
        for (name, value) in &self.xattrs {
            out.bytes(name).bytes(value);
        }
        out.finish()
    }

    fn decode(body: &[u8]) -> io::Result<Entry> {
        let mut body = Reader::new(body);
        let path = body.bytes()?;
        let number = usize::try_from(body.number()?).unwrap_or(usize::MAX);
        let what = match KINDS.get(number) {
            Some(&kind) => What::Node(kind),
            None if number == KINDS.len() => What::HardLink,
            None => return Err(io::ErrorKind::InvalidData.into()),
        };
        let (mode, owner) = (body.small()?, (body.small()?, body.small()?));
        let mtime = (body.number()? as i64, body.small()?);
        let (link, device) = (body.bytes()?, (body.small()?, body.small()?));
        let count = body.number()?;
        let mut xattrs = Vec::new();
        for _ in 0..count {
            xattrs.push((body.bytes()?, body.bytes()?));
        }
        body.end()?;
        Ok(Entry { path, what, mode, owner, mtime, link, device, xattrs })
    }
}

/// Attributes that are not there: paths below the source, and names.
pub type Lost = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads what that process said last: what is not there, or why it gave up.
pub fn answer(message: &Message) -> io::Result<Result<Lost, (ErrorKind, String)>> {
    match message.kind {
        Message::PLACED => {
            let mut body = Reader::new(&message.body);
            let (paths, names) = (body.list()?, body.list()?);
            body.end()?;
            Ok(Ok(paths.into_iter().zip(names).collect()))
        }
        Message::FAILED => {
            let (kind, message, _) = Failure::decode(&message.body)?;
            Ok(Err((ErrorKind::of_code(kind).unwrap_or(ErrorKind::Io), message)))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Makes the files that come on standard input, in the process that is to end with the code that this gives.
pub(super) fn make() -> i32 {
    let Ok(socket) = rustix::stdio::stdin().try_clone_to_owned() else { return 1 };
    let channel = Channel::new(socket);
    match receive(&channel) {
        Ok(lost) => {
            let (paths, names): (Vec<_>, Vec<_>) = lost.into_iter().unzip();
            let mut body = Writer::default();
            body.list(&paths).list(&names);
            i32::from(channel.send(Message::PLACED, &body.finish(), &[]).is_err())
        }
        Err(failure) => {
            let _ = channel.send(Message::FAILED, &failure.encode(), &[]);
            1
        }
    }
}

type Made<T> = Result<T, Failure>;

fn wrong(kind: ErrorKind, path: &[u8], what: &str) -> Failure {
    Failure { kind, message: format!("{}: {what}", escape(path)), code: 0 }
}

fn failed(path: &[u8]) -> impl Fn(Errno) -> Failure + '_ {
    move |error| {
        let failure = Failure::new(&escape(path), error);
        match error {
            Errno::NOENT => Failure { kind: ErrorKind::NotFound, ..failure },
            // No right that could be given: the file is read-only for the container.
            Errno::ROFS | Errno::PERM | Errno::ACCESS => {
                Failure { kind: ErrorKind::PermissionDenied, ..failure }
            }
            Errno::NOSPC | Errno::DQUOT => Failure { kind: ErrorKind::Io, ..failure },
            _ => failure,
        }
    }
}

fn receive(channel: &Channel) -> Made<Lost> {
    let cut = |error: io::Error| Failure::new("copy files", error);
    let next = || match channel.receive() {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(cut(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(cut(error)),
    };
    let first = next()?;
    let place = match first.kind {
        Message::PLACE => Place::decode(&first.body).map_err(cut)?,
        _ => return Err(cut(io::ErrorKind::InvalidData.into())),
    };
    let (base, bare) = base(&place)?;
    let mut maker = Maker { base, bare, directories: Vec::new(), lost: Vec::new(), file: None };
    loop {
        let message = next()?;
        match message.kind {
            Message::PLACE_ENTRY => maker.entry(Entry::decode(&message.body).map_err(cut)?)?,
            Message::PLACE_DATA => maker.data(&message.body)?,
            Message::PLACE_END => return maker.end(),
            _ => return Err(cut(io::ErrorKind::InvalidData.into())),
        }
    }
}

/// Returns the path that the source is to have, and whether it stays what it is there because only what is in the source is meant.
fn base(place: &Place) -> Made<(Vec<u8>, bool)> {
    let Place { path, name, is_directory } = place;
    let refused = |what: &str| Err(wrong(ErrorKind::InvalidArgument, path, what));
    let kind = |path: &[u8], flags| match statat(CWD, path, flags) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR) if path.ends_with(b"/") => {
            Err(wrong(ErrorKind::InvalidArgument, path, NO_DIRECTORY))
        }
        Err(error) => Err(failed(path)(error)),
    };
    let path = if path.starts_with(b"/") { path.clone() } else { [b"/", &path[..]].concat() };
    match kind(&path, AtFlags::empty())? {
        Some(FileType::Directory) if name.is_empty() && *is_directory => Ok((path, true)),
        Some(FileType::Directory) if name.is_empty() => {
            refused("a file without a name cannot be in a directory")
        }
        Some(FileType::Directory) => {
            let inside = [&path[..], b"/", name].concat();
            match (kind(&inside, AtFlags::SYMLINK_NOFOLLOW)?, is_directory) {
                (Some(FileType::Directory), false) => refused("a directory there has the name of the file"),
                (Some(FileType::Directory) | None, _) | (Some(_), false) => Ok((inside, false)),
                (Some(_), true) => refused("a file there has the name of the directory"),
            }
        }
        Some(_) if *is_directory => refused("a directory cannot take the place of a file"),
        Some(_) if path.ends_with(b"/") => refused(NO_DIRECTORY),
        None if path.ends_with(b"/") && !is_directory => refused("no such directory in the container"),
        _ => {
            let end = path.iter().rposition(|&c| c != b'/').map_or(0, |at| at + 1);
            Ok((at_end(path[..end].to_vec())?, false))
        }
    }
}

/// Follows the symbolic links that the last name of a path leads to.
fn at_end(mut path: Vec<u8>) -> Made<Vec<u8>> {
    for _ in 0..MOST_LINKS {
        match rustix::fs::readlinkat(CWD, &path[..], Vec::new()) {
            Ok(target) if target.as_bytes().starts_with(b"/") => path = target.into_bytes(),
            Ok(target) => {
                let above = path.iter().rposition(|&c| c == b'/').map_or(0, |at| at + 1);
                path.truncate(above);
                path.extend_from_slice(target.as_bytes());
            }
            Err(Errno::INVAL | Errno::NOENT) => return Ok(path),
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    Err(failed(&path)(Errno::LOOP))
}

struct Maker {
    base: Vec<u8>,
    /// Whether the source itself is left out.
    bare: bool,
    /// Directories, which get their mode, attributes and time once all that is in them is there.
    directories: Vec<Entry>,
    lost: Lost,
    /// The file that content comes for.
    file: Option<(std::os::fd::OwnedFd, Entry)>,
}

impl Maker {
    fn path(&self, below: &[u8]) -> Vec<u8> {
        match below {
            b"" => self.base.clone(),
            below => [&self.base[..], b"/", below].concat(),
        }
    }

    fn entry(&mut self, entry: Entry) -> Made<()> {
        self.finish_file()?;
        if self.bare && entry.path.is_empty() {
            return Ok(());
        }
        let path = self.path(&entry.path);
        let found = match statat(CWD, &path[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(failed(&path)(error)),
        };
        let is_directory = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if entry.what == What::Node(Kind::Directory) {
            match found {
                Some(stat) if is_directory(&stat) => {}
                Some(_) => {
                    let what = "a file there has the name of the directory";
                    return Err(wrong(ErrorKind::InvalidArgument, &path, what));
                }
                None => rustix::fs::mkdirat(CWD, &path[..], Mode::RWXU).map_err(failed(&path))?,
            }
            self.directories.push(entry);
            return Ok(());
        }
        match found {
            Some(stat) if is_directory(&stat) => {
                let what = "a directory there has the name of the file";
                return Err(wrong(ErrorKind::InvalidArgument, &path, what));
            }
            // Programs that have it open, or run it, keep the old one.
            Some(_) => rustix::fs::unlinkat(CWD, &path[..], AtFlags::empty()).map_err(failed(&path))?,
            None => {}
        }
        let kind = match entry.what {
            What::HardLink => {
                let leader = self.path(&entry.link);
                return rustix::fs::linkat(CWD, &leader[..], CWD, &path[..], AtFlags::empty())
                    .map_err(failed(&path));
            }
            What::Node(kind) => kind,
        };
        match kind {
            Kind::File => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(CWD, &path[..], flags, Mode::RUSR | Mode::WUSR)
                    .map_err(failed(&path))?;
                self.file = Some((file, entry));
                return Ok(());
            }
            Kind::Symlink => {
                rustix::fs::symlinkat(&entry.link[..], CWD, &path[..]).map_err(failed(&path))?;
            }
            kind => {
                let kind = match kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                rustix::fs::mknodat(CWD, &path[..], kind, Mode::RUSR | Mode::WUSR, device)
                    .map_err(failed(&path))?;
            }
        }
        self.own(&path, &entry)?;
        self.dress(&path, &entry)
    }

    fn data(&mut self, bytes: &[u8]) -> Made<()> {
        let Some((file, entry)) = &self.file else {
            return Err(Failure::new("copy files", io::Error::from(io::ErrorKind::InvalidData)));
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let path = || self.path(&entry.path);
            match rustix::io::retry_on_intr(|| rustix::io::write(file.as_fd(), rest)) {
                Ok(count) => rest = &rest[count..],
                Err(error) => return Err(failed(&path())(error)),
            }
        }
        Ok(())
    }

    fn finish_file(&mut self) -> Made<()> {
        let Some((file, entry)) = self.file.take() else { return Ok(()) };
        drop(file);
        let path = self.path(&entry.path);
        self.own(&path, &entry)?;
        self.dress(&path, &entry)
    }

    fn own(&self, path: &[u8], entry: &Entry) -> Made<()> {
        let (uid, gid) = (Uid::from_raw(entry.owner.0), Gid::from_raw(entry.owner.1));
        chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed(path))
    }

    /// Gives mode, attributes and time: in that order, because a change of owner takes setuid bits and capabilities away, and a
    /// change of mode rewrites an ACL.
    fn dress(&mut self, path: &[u8], entry: &Entry) -> Made<()> {
        if entry.what != What::Node(Kind::Symlink) {
            chmodat(CWD, path, Mode::from_raw_mode(entry.mode & 0o7777), AtFlags::empty())
                .map_err(failed(path))?;
        }
        for (name, value) in &entry.xattrs {
            match lsetxattr(path, &name[..], value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::NOSPC | Errno::TOOBIG) => {
                    self.lost.push((path.to_vec(), name.clone()));
                }
                Err(error) => return Err(failed(path)(error)),
            }
        }
        let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(path))
    }

    fn end(mut self) -> Made<Lost> {
        self.finish_file()?;
        for entry in std::mem::take(&mut self.directories).into_iter().rev() {
            let path = self.path(&entry.path);
            self.own(&path, &entry)?;
            self.dress(&path, &entry)?;
        }
        Ok(self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_the_way_and_damage_does_not() {
        let entry = Entry {
            path: b"a/\xff".to_vec(),
            what: What::Node(Kind::CharDevice),
            mode: 0o4755,
            owner: (7, u32::MAX - 1),
            mtime: (-5, 999_999_999),
            link: b"to".to_vec(),
            device: (8, 1),
            xattrs: vec![(b"user.x".to_vec(), b"\0y".to_vec())],
        };
        let body = entry.encode();
        assert_eq!(Entry::decode(&body).unwrap(), entry);
        for at in 0..body.len() {
            assert!(Entry::decode(&body[..at]).is_err(), "cut at {at}");
        }
        let link = Entry { what: What::HardLink, ..entry };
        assert_eq!(Entry::decode(&link.encode()).unwrap(), link);
        let place = Place { path: b"/x".to_vec(), name: b"y".to_vec(), is_directory: true };
        let body = place.encode();
        assert_eq!(Place::decode(&body).unwrap().name, place.name);
        assert!((0..body.len()).all(|at| Place::decode(&body[..at]).is_err()));
    }
}
