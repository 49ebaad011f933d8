//! Arguments that change the build itself, and the language that a Dockerfile asks for.

use jiff::Timestamp;

use super::OP;
use crate::build::context::Contexts;
use crate::build::events::Reporter;
use crate::build::options::{BuildOptions, switched};
use crate::dockerfile::{Dockerfile, Instruction, other_language};
use crate::error::{Error, Result};

/// Warns of what a build is asked for and has no meaning here.
pub(super) fn warn(reporter: &Reporter<'_>, options: &BuildOptions, file: &Dockerfile) {
    // As BuildKit has it: the argument stands before the directive.
    let (frontend, location) = match options.build_arg("BUILDKIT_SYNTAX") {
        Some(frontend) => (Some(frontend), None),
        None => (file.directives.syntax.clone(), file.syntax_location()),
    };
    if let Some(message) = frontend.as_deref().and_then(other_language) {
        reporter.warn("", message, location);
    }
    if options.build_arg("BUILDKIT_BUILD_NAME").is_some() {
        let message = "BUILDKIT_BUILD_NAME has no effect: there is no list of builds with names";
        reporter.warn("", message.into(), None);
    }
    if options.sbom && asks_for_context(options, file) {
        let message =
            "BUILDKIT_SBOM_SCAN_CONTEXT has no effect: the list is of what is in the image and in stages";
        reporter.warn("", message.into(), None);
    }
}

/// Returns whether an SBOM of the context is asked for, by an argument that was given or by the default of an ARG.
fn asks_for_context(options: &BuildOptions, file: &Dockerfile) -> bool {
    const NAME: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
    let statements = file.globals.iter().chain(file.stages.iter().flat_map(|stage| &stage.statements));
    let defaults = statements.filter_map(|statement| match &statement.instruction {
        Instruction::Arg(list) => list.iter().find(|(name, _)| name == NAME)?.1.clone(),
        _ => None,
    });
    let mut values = match options.build_arg(NAME) {
        Some(given) => vec![given],
        None => defaults.collect(),
    };
    values.retain(|value| !value.is_empty() && switched(value) != Some(false));
    !values.is_empty()
}

/// Returns the time that SOURCE_DATE_EPOCH stands for: seconds since 1970, or `context` for that of a context at an address. A directory
/// has none, so the same Dockerfile can be built from either.
pub(super) fn epoch(text: &str, contexts: &Contexts) -> Result<Option<i64>> {
    if text == "context" {
        return Ok(contexts.time());
    }
    let seconds = text.parse::<i64>().ok().filter(|seconds| Timestamp::from_second(*seconds).is_ok());
    seconds.map(Some).ok_or_else(|| {
        Error::invalid(OP, format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds since 1970"))
            .with_hint("a number, or context for the time of a repository's commit")
    })
}
