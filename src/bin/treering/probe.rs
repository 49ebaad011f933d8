//! What this machine and filesystem can do, found out by trying: cheap, and leaving nothing behind.

use std::fs::File;
use std::io::Write;
use std::path::Path;

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

/// Everything, in the order people should read it. Call it last and once, before any thread is started: what it tries
/// with user namespaces it tries on this process.
pub fn all(store: &Path) -> Vec<Ability> {
    let mut on_disk = match scratch(store) {
        Ok(file) => vec![user_xattrs(&file), reflinks(store, &file)],
        Err(error) => vec![ability("unnamed files", false, describe(&error))],
    };
    let mut out = vec![openat2()];
    out.append(&mut on_disk);
    out.extend([subordinate_ids(), seccomp_notify(), user_namespaces()]);
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

/// Makes a user namespace, for this process, which has nothing left to do but print.
fn user_namespaces() -> Ability {
    const NAME: &str = "user namespaces";
    // The safe function is deprecated because of another flag than this one.
    #[allow(deprecated)]
    match rustix::thread::unshare(rustix::thread::UnshareFlags::NEWUSER) {
        Ok(()) => ability(NAME, true, "this user may make them"),
        Err(error) => ability(NAME, false, describe(&error.into())),
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
    match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "user_notif") => {
            ability(NAME, true, "the kernel has it")
        }
        Ok(_) => ability(NAME, false, "the kernel is older than 5.0"),
        Err(error) => ability(NAME, false, describe(&error)),
    }
}

/// A file without a name on the filesystem of the store, or of the nearest directory above it that exists.
fn scratch(store: &Path) -> std::io::Result<File> {
    let dir = store.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?))
}

fn user_xattrs(file: &File) -> Ability {
    match rustix::fs::fsetxattr(file, c"user.treering.probe", b"1", XattrFlags::empty()) {
        Ok(()) => ability("user xattrs", true, "on the filesystem of the store"),
        Err(error) => ability("user xattrs", false, describe(&error.into())),
    }
}

fn reflinks(store: &Path, file: &File) -> Ability {
    let clone = || -> std::io::Result<()> {
        let mut from = file;
        from.write_all(&[1; 4096])?;
        Ok(rustix::fs::ioctl_ficlone(scratch(store)?, file)?)
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
