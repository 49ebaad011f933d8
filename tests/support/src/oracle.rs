//! The effect of layers on a tree, said once more and as simply as can be: a map from paths to files, no inode tables, no
//! disk. Written from image-spec's layer.md ("Applying Changesets", "Whiteouts"), for comparing with the library.

use std::collections::BTreeMap;
use std::path::Path;

use treering::fs::Kind;
use treering::tree::Snapshot;

use crate::tar::Entry;

#[derive(Debug, Clone)]
struct Node {
    /// Which file it is: names with the same number are hard links.
    file: usize,
    /// The layer that last put it there.
    layer: usize,
    kind: u8,
    mode: u32,
    mtime: u64,
    content: Vec<u8>,
}

/// The tree. The root is `""`, everything else starts with `/`.
#[derive(Debug)]
pub struct Oracle {
    nodes: BTreeMap<String, Node>,
    layer: usize,
    files: usize,
}

impl Default for Oracle {
    fn default() -> Self {
        let mut oracle = Oracle { nodes: BTreeMap::new(), layer: 0, files: 0 };
        oracle.put("", b'5', 0o755, 0, b"");
        oracle
    }
}

type Outcome<T> = Result<T, String>;

fn parent(path: &str) -> &str {
    &path[..path.rfind('/').unwrap_or(0)]
}

