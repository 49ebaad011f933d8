//! Opening what a path leads to within a directory, as if that were the root of the machine: `openat2(2)` with RESOLVE_IN_ROOT and
//! RESOLVE_NO_MAGICLINKS in one call, or where the kernel has no such call (before 5.6), or a filter refuses it, name by name with the same
//! answers.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result, retry_on_intr};

/// How many symbolic links are followed (MAXSYMLINKS).
const MOST_LINKS: usize = 40;
/// The longest path with its NUL (PATH_MAX).
const LONGEST: usize = 4096;
/// The inode of the root of a /proc (PROC_ROOT_INO): links in it are ordinary ones, and those in what is below are magic.
const PROC_ROOT: u64 = 1;
/// The type of that filesystem (PROC_SUPER_MAGIC).
const PROC: u64 = 0x9fa0;

/// Opens what a path within `root` leads to, through symbolic links. `..` ends at the root, absolute links begin there. The flags are those
/// of an open that makes nothing.
pub(crate) fn open_within(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // A rename somewhere while `..` is resolved: the kernel gives up, and the call is made again.
    for _ in 0..16 {
        match retry_on_intr(|| rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => break,
            other => return other,
        }
    }
    walk(root, path, flags)
}

/// Opens it name by name.
fn walk(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    if path.len() >= LONGEST {
        return Err(Errno::NAMETOOLONG);
    }
    // The directories on the way, without the root: what `..` leads back to. None of them is a link.
    let mut way: Vec<OwnedFd> = Vec::new();
    // What is left of the path, the next name last.
    let mut names: Vec<Vec<u8>> = Vec::new();
    push(&mut names, path);
    let mut links = 0;
    while let Some(name) = names.pop() {
        let here = way.last().map_or(root.as_fd(), AsFd::as_fd);
        if name.is_empty() {
            continue;
        }
        if matches!(&name[..], b"." | b"..") {
            open(here, b".", OFlags::PATH)?;
            if name == b".." {
                way.pop();
            }
            continue;
        }
        let there = open(here, &name, OFlags::PATH | OFlags::NOFOLLOW)?;
        let last = names.iter().all(Vec::is_empty);
        let slash = last && !names.is_empty();
        let target = match rustix::fs::readlinkat(&there, c"", Vec::new()) {
            Ok(target) if !last || slash || !flags.contains(OFlags::NOFOLLOW) => target.into_bytes(),
            Ok(_) if !flags.contains(OFlags::PATH) => return Err(Errno::LOOP),
            // A link that is not followed, or none.
            _ => {
                if last {
                    let directory = if slash { OFlags::DIRECTORY } else { OFlags::empty() };
                    return arrive(here, &name, there, flags | directory);
                }
                way.push(there);
                continue;
            }
        };
        if links == MOST_LINKS || is_magic(here, &there)? {
            return Err(Errno::LOOP);
        }
        links += 1;
        if target.first() == Some(&b'/') {
            way.clear();
        }
        push(&mut names, &target);
    }
    let here = way.last().map_or(root.as_fd(), AsFd::as_fd);
    open(here, b".", flags)
}

/// Opens the last name, which leads to `there`, with the flags that were asked for.
fn arrive(here: impl AsFd, name: &[u8], there: OwnedFd, flags: OFlags) -> Result<OwnedFd> {
    if flags.contains(OFlags::PATH) && !flags.contains(OFlags::DIRECTORY) {
        return Ok(there);
    }
    // Should a link have come in its place, it leads nowhere.
    open(here, name, flags | OFlags::NOFOLLOW)
}

fn open(directory: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    retry_on_intr(|| rustix::fs::openat(&directory, name, flags | OFlags::CLOEXEC, Mode::empty()))
}

/// Puts the names of a path before what is left. A slash at its end is an empty name: it asks for a directory, and unlike a dot not for
/// permission to search it.
fn push(names: &mut Vec<Vec<u8>>, path: &[u8]) {
    if path.ends_with(b"/") {
        names.push(Vec::new());
    }
    names.extend(path.split(|&c| c == b'/').filter(|name| !name.is_empty()).rev().map(<[u8]>::to_vec));
}

