//! Writing a tar stream entry by entry, to something that cannot seek.

use std::io::{BufWriter, Write};

use crate::error::{Error, ErrorKind, Result};
use crate::layer::header::{BLOCK, EntryKind, HeaderEntry, MtimePrecision, write_header};
use crate::progress::{Control, Counters};

const WRITE: &str = "write archive";
/// Headers and small files are gathered, large pieces go straight through.
const BUFFER: usize = 256 << 10;

/// A tar stream being written.
pub(super) struct TarOut<'a> {
    out: BufWriter<&'a mut (dyn Write + Send)>,
    header: Vec<u8>,
    /// The bytes still to come of the file at hand, and the padding after it.
    left: u64,
    padding: usize,
    precision: MtimePrecision,
    control: &'a Control,
}

impl<'a> TarOut<'a> {
    pub fn new(out: &'a mut (dyn Write + Send), precision: MtimePrecision, control: &'a Control) -> Self {
        let out = BufWriter::with_capacity(BUFFER, out);
        TarOut { out, header: Vec::new(), left: 0, padding: 0, precision, control }
    }

    /// Starts an entry; as many bytes of content as it says must follow.
    pub fn entry(&mut self, entry: &HeaderEntry<'_>) -> Result<()> {
        self.control.check(WRITE)?;
        debug_assert_eq!((self.left, self.padding), (0, 0), "the content before is complete");
        self.header.clear();
        write_header(entry, self.precision, &mut self.header)?;
        self.out.write_all(&self.header).map_err(failed)?;
        Counters::add(&self.control.counters.bytes_written, self.header.len() as u64);
        Counters::add(&self.control.counters.entries, 1);
        (self.left, self.padding) = (entry.size, (entry.size.wrapping_neg() % BLOCK as u64) as usize);
        self.pad()
    }

    /// Adds a directory or a file of an image archive: owned by root, dated 1970, so that the same image gives the same
    /// bytes.
    pub fn plain(&mut self, path: &str, kind: EntryKind, size: u64) -> Result<()> {
        self.entry(&HeaderEntry {
            path: path.as_bytes(),
            kind,
            mode: if kind == EntryKind::Directory { 0o755 } else { 0o444 },
            uid: 0,
            gid: 0,
            size,
            mtime: (0, 0),
            link: b"",
            rdev: (0, 0),
            xattrs: &[],
        })
    }

    /// Adds content of the file at hand.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.control.check(WRITE)?;
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            Error::new(ErrorKind::Internal, WRITE, "more content than the header announces")
        })?;
        self.out.write_all(bytes).map_err(failed)?;
        Counters::add(&self.control.counters.bytes_written, bytes.len() as u64);
        self.pad()
    }

    /// Adds that many zeros as content of the file at hand.
    pub fn zeros(&mut self, mut len: u64) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while len > 0 {
            let n = len.min(ZEROS.len() as u64);
            self.data(&ZEROS[..n as usize])?;
            len -= n;
        }
        Ok(())
    }

    /// Adds the rest of a block after the last byte of content.
    fn pad(&mut self) -> Result<()> {
        if self.left == 0 && self.padding > 0 {
            self.out.write_all(&[0; BLOCK][..self.padding]).map_err(failed)?;
            self.padding = 0;
        }
        Ok(())
    }

    /// Adds the two zero blocks at the end (POSIX pax, "ustar Interchange Format").
    pub fn finish(mut self) -> Result<()> {
        if self.left > 0 {
            return Err(Error::new(ErrorKind::Internal, WRITE, "less content than the header announces"));
        }
        self.out.write_all(&[0; 2 * BLOCK]).map_err(failed)?;
        self.out.flush().map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io(WRITE, "output", error)
}
