//! Reading a layer: a strict pull parser over decompressed chunks.
//!
//! An archive has one meaning here or it is an error; nothing is skipped because it could not be understood. Where
//! GNU tar, Go (Docker, containerd), Python and libarchive would read different entries from the same bytes, this
//! reader refuses. What it accepts, they read alike. The rules, beside those at each function:
//!
//! - A PAX `size` beats the size in the header; if the header has another one that is not zero, that is an error.
//! - Before an entry there may be `x`, `L` and `K`, in any order; two of one kind must say the same. If two of them name
//!   the entry, the names must be equal. A `g` header stands before them or is an error.
//! - Only files have content: any other entry with a size is an error, since readers disagree whether it is there. But a hard
//!   link may carry the size of its file in its header, which no tool takes for content.
//! - The type NUL with a name that ends in a slash is a directory, as v7 tar wrote it. All other types but `5` with
//!   such a name are errors.
//! - The archive ends with two zero blocks and then nothing but zeros, or with the stream between two entries.

mod acl;
mod block;
mod entry;
mod extended;
mod name;
mod sparse;
mod stream;

use crate::error::{Error, Result};
use crate::layer::fault::{Fault, Parsed};
use crate::layer::header::{self, BLOCK, EntryKind};
use block::Block;
use extended::Extended;
use sparse::Region;
pub use stream::{ChunkStream, ReadChunks, Slice};
use stream::{Cursor, MAX_TAIL, Tail};

const OPERATION: &str = "read layer";

/// Caps on what an archive may ask for. Each limit is an error of kind [`Limit`](crate::ErrorKind::Limit) that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of a path, or of the path a hard link joins.
    pub max_path: usize,
    /// Bytes of the target of a symbolic link.
    pub max_symlink: usize,
    /// Bytes of one component of a path.
    pub max_component: usize,
    /// Bytes of PAX records and long names together, per entry.
    pub max_metadata: usize,
    /// Bytes of the value of one extended attribute.
    pub max_xattr: usize,
    /// Bytes of the names of all extended attributes of one entry, a NUL after each counted.
    pub max_xattr_names: usize,
    /// Regions of a sparse file.
    pub max_sparse_regions: usize,
    /// Entries, global headers included.
    pub max_entries: u64,
    /// Bytes of names, link targets and extended attributes of all entries together, where they are held in memory: while
    /// a tree is put together from layers (the list of what is lost counts, too), and while an archive is loaded.
    pub max_held: u64,
    /// Bytes all files together have when written out, holes included.
    pub max_bytes: u64,
    /// Whether the archive has to say where it ends. Where a digest is compared that is not needed: see
    /// [`LayerReader::has_end`].
    pub require_end: bool,
    /// Whether only zeros may follow the end of the archive. GNU tar and Docker ignore what follows.
    pub zero_tail: bool,
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits {
            max_path: header::MAX_PATH,
            max_symlink: header::MAX_SYMLINK,
            max_component: header::MAX_COMPONENT,
            max_metadata: header::MAX_METADATA,
            max_xattr: header::MAX_XATTR_VALUE,
            max_xattr_names: header::MAX_XATTR_NAMES,
            max_sparse_regions: 100_000,
            max_entries: 10_000_000,
            max_held: 1 << 30,
            max_bytes: 1 << 40,
            require_end: false,
            zero_tail: true,
        }
    }
}

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// Components joined by single slashes, without `.` and `..`; empty for the root itself.
    pub path: Vec<u8>,
    /// The kind of the entry.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content, holes included; 0 for all but files.
    pub size: u64,
    /// Seconds, and nanoseconds that count upwards from them.
    pub mtime: (i64, u32),
    /// The text of a symbolic link, or the path of the entry a hard link joins, normalised like `path`.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Names and values of extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names of extended attributes that the archive does not fully give, and why: an ACL for users that have names and no
    /// numbers.
    pub lost: Vec<(Vec<u8>, &'static str)>,
}

