//! Logical lines of a Dockerfile: parser directives, comments, continuations and here-documents.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/parser` and of the Dockerfile reference ("Parser directives", "Format",
//! "Here-Documents").

use std::sync::Arc;

use super::source::{Fault, Source};
use super::words;
use crate::error::{Error, Location, Result};

pub(crate) const OP: &str = "parse Dockerfile";

/// Largest Dockerfile that is read, in bytes.
pub const MAX_FILE: usize = 16 << 20;
/// Most instructions of a Dockerfile.
pub(crate) const MAX_INSTRUCTIONS: usize = 65_536;

/// The parser directives at the top of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `syntax`: the frontend image that the file asks for. It is never run.
    pub syntax: Option<String>,
    /// `escape`: the character that escapes and continues lines.
    pub escape: char,
    /// `check`: which checks are skipped, and whether warnings are errors.
    pub check: Option<String>,
    /// The line `syntax` stands in.
    pub(crate) syntax_line: u32,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// The lines as they stand, each with its end.
    pub body: String,
    /// Whether variables in it are replaced: no part of the word is quoted.
    pub expand: bool,
    /// Whether leading tabs are dropped (`<<-`).
    pub chomp: bool,
}

impl Heredoc {
    /// Returns the text, without leading tabs for `<<-`.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// An instruction with its continuation lines joined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) source: Arc<Source>,
    /// The text without comments, line ends and continuation characters.
    pub(crate) text: String,
    /// The origins of pieces of `text`: offset there, line, column.
    pieces: Vec<(usize, u32, u32)>,
    /// The last line that belongs to it.
    pub(crate) last: u32,
    pub(crate) heredocs: Vec<Heredoc>,
    /// An empty line within the continuation, which is deprecated.
    pub(crate) empty_continuation: Option<u32>,
    /// The comments right above, without their `#`. An empty one, as an empty line, ends what belongs to it.
    pub(crate) comments: Vec<String>,
}

impl Line {
    /// Returns the place of an offset in the text.
    pub(crate) fn location(&self, offset: usize) -> Location {
        let at = self.pieces.partition_point(|(start, ..)| *start <= offset).saturating_sub(1);
        let (start, line, column) = self.pieces[at];
        self.source.location(line, column + (offset - start.min(offset)) as u32)
    }

    /// Returns what a comment `# NAME DESCRIPTION` above says of a name; nothing where there is none.
    pub(crate) fn description(&self, name: &str) -> String {
        let described = |comment: &String| {
            comment.strip_prefix(name)?.strip_prefix(char::is_whitespace).map(String::from)
        };
        self.comments.iter().find_map(described).unwrap_or_default().trim().into()
    }

    /// Returns the error for a fault at an offset of this line.
    pub(crate) fn error(&self, fault: Fault) -> Error {
        let location = self.location(fault.at.unwrap_or(0));
        fault.syntax(OP, location)
    }
}

/// Cuts a file into instructions.
pub(crate) fn read(name: &[u8], bytes: &[u8]) -> Result<(Directives, Vec<Line>)> {
    if bytes.len() > MAX_FILE {
        let message = format!("the file is larger than {} MiB", MAX_FILE >> 20);
        return Err(Error::limit(OP, message).with_path(name));
    }
    if let Some(at) = memchr::memchr(0, bytes) {
        let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
        return Err(Error::new(
            crate::ErrorKind::Syntax,
            OP,
            format!("a NUL byte in line {line}: this is not a text file"),
        )
        .with_path(name));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let raw: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let shown = |line: &&[u8]| String::from_utf8_lossy(without_end(line)).into_owned();
    let source = Arc::new(Source { name: name.to_vec(), lines: raw.iter().map(shown).collect() });
    let (directives, after) = directives(&source)?;
    let mut reader = Reader { source, raw, at: after, escape: directives.escape };
    let mut lines = Vec::new();
    while let Some(line) = reader.next()? {
        if lines.len() == MAX_INSTRUCTIONS {
            let message = format!("more than {MAX_INSTRUCTIONS} instructions");
            return Err(Error::limit(OP, message).with_location(line.location(0)));
        }
        lines.push(line);
    }
    Ok((directives, lines))
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let end = line.iter().rposition(|b| *b != b'\r').map_or(0, |at| at + 1);
    &line[..end]
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Reads `# name=value` lines up to the first other line. A name that is not known ends them, as any comment does.
fn directives(source: &Source) -> Result<(Directives, usize)> {
    let mut out = Directives { syntax: None, escape: '\\', check: None, syntax_line: 0 };
    let mut escaped = false;
    for (at, line) in source.lines.iter().enumerate() {
        let number = at as u32 + 1;
        let refuse = |message: String| Fault::new(message).syntax(OP, source.location(number, 1));
        let Some((key, value)) = directive(line) else { return Ok((out, at)) };
        let again = match key.as_str() {
            "syntax" => {
                out.syntax_line = number;
                out.syntax.replace(value.into()).is_some()
            }
            "check" => out.check.replace(value.into()).is_some(),
            "escape" => {
                out.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => return Err(refuse(format!("escape is {value:?}: it has to be \\ or `"))),
                };
                std::mem::replace(&mut escaped, true)
            }
            _ => return Ok((out, at)),
        };
        if again {
            return Err(refuse(format!("the parser directive {key} is there twice")));
        }
    }
    Ok((out, source.lines.len()))
}

fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let fits = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric())
        && !value.is_empty();
    fits.then(|| (key.to_ascii_lowercase(), value))
}

