//! The changes of an overlayfs upper directory, decoded without mounting it.
//!
//! The work is in proportion to what the upper directory holds: of the lower directories only what stands at the paths of
//! upper entries is looked at, and the whole of a directory only where the upper one replaces or moves it.
//!
//! Two partial trees are built, the lower view and the merged view of everything the upper directory touches, and
//! compared as any two trees are. What is in neither of them is the same in both.

mod copied;
mod links;
mod lookup;
mod marks;
mod sources;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lookup::{Layers, Place, Search, Stack, View, is_whiteout};
use marks::{Counted, Marks};
use sources::{Source, nodes_of};

use super::change::Change;
use super::compare::{CompareOptions, compare};
use super::content::same_content;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::fs::root::{push_name, split};
use crate::fs::{Kind, Root};
use crate::progress::Control;
use crate::tree::builder::{self, Builder, Inode};
use crate::tree::{
    Flags, Ledger, Meta, NONE, OwnerPolicy, OwnerSource, ScanOptions, Skipped, Snapshot, Xattrs, scan,
};

pub use marks::Namespace;
pub use sources::Sources;

const DECODE: &str = "decode overlay";

/// Options of decoding an upper directory.
#[derive(Debug, Clone, Copy)]
pub struct OverlayOptions<'a> {
    /// Threads to use; 0 for one per processor.
    pub threads: usize,
    /// The owners of files of all layers that neither the ledger nor the source has.
    pub owner: &'a OwnerPolicy,
    /// Another tool's record of owners to go by, in all layers.
    pub owner_from: &'a OwnerSource,
    /// The ledger of all layers: what the disk could not hold. What it has of a lower file holds for the upper one that was copied
    /// up from it.
    pub ledger: Option<&'a Ledger>,
    /// The namespace of overlayfs's marks.
    pub namespace: Namespace,
    /// Keep extended attributes that no layer carries, see [`crate::tree::scan::kept_xattr`].
    pub all_xattrs: bool,
    /// How files that were copied up are compared with what they were copied from.
    pub compare: CompareOptions,
}

impl Default for OverlayOptions<'_> {
    fn default() -> Self {
        OverlayOptions {
            threads: 0,
            owner: &OwnerPolicy::Root,
            owner_from: &OwnerSource::Nothing,
            ledger: None,
            namespace: Namespace::Auto,
            all_xattrs: false,
            compare: CompareOptions::default(),
        }
    }
}

/// The changes of an upper directory.
#[derive(Debug)]
pub struct OverlayDiff {
    /// The lower entries that were looked at, at the paths the merged view of the lower directories has them. Where no
    /// lower directories were given: an empty file of flag [`Flags::WHITEOUT`] for each whiteout.
    pub lower: Snapshot,
    /// The merged view of everything the upper directory touches.
    pub upper: Snapshot,
    /// The changes from `lower` to `upper`, in byte order of paths.
    pub changes: Vec<Change>,
    /// Entries that cannot be part of a layer and were left out.
    pub skipped: Vec<Skipped>,
    /// How many upper entries have owners other than the policy gave them.
    pub owners_replaced: u64,
    /// The content of the files in `upper`.
    pub sources: Sources,
    /// The content of the files in `lower`.
    pub lower_sources: Sources,
}

