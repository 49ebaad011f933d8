//! Dockerfiles as text: from bytes to instructions, stages and words, and what is to be said against them.
//!
//! There are no stores and no images here. The language is BuildKit's (`language`); places in it are in the Dockerfile
//! reference.

mod check;
mod duration;
mod flags;
mod git;
mod glob;
mod ignore;
mod instruction;
mod language;
mod lines;
mod mount;
mod scope;
mod source;
mod stages;
#[cfg(test)]
mod tests;
pub(crate) mod words;

pub use check::{Base, Checks, Facts, Warning};
pub use ignore::Ignore;
pub use lines::{Directives, Heredoc};
pub use stages::{Dockerfile, Stage};

pub(crate) use git::{GitSource, check_commit, is_address};
pub(crate) use ignore::{SourcePattern, clean};
pub(crate) use instruction::{
    Change, CommandLine, Copy, CopySource, HealthTest, Instruction, Run, parse_changes,
};
pub(crate) use language::other_language;
pub(crate) use lines::Line;
#[cfg(feature = "sandbox")]
pub(crate) use lines::heredoc as heredoc_name;
pub(crate) use mount::MountKind;
#[cfg(feature = "sandbox")]
pub(crate) use mount::{CacheSharing, Mount};
pub(crate) use scope::{BUILD_ARGS, DEFAULT_PATH, PLATFORM_ARGS, PROXY_ARGS, Scope};
pub(crate) use source::{Fault, nearest};
pub(crate) use stages::Statement;

/// Replaces the variables of one word, as instructions do. Not part of the stable interface: for the fuzz targets.
#[doc(hidden)]
pub fn expand(text: &str, get: &dyn Fn(&str) -> Option<String>) -> crate::Result<String> {
    words::expand(text, '\\', get).map_err(|fault| fault.argument("replace variables"))
}
