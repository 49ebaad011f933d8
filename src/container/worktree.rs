//! A tree of a store that commands run in: its ledger before and after, and the journal in between.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::Root;
use crate::image::{Image, Tree};
use crate::progress::Control;
use crate::sandbox::{Outcome, Step, StepOptions};
use crate::store::Store;
use crate::tree::Ledger;

const OP: &str = "open tree";

/// A tree that commands run in. While one of these is there, no other process runs commands in the same tree.
#[derive(Debug)]
pub struct WorkTree {
    store: Store,
    root: Root,
    ledger: Ledger,
    journal: File,
    image: Image,
}

impl WorkTree {
    /// Opens a directory that the store knows.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when the store does not know it; [`crate::ErrorKind::Busy`] when a command runs in it.
    pub fn open(store: &Store, dir: &Path) -> Result<WorkTree> {
        let root = Root::open(dir)?;
        let unknown = || {
            Error::not_found(
                OP,
                "the store does not know this directory, so what the disk cannot hold would be lost",
            )
            .with_path(root.describe(b""))
            .with_hint("unpack an image into it, or commit it first")
        };
        // Before the ledger is read: what a killed process left in the journal is part of it.
        let journal = Tree::open(store, &root)?.journal()?.ok_or_else(unknown)?;
        let tree = Tree::open(store, &root)?;
        let image = tree.image().ok_or_else(unknown)?;
        let image = Image::open(store, &image.to_string(), None)?;
        let ledger = tree.owners.ledger;
        let tree = WorkTree { store: store.clone(), root, ledger, journal, image };
        tree.settle()?;
        Ok(tree)
    }

    /// The tree.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The image that the tree was made from, or committed to.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Starts a command.
    pub fn start(&self, mut options: StepOptions) -> Result<Step> {
        use crate::error::At;
        options.journal = Some(self.journal.try_clone().at(OP, self.root.describe(b""))?);
        Step::start(&self.root, &self.ledger, &options)
    }

    /// Waits for its end, and keeps what it left.
    pub fn wait(&mut self, step: Step, control: &Control) -> Result<Outcome> {
        let result = step.wait(&mut self.ledger, control);
        self.settle()?;
        result
    }

    /// Puts what the journal holds into the ledger on disk. A kill before the journal is emptied does no harm: replayed once more it
    /// changes nothing.
    fn settle(&self) -> Result<()> {
        use crate::error::At;
        if self.journal.metadata().at(OP, "journal")?.len() == 0 {
            return Ok(());
        }
        Tree::open(&self.store, &self.root)?.replace_ledger(&self.ledger)?;
        self.journal.set_len(0).at(OP, "journal")
    }
}
