//! The log of a container's command: one JSON object a line, as Docker's `json-file` has it, in at most two files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::handle::Container;
use super::state::{Status, now};
use crate::error::{At, Result};
use crate::event::OutputStream;
use crate::progress::Control;
use crate::store::Slot;

/// The log.
pub(super) const FILE: &str = "log";
/// The one before it.
pub(super) const OLD: &str = "log.1";
/// The size at which a log becomes the old one, in bytes; the old one before it goes.
pub const LOG_CAP: u64 = 16 << 20;
/// The longest piece of output in one line, in bytes.
const PIECE: usize = 16 << 10;
/// The longest line that is read, in bytes: a piece of control characters is six times as long.
const LINE: u64 = 256 << 10;
/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A piece of output in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// In place of `log` where the bytes are no text: two hexadecimal digits each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    stream: String,
    time: String,
}

/// A piece of what a command wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The stream.
    pub stream: OutputStream,
    /// When it was read, RFC 3339.
    pub time: String,
    /// The bytes: a line with its end, or a part of one.
    pub bytes: Vec<u8>,
}

/// A writer of a log.
pub(super) struct Writer<'a> {
    slot: &'a Slot,
    file: Option<File>,
    size: u64,
    /// The bytes of each stream since its last end of a line.
    rest: [Vec<u8>; 2],
}

impl<'a> Writer<'a> {
    /// Goes on with the log of a container. A log that cannot be written is done without, as output must go on.
    pub fn open(slot: &'a Slot) -> Writer<'a> {
        let file = slot.append(FILE, false).ok();
        let size = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        Writer { slot, file, size, rest: Default::default() }
    }

    /// Writes what came.
    pub fn write(&mut self, stream: OutputStream, bytes: &[u8]) {
        let which = usize::from(stream == OutputStream::Stderr);
        let mut rest = std::mem::take(&mut self.rest[which]);
        rest.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let left = &rest[at..];
            let end = left.iter().take(PIECE).position(|&c| c == b'\n').map(|end| end + 1);
            match end {
                Some(end) => {
                    self.piece(stream, &left[..end]);
                    at += end;
                }
                None if left.len() >= PIECE => {
                    self.piece(stream, &left[..PIECE]);
                    at += PIECE;
                }
                None => break,
            }
        }
        rest.drain(..at);
        self.rest[which] = rest;
    }

    /// Writes what has no end of a line yet: a prompt, say.
    pub fn flush(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let rest = std::mem::take(&mut self.rest[usize::from(stream == OutputStream::Stderr)]);
            if !rest.is_empty() {
                self.piece(stream, &rest);
            }
        }
    }

    fn piece(&mut self, stream: OutputStream, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).ok().map(String::from);
        let hex = text.is_none().then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        let stream = if stream == OutputStream::Stderr { "stderr" } else { "stdout" };
        let line = Line { log: text, hex, stream: stream.into(), time: now() };
        let Ok(mut line) = serde_json::to_vec(&line) else { return };
        line.push(b'\n');
        if self.size + line.len() as u64 > LOG_CAP && self.size > 0 {
            self.file = match self.slot.rename(FILE, OLD) {
                Ok(()) => self.slot.append(FILE, false).ok(),
                Err(_) => None,
            };
            self.size = 0;
        }
        // A full disk is no reason to stop the command; its output then is in no log.
        if let Some(file) = &mut self.file
            && file.write_all(&line).is_ok()
        {
            self.size += line.len() as u64;
        }
    }
}

/// Options of reading a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Whether to go on until the command ends.
    pub follow: bool,
    /// Only the last so many lines; `None` for all.
    pub tail: Option<usize>,
}

impl Container {
    /// Reads what the command wrote, oldest first. Of much output the beginning is gone: a log has 16 MiB, and the one before it is kept.
    pub fn logs(
        &self,
        options: &LogOptions,
        control: &Control,
        mut each: impl FnMut(&LogEntry) -> Result<()>,
    ) -> Result<()> {
        const OP: &str = "read log";
        let mut entries = Vec::new();
        let mut keep = |entry: LogEntry, each: &mut dyn FnMut(&LogEntry) -> Result<()>| -> Result<()> {
            match options.tail {
                None => each(&entry),
                Some(tail) => {
                    // Twice as many as needed, then half of them at once.
                    entries.push(entry);
                    if entries.len() > tail.saturating_mul(2).max(1024) {
                        entries.drain(..entries.len() - tail);
                    }
                    Ok(())
                }
            }
        };
        // The newer one first: it may become the older one meanwhile, but not the other way round.
        let newer = self.slot.open_file(FILE)?;
        if let Some(old) = self.slot.open_file(OLD)? {
            let mut old = Reader::new(old);
            while let Some(entry) = old.next().at(OP, self.slot.shown(OLD))? {
                control.check(OP)?;
                keep(entry, &mut each)?;
            }
        }
        let mut reader = newer.map(Reader::new);
        if let Some(reader) = &mut reader {
            while let Some(entry) = reader.next().at(OP, self.slot.shown(FILE))? {
                control.check(OP)?;
                keep(entry, &mut each)?;
            }
        }
        if let Some(tail) = options.tail {
            let from = entries.len().saturating_sub(tail);
            entries[from..].iter().try_for_each(&mut each)?;
        }
        if !options.follow {
            return Ok(());
        }
        loop {
            control.check(OP)?;
            // Looked at first: what was written before the end is read after it.
            let running = self.slot.has(crate::store::CONFIG)? && self.state()?.status == Status::Running;
            let mut any = false;
            if let Some(reader) = &mut reader {
                while let Some(entry) = reader.next().at(OP, self.slot.shown(FILE))? {
                    any = true;
                    each(&entry)?;
                }
            }
            let file = self.slot.open_file(FILE)?;
            if let Some(file) = file
                && reader.as_ref().is_none_or(|reader| !reader.is(&file))
            {
                reader = Some(Reader::new(file));
                continue;
            }
            if !running {
                return Ok(());
            }
            if !any {
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// A reader of a log; a line that is not whole yet is left for the next time.
struct Reader {
    file: BufReader<File>,
}

impl Reader {
    fn new(file: File) -> Reader {
        Reader { file: BufReader::new(file) }
    }

    fn is(&self, other: &File) -> bool {
        let id = |file: &File| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        id(self.file.get_ref()) == id(other)
    }

    fn next(&mut self) -> std::io::Result<Option<LogEntry>> {
        loop {
            let mut bytes = Vec::new();
            let n = (&mut self.file).take(LINE).read_until(b'\n', &mut bytes)?;
            if n == 0 {
                return Ok(None);
            }
            if bytes.last() != Some(&b'\n') {
                if (n as u64) < LINE {
                    self.file.seek(SeekFrom::Current(-(n as i64)))?;
                    return Ok(None);
                }
                // Not a line of ours. What is left of it is none either.
                continue;
            }
            if let Some(entry) = serde_json::from_slice::<Line>(&bytes).ok().and_then(entry) {
                return Ok(Some(entry));
            }
        }
    }
}

fn entry(line: Line) -> Option<LogEntry> {
    let stream = if line.stream == "stderr" { OutputStream::Stderr } else { OutputStream::Stdout };
    let bytes = match (line.log, line.hex) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(hex)) => {
            let pairs = hex.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            pairs.map(byte).collect::<Option<_>>()?
        }
        (None, None) => return None,
    };
    Some(LogEntry { stream, time: line.time, bytes })
}
