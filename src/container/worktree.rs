//! A tree of a store that commands run in: its ledger before and after, and the journal in between.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{At, Error, Result};
use crate::fs::Root;
use crate::fs::lock::Locked;
use crate::image::{Image, Tree};
use crate::progress::Control;
use crate::sandbox::{Left, Outcome, Step, StepOptions};
use crate::store::Store;
use crate::tree::{Ledger, journal};

const OP: &str = "open tree";

/// A tree that commands run in. While one of these is there, no other process runs commands in the same tree.
#[derive(Debug)]
pub struct WorkTree {
    store: Store,
    root: Root,
    ledger: Ledger,
    journal: Locked,
    image: Image,
}

impl WorkTree {
    /// Opens a directory that has a record in the store.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when it has no record there; [`crate::ErrorKind::Busy`] when a command runs in it.
    pub fn open(store: &Store, dir: impl AsRef<Path>) -> Result<WorkTree> {
        WorkTree::open_with(store, dir.as_ref(), &mut |_, _| Ok(()))
    }

    /// Does what [`WorkTree::open`] does. `before` gets the tree and the journal before that is emptied.
    pub(super) fn open_with(
        store: &Store,
        dir: &Path,
        before: &mut dyn FnMut(&Root, &File) -> Result<()>,
    ) -> Result<WorkTree> {
        let root = Root::open(dir)?;
        let unknown = || {
            Error::not_found(
                OP,
                "the store has no record of this directory, so what the disk cannot hold would be lost",
            )
            .with_path(root.describe(b""))
            .with_hint("unpack an image into it, or commit it first")
        };
        // Before the ledger is read: what a killed process left in the journal is part of it.
        let journal = Tree::open(store, &root)?.journal()?.ok_or_else(unknown)?;
        before(&root, journal.file())?;
        let tree = Tree::open(store, &root)?;
        let image = tree.image().ok_or_else(unknown)?;
        let image = Image::open(store, &image.to_string(), None)?;
        let ledger = tree.owners.ledger;
        let tree = WorkTree { store: store.clone(), root, ledger, journal, image };
        tree.settle()?;
        Ok(tree)
    }

    /// Returns the tree.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Returns the image that the tree was made from, or committed to.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Starts a command.
    pub fn start(&self, mut options: StepOptions) -> Result<Step> {
        options.journal = Some(self.journal.file().try_clone().at(OP, self.root.describe(b""))?);
        Step::start(&self.root, &self.ledger, &options)
    }

    /// Returns the ledger, to add what is known of files that the command is to see besides the tree's.
    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Waits for its end, and keeps what it left.
    pub fn wait(&mut self, step: Step, control: &Control) -> Result<Outcome> {
        self.wait_with(step, control, &mut |_| Ok(()))
    }

    /// Does what [`WorkTree::wait`] does. `part` takes out of the ledger what is not to be kept with the tree.
    pub(super) fn wait_with(
        &mut self,
        step: Step,
        control: &Control,
        part: &mut dyn FnMut(&mut Ledger) -> Result<()>,
    ) -> Result<Outcome> {
        let result = step.wait(&mut self.ledger, control);
        // Of a helper that was killed.
        let left = Left::read(self.journal.file())?;
        if !left.is_nothing() {
            left.undo(&self.root, &self.ledger, self.journal.file())?;
            let mut journal = self.journal.file();
            io::Seek::rewind(&mut journal).at(OP, "journal")?;
            journal::replay(&mut journal, &mut self.ledger)?;
        }
        part(&mut self.ledger)?;
        self.settle()?;
        // What was made last may have other owners than it was to have.
        if let Err(error) = &result
            && error.is_midway()
        {
            Tree::open(&self.store, &self.root)?.spoil(error.message())?;
        }
        result
    }

    /// Puts what the journal holds into the ledger on disk. A kill before the journal is emptied does no harm: replayed once more it
    /// changes nothing.
    fn settle(&self) -> Result<()> {
        if self.journal.file().metadata().at(OP, "journal")?.len() == 0 {
            return Ok(());
        }
        Tree::open(&self.store, &self.root)?.replace_ledger(&self.ledger)?;
        self.journal.file().set_len(0).at(OP, "journal")
    }
}
