//! Resolving a path of a step as the kernel would if the tree were its root (path_resolution(7)): name by name, with descriptors alone.
//! `..` is taken from where a directory is within the root, never from the disk, so that no path leads out of it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::path::Named;
use super::service::{Mount, SYSTEM, Service, host_path};
use super::{State, access};
use crate::fs::root::{below, join};

/// How many symbolic links are followed (MAXSYMLINKS).
const MOST_LINKS: usize = 40;
/// How many names a path has at most, links followed: far more than any that is in use.
const MOST_NAMES: usize = 8192;

/// The position of a walk.
#[derive(Debug)]
struct Cursor {
    fd: OwnedFd,
    /// Below the root, without a leading slash; `None` for what has no name there.
    path: Option<Vec<u8>>,
    read_only: bool,
}

/// The end of a path.
#[derive(Debug)]
pub struct Reached {
    /// The file there, opened as a path; `None` where nothing is.
    pub fd: Option<OwnedFd>,
    /// Its directory and its name; `None` for a root, for `..`, and for what a link of /proc leads to.
    pub at: Option<(OwnedFd, Vec<u8>)>,
    /// Its path below the root, where it has one.
    pub path: Option<Vec<u8>>,
    /// Whether nothing may be changed there.
    pub read_only: bool,
    /// Whether something is shown at exactly this place.
    pub mounted: bool,
}

impl Reached {
    /// Returns what is there, or that nothing is.
    pub fn there(self) -> io::Result<OwnedFd> {
        self.fd.ok_or_else(|| Errno::NOENT.into())
    }
}

fn path_only(directory: &OwnedFd, name: &[u8], more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

fn again(fd: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(fd, 0)?)
}

impl State {
    /// Resolves what a call names.
    pub fn reach(&self, service: &Service, tid: u32, named: &Named) -> io::Result<Reached> {
        let place = service.place(tid)?;
        let place = place.borrow();
        let absolute = named.path.first() == Some(&b'/');
        let start = match (absolute, named.dir) {
            (true, _) => self.root_of(service, place.root.as_deref())?,
            (false, libc::AT_FDCWD) => self.cursor(service, again(&place.directory)?),
            (false, fd) => {
                let through = format!("{tid}/fd/{fd}");
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(self.tracees.proc(), through, flags, Mode::empty());
                let fd = fd.map_err(|error| if error == Errno::NOENT { Errno::BADF } else { error })?;
                self.cursor(service, service.meant(fd)?)
            }
        };
        if named.path.is_empty() {
            return Ok(Reached {
                fd: Some(start.fd),
                at: None,
                path: start.path,
                read_only: start.read_only,
                mounted: false,
            });
        }
        self.walk(service, tid, place.root.as_deref(), start, named)
    }

