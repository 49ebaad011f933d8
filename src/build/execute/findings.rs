//! The findings of the checks in a build: reported once each, and an error where the Dockerfile asks for that.

use std::sync::{Mutex, PoisonError};

use super::OP;
use crate::build::address::Elsewhere;
use crate::build::context::Contexts;
use crate::build::events::Reporter;
use crate::build::look::look;
use crate::dockerfile::{Checks, Dockerfile, Warning};
use crate::error::{Error, ErrorKind, Result};
use crate::threads::lock;

/// The findings so far. Most are there before anything is built; those about bases come when these are fetched.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    reporter: &'a Reporter<'a>,
    checks: Checks,
    list: Mutex<Vec<Warning>>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(reporter: &'a Reporter<'a>, checks: Checks) -> Findings<'a> {
        Findings { reporter, checks, list: Mutex::default() }
    }

    /// Reports findings, but for those the rule of which is skipped, and those that were reported before.
    ///
    /// # Errors
    /// Warnings are to be errors.
    pub(super) fn add(&self, warnings: impl IntoIterator<Item = Warning>) -> Result<()> {
        let mut list = lock(&self.list);
        for warning in warnings {
            if self.checks.holds(warning.rule) && !list.contains(&warning) {
                let location = Some(warning.location.clone());
                self.reporter.warn(warning.rule, warning.message.clone(), location);
                list.push(warning);
            }
        }
        match list.first().filter(|_| self.checks.error) {
            None => Ok(()),
            Some(Warning { rule, message, location }) => {
                Err(Error::new(ErrorKind::Syntax, OP, format!("{rule}: {message}"))
                    .with_location(location.clone())
                    .with_hint("check=error=true asks for warnings to be errors"))
            }
        }
    }

    /// Checks the Dockerfile once more, with the bases that are in the store now.
    pub(super) fn look(
        &self,
        file: &Dockerfile,
        contexts: &Contexts,
        elsewhere: Elsewhere<'_>,
    ) -> Vec<Warning> {
        look(file, contexts, elsewhere, &self.checks).0
    }

    /// Returns all of them, in the order of lines.
    pub(super) fn into_list(self) -> Vec<Warning> {
        let mut list = self.list.into_inner().unwrap_or_else(PoisonError::into_inner);
        list.sort_by_key(|warning| (warning.location.line, warning.location.column));
        list
    }
}
