//! Files of a container, copied out of its tree and into it.

use std::path::Path;

use super::handle::Container;
use super::volumes::{Inside, Volumes};
use crate::archive::{CopiedOut, CopySource, CopyTarget, TreeFiles, copy_in, copy_out};
use crate::error::{ErrorKind, Result};
use crate::fs::Kind;
use crate::fs::stat::kind_at;
use crate::image::LayerApplyOptions;
use crate::layer::Loss;
use crate::progress::Control;
use crate::tree::OwnerPolicy;

/// The result of a copy into a container.
#[derive(Debug)]
#[non_exhaustive]
pub struct CopiedIn {
    /// Attributes that neither the disk nor the store took.
    pub losses: Vec<Loss>,
    /// For how many entries owners or attributes are lost: 0, unless the container's tree has no record in the store.
    pub unkept: u64,
}

impl Container {
    /// Copies a file or directory of the host into the container. A directory that is there at `path` gets it under its own name; a source
    /// that ends in `/.` is copied without its name. Files get the owners that the policy gives.
    ///
    /// # Errors
    /// Those of [`Container::copy_in`] and of reading the source.
    pub fn copy_from_host(
        &self,
        source: &Path,
        path: &[u8],
        owner: OwnerPolicy,
        options: &LayerApplyOptions,
        control: &Control,
    ) -> Result<CopiedIn> {
        let bytes = source.as_os_str().as_encoded_bytes();
        let contents = bytes == b"." || bytes.ends_with(b"/.");
        let own = source.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let target = |name: Vec<u8>| CopyTarget { path: path.to_vec(), name };
        // A link to a directory is a link, unless what is at its end is meant.
        let at_end = contents || bytes.ends_with(b"/");
        if kind_at(source, at_end) == Some(Kind::Directory) {
            let files = TreeFiles::open_owned(source, owner, control)?;
            let name = if contents { Vec::new() } else { own };
            return self.copy_in(&files, 0, &target(name), options, control);
        }
        let (files, entry) = TreeFiles::of_file(source, owner)?;
        self.copy_in(&files, entry, &target(own), options, control)
    }

    /// Copies a file or directory of the container to the host, see [`copy_out`]. It may run.
    ///
    /// # Errors
    /// Those of [`Container::files`] and of [`copy_out`].
    pub fn copy_to_host(
        &self,
        path: &[u8],
        to: &Path,
        options: &LayerApplyOptions,
        control: &Control,
    ) -> Result<CopiedOut> {
        let (files, entry) = self.files(path, control)?;
        copy_out(&files, entry, path, to, options, control)
    }

    /// Looks for a path in the container: gives the files that it is among, and its entry there. What is in a volume of the container's
    /// own belongs to root there, unless the disk has its owner. It may run.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where nothing is there; those of a comparison of the tree.
    pub fn files(&self, path: &[u8], control: &Control) -> Result<(TreeFiles, u32)> {
        let (files, path) = match self.in_volume(path)? {
            Some(Inside { directory, rest, .. }) => {
                let owner = OwnerPolicy::as_seen();
                (TreeFiles::open_owned(&directory, owner, control)?, rest)
            }
            None => (TreeFiles::open(Some(&self.store), &self.tree(), control)?, path.to_vec()),
        };
        let entry = files.resolve(&path)?;
        Ok((files, entry))
    }

    /// Copies an entry of an image or a tree, and what is below it, into the container, see [`copy_in`](crate::archive::copy_in()). While a
    /// command runs in it, a process beside that makes the files: paths lead where they lead for the command, files that are open stay
    /// what they are, and of `options` nothing counts.
    ///
    /// # Errors
    /// Those of [`copy_in`](crate::archive::copy_in()); [`crate::ErrorKind::Busy`] when the command starts or ends in that moment.
    pub fn copy_in(
        &self,
        files: &(impl CopySource + ?Sized),
        entry: u32,
        target: &CopyTarget,
        options: &LayerApplyOptions,
        control: &Control,
    ) -> Result<CopiedIn> {
        if self.is_running()? {
            match self.place(files, entry, target, control) {
                // It ended before anything was made.
                Err(error) if error.kind() == ErrorKind::InvalidArgument && !self.is_running()? => {}
                placed => return placed,
            }
        }
        let _lock = self.lock("copy into container")?;
        self.mend_volumes()?;
        let Some(Inside { directory, at, rest }) = self.in_volume(&target.path)? else {
            let copied = copy_in(files, entry, Some(&self.store), &self.tree(), target, options, control)?;
            return Ok(CopiedIn { losses: copied.applied.losses, unkept: copied.unkept });
        };
        let root = crate::fs::Root::open(self.tree())?;
        let mut volumes = Volumes::read(&self.slot)?.unwrap_or_default();
        let target = CopyTarget { path: rest, name: target.name.clone() };
        let options = LayerApplyOptions { ledger: Some(volumes.taken_from(&root, &at)?), ..options.clone() };
        let copied = copy_in(files, entry, None, &directory, &target, &options, control)?;
        volumes.given_back(&self.slot, &at, &copied.applied.ledger)?;
        Ok(CopiedIn { losses: copied.applied.losses, unkept: 0 })
    }
}
