//! Changes to a [`Ledger`] as they happen, so that a kill loses none.
//!
//! While a command runs in a tree, its supervisor appends every change before it answers the call that made it; what was written is
//! there whatever is killed afterwards. Replayed over the ledger that the command began with, the journal gives the one it left.
//!
//! On disk: entries of a length (four bytes, little-endian), a CRC-32 of the rest, a byte that says what it is, and a record as in a
//! ledger (1), device and inode of one that is gone (2), or a `Note` (3). A last entry that is cut short was never answered, and does
//! not count.

use std::fs::File;
use std::io::{self, Read, Write};

use super::ledger::{Ledger, Record};
use crate::error::{At, Error, Result};
use crate::fs::{Kind, Timestamp};

const SET: u8 = 1;
const REMOVED: u8 = 2;
const NOTE: u8 = 3;
const READ: &str = "read journal";
/// The most bytes that are read: as for a ledger.
const CAP: u64 = 1 << 30;

/// A change of a tree for the time of a command, to be undone later if a kill kept the command from it. It changes no ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "sandbox"), allow(dead_code))]
pub(crate) enum Note {
    /// A directory or an empty file was made to mount on.
    Made(Made),
    /// All that was made until now is gone again, or stays.
    Unmade,
    /// Where the owners of files are to be read from now on.
    Owners(Owners),
    /// Directories of the host beside the tree, by path, for which the last [`Note::Owners`] holds too.
    Beside(Vec<u8>),
    /// The helper program that [`Note::Owners`] are undone with.
    Helper(Vec<u8>),
}

/// Something that was made in a tree to mount on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// Its directory, below the root and without symbolic links; empty for the root.
    pub directory: Vec<u8>,
    /// Its name there.
    pub name: Vec<u8>,
    /// Its kind.
    pub kind: Kind,
    /// Its inode.
    pub inode: u64,
    /// Whether it goes with what is in it.
    pub filled: bool,
    /// When the directory was changed last, before and after.
    pub times: [Timestamp; 2],
}

/// The place where the owners of a tree's files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Owners {
    /// In the ledger; on the disk everything is the user's.
    #[default]
    Ledger = 1,
    /// In the ledger; on the disk some are as well.
    Both = 2,
    /// On the disk; the ledger has what the disk cannot hold.
    Disk = 3,
}

impl Note {
    #[cfg_attr(not(feature = "sandbox"), allow(dead_code))]
    fn encode(&self, out: &mut Vec<u8>) {
        let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        match self {
            Note::Made(made) => {
                out.extend([1, made.kind as u8, u8::from(made.filled)]);
                out.extend_from_slice(&made.inode.to_le_bytes());
                for time in made.times {
                    out.extend_from_slice(&time.secs.to_le_bytes());
                    out.extend_from_slice(&time.nanos.to_le_bytes());
                }
                bytes(out, &made.directory);
                bytes(out, &made.name);
            }
            Note::Unmade => out.push(4),
            Note::Helper(path) => {
                out.push(5);
                bytes(out, path);
            }
            Note::Owners(owners) => out.extend([2, *owners as u8]),
            Note::Beside(path) => {
                out.push(3);
                bytes(out, path);
            }
        }
    }

    fn decode(mut rest: &[u8]) -> std::result::Result<Note, &'static str> {
        fn take<'a>(rest: &mut &'a [u8], n: usize) -> std::result::Result<&'a [u8], &'static str> {
            rest.split_off(..n).ok_or("cut short")
        }
        fn number<const N: usize>(rest: &mut &[u8]) -> std::result::Result<[u8; N], &'static str> {
            Ok(take(rest, N)?.try_into().expect("as many as were taken"))
        }
        fn bytes(rest: &mut &[u8]) -> std::result::Result<Vec<u8>, &'static str> {
            let length = u32::from_le_bytes(number(rest)?) as usize;
            Ok(take(rest, length)?.to_vec())
        }
        let rest = &mut rest;
        let note = match take(rest, 1)?[0] {
            1 => {
                let [kind, filled] = number(rest)?;
                let kind = Kind::from_u8(kind).ok_or("unknown kind")?;
                let inode = u64::from_le_bytes(number(rest)?);
                let mut times = [Timestamp::default(); 2];
                for time in &mut times {
                    let secs = i64::from_le_bytes(number(rest)?);
                    *time = Timestamp { secs, nanos: u32::from_le_bytes(number(rest)?) };
                }
                let (directory, name) = (bytes(rest)?, bytes(rest)?);
                Note::Made(Made { directory, name, kind, inode, filled: filled != 0, times })
            }
            2 => Note::Owners(match take(rest, 1)?[0] {
                1 => Owners::Ledger,
                2 => Owners::Both,
                3 => Owners::Disk,
                _ => return Err("unknown note"),
            }),
            3 => Note::Beside(bytes(rest)?),
            4 => Note::Unmade,
            5 => Note::Helper(bytes(rest)?),
            _ => return Err("unknown note"),
        };
        if rest.is_empty() { Ok(note) } else { Err("bytes left over") }
    }
}

