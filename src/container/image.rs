//! Containers and images: committing one, comparing it, moving it.

use super::handle::Container;
use crate::error::Result;
use crate::image::{
    Base, CheckedOut, CheckoutOptions, CommitOptions, Committed, DiffOptions, TreeDiff, checkout, commit,
    diff_tree,
};
use crate::progress::Control;

impl Container {
    /// Commits the container's tree, as [`image::commit`](crate::image::commit()) does, with what was said of the container in the
    /// configuration: command, variables, user, directory and labels. Changes in `options` come after those.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Busy`] while a command runs in it; its mount points would be in the layer.
    pub fn commit(
        &self,
        reference: Option<&str>,
        options: &CommitOptions,
        control: &Control,
    ) -> Result<Committed> {
        let _lock = self.lock("commit container")?;
        let mut options = options.clone();
        let mut changes = self.record().settings.instructions();
        changes.append(&mut options.changes);
        options.changes = changes;
        commit(&self.store, &self.tree(), reference, &options, control)
    }

    /// Compares the container's tree with the image it was made from, committed to or checked out to last. It may run.
    pub fn diff(&self, options: &DiffOptions, control: &Control) -> Result<TreeDiff> {
        diff_tree(Some(&self.store), &self.tree(), &Base::Auto, options, control)
    }

    /// Makes the container's tree what an image says, as [`image::checkout`](crate::image::checkout()) does.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Busy`] while a command runs in it.
    pub fn checkout(
        &self,
        reference: &str,
        options: &CheckoutOptions,
        control: &Control,
    ) -> Result<CheckedOut> {
        let _lock = self.lock("check out container")?;
        checkout(&self.store, reference, &self.tree(), options, control)
    }
}
