//! The root of a step: the tree, /proc, /dev, /sys, given files and directories of the host. Runs in the helper, in a mount
//! namespace of its own, with the tree as working directory.
//!
//! Mounts are made as descriptors and then attached (fsopen(2), open_tree(2), move_mount(2)), and where they go is resolved within the
//! tree: a symbolic link in it leads nowhere else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

use super::order::{Mount, Network, Order, Shown};
use super::rung::Rung;
use super::sys;
use crate::fs::Kind;
use crate::fs::generation::generation_of;
use crate::fs::root::split;
use crate::fs::stat::stat_fd;
use crate::fs::within::open_within;
use crate::tree::Ledger;
use crate::tree::ledger::Record;

// Attributes of mount_setattr(2).
const READ_ONLY: u64 = 1;
const NO_DEVICES: u64 = 4;
const NO_PROGRAMS: u64 = 8;

/// A result with an error that names the place where it went wrong.
pub type Place<T> = Result<T, (String, io::Error)>;

fn at<T>(what: impl Into<String>, result: Result<T, impl Into<io::Error>>) -> Place<T> {
    result.map_err(|error| (what.into(), error.into()))
}

/// Device files that a step has, and the only ones.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Builds it all and makes it the root of every process in this mount namespace. `sources` are the descriptors of what of the host is
/// shown, in order. Gives what the ledger is to say of files that were made here, where the disk cannot.
pub fn build(order: &Order, sources: &[OwnedFd]) -> Place<Ledger> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    at("make mounts private", rustix::mount::mount_change("/", private))?;
    let tree = at("mount tree", clone_tree(CWD, "."))?;
    // Devices in the tree are data: nothing opens them.
    at("mount tree", sys::set_mount(&tree, NO_DEVICES, false))?;
    at("mount tree", attach(&tree, CWD, "."))?;
    at("mount tree", rustix::process::fchdir(&tree))?;
    proc(order, &tree)?;
    dev(order, &tree)?;
    system(order, &tree)?;
    let mut scratch = Scratch::default();
    for (path, content) in &order.files {
        let shown = || format!("show /{}", String::from_utf8_lossy(path));
        let mount = at(shown(), scratch.file(content, 0o644, NO_PROGRAMS))?;
        at(shown(), attach_in(&mount, &tree, path))?;
    }
    let ledger = mounts(order, &tree, sources, &mut scratch)?;
    if order.read_only {
        at("make tree read-only", sys::set_mount(&tree, READ_ONLY, false))?;
    }
    at("change root", rustix::process::pivot_root(".", "."))?;
    at("leave host", rustix::mount::unmount(".", UnmountFlags::DETACH))?;
    at("change root", rustix::process::chdir("/"))?;
    Ok(ledger)
}

/// Returns a copy of a mount and what is mounted below it, not attached anywhere.
fn clone_tree(dir: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(dir, path, flags)
}

fn attach(mount: &OwnedFd, dir: impl AsFd, path: &str) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", dir, path, flags)
}

/// Attaches a mount at a path of the tree, which the host program made sure is there.
fn attach_in(mount: &OwnedFd, tree: &OwnedFd, path: &[u8]) -> io::Result<()> {
    let target = resolve(tree, path)?;
    Ok(attach(mount, &target, "")?)
}

/// Opens a path of the tree, resolved within it.
fn resolve(tree: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    Ok(open_within(tree, path, OFlags::PATH | OFlags::CLOEXEC)?)
}

fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn closed() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// Mounts /proc. Where a new one is refused, as in a container with its own masked, the existing one is shown.
fn proc(order: &Order, tree: &OwnedFd) -> Place<()> {
    let mount = match filesystem("proc", &[], closed()) {
        Ok(mount) => mount,
        Err(Errno::PERM | Errno::ACCESS) => at("show /proc", clone_tree(CWD, "/proc"))?,
        Err(error) => return at("mount /proc", Err(error)),
    };
    at("mount /proc", attach_in(&mount, tree, b"proc"))?;
    if order.rung == Rung::Root {
        mask(&mount)?;
    }
    Ok(())
}

