//! Messages for people: notes, warnings and errors on standard error.

use std::fmt;
use std::io::{IsTerminal, Write};

use serde_json::json;
use treering::Surface;
use treering::error::escape;

/// A wrong command line, found after it was parsed: exit code 2, as for the parser's own errors.
#[derive(Debug)]
pub struct Usage {
    message: String,
    hint: Option<String>,
}

impl Usage {
    /// Returns a usage error; `message` says what does not fit.
    pub fn new(message: impl Into<String>) -> Usage {
        Usage { message: message.into(), hint: None }
    }

    /// Returns the same error, with what to type instead.
    pub fn with_hint(self, hint: impl Into<String>) -> Usage {
        Usage { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Usage {}

/// Returns whether the environment and the stream allow colours (no-color.org).
pub fn colours(stream: &impl IsTerminal) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !no_color && !dumb
}

/// The messages: where they go and how they look.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    quiet: bool,
    json: bool,
    colour: bool,
}

impl Ui {
    /// Makes messages; `quiet` leaves only errors, `json` makes errors JSON objects.
    pub fn new(quiet: bool, json: bool) -> Ui {
        Ui { quiet, json, colour: colours(&std::io::stderr()) }
    }

    /// Prints a note.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            self.line("", "", text);
        }
    }

    /// Prints a warning: the result is probably not what was intended.
    pub fn warn(&self, text: impl fmt::Display) {
        if !self.quiet {
            self.line("\x1b[1;33m", "warning: ", text);
        }
    }

    /// Prints a hint: what can be done about an error or warning.
    pub fn hint(&self, text: impl fmt::Display) {
        if !self.quiet {
            self.line("\x1b[1;36m", "hint: ", text);
        }
    }

    /// Prints the reason of a failure.
    pub fn error(&self, error: &anyhow::Error) {
        let ours = error.downcast_ref::<treering::Error>();
        let usage = error.downcast_ref::<Usage>();
        let hint = ours.and_then(|e| e.hint()).map(|hint| hint.words(Surface::Command));
        let hint = hint.as_deref().or(usage.and_then(|u| u.hint.as_deref()));
        if self.json {
            return self.error_json(error, ours, hint);
        }
        self.line("\x1b[1;31m", "error: ", error);
        let mut shown = error.to_string().to_lowercase();
        for cause in error.chain().skip(1) {
            let text = cause.to_string();
            let text = text.split(" (os error").next().unwrap_or(&text);
            // An error that says what its cause says needs no second line.
            if !shown.contains(&text.to_lowercase()) {
                self.line("", "cause: ", text);
            }
            shown.push_str(&text.to_lowercase());
        }
        if let Some(location) = ours.and_then(|error| error.location()) {
            self.place(location);
        }
        if let Some(hint) = hint {
            self.line("\x1b[1;36m", "hint: ", hint);
        }
    }

    fn error_json(&self, error: &anyhow::Error, ours: Option<&treering::Error>, hint: Option<&str>) {
        let kind = match ours {
            Some(error) => error.kind().name(),
            None if error.is::<Usage>() => "usage",
            None => "io",
        };
        let object = json!({
            "error": {
                "kind": kind,
                "operation": ours.map(|e| e.operation()),
                "path": ours.and_then(|e| e.path()).map(escape),
                "message": ours.map_or_else(|| error.to_string(), |e| e.message().to_string()),
                "hint": hint,
                "location": ours.and_then(|e| e.location()).map(crate::steps::place),
            }
        });
        let _ = writeln!(std::io::stderr(), "{object}");
    }

    /// Prints the line of a text that an error is about, with a caret below the column.
    fn place(&self, location: &treering::Location) {
        let at = format!("{}:{}", escape(&location.file), location.line);
        self.line("", "  --> ", at);
        let text = location.text.replace('\t', " ");
        let number = location.line.to_string();
        self.line("", "", format!(" {number} | {}", escape(text.as_bytes())));
        if location.column > 0 {
            let before = text.get(..location.column as usize - 1).map_or(0, |text| text.chars().count());
            self.line("", "", format!(" {} | {}^", " ".repeat(number.len()), " ".repeat(before)));
        }
    }

    /// Prints one line on standard error. That it cannot be written is no reason to fail.
    fn line(&self, colour: &str, label: &str, text: impl fmt::Display) {
        let mut out = std::io::stderr().lock();
        let _ = match self.colour && !colour.is_empty() {
            true => writeln!(out, "{colour}{label}\x1b[0m{text}"),
            false => writeln!(out, "{label}{text}"),
        };
    }
}
