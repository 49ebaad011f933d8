//! What this machine and filesystem can do, found out by trying: cheap, and leaving nothing behind.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};

/// One thing that is there or not.
#[derive(Debug)]
pub struct Ability {
    /// A short name.
    pub name: &'static str,
    /// Whether it is there.
    pub works: bool,
    /// What it is good for, or why it is not there.
    pub remark: String,
}

fn ability(name: &'static str, works: bool, remark: impl Into<String>) -> Ability {
    Ability { name, works, remark: remark.into() }
}

/// Everything, in the order people should read it.
pub fn all(store: &Path) -> Vec<Ability> {
    let mut out = vec![openat2(), user_namespaces(), subordinate_ids(), seccomp_notify()];
    match scratch(store) {
        Ok(file) => out.extend([user_xattrs(&file), reflinks(store, &file)]),
        Err(error) => out.push(ability("unnamed files", false, error.to_string())),
    }
    out
}

fn openat2() -> Ability {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tried = rustix::fs::openat2(rustix::fs::CWD, c".", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    match tried {
        Ok(_) => ability("openat2", true, "paths below a tree are resolved in one call"),
        Err(error) => ability("openat2", false, format!("{error}; paths are walked name by name")),
    }
}

/// Lets a child try to make a user namespace. The parent stays as it is.
fn user_namespaces() -> Ability {
    let mut child = Command::new("/proc/self/exe");
    child.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: unshare(2) is async-signal-safe and the closure touches nothing else.
    unsafe {
        child.pre_exec(|| match libc::unshare(libc::CLONE_NEWUSER) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    match child.status() {
        Ok(_) => ability("user namespaces", true, "commands can be run in a tree without root"),
        Err(error) => ability("user namespaces", false, describe(&error)),
    }
}

fn subordinate_ids() -> Ability {
    const NAME: &str = "subordinate ids";
    let uid = rustix::process::getuid().as_raw();
    let user = user_name(uid);
    let count = |file: &str| -> u64 {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mine = text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let who = fields.next()?;
            let ours = who.parse() == Ok(uid) || Some(who) == user.as_deref();
            fields.nth(1).filter(|_| ours)?.parse::<u64>().ok()
        });
        mine.sum()
    };
    let (uids, gids) = (count("/etc/subuid"), count("/etc/subgid"));
    ability(NAME, uids > 0 && gids > 0, format!("{uids} users and {gids} groups besides your own"))
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    })
}

fn seccomp_notify() -> Ability {
    const NAME: &str = "seccomp notify";
    const GET_ACTION_AVAIL: libc::c_ulong = 2;
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel only reads the four bytes of `action`, which outlives the call.
    let got = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &action) };
    match got {
        0 => ability(NAME, true, "owners and devices can be emulated while a command runs"),
        _ => ability(NAME, false, describe(&std::io::Error::last_os_error())),
    }
}

/// A file without a name on the filesystem of the store, or of the nearest directory above it that exists.
fn scratch(store: &Path) -> std::io::Result<File> {
    let dir = store.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?))
}

fn user_xattrs(file: &File) -> Ability {
    match rustix::fs::fsetxattr(file.as_fd(), c"user.treering.probe", b"1", XattrFlags::empty()) {
        Ok(()) => ability("user xattrs", true, "on the filesystem of the store"),
        Err(error) => ability("user xattrs", false, describe(&error.into())),
    }
}

fn reflinks(store: &Path, file: &File) -> Ability {
    let clone = || -> std::io::Result<()> {
        let mut from = file;
        from.write_all(&[1; 4096])?;
        let to = scratch(store)?;
        // SAFETY: FICLONE takes two descriptors, both open here.
        match unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, file.as_raw_fd()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    match clone() {
        Ok(()) => ability("reflinks", true, "on the filesystem of the store"),
        Err(error) => ability("reflinks", false, describe(&error)),
    }
}

fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