    /// Does the same for what is there, where its directory is of no interest: in one call where no link is on the way and
    /// nothing else is shown there.
    pub fn reach_file(&self, service: &Service, tid: u32, named: &Named) -> io::Result<OwnedFd> {
        let place = service.place(tid)?;
        let place = place.borrow();
        let absolute = named.path.first() == Some(&b'/');
        let dots = named.path.split(|&c| c == b'/').any(|name| name == b"..");
        if absolute && !dots && place.root.is_none() && self.unchecked(tid) {
            let path: Vec<&[u8]> =
                named.path.split(|&c| c == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
            let path = path.join(&b'/');
            let ends = named.path.ends_with(b"/") || named.path.ends_with(b"/.");
            if !path.is_empty() && !ends && !service.through_mount(&path) {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(fd) = rustix::fs::openat2(&service.tree, &path[..], flags, Mode::empty(), resolve)
                    && (!named.follow || rustix::fs::readlinkat(&fd, c"", Vec::new()).is_err())
                {
                    return Ok(fd);
                }
            }
        }
        drop(place);
        self.reach(service, tid, named)?.there()
    }

    /// Returns whether a thread may go through every directory.
    fn unchecked(&self, tid: u32) -> bool {
        self.credentials.plain()
            || self.credentials.of(&self.tracees, tid).can(crate::sandbox::credentials::DAC_OVERRIDE)
    }

    /// Returns whether a file is in something that the step may not write to.
    pub fn is_read_only(&self, service: &Service, fd: &OwnedFd) -> bool {
        // Nearly always there is nothing of that kind.
        let guarded = |mount: &Mount| mount.read_only && mount.at != SYSTEM;
        (service.read_only || service.mounts.iter().any(guarded))
            && again(fd).is_ok_and(|fd| self.cursor(service, fd).read_only)
    }

    /// Returns a place that is open.
    fn cursor(&self, service: &Service, fd: OwnedFd) -> Cursor {
        let host = host_path(self.tracees.proc(), &fd).unwrap_or_default();
        let gone = host.ends_with(b" (deleted)");
        let path = if gone { None } else { service.path_of_host(&host) };
        let read_only = path.as_ref().is_some_and(|path| {
            let over = service.mounts.iter().filter(|m| below(&m.at, path).is_some());
            over.max_by_key(|mount| mount.at.len()).map_or(service.read_only, |mount| mount.read_only)
        });
        Cursor { fd, path, read_only }
    }

    fn root_of(&self, service: &Service, root: Option<&OwnedFd>) -> io::Result<Cursor> {
        match root {
            Some(root) => Ok(self.cursor(service, again(root)?)),
            None => {
                Ok(Cursor { fd: again(&service.tree)?, path: Some(Vec::new()), read_only: service.read_only })
            }
        }
    }

    /// Returns the place at a path below the step's root that has no links in it.
    fn locate(&self, service: &Service, path: &[u8]) -> io::Result<Cursor> {
        let mut cursor = self.root_of(service, None)?;
        for name in path.split(|&c| c == b'/').filter(|name| !name.is_empty()) {
            let below = join(cursor.path.as_deref().unwrap_or_default(), name);
            cursor = match service.mounted(&below) {
                Some(mount) => {
                    Cursor { fd: again(&mount.fd)?, path: Some(below), read_only: mount.read_only }
                }
                None => Cursor {
                    fd: path_only(&cursor.fd, name, OFlags::DIRECTORY)?,
                    path: Some(below),
                    read_only: cursor.read_only,
                },
            };
        }
        Ok(cursor)
    }

    fn walk(
        &self,
        service: &Service,
        tid: u32,
        root: Option<&OwnedFd>,
        start: Cursor,
        named: &Named,
    ) -> io::Result<Reached> {
        let root_path = match root {
            Some(root) => self.cursor(service, again(root)?).path,
            None => Some(Vec::new()),
        };
        let who = self.credentials.of(&self.tracees, tid);
        let unchecked = self.unchecked(tid);
        let mut cursor = start;
        let mut names: Vec<Vec<u8>> = Vec::new();
        let push = |names: &mut Vec<Vec<u8>>, path: &[u8]| -> io::Result<()> {
            let parts = path.split(|&c| c == b'/').filter(|name| !name.is_empty());
            names.extend(parts.rev().map(<[u8]>::to_vec));
            // A slash at the end requires a directory.
            if path.ends_with(b"/") && path.iter().any(|&c| c != b'/') {
                names.insert(0, b".".to_vec());
            }
            if names.len() > MOST_NAMES { Err(Errno::NAMETOOLONG.into()) } else { Ok(()) }
        };
        push(&mut names, &named.path)?;
        let mut links = 0;
        let mut at = None;
        let mut mounted = false;
        while let Some(name) = names.pop() {
            // The kernel's name for the end of a path; a dot after it only says that it is a directory.
            let last = names.is_empty();
            let only_dots = names.iter().all(|name| name == b".");
            if name == b"." {
                if crate::fs::stat::stat_fd(&cursor.fd)?.kind != crate::fs::Kind::Directory {
                    return Err(Errno::NOTDIR.into());
                }
                continue;
            }
            at = None;
            mounted = false;
            if name == b".." {
                let path = cursor.path.as_ref().ok_or(Errno::NOENT)?;
                if Some(path) != root_path.as_ref() {
                    let above = path.iter().rposition(|&c| c == b'/').map_or(0, |at| at);
                    cursor = self.locate(service, &path[..above])?;
                }
                continue;
            }
            if name.len() > 255 {
                return Err(Errno::NAMETOOLONG.into());
            }
            if !unchecked {
                let node = self.node_of(again(&cursor.fd)?)?;
                if node.stat.dev == self.device && !access::may(who, &node, access::EXECUTE) {
                    return Err(Errno::ACCESS.into());
                }
            }
            let below = cursor.path.as_ref().map(|path| join(path, &name));
            if let Some(mount) = below.as_ref().and_then(|below| service.mounted(below)) {
                at = Some((cursor.fd, name));
                mounted = true;
                cursor = Cursor { fd: again(&mount.fd)?, path: below, read_only: mount.read_only };
                continue;
            }
            let follow = named.follow || !last;
            if cursor.path.as_ref().is_some_and(|path| path == b"proc" || path.starts_with(b"proc/")) {
                match self.in_proc(service, tid, &cursor, &name, follow)? {
                    Proc::Plain => {}
                    Proc::Instead(other) => {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(Errno::LOOP.into());
                        }
                        push(&mut names, &other)?;
                        continue;
                    }
                    Proc::Leads(there) => {
                        cursor = there;
                        continue;
                    }
                }
            }
            let fd = match path_only(&cursor.fd, &name, OFlags::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if last || only_dots => {
                    return Ok(Reached {
                        fd: None,
                        read_only: cursor.read_only,
                        at: Some((cursor.fd, name)),
                        path: below,
                        mounted: false,
                    });
                }
                Err(error) => return Err(error.into()),
            };
            if follow && let Ok(target) = rustix::fs::readlinkat(&fd, c"", Vec::new()) {
                links += 1;
                let target = target.into_bytes();
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                if target.first() == Some(&b'/') {
                    cursor = self.root_of(service, root)?;
                }
                push(&mut names, &target)?;
                // Nothing is at a link's own name any more; a link to `/` ends at a root.
                continue;
            }
            let read_only = cursor.read_only;
            at = Some((cursor.fd, name));
            cursor = Cursor { fd, path: below, read_only };
        }
        Ok(Reached { fd: Some(cursor.fd), at, path: cursor.path, read_only: cursor.read_only, mounted })
    }

