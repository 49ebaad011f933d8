//! The effect of each layer on the files of those below it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Count, ReportFile, ReportNode, WastedFile};
use crate::error::{Error, Result, escape};
use crate::layer::EntryKind;
use crate::layer::read::TarEntry;
use crate::layer::whiteout::{self, Strictness, Whiteout};

/// The part of its layer below which a file is put together with the others of its directory.
const SMALL: u64 = 400;
/// How deep the directories of a layer are shown.
const DEPTH: usize = 8;
/// How many bytes of files of all layers are held in memory: some five million of them.
const HELD_MAX: u64 = 1 << 30;

/// A file or link in one layer.
#[derive(Debug)]
pub(super) struct File {
    pub path: Vec<u8>,
    pub bytes: u64,
    pub step: usize,
    /// The step that overwrote or deleted it, and whether it deleted.
    pub lost: Option<(usize, bool)>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub added: Count,
    pub changed: Count,
    pub deleted: Count,
    pub wasted: Count,
}

/// All files of all layers so far, and which of them are still seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub files: Vec<File>,
    seen: BTreeMap<Vec<u8>, usize>,
    counts: BTreeMap<usize, Counts>,
    step: usize,
    /// Bytes that the files take in memory.
    held: u64,
    /// The paths below which the layer has deleted already what there was: one that says so again and again costs nothing more.
    swept: BTreeSet<Vec<u8>>,
}

impl Tally {
    /// Begins the layer of a step.
    pub fn begin(&mut self, step: usize) {
        self.step = step;
        self.swept.clear();
        self.counts.entry(step).or_default();
    }

    /// Takes the next entry of the layer.
    pub fn entry(&mut self, entry: TarEntry) -> Result<()> {
        match whiteout::classify(&entry.path, entry.kind, entry.size, Strictness::Lenient)? {
            Whiteout::AufsMetadata => {}
            Whiteout::Opaque => {
                let dir = parent(&entry.path).to_vec();
                self.delete_below(&dir);
            }
            Whiteout::Remove(name) => {
                let dir = parent(&entry.path);
                let path = if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() };
                self.delete(&path);
                self.delete_below(&path);
            }
            Whiteout::None if entry.kind == EntryKind::Directory => self.delete(&entry.path),
            Whiteout::None => self.write(entry.path, entry.size)?,
        }
        Ok(())
    }

    fn write(&mut self, path: Vec<u8>, bytes: u64) -> Result<()> {
        self.held += (2 * (path.len() + size_of::<File>())) as u64;
        if self.held > HELD_MAX {
            let message = format!("the files of the image take more than {} MiB in memory", HELD_MAX >> 20);
            return Err(Error::limit("report", message).with_path(path));
        }
        self.delete_below(&path);
        let (step, at) = (self.step, self.files.len());
        let before = self.seen.insert(path.clone(), at);
        if let Some(before) = before {
            self.lose(before, false);
        }
        let counts = self.counts.entry(step).or_default();
        match before {
            Some(_) => counts.changed.add(bytes),
            None => counts.added.add(bytes),
        }
        self.files.push(File { path, bytes, step, lost: None });
        Ok(())
    }

    /// Removes what a layer below has at a path. What the layer itself put there stays.
    fn delete(&mut self, path: &[u8]) {
        if let Some(at) = self.seen.get(path).copied().filter(|at| self.files[*at].step < self.step) {
            self.seen.remove(path);
            self.lose(at, true);
        }
    }

    fn delete_below(&mut self, dir: &[u8]) {
        if self.swept.contains(dir) {
            return;
        }
        // The root has everything below it; of another directory it is what begins with its name and a slash.
        let (first, last) = match dir {
            [] => (Bound::Unbounded, Bound::Unbounded),
            dir => (Bound::Included([dir, b"/"].concat()), Bound::Excluded([dir, b"0"].concat())),
        };
        let below: Vec<Vec<u8>> = self.seen.range((first, last)).map(|(path, _)| path.clone()).collect();
        below.iter().for_each(|path| self.delete(path));
        if !below.is_empty() {
            self.swept.insert(dir.to_vec());
        }
    }

    fn lose(&mut self, at: usize, deleted: bool) {
        let file = &mut self.files[at];
        file.lost = Some((self.step, deleted));
        let (step, bytes) = (file.step, file.bytes);
        self.counts.entry(step).or_default().wasted.add(bytes);
        if deleted {
            self.counts.entry(self.step).or_default().deleted.add(bytes);
        }
    }

    pub fn counts(&self, step: usize) -> Counts {
        self.counts.get(&step).copied().unwrap_or_default()
    }

    /// Returns the bytes of all files, and of those that are lost.
    pub fn totals(&self) -> (u64, u64) {
        self.files.iter().fold((0, 0), |(all, lost), file| {
            (all + file.bytes, lost + if file.lost.is_some() { file.bytes } else { 0 })
        })
    }

    /// Returns whether the image has something other than a directory at a path.
    pub fn is_there(&self, path: &[u8]) -> bool {
        self.seen.contains_key(path)
    }

    fn sorted(&self, most: usize, wanted: impl Fn(&File) -> bool) -> impl Iterator<Item = &File> {
        let mut found: Vec<&File> = self.files.iter().filter(|file| file.bytes > 0 && wanted(file)).collect();
        found.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
        found.into_iter().take(most)
    }

    pub fn largest(&self, most: usize) -> Vec<ReportFile> {
        let one = |file: &File| ReportFile { path: shown(&file.path), bytes: file.bytes, step: file.step };
        self.sorted(most, |file| file.lost.is_none()).map(one).collect()
    }

    pub fn largest_wasted(&self, most: usize) -> Vec<WastedFile> {
        let one = |file: &File| {
            let (by, deleted) = file.lost?;
            Some(WastedFile { path: shown(&file.path), bytes: file.bytes, step: file.step, by, deleted })
        };
        self.sorted(most, |file| file.lost.is_some()).filter_map(one).collect()
    }

    /// Returns the directories of a layer.
    pub fn tree(&self, step: usize) -> ReportNode {
        let mut root = Growing::default();
        for file in self.files.iter().filter(|file| file.step == step) {
            root.add(&file.path, file, 0);
        }
        let least = root.bytes / SMALL;
        root.finish(String::new(), least)
    }
}

