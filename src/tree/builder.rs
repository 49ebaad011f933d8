//! A tree in memory that can still change: what a layer's entries do to it becomes a snapshot at the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::codec::{Record, Writer};
use super::entry::{Flags, Meta, NONE, Place, Xattrs};
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::fs::{Kind, Timestamp};

/// How many symbolic links one path may lead through, as the kernel counts (path_resolution(7)).
const MAX_LINKS: u32 = 40;
/// How many components the targets of those links may have together. Real ones have some dozens; a hostile tree, in which
/// each path leads through forty long ones, would cost minutes.
const MAX_STEPS: usize = 4096;

/// A file, whatever its names.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Its metadata.
    pub meta: Meta,
    /// The target of a symbolic link.
    pub target: Vec<u8>,
    /// Packed extended attributes, see [`Xattrs::pack`].
    pub xattrs: Vec<u8>,
    /// The sha256 of its content, where it is known.
    pub digest: Option<[u8; 32]>,
    /// Where its content is in a layer, if it came out of one.
    pub place: Option<Place>,
}

impl Inode {
    /// Returns a file with nothing but metadata.
    pub fn new(meta: Meta) -> Inode {
        Inode { meta, target: Vec::new(), xattrs: Vec::new(), digest: None, place: None }
    }
}

#[derive(Debug)]
struct Node {
    name: Arc<[u8]>,
    parent: u32,
    inode: u32,
    children: BTreeMap<Arc<[u8]>, u32>,
}

#[derive(Debug)]
struct Slot {
    inode: Inode,
    names: u32,
}

/// Grows a [`Snapshot`] entry by entry. Nodes are names, and several may share one [`Inode`].
#[derive(Debug)]
pub struct Builder {
    nodes: Vec<Node>,
    inodes: Vec<Slot>,
}

/// The root's node.
pub const ROOT: u32 = 0;

impl Builder {
    /// Returns a tree that is only a root directory.
    pub fn new(root: Inode) -> Builder {
        let node = Node { name: Arc::from(&b""[..]), parent: ROOT, inode: 0, children: BTreeMap::new() };
        Builder { nodes: vec![node], inodes: vec![Slot { inode: root, names: 1 }] }
    }

    /// Returns a tree that is only a root directory of which no entry has the metadata yet.
    pub fn empty() -> Builder {
        let mut meta = Meta::directory();
        meta.flags = Flags::IMPLICIT;
        Builder::new(Inode::new(meta))
    }

    /// Returns the tree that a snapshot is of.
    pub fn from_snapshot(snapshot: &Snapshot) -> Builder {
        let count = snapshot.len() as usize;
        let mut inodes: Vec<Slot> = Vec::with_capacity(count);
        let mut number_of = vec![0; count];
        for index in (0..snapshot.len()).filter(|&index| snapshot.leader(index) == index) {
            number_of[index as usize] = inodes.len() as u32;
            let inode = Inode {
                meta: snapshot.meta(index),
                target: snapshot.link_target(index).to_vec(),
                xattrs: snapshot.xattrs(index).packed().to_vec(),
                digest: snapshot.digest(index),
                place: snapshot.place(index),
            };
            inodes.push(Slot { inode, names: 0 });
        }
        // Nodes have the numbers of the entries.
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        for index in 0..snapshot.len() {
            // A leader may stand after its followers: entries are numbered by directory, leaders chosen by path.
            let inode = number_of[snapshot.leader(index) as usize];
            inodes[inode as usize].names += 1;
            let (name, parent) = (Arc::from(snapshot.name(index)), snapshot.parent(index));
            nodes.push(Node { name, parent, inode, children: BTreeMap::new() });
        }
        nodes[ROOT as usize].parent = ROOT;
        for index in 0..snapshot.len() {
            // They are sorted: the map is made of them at once.
            let children = snapshot.children(index).map(|child| (nodes[child as usize].name.clone(), child));
            let children: BTreeMap<_, _> = children.collect();
            nodes[index as usize].children = children;
        }
        Builder { nodes, inodes }
    }