/// Decodes the upper directory of an overlay. `lowers` are its lower directories, the topmost first as in the
/// `lowerdir=` of a mount; with none, everything in the upper directory counts as added, and its opaque directories
/// carry [`Change::opaque`].
///
/// The upper directory should not be mounted for writing meanwhile. Marks in the `trusted.` namespace show only to a
/// process with CAP_SYS_ADMIN in the initial user namespace.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for marks that mean nothing; [`NotFound`](crate::ErrorKind::NotFound) where content is said to be in a lower
/// layer and is not.
pub fn overlay(
    upper: &Root,
    lowers: &[Root],
    options: &OverlayOptions<'_>,
    control: &Control,
) -> Result<OverlayDiff> {
    let roots: Vec<Root> =
        std::iter::once(upper).chain(lowers).map(Root::try_clone).collect::<Result<_>>()?;
    let roots = Arc::new(roots);
    // Marks are attributes no layer carries, so all are read here and sorted out below. A mount inside an upper
    // directory does not show through the overlay.
    let scan_options = ScanOptions {
        threads: options.threads,
        owner: options.owner,
        owner_from: options.owner_from,
        ledger: options.ledger,
        previous: None,
        one_file_system: true,
        leave_out: None,
        exclude: None,
        all_xattrs: true,
    };
    let scan = scan(upper, &scan_options, control)?;
    let layers = Layers { roots: &roots, counted: Counted::of(options.namespace, &scan.snapshot), options };
    let mut decoder = Decoder::new(layers, &scan.snapshot, &scan.skipped, control)?;
    decoder.run()?;
    decoder.complete_links()?;
    let Decoder { old, new, opaque, mut skipped, .. } = decoder;
    let clock = Some(scan.snapshot.clock());
    let (lower, _, lower_sources) = old.finish(clock, &roots)?;
    let (upper, nodes, sources) = new.finish(clock, &roots)?;
    let mut comparison = compare(&lower, &upper, &options.compare);
    comparison.settle(options.threads, |change| {
        if change.old == NONE {
            return Ok(None);
        }
        let (before, old_path) = lower_sources.locate(&lower, change.old);
        let (now, new_path) = sources.locate(&upper, change.new);
        // A copied-up file of which only metadata was copied still has its content there.
        if std::ptr::eq(before, now) && old_path == new_path {
            return Ok(Some(true));
        }
        same_content((before, &old_path), (now, &new_path), control).map(Some)
    })?;
    let mut changes = comparison.changes;
    links::mark_left_behind(&lower, &upper, &mut changes);
    for change in &mut changes {
        change.opaque = change.new != NONE && opaque.contains(&nodes[change.new as usize]);
    }
    skipped.extend(scan.skipped);
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let owners_replaced = scan.owners_replaced;
    Ok(OverlayDiff { lower, upper, changes, skipped, owners_replaced, sources, lower_sources })
}

/// A tree as it grows.
struct Tree {
    builder: Builder,
    sources: HashMap<u32, Source>,
    /// The node of each lower inode with several names.
    linked: HashMap<(u64, u64), u32>,
}

impl Tree {
    fn new(root: Inode) -> Tree {
        Tree { builder: Builder::new(root), sources: HashMap::new(), linked: HashMap::new() }
    }

    /// Puts what the lower layers have under a name into a directory.
    fn add_lower(&mut self, layers: &Layers<'_>, directory: u32, name: &[u8], view: &View) -> Result<u32> {
        let top = view.top();
        let key = (top.stat.dev, top.stat.ino);
        let shared = top.stat.nlink > 1 && top.stat.kind != Kind::Directory;
        let node = match self.linked.get(&key).filter(|_| shared) {
            Some(&first) => self.builder.link(directory, name, first),
            None => self.builder.insert(directory, name, layers.inode(top)?),
        };
        if shared {
            self.linked.insert(key, node);
        }
        if top.stat.kind == Kind::File {
            let place = view.content().ok_or_else(|| no_content(layers.describe(&top.place)))?;
            let borrowed = *place != top.place;
            self.sources.insert(node, Source { place: place.clone(), borrowed });
        }
        Ok(node)
    }

    /// Gives a file another name, at a path where no layer has its content.
    fn link_elsewhere(&mut self, directory: u32, name: &[u8], existing: u32) {
        let node = self.builder.link(directory, name, existing);
        let source = match self.sources.get(&existing) {
            Some(source) => Source { place: source.place.clone(), borrowed: source.borrowed },
            None => Source { place: Place { layer: 0, path: self.builder.path(existing) }, borrowed: false },
        };
        self.sources.insert(node, source);
    }

