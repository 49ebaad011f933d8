//! Changes to a [`Ledger`] as they happen, so that a kill loses none.
//!
//! While a command runs in a tree, its supervisor appends every change before it answers the call that made it; what was written is
//! there whatever is killed afterwards. Replayed over the ledger that the command began with, the journal gives the one it left.
//!
//! On disk: entries of a length (four bytes, little-endian), a CRC-32 of the rest, a byte that says what it is, and a record as in a
//! ledger (1), or device and inode of one that is gone (2). A last entry that is cut short was never answered, and does not count.

use std::fs::File;
use std::io::{self, Read, Write};

use super::ledger::{Ledger, Record};
use crate::error::{At, Error, Result};

const SET: u8 = 1;
const REMOVED: u8 = 2;
const READ: &str = "read journal";
/// The most bytes that are read: as for a ledger.
const CAP: u64 = 1 << 30;

/// Appends changes.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// Appends to a file that was opened for appending.
    pub fn new(file: File) -> Writer {
        Writer(file)
    }

    /// Appends that a file is this now.
    pub fn set(&mut self, record: &Record) -> io::Result<()> {
        let mut body = vec![SET];
        record.encode(&mut body);
        self.append(&body)
    }

    /// Appends that nothing is known of an inode any more.
    pub fn removed(&mut self, dev: u64, ino: u64) -> io::Result<()> {
        let mut body = vec![REMOVED];
        body.extend_from_slice(&dev.to_le_bytes());
        body.extend_from_slice(&ino.to_le_bytes());
        self.append(&body)
    }

    /// One write, so that an entry is whole or not there.
    fn append(&mut self, body: &[u8]) -> io::Result<()> {
        let mut entry = (body.len() as u32).to_le_bytes().to_vec();
        entry.extend_from_slice(&libdeflater::crc32(body).to_le_bytes());
        entry.extend_from_slice(body);
        self.0.write_all(&entry)
    }
}

/// Makes the changes of a journal to the ledger it began with. Gives how many there were.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when an entry other than the last is damaged.
pub fn replay(journal: &mut impl Read, ledger: &mut Ledger) -> Result<u64> {
    let mut bytes = Vec::new();
    journal.take(CAP + 1).read_to_end(&mut bytes).at(READ, "")?;
    if bytes.len() as u64 > CAP {
        return Err(Error::limit(READ, "the journal is larger than 1 GiB"));
    }
    let mut rest = &bytes[..];
    let mut count = 0;
    while let Some((body, after)) = entry(rest) {
        let body = match body {
            Ok(body) => body,
            // A write that was cut off leaves the end of the file short, or without its bytes.
            Err(()) if after.is_empty() => break,
            Err(()) => return Err(Error::corrupt(READ, "the checksum of an entry does not match")),
        };
        apply(body, ledger).map_err(|what| Error::corrupt(READ, format!("an entry is damaged: {what}")))?;
        (rest, count) = (after, count + 1);
    }
    Ok(count)
}

/// The first entry and what follows it; `None` at the end, or where the last one is cut short.
fn entry(bytes: &[u8]) -> Option<(std::result::Result<&[u8], ()>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(8)?;
    let length = u32::from_le_bytes(head[..4].try_into().expect("4 bytes")) as usize;
    let (body, rest) = rest.split_at_checked(length)?;
    let sound = libdeflater::crc32(body).to_le_bytes() == head[4..];
    Some((if sound { Ok(body) } else { Err(()) }, rest))
}

fn apply(body: &[u8], ledger: &mut Ledger) -> std::result::Result<(), &'static str> {
    match body.split_first() {
        Some((&SET, mut rest)) => {
            let record = Record::decode(&mut rest)?;
            ledger.insert(record);
            if rest.is_empty() { Ok(()) } else { Err("bytes left over") }
        }
        Some((&REMOVED, rest)) if rest.len() == 16 => {
            let number = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().expect("8 bytes"));
            ledger.take(number(0), number(8));
            Ok(())
        }
        _ => Err("unknown entry"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Kind;

    fn record(ino: u64) -> Record {
        Record {
            path: format!("f{ino}").into_bytes(),
            dev: 5,
            ino,
            generation: 1,
            disk_mode: 0o644,
            kind: Kind::File,
            mode: 0o644,
            uid: 33,
            gid: 44,
            rdev: (0, 0),
            xattrs: Vec::new(),
        }
    }

    fn written() -> (Vec<u8>, Ledger) {
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(file.try_clone().unwrap());
        for ino in 1..4 {
            writer.set(&record(ino)).unwrap();
        }
        writer.removed(5, 2).unwrap();
        writer.set(&Record { uid: 7, ..record(3) }).unwrap();
        let mut bytes = Vec::new();
        let mut file = file;
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let mut expected = Ledger::default();
        expected.insert(record(1));
        expected.insert(Record { uid: 7, ..record(3) });
        (bytes, expected)
    }

    #[test]
    fn a_replayed_journal_gives_the_ledger_a_step_left() {
        let (bytes, expected) = written();
        let mut ledger = Ledger::default();
        assert_eq!(replay(&mut &bytes[..], &mut ledger).unwrap(), 5);
        assert_eq!(ledger.to_bytes(), expected.to_bytes());
        // Once more changes nothing: a kill may come between a replay and the removal of the journal.
        replay(&mut &bytes[..], &mut ledger).unwrap();
        assert_eq!(ledger.to_bytes(), expected.to_bytes());
    }

    #[test]
    fn a_last_entry_that_is_cut_short_does_not_count_and_damage_before_it_is_seen() {
        let (bytes, _) = written();
        for cut in 0..bytes.len() {
            assert!(replay(&mut &bytes[..cut], &mut Ledger::default()).unwrap() < 5, "cut at {cut}");
        }
        let mut damaged = bytes.clone();
        damaged[20] ^= 1;
        assert!(replay(&mut &damaged[..], &mut Ledger::default()).is_err());
    }
}