/// Returns a path as people read it.
fn shown(path: &[u8]) -> String {
    format!("/{}", escape(path))
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &path[..at])
}

#[derive(Default)]
struct Growing<'f> {
    bytes: u64,
    wasted: u64,
    files: u64,
    children: BTreeMap<&'f [u8], Growing<'f>>,
}

impl<'f> Growing<'f> {
    fn add(&mut self, rest: &'f [u8], file: &File, depth: usize) {
        self.bytes += file.bytes;
        self.wasted += if file.lost.is_some() { file.bytes } else { 0 };
        self.files += 1;
        if rest.is_empty() || depth == DEPTH {
            return;
        }
        let at = rest.iter().position(|byte| *byte == b'/');
        let (name, below) = at.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
        self.children.entry(name).or_default().add(below, file, depth + 1);
    }

    fn finish(self, name: String, least: u64) -> ReportNode {
        let mut others = ReportNode::default();
        let mut children = Vec::new();
        for (name, child) in self.children {
            if child.bytes > least {
                children.push(child.finish(escape(name), least));
            } else {
                others.bytes += child.bytes;
                others.wasted += child.wasted;
                others.files += child.files;
            }
        }
        children.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        if !children.is_empty() && others.bytes > 0 {
            children.push(others);
        }
        ReportNode { name, bytes: self.bytes, wasted: self.wasted, files: self.files, children }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind, size: u64) -> TarEntry {
        TarEntry {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            mtime: (0, 0),
            link: Vec::new(),
            rdev: (0, 0),
            xattrs: Vec::new(),
            lost: Vec::new(),
        }
    }

