//! A Dockerfile as a whole: global arguments, then stages.

use super::instruction::{self, From, Instruction};
use super::lines::{self, Directives, Line, OP};
use super::source::Fault;
use super::{flags, words};
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
        let (file, broken) = Dockerfile::parse_part(name, bytes)?;
        broken.map_or(Ok(file), Err)
    }

    /// Parses a Dockerfile up to the first instruction that is wrong. Gives what stands before that, and the error.
    pub(crate) fn parse_part(name: &[u8], bytes: &[u8]) -> Result<(Dockerfile, Option<Error>)> {
        let (directives, lines) = lines::read(name, bytes)?;
        let mut out = Dockerfile { directives, globals: Vec::new(), stages: Vec::new() };
        let broken = out.add(name, lines).err();
        Ok((out, broken))
    }

    fn add(&mut self, name: &[u8], lines: Vec<Line>) -> Result<()> {
        let out = self;
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
        Ok(())
    }

    /// Returns the stage that a name or a number stands for, among the first `before` ones. Names are compared without
    /// case; a name that is there twice means the last one.
    pub fn stage(&self, name: &str, before: usize) -> Option<usize> {
        let before = before.min(self.stages.len());
        let number = || name.parse::<usize>().ok().filter(|number| *number < before);
        self.base_stage(name, before).or_else(number)
    }

    /// Returns the stage that FROM names, among the first `before` ones. A number is the name of an image there.
    pub(crate) fn base_stage(&self, name: &str, before: usize) -> Option<usize> {
        self.stages[..before.min(self.stages.len())].iter().rposition(|stage| stage.is_named(name))
    }

    /// Returns the stage that `COPY --from` or `RUN --mount=from=` of the stage `at` names, and `None` for an image. A stage that comes
    /// later is a result, too.
    ///
    /// A number that is none of a stage is one of an image for a mount, and a fault for a COPY, as BuildKit has it.
    pub(crate) fn source_stage(&self, name: &str, at: usize, is_copy: bool) -> Result<Option<usize>, Fault> {
        let later =
            || self.stages[at..].iter().position(|stage| stage.is_named(name)).map(|found| at + found);
        let found = match name.parse::<i64>() {
            Ok(number) if is_copy => {
                let stage = usize::try_from(number).ok().filter(|number| *number < self.stages.len());
                Some(stage.ok_or_else(|| {
                    let hint = match self.stages.len() {
                        1 => "the file has one stage, which is 0".into(),
                        count => format!("the file has the stages 0 to {}", count - 1),
                    };
                    Fault::new(format!("invalid stage index {name}")).with_hint(hint)
                })?)
            }
            _ => self.stage(name, at).or_else(later),
        };
        match found == Some(at) {
            true => Err(Fault::new("a stage cannot take files from itself")
                .with_hint("name a stage that is defined before this one, or an image")),
            false => Ok(found),
        }
    }

    /// Returns the fault of a stage that takes files from one after it.
    pub(crate) fn comes_later(&self, stage: usize) -> Fault {
        let message = format!("{} comes after the stage that takes files from it", self.shown(stage));
        Fault::new(message).with_hint("define a stage before those that need it")
    }

    /// Returns the fault of stages that take files from each other.
    pub(crate) fn need_each_other(&self, one: usize, other: usize) -> Fault {
        let message = format!("{} and {} need each other", self.shown(one), self.shown(other));
        Fault::new(message).with_hint("put what both need into a stage of its own, before them")
    }

    /// Returns a stage as messages name it.
    fn shown(&self, at: usize) -> String {
        self.stages[at].name.as_ref().map_or_else(|| format!("stage {at}"), |name| format!("stage {name}"))
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
    fn is_named(&self, name: &str) -> bool {
        self.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// Returns where its FROM stands.
    pub fn location(&self) -> Location {
        self.line.location(0)
    }
}

impl Statement {
    /// Returns the offset of a flag in the line: of several with one name, that with this number.
    pub(crate) fn flag(&self, name: &str, number: usize) -> usize {
        let (_, rest) = instruction::keyword(&self.line.text);
        let flags = flags::split(rest).map(|(flags, _)| flags).unwrap_or_default();
        let found = flags.iter().filter(|flag| flag.name == name).nth(number);
        found.map_or(0, |flag| words::offset(&self.line.text, rest) + flag.at)
    }

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
