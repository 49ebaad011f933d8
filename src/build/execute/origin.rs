//! The origins of files that COPY, ADD and mounts take: the context, named contexts, stages and images.

use std::sync::{Arc, Mutex};

use super::{OP, Work};
use crate::build::context::Shared as SharedTree;
use crate::build::source::SourceTree;
use crate::dockerfile::{Fault, Instruction, Statement};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Layer, contents_of};

/// The origin of the files of a copy, by name.
pub(super) enum Origin {
    Main,
    Named(String),
    Layers(Vec<Layer>, String),
}

impl Work<'_> {
    /// Returns the origin that `--from` of an instruction names; the main context without it. Nothing is read.
    pub(super) fn origin(&self, from: Option<&str>, at: usize, statement: &Statement) -> Result<Origin> {
        let Some(name) = from else { return Ok(Origin::Main) };
        if self.contexts.has_files(name, self.control)? {
            return Ok(Origin::Named(name.into()));
        }
        let image = |name: &str| self.images.state(name, self.platform.as_ref(), '\\', 0);
        // The plan has looked at those of the Dockerfile, and this looks at those of triggers.
        let fault = |fault: Fault| statement.line.error(fault);
        let is_copy = matches!(statement.instruction, Instruction::Copy(_));
        let state = match self.contexts.image(name, self.control)? {
            Some(named) => image(&named)?,
            None => match self.file.source_stage(name, at, is_copy).map_err(fault)? {
                Some(later) if later > at => return Err(fault(self.file.comes_later(later))),
                Some(stage) => self.earlier(stage)?,
                None => image(name)?,
            },
        };
        Ok(Origin::Layers(state.layers, name.into()))
    }

    /// Returns the tree of an origin.
    pub(super) fn open(&self, origin: &Origin) -> Result<SharedTree> {
        match origin {
            Origin::Main => Ok(self.contexts.main().clone()),
            Origin::Named(name) => self
                .contexts
                .files(name, self.elsewhere())?
                .ok_or_else(|| Error::new(ErrorKind::Internal, OP, "a context that is gone").with_path(name)),
            Origin::Layers(layers, name) => {
                self.cache.fetch(layers)?;
                let list = contents_of(self.store, layers, self.control)?;
                let tree = SourceTree::layers(list, layers.clone(), self.store, name.clone())?;
                Ok(Arc::new(Mutex::new(tree)))
            }
        }
    }
}
