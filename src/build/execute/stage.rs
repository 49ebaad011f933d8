//! A stage, instruction by instruction.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::record::Planned;
use super::{OP, Work};
use crate::build::look::foreign_base;
use crate::build::state::State;
use crate::build::step::{config, workdir};
use crate::dockerfile::{Change, Copy, CopySource, Instruction, Stage, Statement, Warning};
use crate::error::{Error, Result};
use crate::event::StepId;
use crate::image::Platform;

/// Most triggers of one image.
const MAX_TRIGGERS: usize = 1_000;
/// Most stages that are built within one another because triggers of bases refer to them.
const MAX_UNPLANNED: usize = 8;

/// The position of a step, for events.
pub(super) struct Position<'a> {
    pub stage: &'a str,
    pub place: (u32, u32),
    pub no_cache: bool,
    /// Whether the stage is the image's own, so that the image has what its steps make.
    pub last: bool,
}

impl Work<'_> {
    /// Builds one stage.
    pub(super) fn stage(&self, at: usize) -> Result<State> {
        let file = self.file;
        let stage = &file.stages[at];
        let number = at.to_string();
        let name = stage.name.as_deref().unwrap_or(&number);
        let shown = match (self.several, &self.platform) {
            (true, Some(platform)) => format!("{platform} {}", stage.name.as_deref().unwrap_or_default()),
            _ => name.to_string(),
        };
        let no_cache = self.options.no_cache
            || self.options.no_cache_filter.iter().any(|filter| filter.eq_ignore_ascii_case(name));
        let counted = |statement: &&Statement| shows(&statement.instruction);
        let total = 1 + stage.statements.iter().filter(counted).count() as u32;
        let mut position = Position {
            stage: shown.trim_end(),
            place: (1, total),
            no_cache,
            last: self.order.last() == Some(&at),
        };
        let (mut state, triggers) =
            self.begin(stage, at, &position).map_err(|error| located(error, &stage.line))?;
        if self.replaced(stage).is_some() {
            return Ok(state);
        }
        let image = stage.from.base.clone();
        for text in triggers {
            let statement = Statement::of_trigger(&format!("{image} ONBUILD"), &text)?;
            self.statement(&mut state, &statement, at, &mut position)?;
        }
        for statement in &stage.statements {
            self.control.check(OP)?;
            self.statement(&mut state, statement, at, &mut position)?;
        }
        Ok(state)
    }

    /// Returns the name of a stage that a context of that name stands for.
    fn replaced<'s>(&self, stage: &'s Stage) -> Option<&'s str> {
        stage.name.as_deref().filter(|name| self.contexts.value(name).is_some())
    }

    /// Carries out FROM. Gives the triggers of the base, too.
    fn begin(&self, stage: &Stage, at: usize, position: &Position<'_>) -> Result<(State, Vec<String>)> {
        let fault = |fault: crate::dockerfile::Fault| stage.line.error(fault);
        let base = match self.replaced(stage) {
            Some(name) => name.to_string(),
            None => self.global.expand(&stage.from.base).map_err(fault)?,
        };
        if base.is_empty() {
            let message = format!("{} is empty once its variables are replaced", stage.from.base);
            return Err(stage.line.error(crate::dockerfile::Fault::new(message)));
        }
        let platform = match &stage.from.platform {
            Some(text) => Some(self.global.expand(text).map_err(fault)?.parse::<Platform>()?),
            None => self.platform.clone(),
        };
        let text = format!("FROM {base}");
        let running = self.reporter.start(position.stage, position.place, text, Some(stage.location()));
        let begun = self.base(&base, at, platform.as_ref(), running.id);
        let mut state = self.reporter.watch(&running, begun)?;
        let of_image = self.contexts.value(&base).is_some() || self.file.base_stage(&base, at).is_none();
        let wanted = platform.as_ref();
        let foreign = of_image.then(|| foreign_base(stage, &base, &state.platform, wanted)).flatten();
        let mut found: Vec<Warning> = foreign.into_iter().collect();
        if of_image && self.unread {
            found.extend(self.findings.look(self.file, self.contexts, self.elsewhere()));
        }
        self.reporter.watch(&running, self.findings.add(found))?;
        self.reporter.finish(running, 0);
        if self.contexts.has_files(&base, self.control)? {
            self.fill(&mut state, stage, base, at, position)?;
        }
        let triggers = match state.config.remove("OnBuild") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        if triggers.len() > MAX_TRIGGERS {
            return Err(Error::limit(OP, format!("the base has more than {MAX_TRIGGERS} ONBUILD triggers")));
        }
        let triggers = triggers.into_iter().filter_map(|text| text.as_str().map(String::from)).collect();
        Ok((state, triggers))
    }

    /// Puts the files of a context into a stage that begins with them, as a COPY of all of them does.
    fn fill(
        &self,
        state: &mut State,
        stage: &Stage,
        context: String,
        at: usize,
        position: &Position<'_>,
    ) -> Result<()> {
        let copy = Copy {
            from: Some(context),
            sources: vec![CopySource::Path(".".into())],
            destination: "/".into(),
            ..Copy::default()
        };
        let statement = Statement { line: stage.line.clone(), instruction: Instruction::Copy(copy.clone()) };
        self.copy(state, &statement, &copy, false, at, position)
    }

    /// Returns the state that an earlier stage ended in. One that is not planned, because only a trigger of a base refers
    /// to it, is built here and now.
    pub(super) fn earlier(&self, at: usize) -> Result<State> {
        if self.states.take(at) {
            if self.unplanned.fetch_add(1, Ordering::Relaxed) >= MAX_UNPLANNED {
                let message =
                    format!("triggers of bases ask for more than {MAX_UNPLANNED} stages within one another");
                return Err(Error::limit(OP, message));
            }
            self.states.put(at, self.stage(at)?);
            self.unplanned.fetch_sub(1, Ordering::Relaxed);
        }
        self.states.wait(at, self.control)
    }

    fn base(&self, base: &str, at: usize, platform: Option<&Platform>, step: StepId) -> Result<State> {
        let escape = self.file.directives.escape;
        if let Some(image) = self.contexts.image(base, self.control)? {
            return self.images.state(&image, platform, escape, step);
        }
        if self.contexts.value(base).is_some() {
            return self.images.state("scratch", platform, escape, step);
        }
        if let Some(earlier) = self.file.base_stage(base, at) {
            return Ok(self.earlier(earlier)?.base());
        }
        self.images.state(base, platform, escape, step)
    }

    fn statement(
        &self,
        state: &mut State,
        statement: &Statement,
        at: usize,
        position: &mut Position<'_>,
    ) -> Result<()> {
        let line = &statement.line;
        let text = || one_line(&line.text);
        if shows(&statement.instruction) {
            position.place.0 += 1;
            position.place.1 = position.place.1.max(position.place.0);
        }
        let done = match &statement.instruction {
            Instruction::Arg(args) => {
                let given: Vec<(String, Option<String>)> =
                    args.iter().map(|(name, _)| (name.clone(), self.given(name))).collect();
                let find =
                    |name: &str| given.iter().find(|(known, _)| known == name).and_then(|(_, v)| v.clone());
                let shown =
                    config::arg(state, args, &find, &self.global).map_err(|fault| line.error(fault))?;
                self.row(state, shown, position)
            }
            Instruction::Shell(words) => {
                let shown = config::shell(state, words);
                self.row(state, shown, position)
            }
            Instruction::Maintainer(name) => {
                state.author = Some(name.clone());
                self.row(state, format!("MAINTAINER {name}"), position)
            }
            Instruction::Change(change) => {
                let shown = config::apply(state, change, &text()).map_err(|fault| line.error(fault))?;
                match change {
                    Change::Workdir(_) => self.workdir(state, statement, position),
                    _ => self.row(state, shown, position),
                }
            }
            Instruction::Copy(copy) => self.copy(state, statement, copy, false, at, position),
            Instruction::Add(copy) => self.copy(state, statement, copy, true, at, position),
            Instruction::Run(run) => self.run(state, statement, run, at, position),
            Instruction::From(_) => Ok(()),
        };
        done.map_err(|error| located(error, line))
    }

    fn workdir(&self, state: &mut State, statement: &Statement, position: &Position<'_>) -> Result<()> {
        let text = format!("WORKDIR {}", state.working_dir());
        let mut inputs = json!({ "workdir": state.working_dir() });
        // What is made belongs to the user.
        if let Some(user) = state.user() {
            inputs["user"] = json!(user);
        }
        let planned = Planned { shown: text.clone(), text, linked: false, inputs };
        self.layer_step(state, statement, planned, position, |state, now, _| {
            workdir::make(state, now, self.tools())
        })
    }
}

/// Returns whether progress shows the instruction as a step of its own.
fn shows(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) => true,
        Instruction::Change(change) => matches!(change, Change::Workdir(_)),
        _ => false,
    }
}

/// Returns the text of an instruction as the history has it: blanks for tabs, and none around it.
fn one_line(text: &str) -> String {
    text.trim().replace('\t', " ")
}

/// Returns the error of an instruction, with its place in the Dockerfile.
fn located(error: Error, line: &crate::dockerfile::Line) -> Error {
    match error.location() {
        Some(_) => error,
        None => error.with_location(line.location(0)),
    }
}