/// Returns whether a link leads where its text does not say, as those of a process do in /proc.
fn is_magic(directory: impl AsFd, link: &OwnedFd) -> Result<bool> {
    let kind = rustix::fs::fstatfs(link)?.f_type as u64;
    Ok(kind == PROC && rustix::fs::fstat(directory)?.st_ino != PROC_ROOT)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// Returns where both ways lead: device and inode, whether it can be read, or the error.
    fn both(root: &OwnedFd, path: &[u8], flags: OFlags) -> [std::result::Result<(u64, u64), Errno>; 2] {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let kernel = loop {
            match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => break other,
            }
        };
        let identity = |fd: OwnedFd| {
            let stat = rustix::fs::fstat(fd).unwrap();
            (stat.st_dev, stat.st_ino)
        };
        [kernel.map(identity), walk(root, path, flags).map(identity)]
    }

    fn open_root(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    const FLAGS: [OFlags; 5] = [
        OFlags::PATH,
        OFlags::PATH.union(OFlags::NOFOLLOW),
        OFlags::PATH.union(OFlags::DIRECTORY),
        OFlags::RDONLY.union(OFlags::NONBLOCK),
        OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK),
    ];

    /// Returns a path of few names, so that many of them are there.
    fn path() -> impl Strategy<Value = String> {
        let name = prop_oneof![4 => "[a-d]", 1 => Just("..".to_string()), 1 => Just(".".to_string())];
        let slash = prop_oneof![4 => Just("/"), 1 => Just("//"), 1 => Just("/./")];
        (any::<bool>(), proptest::collection::vec((name, slash), 1..6), any::<bool>()).prop_map(
            |(absolute, parts, slash)| {
                let mut out = String::from(if absolute { "/" } else { "" });
                let count = parts.len();
                for (at, (name, between)) in parts.into_iter().enumerate() {
                    out += &name;
                    if at + 1 < count {
                        out += between;
                    }
                }
                out + if slash { "/" } else { "" }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn a_walk_ends_where_the_kernel_ends(
            made in proptest::collection::vec((path(), 0..3u8, path()), 0..24),
            asked in proptest::collection::vec(path(), 1..24),
        ) {
            let temp = tempfile::tempdir().unwrap();
            let root = open_root(temp.path());
            // Whatever cannot be made there is not there.
            for (place, kind, target) in made {
                let names: Vec<&str> =
                    place.split('/').filter(|name| !matches!(*name, "" | "." | "..")).collect();
                let place = temp.path().join(names.join("/"));
                let _ = match kind {
                    0 => std::fs::create_dir_all(place),
                    1 => std::fs::write(place, "x"),
                    _ => symlink(target, place),
                };
            }
            for path in asked {
                for flags in FLAGS {
                    let [kernel, walked] = both(&root, path.as_bytes(), flags);
                    prop_assert_eq!(kernel, walked, "{} {:?}", path, flags);
                }
            }
        }
    }

    #[test]
    fn the_edges_are_the_kernels() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("f"), "x").unwrap();
        // Chains of links as long as are followed, and one longer; a link to itself; one out of the root.
        symlink("f", at("l1")).unwrap();
        for n in 2..=41 {
            symlink(format!("l{}", n - 1), at(&format!("l{n}"))).unwrap();
        }
        symlink("loop", at("loop")).unwrap();
        symlink("../../../../etc/passwd", at("d/out")).unwrap();
        symlink("/d/e/", at("absolute")).unwrap();
        symlink("/", at("top")).unwrap();
        let root = open_root(temp.path());
        let long = "d/".repeat(2047) + "e";
        let name = "n".repeat(256);
        for path in [
            "",
            "/",
            "//",
            ".",
            "..",
            "../..",
            "f/",
            "f/.",
            "f/..",
            "f/x",
            "d",
            "d/",
            "d/e/../../f",
            "l40",
            "l41",
            "l40/",
            "loop",
            "loop/x",
            "d/out",
            "absolute",
            "absolute/../..",
            "top/top/f",
            "nothing",
            "nothing/",
            "nothing/x",
            "d/nothing",
            &name,
            &long,
            &(long.clone() + "x"),
            "f\u{e9}",
        ] {
            for flags in FLAGS {
                let [kernel, walked] = both(&root, path.as_bytes(), flags);
                assert_eq!(kernel, walked, "{path:?} {flags:?}");
            }
        }
        // Of /proc: ordinary links, and those that lead where their text does not say.
        let proc = open_root(Path::new("/proc"));
        for path in [
            "self/stat",
            "mounts",
            "self/exe",
            "self/cwd/x",
            "self/root",
            "self/fd/0",
            "thread-self/exe",
            "net/dev",
        ] {
            for flags in &FLAGS[..3] {
                let [kernel, walked] = both(&proc, path.as_bytes(), *flags);
                assert_eq!(kernel.err(), walked.err(), "{path:?} {flags:?}");
            }
        }
    }

    #[test]
    fn what_may_not_be_searched_is_refused_by_both() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("closed/d")).unwrap();
        symlink("closed/../closed", temp.path().join("l")).unwrap();
        let mode = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(temp.path().join("closed"), mode).unwrap();
        };
        let root = open_root(temp.path());
        for closed in [0o000, 0o444, 0o111] {
            mode(closed);
            for path in
                ["closed", "closed/", "closed/.", "closed/..", "closed/d", "closed/d/", "l", "l/d", "l/.."]
            {
                for flags in FLAGS {
                    let [kernel, walked] = both(&root, path.as_bytes(), flags);
                    assert_eq!(kernel, walked, "{closed:o} {path:?} {flags:?}");
                }
            }
        }
        mode(0o755);
    }
}