    fn finish(
        self,
        clock: Option<crate::fs::Timestamp>,
        roots: &Arc<Vec<Root>>,
    ) -> Result<(Snapshot, Vec<u32>, Sources)> {
        let snapshot = self.builder.finish(clock)?;
        let nodes = nodes_of(&self.builder, &snapshot);
        let sources = Sources::new(roots.clone(), self.sources, &nodes);
        Ok((snapshot, nodes, sources))
    }
}

fn no_content(path: Vec<u8>) -> Error {
    Error::not_found(DECODE, "only its metadata is here, and no lower layer given has its content")
        .with_path(path)
        .with_hint("give all lower directories of the mount, the topmost first")
}

/// A directory still to be looked into.
struct Work {
    /// Its node in the lower view and the lower parts it has there, if it is a directory there.
    old: Option<(u32, Vec<Place>)>,
    /// Its node in the merged view.
    new: u32,
    /// Its number in the upper directory's own snapshot, `NONE` where it comes from below alone.
    upper: u32,
    /// The lower parts that show through it.
    stack: Vec<Place>,
}

struct Decoder<'a> {
    layers: Layers<'a>,
    upper: &'a Snapshot,
    control: &'a Control,
    old: Tree,
    new: Tree,
    /// The node of the first name met of each upper file with several.
    leaders: HashMap<u32, u32>,
    /// Upper files that stand for all names of a lower one, by the handle of that one.
    indexed: HashMap<u64, u32>,
    /// Names found to be such a file's: directory, name, the file's leader.
    names_of_indexed: Vec<(u32, Vec<u8>, u32)>,
    /// Names that the scan left out of each upper directory: such a name still hides what is below it.
    sockets: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Opaque directories, where there is nothing to write their explicit whiteouts from.
    opaque: HashSet<u32>,
    skipped: Vec<Skipped>,
    work: Vec<Work>,
}

