//! The root of a step that the kernel gives none: its mounts, and where its threads are in it.
//!
//! Nothing here trusts a path for longer than one call. The supervisor has one thread and makes every change of names itself, so between a
//! look at a directory and what follows from it nothing of the step can come.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::scratch::Scratch;
use crate::fs::root::{below, join};
use crate::fs::within::open_within;
use crate::sandbox::order::{Network, Order};

/// A mount: a file or directory of the host in place of what the tree has there.
#[derive(Debug)]
pub struct Mount {
    /// Its path below the root.
    pub at: Vec<u8>,
    /// The file or directory, opened.
    pub fd: OwnedFd,
    /// Its path on the host.
    pub host: Vec<u8>,
    /// Whether nothing can be changed there.
    pub read_only: bool,
}

/// Working directory and root, which threads may share (CLONE_FS).
#[derive(Debug, Clone)]
pub struct Place {
    /// The working directory.
    pub directory: Rc<OwnedFd>,
    /// The root, where it is not the step's.
    pub root: Option<Rc<OwnedFd>>,
}

/// The state that the supervisor keeps of a thread.
#[derive(Debug, Clone)]
pub struct Thread {
    /// Its working directory.
    pub place: Rc<RefCell<Place>>,
    /// The program it executes, as an absolute path of the step.
    pub program: Rc<Vec<u8>>,
    /// The process it belongs to.
    pub process: u32,
}

/// Root, mounts and threads.
#[derive(Debug)]
pub struct Service {
    /// The root of the tree.
    pub tree: OwnedFd,
    /// Its path on the host.
    pub host: Vec<u8>,
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// The threads of the step.
    pub threads: HashMap<u32, Thread>,
    /// The user and group that files of the step's root have on the disk.
    pub owner: (u32, u32),
    /// The last process that was connected to another one, and what it was: to the other end the peer is the supervisor,
    /// which made the call.
    pub connected: Option<(u32, u32, u32)>,
    /// Stand-ins for descriptors that the step has of links, sockets, pipes and devices opened as paths: a notification can
    /// be answered with no such descriptor, so it is answered with one of an empty file in memory.
    stand_ins: RefCell<Vec<StandIn>>,
    scratch: Scratch,
    /// Whether the tree cannot be written to.
    pub read_only: bool,
    /// The name of the host; empty for the machine's.
    pub hostname: Vec<u8>,
}

#[derive(Debug)]
struct StandIn {
    /// Device and inode of the empty file.
    file: (u64, u64),
    means: OwnedFd,
}

/// How many are kept: a step has them for moments.
const MOST_STAND_INS: usize = 1024;

/// Devices that a step has.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];

/// Where the machine's /sys is shown, which cannot be written to.
pub const SYSTEM: &[u8] = b"sys";

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Makes a directory. The mask of this process is 0, so the mode is what was asked for.
fn make(above: &OwnedFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(above, name, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::openat(above, name, PATH, Mode::empty())?)
}

/// Returns whether this process is in a user namespace with a number for every user, as the first one has.
pub fn has_all_ids() -> bool {
    let map = crate::fs::root::read_file(std::path::Path::new("/proc/self/uid_map")).unwrap_or_default();
    let map: Vec<&[u8]> = map.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    map.is_empty() || map == [&b"0"[..], b"0", b"4294967295"]
}

