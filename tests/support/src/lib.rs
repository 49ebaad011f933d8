//! Shared by the tests: trees in scratch directories, complete descriptions of them, and the built program.
// Tests set their stages with std::fs; the ban is on the library.
#![allow(clippy::disallowed_methods, clippy::new_without_default)]

pub mod arena;
pub mod busybox;
pub mod command;
pub mod docker;
pub mod edit;
pub mod listing;
pub mod oracle;
pub mod tar;
pub mod tools;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use treering::Control;
use treering::fs::Root;
use treering::tree::{OwnerPolicy, Scan, ScanOptions, Snapshot};

/// Returns whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the path of the built command, beside which cargo puts the directory of the test programs.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("treering");
        assert!(program.exists(), "{} is not built: the feature `cli` builds it", program.display());
        program.into_os_string().into_string().unwrap()
    });
    &PROGRAM
}

/// An empty directory that goes away with the value, whatever permissions are left in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        Self::below(&std::env::var_os("TREERING_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from))
    }

    /// Makes one in memory where that is possible, for what would mostly wait for the disk.
    pub fn in_memory() -> Scratch {
        let shm = Path::new("/dev/shm");
        match std::env::var_os("TREERING_TEST_DIR").is_none() && tempfile::tempdir_in(shm).is_ok() {
            true => Self::below(shm),
            false => Self::new(),
        }
    }

    fn below(base: &Path) -> Scratch {
        let dir = tempfile::Builder::new().prefix("treering-").tempdir_in(base).unwrap();
        Scratch(dir.keep())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (parent, name) = (self.0.parent().unwrap(), self.0.file_name().unwrap());
        let parent = std::fs::File::open(parent).unwrap();
        let name = std::ffi::CString::new(name.as_encoded_bytes()).unwrap();
        let _ = treering::fs::remove::remove_all(&parent, &name);
    }
}

/// Returns how many cases a property test tries: so many, or what `PROPTEST_CASES` asks for.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |n| n.parse().unwrap())
}

/// Returns the calls at which a sweep stops, counted from `first`: the first of them, then ever fewer of the later ones.
/// All of them with
/// `TREERING_SWEEP=all`, as `make torture` has it.
pub fn stops(first: usize) -> impl Iterator<Item = usize> {
    let all = std::env::var_os("TREERING_SWEEP").is_some_and(|sweep| sweep == "all");
    std::iter::successors(Some(0), move |gone| Some(if all { gone + 1 } else { gone + 1 + gone / 3 }))
        .map(move |gone| first + gone)
}

/// Scans with the owners on disk.
pub fn scan(path: &Path) -> Scan {
    scan_with(path, &ScanOptions { owner: &OwnerPolicy::Keep, ..ScanOptions::default() })
}

pub fn scan_with(path: &Path, options: &ScanOptions<'_>) -> Scan {
    treering::tree::scan(&Root::open(path).unwrap(), options, &Control::default()).unwrap()
}

/// Describes all of every entry that a layer has to keep, one line per path.
pub fn describe(snapshot: &Snapshot, root: Option<&Path>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for index in std::iter::once(0).chain(snapshot.walk()) {
        let m = snapshot.meta(index);
        let path = snapshot.path(index);
        let content = match root {
            Some(root) if m.kind == treering::fs::Kind::File && m.size > 0 => {
                use std::os::unix::ffi::OsStrExt;
                let bytes = std::fs::read(root.join(std::ffi::OsStr::from_bytes(&path))).unwrap();
                treering::Digest::of(&bytes).short()
            }
            _ => String::new(),
        };
        let leader = treering::error::escape(&snapshot.path(snapshot.leader(index)));
        let xattrs: Vec<String> = snapshot
            .xattrs(index)
            .into_iter()
            .map(|(n, v)| format!("{}={}", treering::error::escape(n), treering::error::escape(v)))
            .collect();
        out.insert(
            treering::error::escape(&path),
            format!(
                "{} {:o} {}:{} {} {}.{:09} {:?} ->{} ={leader} {content} {}",
                m.kind.name(),
                m.mode,
                m.uid,
                m.gid,
                m.size,
                m.mtime.secs,
                m.mtime.nanos,
                m.rdev,
                treering::error::escape(snapshot.link_target(index)),
                xattrs.join(",")
            ),
        );
    }
    out
}

/// Describes a directory and all below but the times of reading, for showing that nothing in it moved.
pub fn canary(path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut todo = vec![path.to_path_buf()];
    while let Some(path) = todo.pop() {
        let m = path.symlink_metadata().unwrap();
        let content = if m.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let mut xattrs = [0u8; 4096];
        let len = rustix::fs::llistxattr(&path, &mut xattrs[..]).unwrap_or(0);
        let xattrs: Vec<(String, Vec<u8>)> = xattrs[..len]
            .split(|&c| c == 0)
            .filter(|name| !name.is_empty())
            .map(|name| {
                let mut value = [0u8; 4096];
                let len = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap_or(0);
                (name.escape_ascii().to_string(), value[..len].to_vec())
            })
            .collect();
        out.push(format!(
            "{} {:o} {}:{} {} {}.{} {} {} {:?} {xattrs:?}",
            path.display(),
            m.permissions().mode(),
            m.uid(),
            m.gid(),
            m.nlink(),
            m.mtime(),
            m.mtime_nsec(),
            m.ino(),
            if m.is_dir() { 0 } else { m.size() },
            content
        ));
        if m.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    out.sort();
    out
}

/// Runs a shell script in a directory; it must succeed.
pub fn sh(dir: &Path, script: &str) -> String {
    let out = std::process::Command::new("sh").arg("-euc").arg(script).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}