    /// Returns a name in the host's /proc: of processes only those of the step, of them nothing that leads out of it, and
    /// of the machine what a container has.
    fn in_proc(
        &self,
        service: &Service,
        tid: u32,
        cursor: &Cursor,
        name: &[u8],
        follow: bool,
    ) -> io::Result<Proc> {
        let path = cursor.path.as_deref().unwrap_or_default();
        let parts: Vec<&[u8]> = path.split(|&c| c == b'/').skip(1).collect();
        let number = |name: &[u8]| std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok());
        let process = service.threads.get(&tid).map_or(tid, |thread| thread.process);
        let Some(first) = parts.first() else {
            return match name {
                b"self" if follow => Ok(Proc::Instead(process.to_string().into_bytes())),
                b"thread-self" if follow => Ok(Proc::Instead(format!("{process}/task/{tid}").into_bytes())),
                _ if number(name).is_some_and(|pid| service.threads.contains_key(&pid)) => Ok(Proc::Plain),
                _ if MACHINE.contains(&name) => Ok(Proc::Plain),
                _ => Err(Errno::NOENT.into()),
            };
        };
        let Some(pid) = number(first) else { return Ok(Proc::Plain) };
        // Below /proc/PID and /proc/PID/task/TID there is the same.
        let (pid, rest) = match &parts[1..] {
            [] => (pid, &parts[..0]),
            [b"task"] => {
                let known = number(name).is_some_and(|tid| service.threads.contains_key(&tid));
                return if known { Ok(Proc::Plain) } else { Err(Errno::NOENT.into()) };
            }
            [b"task", tid, rest @ ..] => (number(tid).unwrap_or(pid), rest),
            rest => (pid, rest),
        };
        let thread = service.threads.get(&pid).ok_or(Errno::NOENT)?;
        match (rest, name) {
            ([], b"root" | b"cwd" | b"exe") if !follow => Ok(Proc::Plain),
            ([], b"root") => match &thread.place.borrow().root {
                Some(root) => Ok(Proc::Leads(self.cursor(service, again(root)?))),
                None => Ok(Proc::Leads(self.root_of(service, None)?)),
            },
            ([], b"cwd") => {
                let directory = again(&thread.place.borrow().directory)?;
                Ok(Proc::Leads(self.cursor(service, directory)))
            }
            // What the kernel executes may be the loader; the program is what the step executed.
            ([], b"exe") => Ok(Proc::Leads(self.locate_file(service, &thread.program)?)),
            ([b"ns" | b"map_files" | b"attr", ..], _) => Err(Errno::ACCESS.into()),
            ([b"fd"], name) if follow && number(name).is_some() => {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&cursor.fd, name, flags, Mode::empty())?;
                Ok(Proc::Leads(self.cursor(service, service.meant(fd)?)))
            }
            _ => Ok(Proc::Plain),
        }
    }

    fn locate_file(&self, service: &Service, path: &[u8]) -> io::Result<Cursor> {
        let path = path.strip_prefix(b"/").ok_or(Errno::NOENT)?;
        // The path has no links in it; should one have come there, it leads no further than the tree.
        let fd = crate::fs::within::open_within(&service.tree, path, OFlags::PATH | OFlags::CLOEXEC)?;
        Ok(Cursor { fd, path: Some(path.to_vec()), read_only: service.read_only })
    }

    /// Returns where a step has an open file, as an absolute path of a root.
    pub fn path_in(&self, service: &Service, fd: &OwnedFd, root: Option<&OwnedFd>) -> Option<Vec<u8>> {
        let path = self.cursor(service, again(fd).ok()?).path?;
        let path = match root {
            Some(root) => {
                let root = self.cursor(service, again(root).ok()?).path?;
                below(&root, &path)?.to_vec()
            }
            None => path,
        };
        Some([b"/", &path[..]].concat())
    }

    /// Returns the text of one of the links of /proc that lead somewhere; `None` for any other file.
    pub fn link_of_proc(&self, service: &Service, tid: u32, reached: &Reached) -> Option<Vec<u8>> {
        let path = reached.path.as_deref()?.strip_prefix(b"proc/")?;
        let parts: Vec<&[u8]> = path.split(|&c| c == b'/').collect();
        let process = service.threads.get(&tid)?.process;
        let number = |name: &[u8]| std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok());
        let (pid, rest) = match &parts[..] {
            [b"self"] => return Some(process.to_string().into_bytes()),
            [b"thread-self"] => return Some(format!("{process}/task/{tid}").into_bytes()),
            [_, b"task", tid, rest @ ..] => (number(tid)?, rest),
            [pid, rest @ ..] => (number(pid)?, rest),
            [] => return None,
        };
        let thread = service.threads.get(&pid)?;
        let place = thread.place.borrow();
        match rest {
            [b"exe"] => Some(thread.program.to_vec()),
            [b"root"] => match &place.root {
                Some(root) => self.path_in(service, root, None),
                None => Some(b"/".to_vec()),
            },
            [b"cwd"] => self.path_in(service, &place.directory, place.root.as_deref()),
            [b"fd", name] => {
                let through = format!("{pid}/fd/{}", number(name)?);
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(self.tracees.proc(), through, flags, Mode::empty()).ok()?;
                let text = host_path(self.tracees.proc(), service.meant(fd).ok()?).ok()?;
                if text.first() != Some(&b'/') {
                    return Some(text);
                }
                let (host, gone) = match text.strip_suffix(b" (deleted)") {
                    Some(host) => (host, &b" (deleted)"[..]),
                    None => (&text[..], &b""[..]),
                };
                // What the step was given of the host has a name there, and none here.
                let path = service.path_of_host(host).unwrap_or_default();
                Some([b"/", &path[..], gone].concat())
            }
            _ => None,
        }
    }

    /// Returns the file as a string for the supervisor's calls that take a path: its working directory is its /proc.
    pub fn through(fd: &OwnedFd) -> String {
        format!("self/fd/{}", fd.as_raw_fd())
    }
}

enum Proc {
    /// A file as any other.
    Plain,
    /// Another path in place of this name.
    Instead(Vec<u8>),
    /// It leads there.
    Leads(Cursor),
}

/// Names in /proc that describe the machine and may be seen.
const MACHINE: [&[u8]; 19] = [
    b"cpuinfo",
    b"meminfo",
    b"stat",
    b"uptime",
    b"version",
    b"loadavg",
    b"filesystems",
    b"mounts",
    b"net",
    b"sys",
    b"self",
    b"thread-self",
    b"cgroups",
    b"devices",
    b"diskstats",
    b"partitions",
    b"swaps",
    b"vmstat",
    b"misc",
];

/// Files of a process that are not opened: memory, namespaces, and files of other roots.
pub const HIDDEN: [&[u8]; 8] =
    [b"mem", b"map_files", b"ns", b"attr", b"uid_map", b"gid_map", b"setgroups", b"pagemap"];
