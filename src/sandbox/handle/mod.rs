//! Answers to the calls of a step, where the kernel's own would not be that of real root. One file for each family of
//! calls; whatever brings a call here and takes the answer back is no concern of theirs.

mod access;
mod acl;
mod create;
mod credentials;
mod device;
mod disk;
mod entries;
mod exec;
mod loader;
mod made_up;
mod metadata;
pub mod native;
mod node;
mod owner;
mod path;
mod peer;
mod perform;
mod scratch;
mod service;
mod signal;
mod socket;
mod stat;
mod trusted;
mod walk;
mod xattr;

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::credentials::{Credentials, Table};
use super::order::{Ids, Order};
use super::syscalls::Call;
use super::tracee::Tracees;
pub use loader::{Argument, Load, needs_loader};

/// For the fuzz targets.
pub mod fuzzed {
    pub use super::exec::{script, script_argument};
    pub use super::loader::{header, interpreter_at};
}
pub use service::{Service, has_all_ids};

use crate::fs::Kind;
use crate::tree::{Ledger, Xattrs, journal};

/// The answer to a call.
#[derive(Debug)]
pub enum Answer {
    /// The kernel is to make the call as it stands.
    Continue,
    /// The call gives this.
    Value(i64),
    /// The call fails.
    Errno(i32),
    /// The call gives this descriptor.
    Descriptor(Handed),
    /// The call waits for another thread, and is answered after that.
    Later(Box<Waiting>),
}

/// A descriptor for the caller.
#[derive(Debug)]
pub struct Handed {
    /// The open file.
    pub fd: OwnedFd,
    /// Whether it is closed when the caller executes a program.
    pub close_on_exec: bool,
    /// The name that the call gave to a new file, which is to go again where the caller has no room for the descriptor: the kernel
    /// looks for room before it makes a file.
    made: Option<Box<create::Made>>,
}

impl Handed {
    fn new(fd: OwnedFd, flags: i32) -> Handed {
        Handed { fd, close_on_exec: flags & libc::O_CLOEXEC != 0, made: None }
    }

    /// Takes back what the call made.
    pub fn undo(self) {
        if let Some(made) = self.made {
            made.undo();
        }
    }
}

/// A file that waits for its other end to be opened.
#[derive(Debug)]
pub struct Waiting {
    /// The file, as a path.
    pub file: OwnedFd,
    /// Flags of open(2).
    pub flags: i32,
    /// Whether the caller's descriptor is closed when it executes a program.
    pub close_on_exec: bool,
}

impl Waiting {
    /// Opens it. Blocks.
    pub fn open(&self) -> io::Result<Handed> {
        use std::os::fd::AsRawFd;
        let through = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = rustix::fs::OFlags::from_bits_retain(self.flags as u32);
        let fd = rustix::fs::open(through, flags, rustix::fs::Mode::empty())?;
        Ok(Handed { fd, close_on_exec: self.close_on_exec, made: None })
    }
}

impl From<io::Error> for Answer {
    fn from(error: io::Error) -> Answer {
        Answer::Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Errno> for Answer {
    fn from(error: Errno) -> Answer {
        Answer::Errno(error.raw_os_error())
    }
}

/// An answer, where any step on the way to it may be the answer already.
type Reply = Result<Answer, Answer>;

/// A call of a thread.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The thread.
    pub tid: u32,
    /// The call itself.
    pub call: Call,
    /// With which arguments.
    pub arguments: [u64; 6],
}

impl Asked {
    fn int(&self, n: usize) -> i32 {
        self.arguments[n] as i32
    }