struct Reader<'a> {
    source: Arc<Source>,
    raw: Vec<&'a [u8]>,
    at: usize,
    escape: char,
}

impl<'a> Reader<'a> {
    fn fault(&self, message: &str) -> Error {
        Fault::new(message).syntax(OP, self.source.location(self.at as u32, 0))
    }

    /// Returns the next line of the file, without its end; `None` at the end.
    fn line(&mut self) -> Result<Option<&'a str>> {
        let Some(raw) = self.raw.get(self.at) else { return Ok(None) };
        self.at += 1;
        let raw = without_end(raw);
        match std::str::from_utf8(raw) {
            Ok(text) => Ok(Some(text)),
            // Comments may be in any encoding.
            Err(_) if raw.trim_ascii_start().starts_with(b"#") => Ok(Some("#")),
            Err(_) => Err(self.fault("the line is not UTF-8")),
        }
    }

    fn next(&mut self) -> Result<Option<Line>> {
        let mut comments = Vec::new();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            let trimmed = line.trim_start();
            match trimmed.strip_prefix('#').map(str::trim) {
                None if !trimmed.is_empty() => {
                    let column = (line.len() - trimmed.len()) as u32 + 1;
                    return self.instruction(trimmed, column, comments).map(Some);
                }
                None | Some("") => comments.clear(),
                Some(text) => comments.push(text.to_string()),
            }
        }
    }

    fn instruction(&mut self, first: &str, column: u32, comments: Vec<String>) -> Result<Line> {
        let mut line = Line {
            source: self.source.clone(),
            text: String::new(),
            pieces: vec![(0, self.at as u32, column)],
            last: 0,
            heredocs: Vec::new(),
            empty_continuation: None,
            comments,
        };
        let mut goes_on = self.append(&mut line.text, first);
        while goes_on {
            let Some(next) = self.line()? else { break };
            if is_comment(next) {
                continue;
            }
            if next.trim().is_empty() {
                line.empty_continuation.get_or_insert(self.at as u32);
                continue;
            }
            line.pieces.push((line.text.len(), self.at as u32, 1));
            goes_on = self.append(&mut line.text, next);
        }
        if may_have_heredocs(&line.text) {
            for (name, expand, chomp) in heredoc_words(&line.text) {
                let body = self.heredoc(&name, chomp)?;
                line.heredocs.push(Heredoc { name, body, expand, chomp });
            }
        }
        line.last = self.at as u32;
        Ok(line)
    }

    /// Adds a line without its continuation character, and says whether it had one. Two escape characters are none.
    fn append(&self, text: &mut String, line: &str) -> bool {
        let end = line.trim_end_matches([' ', '\t']);
        match end.strip_suffix(self.escape) {
            Some(body) if !body.ends_with(self.escape) => {
                text.push_str(body);
                true
            }
            _ => {
                text.push_str(line);
                false
            }
        }
    }

    fn heredoc(&mut self, name: &str, chomp: bool) -> Result<String> {
        let opened = self.at as u32;
        let mut body = String::new();
        while let Some(raw) = self.raw.get(self.at) {
            self.at += 1;
            let text =
                std::str::from_utf8(raw).map_err(|_| self.fault("the here-document's line is not UTF-8"))?;
            let end = text.trim_end_matches(['\r', '\n']);
            if name == if chomp { end.trim_start_matches('\t') } else { end } {
                return Ok(body);
            }
            body.push_str(text);
        }
        Err(Fault::new(format!("the here-document {name} is not ended"))
            .with_hint(format!("a line with nothing but {name} ends it"))
            .syntax(OP, self.source.location(opened, 0)))
    }
}

/// Returns whether the instruction, or the one that ONBUILD keeps, takes here-documents. The JSON form has none.
fn may_have_heredocs(text: &str) -> bool {
    let mut rest = text;
    for _ in 0..2 {
        let (keyword, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = tail.trim_start();
        match keyword.to_ascii_uppercase().as_str() {
            "ONBUILD" => continue,
            "RUN" | "COPY" | "ADD" => return rest.contains("<<") && !is_json(rest),
            _ => return false,
        }
    }
    false
}

fn is_json(rest: &str) -> bool {
    let body = super::flags::split(rest).map_or(rest, |(_, body)| body);
    body.starts_with('[') && serde_json::from_str::<Vec<String>>(body).is_ok()
}

fn heredoc_words(text: &str) -> Vec<(String, bool, bool)> {
    let words = words::split(text, '\\').unwrap_or_default();
    words.iter().filter_map(|word| heredoc(word)).collect()
}

/// Returns the end word, whether the body is expanded, and whether tabs are dropped, of `<<WORD` or `<<-WORD`, which the number of a
/// descriptor may stand before. `None` where anything else is in the text.
pub(crate) fn heredoc(text: &str) -> Option<(String, bool, bool)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    if rest.contains('<') || words::split(rest, '\\').ok()?.len() != 1 {
        return None;
    }
    let name = words::unquote(rest, '\\').ok().filter(|name| !name.is_empty())?;
    // A backslash quotes for a shell, and not here.
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == quotes(rest);
    Some((name, expand, chomp))
}