fn below(path: &str, top: &str) -> bool {
    path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

impl Oracle {
    fn put(&mut self, path: &str, kind: u8, mode: u32, mtime: u64, content: &[u8]) {
        self.files += 1;
        let node = Node { file: self.files, layer: self.layer, kind, mode, mtime, content: content.to_vec() };
        self.nodes.insert(path.to_string(), node);
    }

    fn remove(&mut self, top: &str) {
        self.nodes.retain(|path, _| !below(path, top));
    }

    fn fresh(&self, top: &str) -> bool {
        self.nodes.iter().any(|(path, node)| below(path, top) && node.layer == self.layer)
    }

    /// Returns where a path leads for a process with this root; the last component is followed too. With `make`, what is
    /// missing becomes directories.
    fn follow(&mut self, path: &str, make: bool) -> Outcome<Option<String>> {
        let mut at = String::new();
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_string).collect();
        let mut links = 0;
        let mut missing = false;
        while let Some(name) = todo.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." if missing => return Err("`..` after what is missing".into()),
                ".." => {
                    at = parent(&at).to_string();
                    continue;
                }
                _ => {}
            }
            let next = format!("{at}/{name}");
            let Some(node) = self.nodes.get(&next) else {
                if !make {
                    return Ok(None);
                }
                missing = true;
                self.put(&next, b'5', 0o755, 0, b"");
                at = next;
                continue;
            };
            match node.kind {
                b'5' => at = next,
                b'2' => {
                    links += 1;
                    if links > 40 {
                        return if make { Err("a loop".into()) } else { Ok(None) };
                    }
                    let target = String::from_utf8(node.content.clone()).unwrap();
                    if target.starts_with('/') {
                        at = String::new();
                    }
                    todo.extend(target.split('/').rev().map(str::to_string));
                }
                _ if make => return Err("a file on the way".into()),
                _ => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    pub fn apply(&mut self, entries: &[Entry]) -> Outcome<()> {
        self.layer += 1;
        entries.iter().try_for_each(|entry| self.entry(entry))
    }

    fn entry(&mut self, entry: &Entry) -> Outcome<()> {
        let raw = std::str::from_utf8(&entry.path).unwrap();
        let names: Vec<&str> = raw.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let directory = entry.flag == b'5';
        if (raw.ends_with('/') || names.is_empty()) && !directory {
            return Err("not a directory by kind, one by name".into());
        }
        let Some((&name, above)) = names.split_last() else {
            let root = self.nodes.get_mut("").unwrap();
            (root.mode, root.mtime, root.layer) = (entry.mode, entry.mtime, self.layer);
            return Ok(());
        };
        if above.iter().any(|name| name.starts_with(".wh.")) {
            return Err("below a whiteout".into());
        }
        let link = String::from_utf8(entry.link.clone()).unwrap();
        if entry.flag == b'1' && link == names.join("/") {
            return Err("a link to itself".into());
        }
        let above = above.join("/");
        if let Some(gone) = name.strip_prefix(".wh.") {
            if let Some(at) = self.follow(&above, false)? {
                let opaque = name == ".wh..wh..opq";
                let top = if opaque { at } else { format!("{at}/{gone}") };
                // What this layer put there stays, and so do the directories it is in.
                let keep: Vec<String> =
                    self.nodes.keys().filter(|path| below(path, &top) && self.fresh(path)).cloned().collect();
                let stays = |path: &String| keep.contains(path) || (opaque && *path == top);
                self.nodes.retain(|path, _| !below(path, &top) || stays(path));
            }
            return Ok(());
        }
        let at = self.follow(&above, true)?.unwrap();
        let path = format!("{at}/{name}");
        let there = self.nodes.get(&path).cloned();
        match (entry.flag, there) {
            (b'5', Some(node)) if node.kind == b'5' => {
                let node = self.nodes.get_mut(&path).unwrap();
                (node.mode, node.mtime, node.layer) = (entry.mode, entry.mtime, self.layer);
            }
            (b'1', there) => {
                let (target_above, target_name) = link.rsplit_once('/').unwrap_or(("", &link));
                let target = self.follow(target_above, false)?.map(|at| format!("{at}/{target_name}"));
                let target = target.filter(|target| *target != path).ok_or("nothing to link to")?;
                let node = self.nodes.get(&target).cloned().ok_or("nothing to link to")?;
                if node.kind == b'5' {
                    return Err("a link to a directory".into());
                }
                if there.is_some() && below(&target, &path) {
                    return Err("what is linked to is inside what is replaced".into());
                }
                self.remove(&path);
                self.nodes.insert(path, Node { layer: self.layer, ..node });
            }
            _ => {
                self.remove(&path);
                let content = if entry.flag == b'2' { &entry.link } else { &entry.data };
                let mode = if entry.flag == b'2' { 0o777 } else { entry.mode };
                self.put(&path, entry.flag, mode, entry.mtime, content);
            }
        }
        Ok(())
    }

    /// Describes it with one line per path, in the form of [`describe`].
    pub fn describe(&self) -> BTreeMap<String, String> {
        let first = |file| self.nodes.iter().find(|(_, node)| node.file == file).unwrap().0;
        let line = |node: &Node| {
            let Node { file, kind, mode, mtime, content, .. } = node;
            format!("{} {mode:o} {mtime} {} ={}", *kind as char, content.escape_ascii(), first(*file))
        };
        self.nodes.iter().map(|(path, node)| (path.clone(), line(node))).collect()
    }
}

/// Describes what a scan found, in the same form.
pub fn describe(snapshot: &Snapshot, root: &Path) -> BTreeMap<String, String> {
    let path_of = |index: u32| match String::from_utf8(snapshot.path(index)).unwrap() {
        path if path.is_empty() => path,
        path => format!("/{path}"),
    };
    // The naive order of paths is that of their bytes, slashes included; hard links are named by it too.
    let mut first: BTreeMap<u32, String> = BTreeMap::new();
    let all = || std::iter::once(0).chain(snapshot.walk());
    for index in all() {
        let path = path_of(index);
        let name = first.entry(snapshot.leader(index)).or_insert_with(|| path.clone());
        if path < *name {
            *name = path;
        }
    }
    let line = |index: u32| {
        let meta = snapshot.meta(index);
        let (kind, content) = match meta.kind {
            Kind::File => (b'0', std::fs::read(root.join(&path_of(index)[1..])).unwrap()),
            Kind::Directory => (b'5', Vec::new()),
            Kind::Symlink => (b'2', snapshot.link_target(index).to_vec()),
            other => panic!("{other:?}"),
        };
        format!(
            "{} {:o} {} {} ={}",
            kind as char,
            meta.mode,
            meta.mtime.secs,
            content.escape_ascii(),
            first[&snapshot.leader(index)]
        )
    };
    all().map(|index| (path_of(index), line(index))).collect()
}