    fn word(&self, n: usize) -> u32 {
        self.arguments[n] as u32
    }
}

/// The state that the supervisor keeps about a step.
#[derive(Debug)]
pub struct State {
    tracees: Tracees,
    /// The device of the tree's root: what is on another one is no part of the tree.
    device: u64,
    ledger: Ledger,
    journal: journal::Writer,
    credentials: Table,
    /// Whether new files can have more than their maker's ids: a setgid directory or a default ACL is about.
    inherits: bool,
    /// Whether a write can take capabilities from a file: one has some.
    capabilities: bool,
    /// Whether files of the tree stand for devices.
    devices: bool,
    /// Owners on the disk, where the step has a range of ids.
    native: Option<native::Native>,
    /// Whether the step is real root, so that the kernel keeps its owners: little is left to answer then.
    real: bool,
    /// The path service, where the kernel does not resolve the step's paths.
    service: Option<Service>,
    /// Whether the disk has the owners and modes of the step's files: it is real root that runs it, in a tree of root's.
    on_disk: bool,
    /// Whether any thread may have another root than the step.
    moved_root: bool,
    /// Whether a dynamic loader takes the name of a program.
    loaders: loader::Loaders,
}

impl State {
    /// Makes the state of a step that begins.
    pub fn new(
        order: &Order,
        proc: OwnedFd,
        device: u64,
        ledger: Ledger,
        journal: journal::Writer,
        service: Option<Service>,
    ) -> State {
        let on_disk = service.as_ref().is_some_and(Service::has_owners);
        let mut state = State {
            tracees: Tracees::new(proc),
            device,
            journal,
            credentials: Table::new(&order.user, order.rung.traces()),
            service,
            on_disk,
            inherits: on_disk,
            capabilities: on_disk,
            devices: false,
            real: !order.rung.emulates(),
            native: None,
            moved_root: false,
            loaders: loader::Loaders::default(),
            ledger: Ledger::default(),
        };
        for record in ledger.records() {
            state.heed(record.kind, record.mode, Xattrs::checked(&record.xattrs).unwrap_or_default());
        }
        state.ledger = ledger;
        state
    }

    /// Returns the timer slack and the limit of file locks that one more command is to begin with, as a user; a slack of 0 where the kernel
    /// keeps credentials, or the tracer does.
    pub fn carried_by(&mut self, user: &Ids) -> io::Result<(u64, u64)> {
        if self.real || self.native.is_some() || self.credentials.traced() {
            Ok((0, 0))
        } else {
            self.credentials.carried(Credentials::of(user))
        }
    }

    /// Takes note of what makes quick answers wrong.
    fn heed(&mut self, kind: Kind, mode: u16, xattrs: Xattrs<'_>) {
        let directory = kind == Kind::Directory;
        self.inherits |= directory && (mode & 0o2000 != 0 || xattrs.get(acl::DEFAULT).is_some());
        self.devices |= matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        self.capabilities |= !directory && xattrs.get(xattr::CAPABILITY).is_some();
    }

    /// Shows something of the host at a path below the root.
    pub fn show(&mut self, at: &[u8], fd: OwnedFd, read_only: bool) -> io::Result<()> {
        let proc = self.tracees.proc();
        let Some(service) = self.service.as_mut() else { return Ok(()) };
        let at = service.real_path(proc, at)?;
        service.mount(proc, &at, fd, read_only)
    }

    /// Shows an empty directory that is gone with the step.
    pub fn show_memory(&mut self, at: &[u8], mode: u32) -> io::Result<()> {
        let proc = self.tracees.proc();
        self.service.as_mut().map_or(Ok(()), |service| service.memory(proc, at, mode))
    }

