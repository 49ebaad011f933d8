//! Abilities that this machine and filesystem give this process, found out by trying where trying leaves nothing behind.
//! Nothing here starts a process or changes this one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};

use super::generation::generation;
use super::stat::stat_fd;
use super::{chmod, xattr};
use crate::error::describe_io;

/// An ability of this machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Ability {
    /// A short name.
    pub name: &'static str,
    /// Whether it works.
    pub works: bool,
    /// The use of it, or the reason why it does not work.
    pub remark: String,
}

/// Returns all abilities, in the order people should read them. With a directory, also what its filesystem can do; where it
/// does not exist yet, that of the nearest directory above it.
pub fn all(store: Option<&Path>) -> Vec<Ability> {
    let mut out = vec![
        ability("openat2", openat2(), "paths below a tree are resolved in one call"),
        ability("fchmodat2", chmod::probe(), "permissions are changed without /proc"),
        ability(
            "xattrs by name",
            xattr::probe(),
            "attributes of links and devices are reached without /proc",
        ),
        ability("set owners", set_owners(), "owners and devices go to the disk, not to the ledger"),
    ];
    if let Some(dir) = store.and_then(|store| store.ancestors().find(|dir| dir.is_dir())) {
        out.extend(on_disk(dir));
    }
    out.extend([user_namespaces(), subordinate_ids(), seccomp_notify()]);
    out
}

fn ability(name: &'static str, tried: io::Result<()>, good_for: &str) -> Ability {
    match tried {
        Ok(()) => Ability { name, works: true, remark: good_for.into() },
        Err(error) => Ability { name, works: false, remark: describe_io(&error) },
    }
}

fn openat2() -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, c".", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    Ok(())
}

fn set_owners() -> io::Result<()> {
    match (super::capabilities::owns_all(), rustix::process::geteuid().is_root()) {
        (true, _) => Ok(()),
        (false, true) => Err(io::Error::other(
            "root without CAP_CHOWN, CAP_DAC_OVERRIDE or CAP_FOWNER: owners and devices go to the ledger",
        )),
        (false, false) => Err(io::Error::other("not root: owners and devices go to the ledger")),
    }
}

fn on_disk(dir: &Path) -> Vec<Ability> {
    const HERE: &str = "on the filesystem of the store";
    let file = match unnamed(dir) {
        Ok(file) => file,
        Err(error) => return vec![ability("unnamed files", Err(error), "")],
    };
    let attribute = rustix::fs::fsetxattr(&file, c"user.treering.probe", b"1", XattrFlags::empty());
    vec![
        ability("unnamed files", Ok(()), "a blob has no name before it is whole"),
        ability("user xattrs", attribute.map_err(Into::into), HERE),
        ability(
            "file generations",
            generations(dir),
            "a new file is never taken for an old one of its number",
        ),
        ability("reflinks", reflink(dir, &file), HERE),
    ]
}

/// Returns a file without a name on the filesystem of a directory.
fn unnamed(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?))
}

fn generations(dir: &Path) -> io::Result<()> {
    let dir = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match generation(&dir, c".", &stat_fd(&dir)?)? {
        0 => Err(io::Error::other(
            "neither file handles nor birth times: the ledger goes by inode numbers alone",
        )),
        _ => Ok(()),
    }
}

fn reflink(dir: &Path, file: &File) -> io::Result<()> {
    let mut from = file;
    from.write_all(&[1; 4096])?;
    let to = unnamed(dir)?;
    rustix::fs::ioctl_ficlone(to.as_fd(), file.as_fd())?;
    Ok(())
}

/// Returns whether there are user namespaces. Making one would change this process, so the settings are read.
fn user_namespaces() -> Ability {
    let setting =
        |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let tried = match setting("/proc/sys/user/max_user_namespaces") {
        None => Err(io::Error::other("/proc/sys/user/max_user_namespaces cannot be read")),
        Some(0) => Err(io::Error::other("user.max_user_namespaces is 0")),
        Some(_) if rustix::process::geteuid().is_root() => Ok(()),
        Some(_) if setting("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) => {
            Err(io::Error::other("kernel.unprivileged_userns_clone is 0"))
        }
        Some(_) if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) => {
            Err(io::Error::other("kernel.apparmor_restrict_unprivileged_userns is 1"))
        }
        Some(_) => Ok(()),
    };
    ability("user namespaces", tried, "by the settings of the kernel; a seccomp filter may still refuse them")
}

fn subordinate_ids() -> Ability {
    let uid = rustix::process::getuid().as_raw();
    let user = user_name(uid);
    let count = |file: &str| -> u64 {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mine = text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let owner = fields.next()?;
            let ours = owner.parse() == Ok(uid) || Some(owner) == user.as_deref();
            fields.nth(1).filter(|_| ours)?.parse::<u64>().ok()
        });
        mine.fold(0, u64::saturating_add)
    };
    let (uids, gids) = (count("/etc/subuid"), count("/etc/subgid"));
    let remark = format!("{uids} users and {gids} groups besides your own");
    Ability { name: "subordinate ids", works: uids > 0 && gids > 0, remark }
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
    let tried = match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "user_notif") => Ok(()),
        Ok(_) => Err(io::Error::other("the kernel is older than 5.0")),
        Err(error) => Err(error),
    };
    ability("seccomp notify", tried, "the kernel has it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_says_something_about_everything_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let there = all(Some(temp.path()));
        assert!(there.iter().all(|one| !one.remark.is_empty()), "{there:?}");
        assert_eq!(temp.path().read_dir().unwrap().count(), 0);
        assert_eq!(all(Some(&temp.path().join("not/yet"))), there, "the nearest directory is asked");
        let machine = all(None);
        assert!(machine.iter().all(|one| there.contains(one)) && machine.len() < there.len());
    }

    #[test]
    fn the_reason_why_something_does_not_work_keeps_its_names() {
        let failed = ability("x", Err(io::Error::other("without CAP_CHOWN")), "");
        assert_eq!((failed.works, &failed.remark[..]), (false, "without CAP_CHOWN"));
        let failed = ability("x", Err(io::Error::from_raw_os_error(libc::EPERM)), "");
        assert_eq!(failed.remark, "operation not permitted");
    }

    #[test]
    fn what_was_found_is_what_the_calls_do() {
        let temp = tempfile::tempdir().unwrap();
        let works =
            |name: &str| all(Some(temp.path())).into_iter().find(|one| one.name == name).unwrap().works;
        let file = std::fs::File::create(temp.path().join("f")).unwrap();
        let set = rustix::fs::fsetxattr(&file, c"user.x", b"1", XattrFlags::empty());
        assert_eq!(works("user xattrs"), set.is_ok());
        let stat = stat_fd(&file).unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        assert_eq!(works("file generations"), generation(&dir, c"f", &stat).unwrap() != 0);
    }
}