impl<'a> Decoder<'a> {
    fn new(
        layers: Layers<'a>,
        upper: &'a Snapshot,
        skipped: &[Skipped],
        control: &'a Control,
    ) -> Result<Decoder<'a>> {
        let (_, mut root) = entry(&layers, upper, 0);
        if layers.has_records() {
            layers.inherit(upper, 0, &Marks::default(), Some(&layers.lower_root()?), &mut root)?;
        }
        let below = match layers.roots.len() {
            1 => root.clone(),
            _ => layers.inode(&layers.lower_root()?)?,
        };
        let mut sockets: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for skipped in skipped.iter().filter(|skipped| upper.lookup(&skipped.path).is_none()) {
            let (parent, name) = split(&skipped.path);
            sockets.entry(parent.to_vec()).or_default().push(name.to_vec());
        }
        let stack = layers.root_stack();
        let old = (!stack.is_empty()).then(|| (builder::ROOT, stack.clone()));
        let indexed = match layers.roots.len() {
            1 => HashMap::new(),
            _ => links::indexed(&layers, upper),
        };
        Ok(Decoder {
            layers,
            upper,
            control,
            old: Tree::new(below),
            new: Tree::new(root),
            leaders: HashMap::new(),
            indexed,
            names_of_indexed: Vec::new(),
            sockets,
            opaque: HashSet::new(),
            skipped: Vec::new(),
            work: vec![Work { old, new: builder::ROOT, upper: 0, stack }],
        })
    }

    fn run(&mut self) -> Result<()> {
        while let Some(work) = self.work.pop() {
            self.control.check(DECODE)?;
            self.directory(work)?;
        }
        Ok(())
    }

    fn directory(&mut self, work: Work) -> Result<()> {
        let below_same = work.old.as_ref().is_some_and(|(_, places)| *places == work.stack);
        let old = work.old.map(|(node, places)| (node, Stack::new(places)));
        let stack = Stack::new(work.stack);
        let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
        if work.upper != NONE {
            names.extend(self.upper.children(work.upper).map(|index| self.upper.name(index).to_vec()));
            if !self.sockets.is_empty()
                && let Some(sockets) = self.sockets.get(&self.upper.path(work.upper))
            {
                names.extend(sockets.iter().cloned());
            }
        }
        // Where the same lower parts are under both views, only upper names can differ.
        let upper_names = (!below_same).then(|| names.clone());
        if !below_same {
            if let Some((_, old)) = &old {
                self.layers.names(old, &mut names)?;
            }
            self.layers.names(&stack, &mut names)?;
        }
        for name in &names {
            let in_upper = upper_names.as_ref().is_none_or(|upper| upper.contains(name));
            let before = match &old {
                Some((node, old)) => match self.layers.lookup(old, Search::any(name))? {
                    Some(view) if view.kind() != Kind::Socket => Some((*node, view)),
                    _ => None,
                },
                None => None,
            };
            let old_directory = match before {
                Some((directory, view)) => {
                    let node = self.old.add_lower(&self.layers, directory, name, &view)?;
                    (view.kind() == Kind::Directory).then(|| (node, view.stack()))
                }
                None => None,
            };
            if !in_upper {
                self.lower_entry(work.new, name, &stack, old_directory)?;
            } else if let Some(index) = self.upper.child(work.upper, name) {
                // Otherwise a socket: it is in no layer, and nothing shows through it.
                self.upper_entry(work.new, index, name, &stack, old_directory)?;
            }
        }
        Ok(())
    }

    /// Adds a name that only lower layers have, in a directory that was moved here or has other lower parts than before.
    fn lower_entry(
        &mut self,
        directory: u32,
        name: &[u8],
        stack: &Stack,
        old: Option<(u32, Vec<Place>)>,
    ) -> Result<()> {
        let Some(view) = self.layers.lookup(stack, Search::any(name))? else { return Ok(()) };
        if view.kind() == Kind::Socket {
            let mut path = self.new.builder.path(directory);
            push_name(&mut path, name);
            self.skipped.push(Skipped { path, reason: "socket" });
            return Ok(());
        }
        if let Some(leader) = self.indexed_as(&view)? {
            self.names_of_indexed.push((directory, name.to_vec(), leader));
            return Ok(());
        }
        let node = self.new.add_lower(&self.layers, directory, name, &view)?;
        if view.kind() == Kind::Directory {
            let stack = view.stack();
            if old.as_ref().is_none_or(|(_, before)| *before != stack) {
                self.work.push(Work { old, new: node, upper: NONE, stack });
            }
        }
        Ok(())
    }

    fn upper_entry(
        &mut self,
        directory: u32,
        index: u32,
        name: &[u8],
        stack: &Stack,
        old: Option<(u32, Vec<Place>)>,
    ) -> Result<()> {
        let (marks, mut inode) = entry(&self.layers, self.upper, index);
        let meta = inode.meta;
        if is_whiteout(meta.kind, meta.rdev, meta.size, &marks) && self.is_on_disk(index, meta.kind)? {
            if self.layers.roots.len() == 1 {
                self.unseen_whiteout(directory, name);
            } else {
                self.warn_of_index(index, name, stack)?;
            }
            return Ok(());
        }
        if !marks.indexed {
            self.warn_of_index(index, name, stack)?;
        }
        if self.layers.has_records() {
            let shown = || self.layers.roots[0].describe(&self.upper.path(index));
            let from = marks.checked_redirect(shown)?.unwrap_or(name);
            let view = self.layers.lookup(stack, Search::any(from))?;
            self.layers.inherit(self.upper, index, &marks, view.as_ref().map(View::top), &mut inode)?;
        }
        let leader = self.upper.leader(index);
        let node = match self.leaders.get(&leader) {
            Some(&first) => self.new.builder.link(directory, name, first),
            None => self.new.builder.insert(directory, name, inode),
        };
        if (meta.nlink > 1 || marks.indexed) && meta.kind != Kind::Directory {
            self.leaders.entry(leader).or_insert(node);
        }
        let shown = || self.layers.roots[0].describe(&self.upper.path(index));
        match meta.kind {
            Kind::Directory => {
                if marks.opaque && self.layers.roots.len() == 1 {
                    self.opaque.insert(node);
                }
                let stack = self.below_directory(index, name, stack)?;
                self.work.push(Work { old, new: node, upper: index, stack });
            }
            Kind::File if marks.metacopy => {
                let to = marks.checked_redirect(shown)?.unwrap_or(name);
                let view = self.layers.lookup(stack, Search::content(to))?;
                let place = view.as_ref().and_then(View::content).ok_or_else(|| no_content(shown()))?;
                self.new.sources.insert(node, Source { place: place.clone(), borrowed: true });
            }
            _ => {}
        }
        Ok(())
    }

    /// Warns where the upper directory may not have all. With the mount option index=on, a lower file with several names that
    /// was changed through one of them, which then was removed or replaced, has its content in the work directory alone.
    fn warn_of_index(&self, index: u32, name: &[u8], stack: &Stack) -> Result<()> {
        let (root, _) = entry(&self.layers, self.upper, 0);
        // Only such a mount writes down which lower directory it is for.
        if root.origin.is_none() {
            return Ok(());
        }
        let Some(view) = self.layers.lookup(stack, Search::any(name))? else { return Ok(()) };
        let stat = &view.top().stat;
        if stat.kind != Kind::Directory && stat.nlink > 1 {
            let path = crate::error::escape(&self.upper.path(index));
            let message = format!(
                "/{path} was removed or replaced and has other names: with index=on, what was changed through it is in the work directory of the overlay and not read; commit the mounted directory instead"
            );
            self.control.events.send(Event::Warning { rule: String::new(), message, location: None });
        }
        Ok(())
    }

    /// Returns the lower parts that show through an upper directory; `stack` is what shows through the one it is in.
    fn below_directory(&self, index: u32, name: &[u8], stack: &Stack) -> Result<Vec<Place>> {
        let (marks, _) = entry(&self.layers, self.upper, index);
        if marks.opaque {
            return Ok(Vec::new());
        }
        let shown = || self.layers.roots[0].describe(&self.upper.path(index));
        let redirect = marks.checked_redirect(shown)?;
        if redirect.is_some() && self.layers.roots.len() == 1 {
            return Err(no_content(shown()));
        }
        let search = Search::below_directory(redirect.unwrap_or(name));
        Ok(self.layers.lookup(stack, search)?.map_or(Vec::new(), |view| view.stack()))
    }

    /// Returns whether the disk itself has a whiteout there: the ledger of an unprivileged tree can name a device 0:0 too,
    /// and that one is a device.
    fn is_on_disk(&self, index: u32, kind: Kind) -> Result<bool> {
        if self.layers.options.ledger.is_none() {
            return Ok(true);
        }
        Ok(self.layers.upper_entry(self.upper, index)?.2.kind == kind)
    }

    /// Adds a whiteout of something in lower layers that are not at hand: a placeholder makes it a deletion, and the
    /// directories it is in must have been there.
    fn unseen_whiteout(&mut self, directory: u32, name: &[u8]) {
        let mut way = Vec::new();
        let mut at = directory;
        while at != builder::ROOT {
            way.push(at);
            at = self.new.builder.parent(at);
        }
        let mut below = builder::ROOT;
        for node in way.into_iter().rev() {
            let name = self.new.builder.name(node).clone();
            below = match self.old.builder.child(below, &name) {
                Some(child) => child,
                None => {
                    let inode = self.new.builder.inode(node).clone();
                    self.old.builder.insert(below, &name, inode)
                }
            };
        }
        let meta = Meta { kind: Kind::File, mode: 0, flags: Flags::WHITEOUT, ..Meta::directory() };
        self.old.builder.insert(below, name, Inode::new(meta));
    }
}

/// Returns an entry of the upper directory, its marks apart.
fn entry(layers: &Layers<'_>, upper: &Snapshot, index: u32) -> (Marks, Inode) {
    let (marks, rest) = Marks::take(upper.xattrs(index), layers.counted, layers.options.all_xattrs);
    let mut inode = Inode::new(upper.meta(index));
    inode.target = upper.link_target(index).to_vec();
    inode.xattrs = Xattrs::pack(&rest);
    inode.digest = upper.digest(index);
    inode.place = upper.place(index);
    (marks, inode)
}
