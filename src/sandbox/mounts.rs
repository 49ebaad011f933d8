//! What a step sees below its root: the tree, /proc, /dev, /sys, given files and directories of the host. Runs in the helper, in a mount
//! namespace of its own, with the tree as working directory.
//!
//! Mounts are made as descriptors and then attached (fsopen(2), open_tree(2), move_mount(2)), and where they go is resolved within the
//! tree: a symbolic link in it leads nowhere else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

use super::order::{Network, Order};
use super::rung::Rung;
use super::sys;
use crate::fs::stat::stat_fd;

// Attributes of mount_setattr(2).
const READ_ONLY: u64 = 1;
const NO_DEVICES: u64 = 4;

/// Where it went wrong.
pub type Place<T> = Result<T, (String, io::Error)>;

fn at<T>(what: impl Into<String>, result: Result<T, impl Into<io::Error>>) -> Place<T> {
    result.map_err(|error| (what.into(), error.into()))
}

/// Device files that a step has, and the only ones.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Builds it all and makes it the root of every process in this mount namespace. `sources` are the descriptors of what of the host is
/// shown, in order. Gives whether /proc is that of the step's own process namespace.
pub fn build(order: &Order, sources: &[OwnedFd]) -> Place<bool> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    at("make mounts private", rustix::mount::mount_change("/", private))?;
    let tree = at("mount tree", clone_tree(CWD, "."))?;
    // Devices in the tree are data: nothing opens them.
    at("mount tree", sys::set_mount(&tree, NO_DEVICES, false))?;
    at("mount tree", attach(&tree, CWD, "."))?;
    at("mount tree", rustix::process::fchdir(&tree))?;
    let fresh = proc(order, &tree)?;
    dev(order, &tree)?;
    system(order, &tree)?;
    files(order, &tree)?;
    binds(order, &tree, sources)?;
    if order.read_only {
        at("make tree read-only", sys::set_mount(&tree, READ_ONLY, false))?;
    }
    at("change root", rustix::process::pivot_root(".", "."))?;
    at("leave host", rustix::mount::unmount(".", UnmountFlags::DETACH))?;
    at("change root", rustix::process::chdir("/"))?;
    Ok(fresh)
}

/// A copy of a mount and what is mounted below it, not attached anywhere.
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

/// A path of the tree, resolved within it.
fn resolve(tree: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(tree, path, flags, Mode::empty(), resolve)?)
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

/// Mounts /proc. Where a new one is refused, as in a container whose own is masked, the existing one is shown.
fn proc(order: &Order, tree: &OwnedFd) -> Place<bool> {
    let (mount, fresh) = match filesystem("proc", &[], closed()) {
        Ok(mount) => (mount, true),
        Err(Errno::PERM | Errno::ACCESS) => (at("show /proc", clone_tree(CWD, "/proc"))?, false),
        Err(error) => return at("mount /proc", Err(error)),
    };
    at("mount /proc", attach_in(&mount, tree, b"proc"))?;
    if order.rung == Rung::Root {
        mask(&mount)?;
    }
    Ok(fresh)
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
    let shared = filesystem("tmpfs", &[("mode", "1777"), ("size", "65536k")], closed());
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

/// Shows files with given content. They lie on a filesystem of their own, which is attached to the host's /sys: that is hidden with the
/// rest of the host a moment later, in this namespace alone.
fn files(order: &Order, tree: &OwnedFd) -> Place<()> {
    if order.files.is_empty() {
        return Ok(());
    }
    let scratch = at("make files", filesystem("tmpfs", &[("mode", "0755"), ("size", "16m")], closed()))?;
    let hidden =
        if rustix::fs::access("/sys", rustix::fs::Access::EXISTS).is_ok() { "/sys" } else { "/proc" };
    at("make files", attach(&scratch, CWD, hidden))?;
    for (number, (path, content)) in order.files.iter().enumerate() {
        let shown = format!("show /{}", String::from_utf8_lossy(path));
        let make = || -> io::Result<()> {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let name = number.to_string();
            let file = rustix::fs::openat(&scratch, name.as_str(), flags, Mode::from_raw_mode(0o644))?;
            let mut rest = &content[..];
            while !rest.is_empty() {
                rest = &rest[rustix::io::write(&file, rest)?..];
            }
            attach_in(&clone_tree(&scratch, &name)?, tree, path)
        };
        at(shown, make())?;
    }
    Ok(())
}

/// Shows what of the host was asked for. The path is resolved anew in this namespace, and must lead to what the host program opened.
fn binds(order: &Order, tree: &OwnedFd, sources: &[OwnedFd]) -> Place<()> {
    for (bind, given) in order.binds.iter().zip(sources) {
        let show = || -> io::Result<()> {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let source = rustix::fs::open(&bind.source[..], flags, Mode::empty())?;
            let (here, there) = (stat_fd(&source)?, stat_fd(given)?);
            if (here.dev, here.ino) != (there.dev, there.ino) {
                return Err(io::Error::other("it was replaced while the step was set up"));
            }
            let mount = clone_tree(&source, "")?;
            if bind.read_only {
                sys::set_mount(&mount, READ_ONLY | NO_DEVICES, true)?;
            } else {
                sys::set_mount(&mount, NO_DEVICES, true)?;
            }
            attach_in(&mount, tree, &bind.target)
        };
        at(format!("show {}", String::from_utf8_lossy(&bind.source)), show())?;
    }
    Ok(())
}
