//! The text of a Dockerfile, for places in messages.

use crate::error::{Error, ErrorKind, Location};

/// Most characters of a line that a message shows.
const SHOWN: usize = 4096;

/// A file's name and lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: Vec<u8>,
    pub(crate) lines: Vec<String>,
}

impl Source {
    /// Returns a place in the file; `line` and `column` count from 1, column 0 means the whole line.
    pub(crate) fn location(&self, line: u32, column: u32) -> Location {
        let text = self.lines.get((line as usize).saturating_sub(1)).map_or("", String::as_str);
        Location { file: self.name.clone(), line, column, text: text.chars().take(SHOWN).collect() }
    }
}

/// A fault in a text, before it is decided which operation failed and in which file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The offset in the text that was given, in bytes.
    pub(crate) at: Option<usize>,
    limit: bool,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), hint: None, at: None, limit: false }
    }

    /// Returns a fault for what asks for more than a cap allows.
    pub(crate) fn limit(message: impl Into<String>) -> Fault {
        Fault { limit: true, ..Fault::new(message) }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }

    /// Returns the same fault at an offset; one that is set already stays.
    pub(crate) fn at(self, offset: usize) -> Fault {
        Fault { at: self.at.or(Some(offset)), ..self }
    }

    /// Returns the same fault, at an offset of a text around the one that was given.
    pub(crate) fn within(self, offset: usize) -> Fault {
        Fault { at: Some(offset), ..self }
    }

    /// Returns the same fault in a longer text, which the given one starts in at `offset`.
    pub(crate) fn moved(self, offset: usize) -> Fault {
        Fault { at: Some(self.at.unwrap_or(0) + offset), ..self }
    }

    /// Returns the error of an operation on a text that came as an argument.
    pub(crate) fn argument(self, operation: &'static str) -> Error {
        self.error(ErrorKind::InvalidArgument, operation)
    }

    /// Returns the error of an operation on a file.
    pub(crate) fn syntax(self, operation: &'static str, location: Location) -> Error {
        self.error(ErrorKind::Syntax, operation).with_location(location)
    }

    fn error(self, kind: ErrorKind, operation: &'static str) -> Error {
        let kind = if self.limit { ErrorKind::Limit } else { kind };
        let error = Error::new(kind, operation, self.message);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Returns the known word nearest to one that is not known, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = if word.len() < 4 { 1 } else { 2 };
    let near = |candidate: &&str| distance(&word.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
    known
        .into_iter()
        .map(|k| (near(&k), k))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Returns how many characters have to be put in, left out or replaced; two neighbours in the wrong order count once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]) as usize;
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