/// Returns whether a new /proc may be mounted in this mount namespace, for a process namespace that is made for it. Where it is refused, the
/// processes of the step are to have the numbers that the existing one shows.
pub fn can_mount_proc() -> io::Result<bool> {
    if !is_proc_covered()? {
        return Ok(true);
    }
    let within = |run: &dyn Fn() -> i32| -> io::Result<i32> {
        match sys::fork()? {
            0 => sys::exit(run()),
            pid => Ok(sys::wait(pid, true)?.map_or(1, |(_, status)| status)),
        }
    };
    let mounted = || i32::from(filesystem("proc", &[], closed()).is_err());
    // The namespace is that of the children of the process that makes it.
    let status = within(&|| match sys::unshare(libc::CLONE_NEWPID) {
        Ok(()) => within(&mounted).map_or(1, |status| i32::from(status != 0)),
        Err(_) => 1,
    })?;
    Ok(status == 0)
}

/// Returns whether /proc is not simply there, with nothing mounted below it but what every machine has: only then the kernel may refuse a
/// new one.
fn is_proc_covered() -> io::Result<bool> {
    let list = crate::fs::root::read_file(std::path::Path::new("/proc/self/mountinfo"))?;
    let mut covered = true;
    for line in list.split(|&c| c == b'\n') {
        // proc_pid_mountinfo(5): root, mount point, options of the mount; the filesystem's type after a dash.
        let fields: Vec<&[u8]> = line.split(|&c| c == b' ').collect();
        let [_, _, _, root, point, options, rest @ ..] = &fields[..] else { continue };
        if *point == b"/proc" {
            let kind = rest.iter().skip_while(|field| **field != b"-").nth(1);
            covered = (*root, kind) != (b"/", Some(&&b"proc"[..])) || options.starts_with(b"ro");
        } else if point.starts_with(b"/proc/") && *point != b"/proc/sys/fs/binfmt_misc" {
            return Ok(true);
        }
    }
    Ok(covered)
}

/// Hides from a step that is real root what of /proc acts on the whole machine. The same list as other container runtimes have.
fn mask(proc: &OwnedFd) -> Place<()> {
    let missing = |result: rustix::io::Result<()>| match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    };
    for path in ["sys", "sysrq-trigger", "bus", "fs", "irq"] {
        let read_only = || -> io::Result<()> {
            let mount = clone_tree(proc, path)?;
            sys::set_mount(&mount, READ_ONLY, true)?;
            Ok(attach(&mount, proc, path)?)
        };
        match read_only() {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => at(format!("protect /proc/{path}"), other)?,
        }
    }
    for path in ["kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "interrupts"] {
        let hidden = clone_tree(CWD, "/dev/null").and_then(|null| attach(&null, proc, path));
        at(format!("hide /proc/{path}"), missing(hidden))?;
    }
    for path in ["acpi", "scsi", "asound"] {
        let attributes = closed() | MountAttrFlags::MOUNT_ATTR_RDONLY;
        let hidden = filesystem("tmpfs", &[], attributes).and_then(|empty| attach(&empty, proc, path));
        at(format!("hide /proc/{path}"), missing(hidden))?;
    }
    Ok(())
}

