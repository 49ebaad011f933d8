//! Where the content of a snapshot's files is, when it is not all below one root.

use std::collections::HashMap;
use std::sync::Arc;

use super::lookup::Place;
use crate::fs::Root;
use crate::tree::Snapshot;
use crate::tree::builder::{self, Builder};

/// The place of each file's content. Without an entry of its own, a file is in the first root, at its path.
#[derive(Debug)]
pub struct Sources {
    roots: Arc<Vec<Root>>,
    elsewhere: HashMap<u32, Source>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub place: Place,
    /// Whether the entry's metadata is another inode's.
    pub borrowed: bool,
}

impl Sources {
    /// Translates from a builder's nodes to the numbers of the snapshot made of them.
    pub(super) fn new(roots: Arc<Vec<Root>>, mut by_node: HashMap<u32, Source>, nodes: &[u32]) -> Sources {
        let elsewhere = nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| Some((index as u32, by_node.remove(node)?)))
            .collect();
        Sources { roots, elsewhere }
    }

    /// Returns the root that has the content of an entry, and the path below it.
    pub fn locate(&self, snapshot: &Snapshot, index: u32) -> (&Root, Vec<u8>) {
        match self.elsewhere.get(&index) {
            Some(source) => (&self.roots[source.place.layer as usize], source.place.path.clone()),
            None => (&self.roots[0], snapshot.path(index)),
        }
    }

    /// Returns the number of the root that has the content of an entry: 0 for the upper directory, 1 for the topmost lower
    /// one.
    pub fn layer(&self, index: u32) -> usize {
        self.elsewhere.get(&index).map_or(0, |source| source.place.layer as usize)
    }

    /// Returns whether an entry's content is in another inode than its metadata (overlayfs's metacopy): the stat identity
    /// of the snapshot then is not that of the file at [`locate`](Self::locate).
    pub fn is_borrowed(&self, index: u32) -> bool {
        self.elsewhere.get(&index).is_some_and(|source| source.borrowed)
    }

    /// Returns all roots: the upper directory, then the lower ones from the top.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }
}

/// Returns which node each entry of a finished snapshot was.
pub(super) fn nodes_of(builder: &Builder, snapshot: &Snapshot) -> Vec<u32> {
    let mut nodes = vec![builder::ROOT; snapshot.len() as usize];
    for index in 0..snapshot.len() {
        // A directory's entries stand in the order of its children.
        let children = builder.children(nodes[index as usize]);
        for (child, (_, node)) in snapshot.children(index).zip(children) {
            nodes[child as usize] = node;
        }
    }
    nodes
}