/// A piece of the content of a file.
#[derive(Debug, Clone)]
pub enum Data {
    /// Bytes, still in the chunk they came in.
    Bytes(Slice),
    /// That many zeros, a hole of a sparse file.
    Hole(u64),
}

/// A reader of one layer, entry by entry.
#[derive(Debug)]
pub struct LayerReader<S> {
    cursor: Cursor<S>,
    limits: ReadLimits,
    state: State,
    marked_end: bool,
    globals: Extended,
    entries: u64,
    declared: u64,
    /// The entry at hand and where its header starts, for messages.
    path: Vec<u8>,
    start: u64,
    /// The offset of the first header that describes it.
    first: u64,
    /// Content of the entry at hand still in the stream, and the padding after it.
    stored: u64,
    padding: u64,
    holes: Option<Holes>,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed,
}

/// The position of the reader in a sparse file.
#[derive(Debug)]
struct Holes {
    map: Vec<Region>,
    next: usize,
    at: u64,
    real: u64,
}

/// The headers that stand before an entry.
#[derive(Default)]
struct Pending {
    extended: Option<Extended>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    bytes: u64,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.extended.is_none() && self.name.is_none() && self.link.is_none()
    }
}

/// The reason why reading stopped: the archive is at fault, or the stream failed.
enum Stop {
    Fault(Fault),
    Error(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

type Step<T> = std::result::Result<T, Stop>;

fn stop<T>(message: &'static str) -> Step<T> {
    Err(Stop::Fault(Fault::corrupt(message)))
}

impl<S: ChunkStream> LayerReader<S> {
    /// Returns a reader of the archive that `stream` gives.
    pub fn new(stream: S, limits: ReadLimits) -> Self {
        LayerReader {
            cursor: Cursor::new(stream),
            limits,
            state: State::Open,
            marked_end: false,
            globals: Extended::default(),
            entries: 0,
            declared: 0,
            path: Vec::new(),
            start: 0,
            first: 0,
            stored: 0,
            padding: 0,
            holes: None,
            scratch: Vec::new(),
        }
    }

    /// Returns the next entry, or `None` at the end of the archive. Content of the last one that was not taken is passed
    /// over. Before it says `None` it has read the stream to its end, so a digest over the stream is complete. After
    /// an error every call is an error.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>> {
        match self.state {
            State::Open => {}
            State::Ended => return Ok(None),
            State::Failed => return Err(Error::corrupt(OPERATION, "reading goes on after an error")),
        }
        let entry = self.advance();
        self.settle(entry)
    }

    /// Returns the next piece of the content of the entry [`next_entry`](Self::next_entry) gave last, or `None` after its
    /// end. Nothing is copied.
    pub fn next_data(&mut self) -> Result<Option<Data>> {
        match self.state {
            State::Open => {}
            State::Ended => return Ok(None),
            State::Failed => return Err(Error::corrupt(OPERATION, "reading goes on after an error")),
        }
        let data = self.content();
        self.settle(data)
    }

    /// Returns all that is left of the content of the last entry, if it has at most `most` bytes.
    pub fn read_content(&mut self, most: usize) -> Result<Vec<u8>> {
        let left = self.holes.as_ref().map_or(self.stored, |holes| holes.real - holes.at);
        let left = usize::try_from(left).ok().filter(|&left| left <= most).ok_or_else(|| {
            Error::limit(OPERATION, format!("{left} bytes of content; the most is {most}"))
                .with_path(&self.path)
        })?;
        // Not all at once: the archive may promise more than it has.
        let mut out = Vec::with_capacity(left.min(1024 * 1024));
        while let Some(data) = self.next_data()? {
            match data {
                Data::Bytes(bytes) => out.extend_from_slice(&bytes),
                Data::Hole(len) => out.resize(out.len() + len as usize, 0),
            }
        }
        Ok(out)
    }

    /// Reads what is left, to the end of the stream, and gives the stream back. An archive that was not read to its
    /// end has not been verified.
    pub fn finish(mut self) -> Result<S> {
        while self.next_entry()?.is_some() {}
        Ok(self.cursor.into_stream())
    }

    /// Returns whether the archive said that this is its end, with a zero block at least. POSIX demands two; Go, GNU tar and
    /// libarchive also take the end of the stream for the end, and so does this reader: a layer that was cut short has
    /// another digest. Where there is no digest, an archive without an end was cut off.
    pub fn has_end(&self) -> bool {
        self.marked_end
    }

    /// Returns the offset in the stream of the first header that describes the entry at hand.
    pub fn entry_offset(&self) -> u64 {
        self.first
    }

    /// Returns whether the archive is over, or reading it failed.
    pub(crate) fn is_over(&self) -> bool {
        self.state != State::Open
    }

    /// Goes on at a later offset, where a header must be.
    pub(crate) fn skip_to(&mut self, offset: u64) -> Result<()> {
        (self.stored, self.padding, self.holes) = (0, 0, None);
        let skipped = match offset.checked_sub(self.cursor.offset) {
            Some(distance) => self.cursor.skip(distance).map_err(Stop::Error),
            None => stop("the offset is behind the reader"),
        };
        match self.settle(skipped)? {
            true => Ok(()),
            false => self.settle(stop("the archive ends before the entry")),
        }
    }

    /// Returns how many bytes of the stream have been read.
    pub fn offset(&self) -> u64 {
        self.cursor.offset
    }

    fn settle<T>(&mut self, step: Step<T>) -> Result<T> {
        step.map_err(|stop| {
            self.state = State::Failed;
            match stop {
                Stop::Error(error) => error,
                Stop::Fault(fault) => {
                    let message = format!("{} (entry at byte {})", fault.message, self.start);
                    let error = Error::new(fault.kind, OPERATION, message);
                    if self.path.is_empty() { error } else { error.with_path(&self.path) }
                }
            }
        })
    }

    fn advance(&mut self) -> Step<Option<TarEntry>> {
        let rest = self.stored + self.padding;
        (self.stored, self.padding, self.holes) = (0, 0, None);
        if !self.cursor.skip(rest)? {
            return stop("the archive ends inside a file");
        }
        self.path.clear();
        let mut pending = Pending::default();
        loop {
            self.start = self.cursor.offset;
            if pending.is_empty() {
                self.first = self.start;
            }
            let bytes = match self.cursor.block()? {
                Ok(bytes) => bytes,
                Err(0) if pending.is_empty() && self.limits.require_end => {
                    return stop("the archive has no end: it was cut off between two entries, or is empty");
                }
                Err(0) if pending.is_empty() => {
                    self.state = State::Ended;
                    return Ok(None);
                }
                Err(0) => return stop("the archive ends after a header that announces an entry"),
                Err(_) => return stop("the archive ends inside a header"),
            };
            if bytes == [0; BLOCK] {
                if !pending.is_empty() {
                    return stop("the archive ends after a header that announces an entry");
                }
                self.end()?;
                return Ok(None);
            }
            let block = Block::parse(&bytes)?;
            match block.typeflag() {
                b'x' => {
                    let body = self.metadata(&block, &mut pending)?;
                    let extended = Extended::parse(&body, &self.limits)?;
                    if pending.extended.as_ref().is_some_and(|before| *before != extended) {
                        return stop("an entry has two PAX headers that say different things");
                    }
                    pending.extended = Some(extended);
                    self.scratch = body;
                }
                b'g' => {
                    if !pending.is_empty() {
                        return stop("a global header stands between an entry and its own header");
                    }
                    self.count()?;
                    let body = self.metadata(&block, &mut Pending::default())?;
                    let later = Extended::parse_global(&body, &self.limits)?;
                    self.globals.update_global(later);
                    self.scratch = body;
                }
                flag @ (b'L' | b'K') => {
                    let body = self.metadata(&block, &mut pending)?;
                    let long = long_name(&body)?;
                    let slot = if flag == b'L' { &mut pending.name } else { &mut pending.link };
                    if slot.as_ref().is_some_and(|before| *before != long) {
                        return stop("an entry has two different GNU long names");
                    }
                    *slot = Some(long);
                    self.scratch = body;
                }
                _ => {
                    self.count()?;
                    return self.entry(&block, pending).map(Some);
                }
            }
        }
    }

    fn count(&mut self) -> Parsed<()> {
        self.entries += 1;
        if self.entries > self.limits.max_entries {
            return Err(Fault::limit(format!(
                "the archive has more than {} entries",
                self.limits.max_entries
            )));
        }
        Ok(())
    }

    /// Returns the body of a header that describes the next entry, in the scratch buffer.
    fn metadata(&mut self, block: &Block<'_>, pending: &mut Pending) -> Step<Vec<u8>> {
        let size = block.size()?;
        pending.bytes = pending.bytes.saturating_add(size);
        if pending.bytes > self.limits.max_metadata as u64 {
            let message = format!(
                "{} bytes describe one entry; the most is {}",
                pending.bytes, self.limits.max_metadata
            );
            return Err(Fault::limit(message).into());
        }
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        body.resize(size as usize, 0);
        if self.cursor.fill(&mut body)? < body.len() {
            return stop("the archive ends inside a PAX header or long name");
        }
        // Python reads on into the padding: more records, or more of the name.
        if !self.cursor.skip_zeros(padding(size) as usize)? {
            return stop("the padding of a PAX header or long name is not zeros");
        }
        Ok(body)
    }

    /// Reads the end: after the first zero block one more, then zeros or whatever the limits allow. All of it is read.
    fn end(&mut self) -> Step<()> {
        match self.cursor.block()? {
            // The stream may end after one zero block, as it may after none.
            Err(0) => {}
            Ok(bytes) if bytes == [0; BLOCK] => match self.cursor.drain(self.limits.zero_tail)? {
                Tail::Over => {}
                Tail::Content => return stop("something follows the end of the archive"),
                Tail::Long => {
                    let message = format!("more than {MAX_TAIL} zeros follow the end of the archive");
                    return Err(Fault::limit(message).into());
                }
            },
            _ => return stop("something follows a zero block"),
        }
        self.state = State::Ended;
        self.marked_end = true;
        Ok(())
    }

    fn content(&mut self) -> Step<Option<Data>> {
        let mut most = self.stored;
        if let Some(holes) = &mut self.holes {
            while holes.map.get(holes.next).is_some_and(|region| region.offset + region.len <= holes.at) {
                // A region of no bytes still ends the hole before it; the next one, or the end of the file, does too.
                holes.next += 1;
            }
            let (start, end) = match holes.map.get(holes.next) {
                Some(region) => (region.offset, region.offset + region.len),
                None => (holes.real, holes.real),
            };
            if holes.at < start {
                let len = start - holes.at;
                holes.at = start;
                return Ok(Some(Data::Hole(len)));
            }
            most = end - holes.at;
        }
        if most == 0 {
            return Ok(None);
        }
        let Some(slice) = self.cursor.slice(most)? else {
            return stop("the archive ends inside a file");
        };
        self.stored -= slice.len() as u64;
        if let Some(holes) = &mut self.holes {
            holes.at += slice.len() as u64;
        }
        Ok(Some(Data::Bytes(slice)))
    }
}

/// Returns whether the checksum of a header block is right.
pub(crate) fn is_header(block: &[u8; BLOCK]) -> bool {
    block::verify_checksum(block).is_ok()
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Returns the name a GNU `L` or `K` header holds, with the NULs that end it taken off.
fn long_name(body: &[u8]) -> Parsed<Vec<u8>> {
    let end = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
    if end == 0 || body[end..].iter().any(|&byte| byte != 0) {
        return Err(Fault::corrupt("a GNU long name is empty or goes on after a NUL byte"));
    }
    Ok(body[..end].to_vec())
}

#[cfg(test)]
mod tests;
