//! What every command gets: the global options, the way to talk, and the store when it is needed.

use std::path::PathBuf;

use treering::store::{Store, default_root};
use treering::{Control, Result};

use crate::args::Global;
use crate::progress::Progress;
use crate::ui::Ui;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// Where messages go.
    pub ui: Ui,
    /// Print data as JSON.
    pub json: bool,
    /// Threads to use; 0 for one per processor.
    pub threads: usize,
    quiet: bool,
    root: Option<PathBuf>,
}

impl Context {
    /// The surroundings that the global options ask for.
    pub fn new(global: Global, ui: Ui) -> Context {
        Context { ui, json: global.json, threads: global.threads, quiet: global.quiet, root: global.root }
    }

    /// Where the store is, whether it exists or not.
    pub fn store_root(&self) -> Result<PathBuf> {
        match &self.root {
            Some(root) => Ok(root.clone()),
            None => default_root(),
        }
    }

    /// Opens the store, making it when it is not there.
    pub fn store(&self) -> Result<Store> {
        Store::open(self.store_root()?)
    }

    /// Opens the store when there is one, for commands that can do without.
    pub fn store_if_any(&self) -> Result<Option<Store>> {
        match self.store_root() {
            Ok(root) if root.join("oci").is_dir() => Store::open(root).map(Some),
            _ => Ok(None),
        }
    }

    /// Starts showing the progress of an operation until the value is dropped. Nothing is drawn for what is quick.
    pub fn progress(&self, what: &'static str, control: &Control) -> Progress {
        Progress::start(what, control, self.quiet)
    }
}