fn dev(order: &Order, tree: &OwnedFd) -> Place<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = at("mount /dev", filesystem("tmpfs", &[("mode", "0755"), ("size", "65536k")], attributes))?;
    at("mount /dev", attach_in(&dev, tree, b"dev"))?;
    for name in DEVICES {
        let show = || -> rustix::io::Result<()> {
            let device = clone_tree(CWD, &format!("/dev/{name}"))?;
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&dev, name, flags, Mode::from_raw_mode(0o666))?;
            attach(&device, &dev, name)
        };
        match show() {
            // Without a terminal of their own some machines have no /dev/tty.
            Err(Errno::NOENT) if name == "tty" => {}
            other => at(format!("show /dev/{name}"), other)?,
        }
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        at("make /dev", rustix::fs::symlinkat(target, &dev, name))?;
    }
    for name in ["pts", "shm"] {
        at("make /dev", rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)))?;
    }
    let mut options = vec![("ptmxmode", "0666"), ("mode", "0620")];
    // The group of terminals, where there is one.
    if order.rung == Rung::Root {
        options.push(("gid", "5"));
    }
    let terminals = filesystem("devpts", &options, attributes);
    at("mount /dev/pts", terminals.and_then(|mount| attach(&mount, &dev, "pts")))?;
    let size = match order.shm_size {
        0 => "65536k".to_string(),
        bytes => bytes.to_string(),
    };
    let shared = filesystem("tmpfs", &[("mode", "1777"), ("size", &size)], closed());
    at("mount /dev/shm", shared.and_then(|mount| attach(&mount, &dev, "shm")))
}

/// Mounts /sys, read-only. A new one shows the network of its namespace; where that is not ours, the existing one is shown.
fn system(order: &Order, tree: &OwnedFd) -> Place<()> {
    let mount = match filesystem("sysfs", &[], closed() | MountAttrFlags::MOUNT_ATTR_RDONLY) {
        Ok(mount) => mount,
        Err(Errno::PERM | Errno::ACCESS | Errno::BUSY) if order.network == Network::Host => {
            let mount = match clone_tree(CWD, "/sys") {
                Ok(mount) => mount,
                // A machine without it; then the step has none either.
                Err(_) => return Ok(()),
            };
            at("protect /sys", sys::set_mount(&mount, READ_ONLY, true))?;
            mount
        }
        Err(_) => return Ok(()),
    };
    at("mount /sys", attach_in(&mount, tree, b"sys"))
}

/// Files with given content. They lie on a filesystem of their own, which is attached to the host's /sys: that is hidden with the rest of
/// the host a moment later, in this namespace alone.
#[derive(Default)]
struct Scratch {
    mount: Option<OwnedFd>,
    files: u32,
}

