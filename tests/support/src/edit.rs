//! Random trees and random edits of them, for property tests.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

/// An edit. Places are chosen by number among what is there, so that every script makes sense on every tree.
#[derive(Debug, Clone)]
pub enum Edit {
    File { dir: usize, name: usize, size: u16, fill: u8 },
    Sparse { dir: usize, name: usize, at: u32 },
    Directory { dir: usize, name: usize },
    Symlink { dir: usize, name: usize, target: usize },
    Link { dir: usize, name: usize, file: usize },
    Fifo { dir: usize, name: usize },
    Device { dir: usize, name: usize },
    Remove { any: usize },
    Rename { any: usize, dir: usize, name: usize },
    Chmod { any: usize, mode: u16 },
    Chown { any: usize, uid: u32, gid: u32 },
    Touch { any: usize, secs: i32, nanos: u32 },
    Xattr { any: usize, name: usize, value: u8 },
    Rewrite { file: usize, fill: u8 },
    Append { file: usize },
}

/// Names that sort around `/`, need escaping, are no UTF-8, or only fit a PAX header.
const NAMES: &[&[u8]] = &[
    b"a", b"b", b"a-b", b"a.c", b"a!", b"ab", b"z", b"\xff\xfe", b"new\nline", b"caf\xc3\xa9", b".hidden", b"wh.x",
    b"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
];
const TARGETS: &[&[u8]] = &[b"a", b"../b", b"/etc/passwd", b"nowhere/at/all", b"\xff", b"."];

pub fn edits(max: usize) -> impl Strategy<Value = Vec<Edit>> {
    let n = 0..64usize;
    let name = 0..NAMES.len();
    let edit = prop_oneof![
        6 => (n.clone(), name.clone(), 0..5000u16, any::<u8>())
            .prop_map(|(dir, name, size, fill)| Edit::File { dir, name, size, fill }),
        1 => (n.clone(), name.clone(), 200_000..3_000_000u32).prop_map(|(dir, name, at)| Edit::Sparse { dir, name, at }),
        5 => (n.clone(), name.clone()).prop_map(|(dir, name)| Edit::Directory { dir, name }),
        2 => (n.clone(), name.clone(), 0..TARGETS.len())
            .prop_map(|(dir, name, target)| Edit::Symlink { dir, name, target }),
        3 => (n.clone(), name.clone(), n.clone()).prop_map(|(dir, name, file)| Edit::Link { dir, name, file }),
        1 => (n.clone(), name.clone()).prop_map(|(dir, name)| Edit::Fifo { dir, name }),
        1 => (n.clone(), name.clone()).prop_map(|(dir, name)| Edit::Device { dir, name }),
        3 => n.clone().prop_map(|any| Edit::Remove { any }),
        3 => (n.clone(), n.clone(), name.clone()).prop_map(|(any, dir, name)| Edit::Rename { any, dir, name }),
        2 => (n.clone(), 0..0o10000u16).prop_map(|(any, mode)| Edit::Chmod { any, mode }),
        2 => (n.clone(), 0..3_000_000u32, 0..70_000u32).prop_map(|(any, uid, gid)| Edit::Chown { any, uid, gid }),
        2 => (n.clone(), any::<i32>(), 0..1_000_000_000u32)
            .prop_map(|(any, secs, nanos)| Edit::Touch { any, secs, nanos }),
        2 => (n.clone(), 0..3usize, any::<u8>()).prop_map(|(any, name, value)| Edit::Xattr { any, name, value }),
        2 => (n.clone(), any::<u8>()).prop_map(|(file, fill)| Edit::Rewrite { file, fill }),
        1 => n.prop_map(|file| Edit::Append { file }),
    ];
    prop::collection::vec(edit, 0..max)
}

fn all(root: &Path) -> Vec<PathBuf> {
    let mut out = vec![root.to_path_buf()];
    let mut i = 0;
    while i < out.len() {
        if out[i].symlink_metadata().unwrap().is_dir() {
            let mut names: Vec<PathBuf> =
                std::fs::read_dir(&out[i]).unwrap().map(|e| e.unwrap().path()).collect();
            names.sort();
            out.extend(names);
        }
        i += 1;
    }
    out
}

