//! The context of every command: the global options, messages, and the store when it is needed.

use std::path::PathBuf;
use std::sync::Arc;

use treering::store::{Limits, Store, default_root};
use treering::{Control, Event, Events, Result};

use crate::args::Global;
use crate::interrupt;
use crate::progress::Progress;
#[cfg(feature = "registry")]
use crate::transfers::Transfers;
use crate::ui::Ui;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// The messages.
    pub ui: Ui,
    /// Print data as JSON.
    pub json: bool,
    /// Threads to use; 0 for one per processor.
    pub threads: usize,
    pub quiet: bool,
    root: Option<PathBuf>,
    limits: Limits,
}

impl Context {
    /// Returns the surroundings that the global options ask for.
    pub fn new(global: Global, ui: Ui) -> Context {
        let mut limits = Limits::default();
        limits.layer_indexes = !global.no_layer_index;
        let Global { root, threads, quiet, json, .. } = global;
        Context { ui, json, threads, quiet, root, limits }
    }

    /// Returns where the store is, whether it exists or not.
    pub fn store_root(&self) -> Result<PathBuf> {
        match &self.root {
            Some(root) => Ok(root.clone()),
            None => default_root(),
        }
    }

    /// Opens the store, making it when it is not there.
    pub fn store(&self) -> Result<Store> {
        Store::open_with(self.store_root()?, self.limits)
    }

    /// Opens the store when there is one, for commands that can do without.
    pub fn store_if_any(&self) -> Result<Option<Store>> {
        let Ok(root) = self.store_root() else { return Ok(None) };
        let missing = |result: std::io::Result<std::fs::Metadata>| {
            result.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        // Only what is not there is no store. What cannot be looked at, or a link to nowhere, is an error: without its
        // store, everything in a tree would seem new.
        let none = missing(std::fs::symlink_metadata(&root))
            || std::fs::metadata(&root).is_ok() && missing(std::fs::metadata(root.join("oci")));
        if none { Ok(None) } else { Store::open_with(root, self.limits).map(Some) }
    }

    /// Returns a control that shows warnings as they come.
    pub fn control(&self) -> Control {
        let ui = self.ui;
        let show = move |event: &Event| {
            if let Event::Warning { message, .. } = event {
                ui.warn(message);
            }
        };
        Control { events: Events::observed(Arc::new(show)), ..Control::default() }
    }

    /// Returns the same, cancelled by the first SIGINT or SIGTERM: for what would leave something lying about.
    pub fn careful_control(&self) -> Control {
        Control { events: self.control().events, ..interrupt::control() }
    }

    /// Starts showing the progress of an operation until the value is dropped. Nothing is drawn for what is quick.
    pub fn progress(&self, what: &'static str, control: &Control) -> Progress {
        Progress::start(what, control, self.quiet)
    }

    /// Shows what travels from or to a registry until the value is dropped, and what the registry warns of. The operation uses the
    /// control that comes back.
    #[cfg(feature = "registry")]
    pub fn transfers(&self, what: &'static str, control: Control) -> (Control, Transfers) {
        Transfers::start(what, control, &self.ui, self.quiet)
    }

    /// Returns whether only data and errors are wanted.
    #[cfg(feature = "registry")]
    pub fn quiet(&self) -> bool {
        self.quiet
    }
}