impl Scratch {
    fn mount(&mut self) -> io::Result<&OwnedFd> {
        if self.mount.is_none() {
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            let mount = filesystem("tmpfs", &[("mode", "0755"), ("size", "64m")], attributes)?;
            let hidden = match rustix::fs::access("/sys", rustix::fs::Access::EXISTS) {
                Ok(()) => "/sys",
                Err(_) => "/proc",
            };
            attach(&mount, CWD, hidden)?;
            self.mount = Some(mount);
        }
        self.mount.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes a file, and gives a mount of it alone, with these attributes.
    fn file(&mut self, content: &[u8], mode: u32, attributes: u64) -> io::Result<OwnedFd> {
        self.files += 1;
        let name = self.files.to_string();
        let scratch = self.mount()?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(scratch, name.as_str(), flags, Mode::from_raw_mode(0o600))?;
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        let mount = clone_tree(scratch, &name)?;
        if attributes != 0 {
            sys::set_mount(&mount, attributes, false)?;
        }
        Ok(mount)
    }
}

/// Shows what was asked for. Gives what the ledger is to say of its files.
fn mounts(order: &Order, tree: &OwnedFd, sources: &[OwnedFd], scratch: &mut Scratch) -> Place<Ledger> {
    let mut ledger = Ledger::default();
    let mut sources = sources.iter();
    // What others are attached below becomes read-only when they are.
    let mut later = Vec::new();
    for (number, Mount { target, what }) in order.mounts.iter().enumerate() {
        let shown = format!("mount /{}", String::from_utf8_lossy(target));
        let mut make = || -> io::Result<()> {
            let directory = match what {
                Shown::Memory { .. } => true,
                Shown::File { .. } => false,
                Shown::Host { .. } => {
                    let given = sources.as_slice().first().ok_or(io::ErrorKind::InvalidData)?;
                    stat_fd(given)?.kind == Kind::Directory
                }
            };
            ensure(tree, target, directory)?;
            match what {
                Shown::Memory { size, mode, no_programs } => {
                    let (mode, size) = (format!("{mode:o}"), size.to_string());
                    let mut options = vec![("mode", mode.as_str())];
                    if size != "0" {
                        options.push(("size", size.as_str()));
                    }
                    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
                    attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, *no_programs);
                    attach_in(&filesystem("tmpfs", &options, attributes)?, tree, target)
                }
                Shown::File { content, mode, uid, gid, program } => {
                    let attributes = READ_ONLY | if *program { 0 } else { NO_PROGRAMS };
                    let mount = scratch.file(content, *mode, 0)?;
                    if order.rung.has_users() {
                        let flags = rustix::fs::AtFlags::EMPTY_PATH;
                        let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
                        rustix::fs::chownat(&mount, "", Some(uid), Some(gid), flags)?;
                    } else if (*uid, *gid) != (0, 0) {
                        ledger.insert(owned(&mount, target, *mode, (*uid, *gid))?);
                    }
                    sys::set_mount(&mount, attributes, false)?;
                    attach_in(&mount, tree, target)
                }
                Shown::Host { source, read_only, .. } => {
                    let given = sources.next().ok_or(io::ErrorKind::InvalidData)?;
                    let mount = host(source, given)?;
                    let inner = [&target[..], b"/"].concat();
                    if *read_only && order.mounts[number..].iter().any(|m| m.target.starts_with(&inner)) {
                        attach_in(&mount, tree, target)?;
                        later.push((target, mount));
                        return Ok(());
                    }
                    if *read_only {
                        sys::set_mount(&mount, READ_ONLY, true)?;
                    }
                    attach_in(&mount, tree, target)
                }
            }
        };
        at(shown, make())?;
    }
    for (target, mount) in later {
        let shown = format!("mount /{}", String::from_utf8_lossy(target));
        at(shown, sys::set_mount(&mount, READ_ONLY, false))?;
    }
    Ok(ledger)
}

/// Opens something of the host. The path is resolved anew in this namespace, and must lead to what the host program opened.
fn host(source: &[u8], given: &OwnedFd) -> io::Result<OwnedFd> {
    let found = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let (here, there) = (stat_fd(&found)?, stat_fd(given)?);
    if (here.dev, here.ino) != (there.dev, there.ino) {
        return Err(io::Error::other("its source was replaced while the step was set up"));
    }
    let mount = clone_tree(&found, "")?;
    sys::set_mount(&mount, NO_DEVICES, true)?;
    Ok(mount)
}

/// Makes sure that a place is there. The host program made those of the tree; those below another mount are made here.
fn ensure(tree: &OwnedFd, path: &[u8], directory: bool) -> io::Result<()> {
    let names: Vec<&[u8]> = path.split(|&c| c == b'/').collect();
    for end in 1..=names.len() {
        let part = names[..end].join(&b'/');
        match resolve(tree, &part) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => {
                other?;
                continue;
            }
        }
        let (above, name) = split(&part);
        let above = if above.is_empty() { tree.try_clone()? } else { resolve(tree, above)? };
        if end < names.len() || directory {
            rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(0o644))?;
        }
    }
    Ok(())
}

/// Returns what the ledger says of a file with another owner than this namespace has.
fn owned(mount: &OwnedFd, path: &[u8], mode: u32, (uid, gid): (u32, u32)) -> io::Result<Record> {
    let stat = stat_fd(mount)?;
    Ok(Record {
        path: path.to_vec(),
        dev: stat.dev,
        ino: stat.ino,
        generation: generation_of(mount, &stat)?,
        disk_mode: stat.mode,
        kind: Kind::File,
        mode: mode as u16,
        uid,
        gid,
        rdev: (0, 0),
        xattrs: Vec::new(),
    })
}