/// Appends changes.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// Appends to a file that was opened for appending.
    pub fn new(file: File) -> Writer {
        Writer(file)
    }

    /// Appends the record that a file has now.
    pub fn set(&mut self, record: &Record) -> io::Result<()> {
        let mut body = vec![SET];
        record.encode(&mut body);
        self.append(&body)
    }

    /// Appends that an inode has no record any more.
    pub fn removed(&mut self, dev: u64, ino: u64) -> io::Result<()> {
        let mut body = vec![REMOVED];
        body.extend_from_slice(&dev.to_le_bytes());
        body.extend_from_slice(&ino.to_le_bytes());
        self.append(&body)
    }

    /// Appends a note.
    #[cfg_attr(not(feature = "sandbox"), allow(dead_code))]
    pub(crate) fn note(&mut self, note: &Note) -> io::Result<()> {
        let mut body = vec![NOTE];
        note.encode(&mut body);
        self.append(&body)
    }

    /// Appends by one write, so that an entry is whole or not there.
    fn append(&mut self, body: &[u8]) -> io::Result<()> {
        let mut entry = (body.len() as u32).to_le_bytes().to_vec();
        entry.extend_from_slice(&libdeflater::crc32(body).to_le_bytes());
        entry.extend_from_slice(body);
        self.0.write_all(&entry)
    }
}

/// Makes the changes of a journal to the ledger it began with, and returns how many there were.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when an entry other than the last is damaged.
pub fn replay(journal: &mut impl Read, ledger: &mut Ledger) -> Result<u64> {
    read(journal, &mut |body| apply(body, ledger))
}

/// Reads the notes of a journal, in order.
///
/// # Errors
/// As [`replay`].
#[cfg_attr(not(feature = "sandbox"), allow(dead_code))]
pub(crate) fn notes(journal: &mut impl Read) -> Result<Vec<Note>> {
    let mut found = Vec::new();
    read(journal, &mut |body| {
        if let Some((&NOTE, rest)) = body.split_first() {
            found.push(Note::decode(rest)?);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Gives each entry to a function, and returns how many there were.
fn read(
    journal: &mut impl Read,
    each: &mut dyn FnMut(&[u8]) -> std::result::Result<(), &'static str>,
) -> Result<u64> {
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
        each(body).map_err(|what| Error::corrupt(READ, format!("an entry is damaged: {what}")))?;
        (rest, count) = (after, count + 1);
    }
    Ok(count)
}

/// Returns the first entry and what follows it; `None` at the end, or where the last one is cut short.
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
        Some((&NOTE, rest)) => Note::decode(rest).map(drop),
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
    fn notes_come_back_as_they_were_and_change_no_ledger() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(file.try_clone().unwrap());
        let time = |secs, nanos| Timestamp { secs, nanos };
        let made = Made {
            directory: b"etc".to_vec(),
            name: b"ho\xffsts".to_vec(),
            kind: Kind::File,
            inode: 1 << 40,
            filled: true,
            times: [time(-5, 7), time(9, 999_999_999)],
        };
        let written = [
            Note::Made(made.clone()),
            Note::Made(Made { directory: Vec::new(), kind: Kind::Directory, filled: false, ..made }),
            Note::Unmade,
            Note::Helper(b"/bin/treering".to_vec()),
            Note::Beside(b"/srv/x".to_vec()),
            Note::Owners(Owners::Both),
            Note::Owners(Owners::Disk),
            Note::Owners(Owners::Ledger),
        ];
        writer.set(&record(1)).unwrap();
        written.iter().for_each(|note| writer.note(note).unwrap());
        let mut bytes = Vec::new();
        let mut file = file;
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(notes(&mut &bytes[..]).unwrap(), written);
        let mut ledger = Ledger::default();
        assert_eq!(replay(&mut &bytes[..], &mut ledger).unwrap(), 9);
        assert_eq!(ledger.len(), 1);
        for note in &written {
            let mut body = Vec::new();
            note.encode(&mut body);
            for cut in 0..body.len() {
                assert!(Note::decode(&body[..cut]).is_err(), "{note:?} cut at {cut}");
            }
            body.push(0);
            assert!(Note::decode(&body).is_err(), "{note:?} with a byte more");
        }
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