/// Returns the path by which the host has an open file.
pub fn host_path(proc: impl AsFd, fd: impl AsFd) -> io::Result<Vec<u8>> {
    let through = format!("self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(rustix::fs::readlinkat(proc, through, Vec::with_capacity(256))?.into_bytes())
}

impl Service {
    /// Sets up a step's root: the tree, /proc, /dev, /sys, and the files of an order with their contents.
    pub fn new(proc: &OwnedFd, tree: OwnedFd, order: &Order) -> io::Result<Service> {
        let stat = crate::fs::stat::stat_fd(&tree)?;
        let mut service = Service {
            host: host_path(proc, &tree)?,
            tree,
            mounts: Vec::new(),
            threads: HashMap::new(),
            owner: (stat.uid, stat.gid),
            connected: None,
            stand_ins: RefCell::default(),
            scratch: Scratch::new()?,
            read_only: order.read_only,
            hostname: order.hostname.clone(),
        };
        service.devices(proc)?;
        service.mount(proc, b"proc", proc.try_clone()?, false)?;
        // It names the interfaces of the host's network. A machine without it has none for the step either.
        if order.network == Network::Host
            && let Ok(system) = rustix::fs::open("/sys", PATH | OFlags::DIRECTORY, Mode::empty())
        {
            service.mount(proc, SYSTEM, system, true)?;
        }
        for (at, content) in &order.files {
            service.file(proc, at, content, false)?;
        }
        Ok(service)
    }

    /// Returns whether the disk has the owners of the step's files: it is real root that runs it, in a tree of root's.
    pub fn has_owners(&self) -> bool {
        self.owner == (0, 0) && rustix::process::geteuid().is_root() && has_all_ids()
    }

    fn devices(&mut self, proc: &OwnedFd) -> io::Result<()> {
        let dev = make(&self.scratch.fd, "dev", 0o755)?;
        make(&dev, "shm", 0o1777)?;
        make(&dev, "pts", 0o755)?;
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            rustix::fs::symlinkat(target, &dev, name)?;
        }
        self.mount(proc, b"dev", dev.try_clone()?, false)?;
        for name in DEVICES {
            let Ok(device) = rustix::fs::open(format!("/dev/{name}"), PATH, Mode::empty()) else { continue };
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&dev, name, flags, Mode::from_raw_mode(0o666))?;
            self.mount(proc, format!("dev/{name}").as_bytes(), device, false)?;
        }
        if let Ok(terminals) = rustix::fs::open("/dev/pts", PATH | OFlags::DIRECTORY, Mode::empty()) {
            self.mount(proc, b"dev/pts", terminals, false)?;
        }
        Ok(())
    }

    /// Shows a file with this content, which is nowhere but in memory. Gives it.
    pub fn file(
        &mut self,
        proc: &OwnedFd,
        at: &[u8],
        content: &[u8],
        read_only: bool,
    ) -> io::Result<OwnedFd> {
        let file = crate::sandbox::sys::memory_file(content)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        let at = self.real_path(proc, at)?;
        self.make_room(proc, &at)?;
        self.mount(proc, &at, file.try_clone()?, read_only)?;
        Ok(file)
    }

    /// Shows an empty directory that is gone with the step.
    pub fn memory(&mut self, proc: &OwnedFd, at: &[u8], mode: u32) -> io::Result<()> {
        let name = format!("memory-{}", self.mounts.len());
        let directory = make(&self.scratch.fd, &name, mode)?;
        let at = self.real_path(proc, at)?;
        self.make_room(proc, &at)?;
        self.mount(proc, &at, directory, false)
    }

    /// Returns the path without links of a place that something is to be shown at, as mount(2) would find it: a step that goes there is where
    /// its links lead. Nothing of the step runs yet.
    pub fn real_path(&self, proc: &OwnedFd, at: &[u8]) -> io::Result<Vec<u8>> {
        let mut real = Vec::new();
        for name in at.split(|&c| c == b'/').filter(|name| !name.is_empty()) {
            real = join(&real, name);
            // The tree has no say in what is shown over it.
            if self.through_mount(&real) {
                continue;
            }
            // What leads nowhere stays as it is.
            let Ok(fd) = open_within(&self.tree, &real, PATH) else { continue };
            let host = host_path(proc, &fd)?;
            real = below(&self.host, &host).map_or(real, <[u8]>::to_vec);
        }
        Ok(real)
    }

    /// Makes the directories that lead to a place in what was made here: in /dev, or in an empty directory. Nothing of the step runs yet.
    fn make_room(&self, proc: &OwnedFd, at: &[u8]) -> io::Result<()> {
        let outer = self.mounts.iter().filter_map(|mount| Some((mount, below(&mount.at, at)?)));
        let Some((mount, rest)) = outer.max_by_key(|(mount, _)| mount.at.len()) else { return Ok(()) };
        if below(&host_path(proc, &self.scratch.fd)?, &mount.host).is_none() {
            return Ok(());
        }
        let mut directory = mount.fd.try_clone()?;
        let (above, _) = crate::fs::root::split(rest);
        for name in above.split(|&c| c == b'/').filter(|name| !name.is_empty()) {
            match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            directory = rustix::fs::openat(&directory, name, PATH | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(())
    }

    /// Returns a descriptor for the step of something that is opened as a path.
    pub fn stand_in(&self, means: OwnedFd) -> io::Result<OwnedFd> {
        let fd = crate::sandbox::sys::memory_file(b"")?;
        let stat = crate::fs::stat::stat_fd(&fd)?;
        let mut all = self.stand_ins.borrow_mut();
        if all.len() >= MOST_STAND_INS {
            all.remove(0);
        }
        all.push(StandIn { file: (stat.dev, stat.ino), means });
        Ok(fd)
    }

    /// Returns what a descriptor of the step means.
    pub fn meant(&self, fd: OwnedFd) -> io::Result<OwnedFd> {
        let all = self.stand_ins.borrow();
        if all.is_empty() {
            return Ok(fd);
        }
        let stat = crate::fs::stat::stat_fd(&fd)?;
        match all.iter().find(|one| one.file == (stat.dev, stat.ino)) {
            Some(one) => Ok(rustix::io::fcntl_dupfd_cloexec(&one.means, 0)?),
            None => Ok(fd),
        }
    }

    /// Shows a file or directory at a path below the root, in place of what was there.
    pub fn mount(&mut self, proc: &OwnedFd, at: &[u8], fd: OwnedFd, read_only: bool) -> io::Result<()> {
        let host = host_path(proc, &fd)?;
        self.mounts.retain(|mount| mount.at != at);
        self.mounts.push(Mount { at: at.to_vec(), fd, host, read_only });
        Ok(())
    }

    /// Returns what is shown at a path.
    pub fn mounted(&self, path: &[u8]) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.at == path)
    }

    /// Returns whether a path leads into something that is shown.
    pub fn through_mount(&self, path: &[u8]) -> bool {
        self.mounts.iter().any(|mount| below(&mount.at, path).is_some())
    }

    /// Returns where the step has what the host has at a path; without a leading slash. `None` for what is nowhere.
    pub fn path_of_host(&self, host: &[u8]) -> Option<Vec<u8>> {
        let mounts = self.mounts.iter().filter_map(|mount| Some((mount, below(&mount.host, host)?)));
        // A file of the host may be seen in more than one way: the longest is the one that was meant.
        if let Some((mount, rest)) = mounts.max_by_key(|(mount, _)| mount.host.len())
            && below(&self.host, host).is_none_or(|_| mount.host.len() > self.host.len())
        {
            return Some(join(&mount.at, rest));
        }
        below(&self.host, host).map(<[u8]>::to_vec)
    }

    /// Sets the working directory of the first thread.
    pub fn start(&mut self, tid: u32, directory: OwnedFd) {
        let place = Place { directory: Rc::new(directory), root: None };
        let thread =
            Thread { place: Rc::new(RefCell::new(place)), program: Rc::new(Vec::new()), process: tid };
        self.threads.insert(tid, thread);
    }

    /// Notes that a thread made another one, with the flags of clone(2).
    pub fn cloned(&mut self, from: u32, tid: u32, flags: u64) {
        let Some(mut thread) = self.threads.get(&from).cloned() else { return };
        if flags & libc::CLONE_FS as u64 == 0 {
            let place = thread.place.borrow().clone();
            thread.place = Rc::new(RefCell::new(place));
        }
        if flags & libc::CLONE_THREAD as u64 == 0 {
            thread.process = tid;
        }
        self.threads.insert(tid, thread);
    }

    /// Notes that a thread executed a program: of its process it is the only one now, and has that one's number.
    pub fn executed(&mut self, former: u32, tid: u32, program: Vec<u8>) {
        let Some(mut thread) = self.threads.get(&former).cloned() else { return };
        let place = thread.place.borrow().clone();
        thread.place = Rc::new(RefCell::new(place));
        thread.program = Rc::new(program);
        thread.process = tid;
        self.threads.retain(|_, other| other.process != tid);
        self.threads.insert(tid, thread);
    }

    /// Returns the thread's place.
    pub fn place(&self, tid: u32) -> io::Result<Rc<RefCell<Place>>> {
        Ok(self.threads.get(&tid).ok_or(Errno::SRCH)?.place.clone())
    }
}
