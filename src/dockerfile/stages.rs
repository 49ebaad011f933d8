//! A Dockerfile as a whole: global arguments, then stages.

use super::instruction::{self, From, Instruction};
use super::lines::{self, Directives, Line, OP};
use super::source::Fault;
use crate::error::{Error, ErrorKind, Location, Result};

/// Most stages of a Dockerfile.
const MAX_STAGES: usize = 1_000;

/// An instruction and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) line: Line,
    pub(crate) instruction: Instruction,
}

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// The parser directives.
    pub directives: Directives,
    /// `ARG` instructions before the first stage.
    pub(crate) globals: Vec<Statement>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
}

/// A stage: `FROM` and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name, as it was written.
    pub name: Option<String>,
    pub(crate) from: From,
    pub(crate) line: Line,
    pub(crate) statements: Vec<Statement>,
}

impl Dockerfile {
    /// Parses a Dockerfile of at most 16 MiB. `name` is what places in messages are called by.
    ///
    /// Errors are of kind [`ErrorKind::Syntax`] with a location, or [`ErrorKind::Limit`].
    pub fn parse(name: &[u8], bytes: &[u8]) -> Result<Dockerfile> {
        let (directives, lines) = lines::read(name, bytes)?;
        let mut out = Dockerfile { directives, globals: Vec::new(), stages: Vec::new() };
        for line in lines {
            let parsed = instruction::parse(&line.text, &line.heredocs, out.directives.escape);
            let instruction = parsed.map_err(|fault| line.error(fault))?;
            match (instruction, out.stages.last_mut()) {
                (Instruction::From(from), _) => {
                    if out.stages.len() == MAX_STAGES {
                        let message = format!("more than {MAX_STAGES} stages");
                        return Err(Error::limit(OP, message).with_location(line.location(0)));
                    }
                    let name = from.name.as_ref().map(|(_, name)| name.clone());
                    out.stages.push(Stage { name, from, line, statements: Vec::new() });
                }
                (instruction @ Instruction::Arg(_), None) => {
                    out.globals.push(Statement { line, instruction })
                }
                (_, None) => {
                    return Err(line.error(
                        Fault::new("an instruction before the first FROM")
                            .with_hint("only ARG may stand before FROM"),
                    ));
                }
                (instruction, Some(stage)) => stage.statements.push(Statement { line, instruction }),
            }
        }
        if out.stages.is_empty() {
            let message =
                if out.globals.is_empty() { "there are no instructions" } else { "there is no FROM" };
            return Err(Error::new(ErrorKind::Syntax, OP, message).with_path(name));
        }
        Ok(out)
    }

    /// Returns the stage that a name or a number stands for, among the first `before` ones. Names are compared without
    /// case; a name that is there twice means the last one.
    pub fn stage(&self, name: &str, before: usize) -> Option<usize> {
        let before = before.min(self.stages.len());
        let named = |stage: &Stage| stage.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        let found = self.stages[..before].iter().rposition(named);
        found.or_else(|| name.parse::<usize>().ok().filter(|number| *number < before))
    }
}

impl Dockerfile {
    /// Returns where the directive `syntax` stands.
    pub(crate) fn syntax_location(&self) -> Option<Location> {
        let source = &self.stages.first()?.line.source;
        self.directives.syntax.as_ref().map(|_| source.location(self.directives.syntax_line, 1))
    }
}

impl Stage {
    /// Returns where its FROM stands.
    pub fn location(&self) -> Location {
        self.line.location(0)
    }
}

impl Statement {
    /// Parses a trigger that an image keeps (`ONBUILD`).
    pub(crate) fn of_trigger(image: &str, text: &str) -> Result<Statement> {
        let (directives, mut lines) = lines::read(image.as_bytes(), text.as_bytes())?;
        let (Some(line), true) = (lines.pop(), lines.is_empty()) else {
            return Err(
                Error::new(ErrorKind::Syntax, OP, "an ONBUILD trigger is one instruction").with_path(image)
            );
        };
        let parsed = instruction::parse(&line.text, &line.heredocs, directives.escape);
        let instruction = parsed.map_err(|fault| line.error(fault))?;
        Ok(Statement { line, instruction })
    }
}