/// Does the edits below `root`. What cannot be done (by anyone, or without root) is left out.
pub fn run(root: &Path, edits: &[Edit]) {
    let is_root = rustix::process::geteuid().is_root();
    for edit in edits {
        let everything = all(root);
        let dirs: Vec<&PathBuf> =
            everything.iter().filter(|p| p.symlink_metadata().unwrap().is_dir()).collect();
        let files: Vec<&PathBuf> =
            everything.iter().filter(|p| p.symlink_metadata().unwrap().is_file()).collect();
        let place = |dir: usize, name: usize| dirs[dir % dirs.len()].join(OsStr::from_bytes(NAMES[name]));
        let any = |n: usize| everything[n % everything.len()].clone();
        let clear = |path: &Path| match path.symlink_metadata() {
            Ok(m) if m.is_dir() => std::fs::remove_dir_all(path).unwrap(),
            Ok(_) => std::fs::remove_file(path).unwrap(),
            Err(_) => {}
        };
        match *edit {
            Edit::File { dir, name, size, fill } => {
                let path = place(dir, name);
                clear(&path);
                std::fs::write(path, vec![fill; size as usize]).unwrap();
            }
            Edit::Sparse { dir, name, at } => {
                let path = place(dir, name);
                clear(&path);
                let file = std::fs::File::create(path).unwrap();
                std::os::unix::fs::FileExt::write_at(&file, b"data", at as u64).unwrap();
                file.set_len(at as u64 * 2).unwrap();
            }
            Edit::Directory { dir, name } => {
                let path = place(dir, name);
                if !path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                    clear(&path);
                    std::fs::create_dir(path).unwrap();
                }
            }
            Edit::Symlink { dir, name, target } => {
                let path = place(dir, name);
                clear(&path);
                std::os::unix::fs::symlink(OsStr::from_bytes(TARGETS[target]), path).unwrap();
            }
            Edit::Link { dir, name, file } => {
                if files.is_empty() {
                    continue;
                }
                let (from, to) = (files[file % files.len()].clone(), place(dir, name));
                if from != to && !from.starts_with(&to) {
                    clear(&to);
                    std::fs::hard_link(from, to).unwrap();
                }
            }
            Edit::Fifo { dir, name } | Edit::Device { dir, name } => {
                use rustix::fs::{CWD, FileType, makedev, mknodat};
                let path = place(dir, name);
                clear(&path);
                let device = matches!(edit, Edit::Device { .. }) && is_root;
                let (kind, numbers) =
                    if device { (FileType::CharacterDevice, makedev(1, 3)) } else { (FileType::Fifo, 0) };
                mknodat(CWD, &path, kind, 0o644.into(), numbers).unwrap();
            }
            Edit::Remove { any: n } => {
                let path = any(n);
                if path != root {
                    clear(&path);
                }
            }
            Edit::Rename { any: n, dir, name } => {
                let (from, to) = (any(n), place(dir, name));
                if from != root && !to.starts_with(&from) && !from.starts_with(&to) {
                    clear(&to);
                    std::fs::rename(from, to).unwrap();
                }
            }
            Edit::Chmod { any: n, mode } => {
                let path = any(n);
                let m = path.symlink_metadata().unwrap();
                if !m.is_symlink() {
                    // Without root we must still be able to read what we commit.
                    let mode = if is_root { mode } else { mode | 0o700 };
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode as u32)).unwrap();
                }
            }
            Edit::Chown { any: n, uid, gid } => {
                if is_root {
                    std::os::unix::fs::lchown(any(n), Some(uid), Some(gid)).unwrap();
                }
            }
            Edit::Touch { any: n, secs, nanos } => {
                use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
                let time = Timespec { tv_sec: secs as i64, tv_nsec: nanos as _ };
                let times = Timestamps { last_access: time, last_modification: time };
                utimensat(CWD, any(n), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            }
            Edit::Xattr { any: n, name, value } => {
                let path = any(n);
                let m = path.symlink_metadata().unwrap();
                if m.is_file() || m.is_dir() {
                    let name = ["user.one", "user.two", "user.three"][name];
                    // Refused on a read-only file of ours, and on filesystems without attributes.
                    let _ =
                        rustix::fs::setxattr(&path, name, &[value, 0, 255], rustix::fs::XattrFlags::empty());
                }
            }
            Edit::Rewrite { .. } | Edit::Append { .. } if files.is_empty() => {}
            Edit::Rewrite { file, fill } => {
                let path = files[file % files.len()];
                let len = path.metadata().unwrap().len().min(1 << 20);
                let mode = path.metadata().unwrap().permissions();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
                std::fs::write(path, vec![fill; len as usize]).unwrap();
                std::fs::set_permissions(path, mode).unwrap();
            }
            Edit::Append { file } => {
                use std::io::Write;
                let path = files[file % files.len()];
                let mode = path.metadata().unwrap().permissions();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
                std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
                std::fs::set_permissions(path, mode).unwrap();
            }
        }
    }
}