    /// Returns the number of nodes ever made.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the node called `name` in a directory.
    pub fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        self.nodes[directory as usize].children.get(name).copied()
    }

    /// Returns the nodes in a directory, sorted by name.
    pub fn children(&self, directory: u32) -> impl Iterator<Item = (&[u8], u32)> {
        self.nodes[directory as usize].children.iter().map(|(name, &node)| (&name[..], node))
    }

    /// Returns the directory a node is in; the root is in itself.
    pub fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    /// Returns the name of a node.
    pub fn name(&self, node: u32) -> &Arc<[u8]> {
        &self.nodes[node as usize].name
    }

    /// Returns the file behind a node.
    pub fn inode(&self, node: u32) -> &Inode {
        &self.inodes[self.nodes[node as usize].inode as usize].inode
    }

    /// Returns the file behind a node, to change it: all its names see the change.
    pub fn inode_mut(&mut self, node: u32) -> &mut Inode {
        &mut self.inodes[self.nodes[node as usize].inode as usize].inode
    }

    /// Returns the number of the file behind a node: all its names have the same, no two files do.
    pub fn inode_number(&self, node: u32) -> u32 {
        self.nodes[node as usize].inode
    }

    /// Returns whether two nodes are names of one file.
    pub fn same_inode(&self, a: u32, b: u32) -> bool {
        self.nodes[a as usize].inode == self.nodes[b as usize].inode
    }

    /// Returns how many names the file behind a node has.
    pub fn names(&self, node: u32) -> u32 {
        self.inodes[self.nodes[node as usize].inode as usize].names
    }

    /// Returns the kind of a node.
    pub fn kind(&self, node: u32) -> Kind {
        self.inode(node).meta.kind
    }

    fn attach(&mut self, directory: u32, name: &[u8], inode: u32) -> u32 {
        if let Some(old) = self.child(directory, name) {
            self.remove(old);
        }
        let node = self.nodes.len() as u32;
        let name: Arc<[u8]> = Arc::from(name);
        self.nodes.push(Node { name: name.clone(), parent: directory, inode, children: BTreeMap::new() });
        self.nodes[directory as usize].children.insert(name, node);
        node
    }

    /// Puts a new file into a directory, replacing whatever had the name.
    pub fn insert(&mut self, directory: u32, name: &[u8], inode: Inode) -> u32 {
        self.inodes.push(Slot { inode, names: 1 });
        let number = self.inodes.len() as u32 - 1;
        self.attach(directory, name, number)
    }

    /// Gives a file one more name, replacing whatever had it.
    pub fn link(&mut self, directory: u32, name: &[u8], existing: u32) -> u32 {
        let inode = self.nodes[existing as usize].inode;
        self.inodes[inode as usize].names += 1;
        self.attach(directory, name, inode)
    }

    /// Takes a node out of its directory, with all it holds. The root cannot be removed.
    pub fn remove(&mut self, node: u32) {
        let Node { name, parent, .. } = &self.nodes[node as usize];
        let (name, parent) = (name.clone(), *parent);
        self.nodes[parent as usize].children.remove(&name);
        let mut rest = vec![node];
        while let Some(node) = rest.pop() {
            let node = &mut self.nodes[node as usize];
            self.inodes[node.inode as usize].names -= 1;
            rest.extend(std::mem::take(&mut node.children).into_values());
        }
    }

    /// Takes everything out of a directory.
    pub fn clear(&mut self, directory: u32) {
        let children: Vec<u32> = self.children(directory).map(|(_, node)| node).collect();
        for child in children {
            self.remove(child);
        }
    }

    /// Returns the path of a node: components joined by `/`, empty for the root.
    pub fn path(&self, node: u32) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = node;
        while at != ROOT {
            names.push(&self.nodes[at as usize].name);
            at = self.nodes[at as usize].parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Returns the length of the path of a node.
    pub fn path_len(&self, node: u32) -> usize {
        let above =
            std::iter::successors(Some(node), |&at| Some(self.parent(at))).take_while(|&at| at != ROOT);
        above.map(|at| self.name(at).len() + 1).sum::<usize>().saturating_sub(1)
    }

    /// Follows `path` to where it leads inside the tree, through symbolic links as a process with this root would see
    /// them: absolute targets and `..` stay inside. Gives the directory reached and the components that do not exist
    /// (more than none only if what exists of the path ends in a directory).
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when a component is neither directory nor link, for too many links, or for
    /// links with targets that are too long together.
    pub fn resolve<'a>(&'a self, path: &'a [u8]) -> Result<(u32, Vec<&'a [u8]>)> {
        const RESOLVE: &str = "resolve path";
        let mut at = ROOT;
        let (mut links, mut steps) = (0, 0);
        // What is still to be followed: the path, and the target of each link inside what the one before left.
        let mut todo: Vec<std::slice::Split<'a, u8, _>> = Vec::new();
        let split = |path: &'a [u8]| path.split((|&c: &u8| c == b'/') as fn(&u8) -> bool);
        todo.push(split(path));
        while let Some(rest) = todo.last_mut() {
            let Some(name) = rest.next() else {
                todo.pop();
                continue;
            };
            if todo.len() > 1 {
                steps += 1;
                if steps > MAX_STEPS {
                    let message = "the symbolic links it leads through are too long";
                    return Err(Error::invalid(RESOLVE, message).with_path(path));
                }
            }
            match name {
                b"" | b"." => continue,
                b".." => {
                    at = self.parent(at);
                    continue;
                }
                _ => {}
            }
            let Some(node) = self.child(at, name) else {
                let rest = todo.into_iter().rev().flatten().filter(|name| !matches!(*name, b"" | b"."));
                return Ok((at, std::iter::once(name).chain(rest).collect()));
            };
            match self.kind(node) {
                Kind::Directory => at = node,
                Kind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::invalid(RESOLVE, "too many symbolic links").with_path(path));
                    }
                    let target = &self.inode(node).target;
                    if target.first() == Some(&b'/') {
                        at = ROOT;
                    }
                    todo.push(split(target));
                }
                kind => {
                    let message = format!("a component is a {}, not a directory", kind.name());
                    return Err(Error::invalid(RESOLVE, message).with_path(path));
                }
            }
        }
        Ok((at, Vec::new()))
    }

    /// Returns the tree as it is now. `clock` is the filesystem's time up to which stat identities can be trusted; an entry that is
    /// newer than a tick before it is marked racy. `None` for a list that never was on a disk: its files are numbered anew.
    pub fn finish(&self, clock: Option<Timestamp>) -> Result<Snapshot> {
        let mut writer = Writer::with_capacity(self.nodes.len());
        let mut order: Vec<u32> = vec![ROOT];
        self.push_record(&mut writer, ROOT, 0, clock)?;
        let mut shared: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut index = 0;
        while index < order.len() {
            let node = order[index];
            let first = writer.len();
            for &child in self.nodes[node as usize].children.values() {
                let at = self.push_record(&mut writer, child, index as u32, clock)?;
                order.push(child);
                if self.names(child) > 1 {
                    shared.entry(self.nodes[child as usize].inode).or_default().push(at);
                }
            }
            let count = writer.len() - first;
            if count > 0 {
                writer.set_children(index as u32, first, count);
            }
            index += 1;
        }
        for group in shared.values() {
            let leader = group.iter().copied().min_by_key(|&at| self.path(order[at as usize]));
            for &at in group {
                writer.set_leader(at, leader.expect("a group has members"));
            }
        }
        Ok(Snapshot::from_writer(writer, clock.unwrap_or_default()))
    }

    fn push_record(
        &self,
        writer: &mut Writer,
        node: u32,
        parent: u32,
        clock: Option<Timestamp>,
    ) -> Result<u32> {
        let number = self.nodes[node as usize].inode;
        let inode = &self.inodes[number as usize].inode;
        let mut meta = inode.meta;
        match clock {
            Some(clock) => {
                meta.flags.set(Flags::RACY, meta.ctime >= clock.minus_nanos(crate::fs::clock::TICK_NANOS));
            }
            None => {
                (meta.dev, meta.ino, meta.ctime) = (0, number as u64 + 1, Timestamp::default());
                meta.nlink = self.inodes[number as usize].names;
            }
        }
        let name = &self.nodes[node as usize].name;
        let record = Record {
            name: (writer.store(name)?, name.len() as u16),
            parent,
            meta,
            leader: writer.len(),
            target: (writer.store(&inode.target)?, inode.target.len() as u32),
            children: (0, 0),
            xattrs: writer.store_xattrs(&inode.xattrs)?,
            digest: writer.store_digest(inode.digest),
            place: writer.store_place(inode.place),
        };
        writer.push(&record)
    }

    /// Returns the extended attributes of a node.
    pub fn xattrs(&self, node: u32) -> Xattrs<'_> {
        Xattrs(&self.inode(node).xattrs)
    }

    /// Returns whether a number stands for a node.
    pub fn contains(&self, node: u32) -> bool {
        node != NONE && (node as usize) < self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn directory() -> Inode {
        Inode::new(Meta::directory())
    }

    fn file(size: u64) -> Inode {
        Inode::new(Meta { kind: Kind::File, size, ..Meta::directory() })
    }

    fn symlink(target: &[u8]) -> Inode {
        let meta = Meta { kind: Kind::Symlink, mode: 0o777, ..Meta::directory() };
        Inode { target: target.to_vec(), ..Inode::new(meta) }
    }

    /// Makes `a/b/c`, `a/f`, and links in `a`.
    fn with_links(links: &[(&[u8], &[u8])]) -> Builder {
        let mut builder = Builder::new(directory());
        let a = builder.insert(ROOT, b"a", directory());
        let b = builder.insert(a, b"b", directory());
        builder.insert(b, b"c", directory());
        builder.insert(a, b"f", file(1));
        for (name, target) in links {
            builder.insert(a, name, symlink(target));
        }
        builder
    }

    /// Returns where a path leads, and what of it does not exist.
    fn resolved(builder: &Builder, path: &[u8]) -> (String, String) {
        let (node, rest) = builder.resolve(path).unwrap();
        let rest: Vec<&[u8]> = rest.iter().map(|name| &name[..]).collect();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(builder.path(node)), text(rest.join(&b'/')))
    }

    #[test]
    fn paths_lead_where_a_process_with_this_root_would_end() {
        let links: [(&[u8], &[u8]); 7] = [
            (b"abs", b"/a/b"),
            (b"rel", b"../a/b"),
            (b"out", b"../../../../a"),
            (b"top", b"/"),
            (b"dead", b"/no/where"),
            (b"chain", b"rel/../abs"),
            (b"dots", b"./b/./c/.."),
        ];
        let builder = with_links(&links);
        let cases = [
            ("", "", ""),
            ("/", "", ""),
            ("a/b", "a/b", ""),
            ("//a/./b//", "a/b", ""),
            ("a/b/..", "a", ""),
            ("../../a", "a", ""),
            ("a/abs/c", "a/b/c", ""),
            ("a/rel/c", "a/b/c", ""),
            ("a/out/b", "a/b", ""),
            ("a/top/a", "a", ""),
            ("a/chain/c", "a/b/c", ""),
            ("a/dots/c", "a/b/c", ""),
            ("a/b/new/x", "a/b", "new/x"),
            ("a/dead/x", "", "no/where/x"),
            ("a/b/new/./x/", "a/b", "new/x"),
        ];
        for (path, at, rest) in cases {
            assert_eq!(resolved(&builder, path.as_bytes()), (at.into(), rest.into()), "{path:?}");
        }
    }

    #[test]
    fn paths_that_lead_nowhere_are_errors() {
        let links: [(&[u8], &[u8]); 4] =
            [(b"self", b"self"), (b"x", b"/a/y"), (b"y", b"x"), (b"grow", b"grow/grow")];
        let builder = with_links(&links);
        for path in ["a/self", "a/x/z", "a/y", "a/grow", "a/f", "a/f/x", "a/f/.."] {
            let error = builder.resolve(path.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{path}");
            assert_eq!(error.path(), Some(path.as_bytes()));
        }
    }

    #[test]
    fn as_many_links_as_the_kernel_follows() {
        let names: Vec<(Vec<u8>, Vec<u8>)> =
            (0..41).map(|i| (format!("l{i}").into_bytes(), format!("l{}", i + 1).into_bytes())).collect();
        let mut links: Vec<(&[u8], &[u8])> = names.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        links.push((b"l41", b"b"));
        let builder = with_links(&links);
        assert_eq!(resolved(&builder, b"a/l2"), ("a/b".into(), String::new()));
        assert!(builder.resolve(b"a/l1").is_err());
    }

    #[test]
    fn links_lead_through_a_bounded_number_of_components() {
        let long = |next: &str| [&b"./".repeat(500)[..], next.as_bytes()].concat();
        let targets: Vec<(String, Vec<u8>)> = (0..20)
            .map(|i| (format!("l{i}"), long(&if i == 0 { "b".into() } else { format!("l{}", i - 1) })))
            .collect();
        let links: Vec<(&[u8], &[u8])> =
            targets.iter().map(|(name, target)| (name.as_bytes(), &target[..])).collect();
        let builder = with_links(&links);
        assert_eq!(resolved(&builder, b"a/l7/c"), ("a/b/c".into(), String::new()));
        let error = builder.resolve(b"a/l8/c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        // A path's own components are not counted: it is as long as its entry.
        let own = [&b"./".repeat(30_000)[..], b"a/l7/c"].concat();
        assert_eq!(resolved(&builder, &own), ("a/b/c".into(), String::new()));
        assert_eq!(builder.path_len(builder.resolve(&own).unwrap().0), "a/b/c".len());
        assert_eq!(builder.path_len(ROOT), 0);
    }

    #[test]
    fn names_of_a_file_share_it_and_are_counted() {
        let mut builder = Builder::new(directory());
        let d = builder.insert(ROOT, b"d", directory());
        let first = builder.insert(ROOT, b"z", file(1));
        let second = builder.link(d, b"b", first);
        let third = builder.link(ROOT, b"d-e", second);
        assert!(builder.same_inode(first, third));
        builder.inode_mut(third).meta.size = 7;
        assert_eq!((builder.inode(first).meta.size, builder.names(second)), (7, 3));
        let snapshot = builder.finish(None).unwrap();
        let leader = |path: &[u8]| snapshot.path(snapshot.leader(snapshot.lookup(path).unwrap()));
        // `d-e` comes before `d/b`: the order is that of whole paths.
        for path in [&b"d/b"[..], b"d-e", b"z"] {
            assert_eq!(leader(path), b"d-e");
            assert_eq!(snapshot.meta(snapshot.lookup(path).unwrap()).nlink, 3);
        }
        builder.remove(d);
        assert_eq!(builder.names(first), 2);
        // Replacing a name takes it from the file that had it.
        builder.insert(ROOT, b"d-e", file(2));
        assert_eq!((builder.names(first), builder.inode(first).meta.size), (1, 7));
        builder.link(ROOT, b"z", first);
        assert_eq!(builder.names(first), 1);
    }

    #[test]
    fn what_is_removed_is_gone_with_all_below() {
        let mut builder = with_links(&[]);
        let a = builder.child(ROOT, b"a").unwrap();
        let f = builder.child(a, b"f").unwrap();
        let outside = builder.link(ROOT, b"g", f);
        builder.insert(ROOT, b"a", file(3));
        let snapshot = builder.finish(None).unwrap();
        let paths: Vec<Vec<u8>> = snapshot.walk().map(|index| snapshot.path(index)).collect();
        assert_eq!(paths, [&b"a"[..], b"g"]);
        assert_eq!(builder.names(outside), 1);
        builder.clear(ROOT);
        assert_eq!(builder.finish(None).unwrap().len(), 1);
    }

    #[test]
    fn a_snapshot_goes_in_and_comes_out() {
        let mut builder = with_links(&[(b"l", b"\xff/x")]);
        let a = builder.child(ROOT, b"a").unwrap();
        let b = builder.child(a, b"b").unwrap();
        // The leader of these, `a/b/k`, stands after `z` in the snapshot.
        let z = builder.insert(ROOT, b"z", file(9));
        builder.link(b, b"k", z);
        builder.inode_mut(z).digest = Some([7; 32]);
        builder.inode_mut(z).xattrs = Xattrs::pack(&[(b"user.a", b"1")]);
        builder.inode_mut(a).meta.mtime = Timestamp::new(-5, 6);
        let clock = Some(Timestamp::new(100, 0));
        let first = builder.finish(clock).unwrap();
        let again = Builder::from_snapshot(&first).finish(clock).unwrap();
        assert_eq!(first.len(), again.len());
        for index in 0..first.len() {
            let all = |s: &Snapshot| {
                let links = (s.link_target(index).to_vec(), s.path(s.leader(index)));
                (s.path(index), s.meta(index), s.digest(index), s.xattrs(index).packed().to_vec(), links)
            };
            assert_eq!(all(&first), all(&again));
        }
        assert_eq!(again.path(again.leader(again.lookup(b"z").unwrap())), b"a/b/k");
    }
}
