//! Random edits of a tree, and what applying the changes they make must give.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use treering::diff::{Change, ChangeKind};
use treering::error::escape;
use treering::fs::Kind;
use treering::tree::Snapshot;

/// Returns an entry as one line, but for its hard links.
pub fn line(s: &Snapshot, index: u32, content: &[u8]) -> String {
    let m = s.meta(index);
    let xattrs: Vec<_> = s.xattrs(index).into_iter().map(|(n, v)| (escape(n), escape(v))).collect();
    format!(
        "{} {:o} {}:{} {} {:?} {:?} ->{} {} {xattrs:?}",
        m.kind.name(),
        m.mode,
        m.uid,
        m.gid,
        m.size,
        m.mtime,
        m.rdev,
        escape(s.link_target(index)),
        escape(content)
    )
}

/// A whole tree: each path's line, and which paths are one file (each by the first of its names).
pub type Listing = BTreeMap<Vec<u8>, (String, Vec<u8>)>;

pub fn listing(s: &Snapshot, content: impl Fn(u32) -> Vec<u8>) -> Listing {
    let all = std::iter::once(0).chain(s.walk());
    all.map(|index| {
        let bytes = if s.meta(index).kind == Kind::File { content(index) } else { Vec::new() };
        (s.path(index), (line(s, index, &bytes), s.path(s.leader(index))))
    })
    .collect()
}

/// Applies the changes to a tree as a runtime applies a layer: what is deleted or replaced goes away, names of one file in
/// the layer are one file after it.
pub fn apply(
    old: &Listing,
    changes: &[Change],
    (before, after): (&Snapshot, &Snapshot),
    content: impl Fn(u32) -> Vec<u8>,
) -> Listing {
    let mut out = old.clone();
    let remove = |out: &mut Listing, path: &[u8], itself: bool| {
        let below = [path, b"/"].concat();
        out.retain(|p, _| !(p.starts_with(&below) || (itself && p == path)));
    };
    for change in changes {
        let path = change.path(Some(before), after);
        if change.kind == ChangeKind::Deleted {
            assert!(old.contains_key(&path), "{} was never there", escape(&path));
            remove(&mut out, &path, true);
        }
    }
    let mut fresh = BTreeSet::new();
    for change in changes.iter().filter(|c| c.kind != ChangeKind::Deleted) {
        let path = after.path(change.new);
        if after.meta(change.new).kind != Kind::Directory {
            remove(&mut out, &path, false);
        }
        let bytes = if after.meta(change.new).kind == Kind::File { content(change.new) } else { Vec::new() };
        let leader = after.path(after.leader(change.new));
        out.insert(path.clone(), (line(after, change.new, &bytes), leader));
        fresh.insert(path);
    }
    // Names the layer does not carry keep being what they were, under the first name that is left of them.
    let mut firsts: BTreeMap<(bool, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for (path, (_, leader)) in &mut out {
        let first = firsts.entry((fresh.contains(path), leader.clone())).or_insert_with(|| path.clone());
        *leader = first.clone();
    }
    out
}

#[derive(Debug, Clone)]
pub struct Edit {
    pub what: u8,
    pub at: usize,
    pub to: usize,
    pub n: u8,
}

const PATHS: [&str; 16] = [
    "a", "b", "c", "d", "a-b", "a/x", "a/y", "a/d", "a/d/e", "a/d/f", "b/x", "b/a", "b/a/x", "a-b/z", "c/d",
    "c/d/e",
];

pub fn edits(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Edit>> {
    let edit = (0..22u8, 0..PATHS.len(), 0..PATHS.len(), 0..4u8);
    proptest::collection::vec(edit.prop_map(|(what, at, to, n)| Edit { what, at, to, n }), count)
}

/// Does one edit. What the filesystem refuses stays as it is.
pub fn edit(root: &Path, edit: &Edit) {
    use rustix::fs::{CWD, Timespec, Timestamps, XattrFlags, utimensat};
    let path = root.join(PATHS[edit.at]);
    let to = root.join(PATHS[edit.to]);
    let what = match path.symlink_metadata() {
        // Opening a fifo for writing would wait for a reader.
        Ok(m)
            if std::os::unix::fs::FileTypeExt::is_fifo(&m.file_type()) && matches!(edit.what, 0..=3 | 17) =>
        {
            12
        }
        _ => edit.what,
    };
    let _ = match what {
        0..=3 => std::fs::write(&path, vec![b'a' + edit.n; 3 + edit.n as usize / 2]),
        4..=6 => std::fs::create_dir_all(&path),
        7 => std::fs::remove_file(&path),
        8 => std::fs::remove_dir_all(&path),
        9..=11 => std::fs::rename(&path, &to),
        12 => std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700 + edit.n as u32)),
        13 => std::os::unix::fs::symlink(OsStr::from_bytes(&[b'x', b'0' + edit.n]), &path),
        14 | 20 | 21 => std::fs::hard_link(&path, &to),
        15 => {
            let time = Timespec { tv_sec: 1_000_000_000 + edit.n as i64, tv_nsec: 5 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, &path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
        }
        16 => rustix::fs::setxattr(&path, "user.t", &[edit.n], XattrFlags::empty()).map_err(Into::into),
        // Copied up, and nothing else.
        17 => std::fs::OpenOptions::new().append(true).open(&path).map(drop),
        18 => std::fs::remove_dir_all(&path).and_then(|()| std::fs::create_dir(&path)),
        19 => {
            rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).map_err(Into::into)
        }
        _ => unreachable!(),
    };
}