    /// Shows a file with given content, mode and owner, which is nowhere but in memory and cannot be written to.
    pub fn show_file(&mut self, at: &[u8], content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<()> {
        let proc = self.tracees.proc();
        let Some(service) = self.service.as_mut() else { return Ok(()) };
        let file = service.file(proc, at, content, true)?;
        let stat = crate::fs::stat::stat_fd(&file)?;
        // It is no part of the tree: the journal has nothing of it.
        self.ledger.insert(crate::tree::ledger::Record {
            path: at.to_vec(),
            dev: stat.dev,
            ino: stat.ino,
            generation: crate::fs::generation::generation_of(&file, &stat)?,
            disk_mode: stat.mode,
            kind: Kind::File,
            mode: mode as u16,
            uid: owner.0,
            gid: owner.1,
            rdev: (0, 0),
            xattrs: Vec::new(),
        });
        Ok(())
    }

    /// Takes in the first thread of one more command, which starts as this user.
    pub fn enter(&mut self, tid: u32, user: &Ids, directory: &[u8]) -> io::Result<()> {
        if self.native.is_none() {
            self.credentials.set(&self.tracees, tid, Credentials::of(user))?;
        }
        self.begin(tid, directory)
    }

    /// Takes in a first thread: it starts in this directory below the root, which is made where it is missing.
    pub fn begin(&mut self, tid: u32, directory: &[u8]) -> io::Result<()> {
        let Some(service) = self.service.as_mut() else { return Ok(()) };
        let tree = service.tree.try_clone()?;
        service.start(tid, tree);
        let mut path = Vec::new();
        for name in directory.split(|&c| c == b'/').filter(|name| !name.is_empty()) {
            path.push(b'/');
            path.extend_from_slice(name);
            let named = path::Named { dir: libc::AT_FDCWD, path: path.clone(), follow: true };
            let Some(service) = &self.service else { break };
            let reached = self.reach(service, tid, &named)?;
            if let (None, Some((directory, name))) = (&reached.fd, &reached.at) {
                if reached.read_only {
                    return Err(Errno::ROFS.into());
                }
                let mode = rustix::fs::Mode::from_raw_mode(0o755);
                rustix::fs::mkdirat(directory, &name[..], mode)?;
            }
        }
        path.push(b'/');
        let named = path::Named { dir: libc::AT_FDCWD, path, follow: true };
        if let Some(service) = &self.service {
            let fd = self.reach(service, tid, &named)?.there()?;
            service.place(tid)?.borrow_mut().directory = std::rc::Rc::new(fd);
        }
        Ok(())
    }

    /// Notes that a thread made another one.
    pub fn cloned(&mut self, from: u32, tid: u32, flags: u64) {
        self.credentials.cloned(from, tid);
        if let Some(service) = self.service.as_mut() {
            service.cloned(from, tid, flags);
        }
    }

    /// Notes that a thread executed a program, and gives it the credentials of that.
    pub fn executed(&mut self, former: u32, tid: u32, program: Vec<u8>, credentials: Credentials) {
        if let Some(service) = self.service.as_mut() {
            service.executed(former, tid, program);
        }
        self.credentials.ended(former);
        // The table of credentials has room for this one, or the thread stays what the first was.
        let _ = self.credentials.set(&self.tracees, tid, credentials);
        self.tracees.forget(tid);
    }

    /// Notes that a thread executed a program that the kernel found, and has another number by that.
    pub fn renamed(&mut self, former: u32, tid: u32) {
        self.credentials.renamed(former, tid);
        self.tracees.forget(tid);
    }

    /// Notes that a thread ended.
    pub fn ended(&mut self, tid: u32) {
        self.credentials.ended(tid);
        if let Some(service) = self.service.as_mut() {
            service.threads.remove(&tid);
        }
    }

    /// Writes memory of a thread.
    pub fn write_memory(&mut self, tid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.tracees.write(tid, address, bytes)
    }

    /// Reads memory of a thread.
    pub fn read_memory(&mut self, tid: u32, address: u64, out: &mut [u8]) -> io::Result<()> {
        self.tracees.read(tid, address, out)
    }

    /// Takes the number of a descriptor of the thread that was answered last, where the answer would be better with it.
    pub fn wanted_descriptor(&self) -> Option<i32> {
        self.tracees.wanted()
    }

    /// Holds a descriptor that a thread gave, for the next answer.
    pub fn lend_descriptor(&mut self, lent: Option<(u32, i32, OwnedFd)>) {
        self.tracees.lend(lent);
    }

    /// Returns what one of a thread's descriptors is called in /proc.
    pub fn descriptor_name(&self, tid: u32, fd: i32) -> io::Result<Vec<u8>> {
        let path = format!("{tid}/fd/{fd}");
        Ok(rustix::fs::readlinkat(self.tracees.proc(), path, Vec::with_capacity(64))?.into_bytes())
    }

    /// Returns the process that a thread belongs to.
    pub fn process_of(&self, tid: u32) -> io::Result<u32> {
        self.tracees.status(tid, "Tgid:")?.parse().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Returns how many descriptors a thread may have.
    pub fn descriptor_limit(&self, tid: u32) -> io::Result<u64> {
        let text = self.tracees.file(tid, "limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        soft.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reports whether programs are found here, because the kernel would look for them in another root.
    pub fn finds_programs(&self) -> bool {
        self.service.is_some()
    }

    /// Answers a call.
    pub fn handle(&mut self, asked: &Asked) -> Answer {
        match self.decide(asked) {
            // The kernel would do it in another root.
            Answer::Continue if self.service.is_some() => self.perform(asked).unwrap_or_else(|answer| answer),
            answer => answer,
        }
    }

    fn decide(&mut self, asked: &Asked) -> Answer {
        use Call::*;
        if self.is_native() {
            self.credentials.look(&self.tracees, asked.tid);
        }
        let reply = match asked.call {
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat | Getxattr | Lgetxattr | Fgetxattr | Getxattrat
            | Listxattr | Llistxattr | Flistxattr | Listxattrat | Removexattr | Lremovexattr
            | Fremovexattr | Removexattrat
                if self.real =>
            {
                self.trusted(asked)
            }
            Chown | Lchown | Fchown | Fchownat => self.chown(asked),
            Chmod | Fchmod | Fchmodat | Fchmodat2 => self.chmod(asked),
            Mknod | Mknodat => self.mknod(asked),
            Mkdir | Mkdirat => self.mkdir(asked),
            Symlink | Symlinkat => self.symlink(asked),
            Open | Openat | Openat2 | Creat => self.open(asked),
            Stat | Lstat | Fstat | Newfstatat => self.stat(asked),
            Statx => self.statx(asked),
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat => self.set_xattr(asked),
            Getxattr | Lgetxattr | Fgetxattr | Getxattrat => self.get_xattr(asked),
            Listxattr | Llistxattr | Flistxattr | Listxattrat => self.list_xattr(asked),
            Removexattr | Lremovexattr | Fremovexattr | Removexattrat => self.remove_xattr(asked),
            Setuid | Setgid | Setreuid | Setregid | Setresuid | Setresgid | Setfsuid | Setfsgid
            | Setgroups => self.set_ids(asked),
            Getuid | Geteuid | Getgid | Getegid | Getresuid | Getresgid | Getgroups => self.get_ids(asked),
            Capget => self.capget(asked),
            Capset => self.capset(asked),
            Prctl => self.prctl(asked),
            Execve | Execveat => self.exec(asked),
            Unlink | Unlinkat | Rmdir | Rename | Renameat | Renameat2 | Link | Linkat => {
                self.change_names(asked)
            }
            Access | Faccessat | Faccessat2 => self.access(asked),
            Truncate => self.truncate(asked),
            Getdents | Getdents64 => self.entries(asked),
            Getsockopt => self.peer(asked),
            Getrlimit | Setrlimit => self.lock_limit(asked),
            Prlimit if self.service.is_none() => self.lock_limit(asked),
            Chroot if self.service.is_none() => {
                self.moved_root = true;
                Ok(Answer::Continue)
            }
            Unshare | Clone | Clone3 | Setns | Denied => Err(Errno::PERM.into()),
            IoUring => Err(Errno::NOSYS.into()),
            // What concerns paths alone.
            _ => Ok(Answer::Continue),
        };
        reply.unwrap_or_else(|answer| answer)
    }
}