    fn tally(layers: &[&[(&str, EntryKind, u64)]]) -> Tally {
        let mut tally = Tally::default();
        for (step, layer) in layers.iter().enumerate() {
            tally.begin(step);
            layer.iter().for_each(|(path, kind, size)| tally.entry(entry(path, *kind, *size)).unwrap());
        }
        tally
    }

    #[test]
    fn what_layers_overwrite_and_delete_is_wasted_below() {
        use EntryKind::{Directory, File as F};
        let tally = tally(&[
            &[("a", Directory, 0), ("a/x", F, 100), ("a/y", F, 10), ("a.txt", F, 5), ("b", F, 7)],
            &[("a/x", F, 50), (".wh.b", F, 0), ("a/new", F, 1)],
            &[("a/.wh..wh..opq", F, 0), ("a/own", F, 3), ("c", F, 2), (".wh.c", F, 0)],
            // A directory gives way to a file, and a file to a directory.
            &[("a", F, 4), ("c", Directory, 0)],
        ]);
        let count = |count: Count| (count.files, count.bytes);
        let all = |step| {
            let counts = tally.counts(step);
            [count(counts.added), count(counts.changed), count(counts.deleted), count(counts.wasted)]
        };
        assert_eq!(all(0), [(4, 122), (0, 0), (0, 0), (3, 117)]);
        assert_eq!(all(1), [(1, 1), (1, 50), (1, 7), (2, 51)]);
        assert_eq!(all(2), [(2, 5), (0, 0), (3, 61), (2, 5)]);
        assert_eq!(all(3), [(1, 4), (0, 0), (2, 5), (0, 0)]);
        assert_eq!(tally.totals(), (182, 173));
        let files: Vec<_> =
            tally.largest(9).into_iter().map(|file| (file.path, file.bytes, file.step)).collect();
        assert_eq!(files, [("/a.txt".to_string(), 5, 0), ("/a".to_string(), 4, 3)]);
        let wasted = tally.largest_wasted(2);
        assert_eq!((wasted[0].path.as_str(), wasted[0].by, wasted[0].deleted), ("/a/x", 1, false));
        assert_eq!((wasted[1].path.as_str(), wasted[1].by, wasted[1].deleted), ("/a/x", 2, true));
        let tree = tally.tree(0);
        assert_eq!((tree.bytes, tree.wasted, tree.files), (122, 117, 4));
        assert_eq!(tree.children[0].name, "a");
        assert_eq!(tree.children[0].children.len(), 2);
    }

    #[test]
    fn files_without_end_are_an_error() {
        let mut tally = Tally { held: HELD_MAX - 200, ..Tally::default() };
        tally.begin(0);
        tally.entry(entry("a", EntryKind::File, 1)).unwrap();
        let error = tally.entry(entry("b", EntryKind::File, 1)).unwrap_err();
        assert_eq!((error.kind(), error.path()), (crate::ErrorKind::Limit, Some(&b"b"[..])));
    }

    /// Of a layer that says again and again that a directory is emptied, and fills it itself.
    #[test]
    fn what_deletes_again_and_again_costs_by_the_layer() {
        use EntryKind::File as F;
        let began = std::time::Instant::now();
        let mut tally = tally(&[&[("d/old", F, 3)]]);
        tally.begin(1);
        for n in 0..20_000 {
            tally.entry(entry(&format!("d/{n}"), F, 1)).unwrap();
        }
        for _ in 0..20_000 {
            tally.entry(entry("d/.wh..wh..opq", F, 0)).unwrap();
            tally.entry(entry("d", F, 0)).unwrap();
        }
        let counts = tally.counts(1);
        assert_eq!((counts.deleted.files, counts.added.files), (1, 20_001));
        assert_eq!(tally.counts(0).wasted.bytes, 3);
        // A later layer begins anew.
        tally.begin(2);
        tally.entry(entry("d/.wh..wh..opq", F, 0)).unwrap();
        assert_eq!(tally.counts(2).deleted.files, 20_000);
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
