//! The save file of `fakeroot -s FILE`: one line for each file with an owner, mode or kind that it only pretends.
//!
//! `dev=HEX,ino=N,mode=OCTAL,uid=N,gid=N,nlink=N,rdev=N`, where `mode` is all of `st_mode` and a device stands on disk as
//! an empty file. The file says nothing of paths, nor which life of an inode number it means.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Claim, can_stand_for};
use crate::error::{At, Error, Result};
use crate::fs::{Kind, Stat};

const LOAD: &str = "read fakeroot save file";

/// The seven numbers at their longest, their names, and room to spare.
const LONGEST_LINE: u64 = 256;
/// As many as a layer may have entries.
const MOST_LINES: usize = 10_000_000;

/// A save file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SaveFile {
    claims: HashMap<(u64, u64), Claim>,
}

impl SaveFile {
    /// Reads the file at an ambient path.
    pub fn load(path: impl AsRef<Path>) -> Result<SaveFile> {
        let path = path.as_ref();
        let shown = path.as_os_str().as_bytes();
        let file = crate::fs::root::open_given(path).at(LOAD, shown)?;
        Self::read(BufReader::new(file)).map_err(|error| error.or_path(|| shown))
    }

    /// Reads a save file to its end. [`crate::ErrorKind::Corrupt`] when it is none; nothing is passed over.
    pub fn read(mut input: impl BufRead) -> Result<SaveFile> {
        let mut claims = HashMap::new();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut line).at(LOAD, "")? == 0 {
                break;
            }
            let refuse = |what: &str| {
                Error::corrupt(LOAD, format!("line {number} is not a line of fakeroot's: {what}"))
            };
            if number > MOST_LINES {
                return Err(Error::limit(LOAD, format!("more than {MOST_LINES} lines")));
            }
            let text = line.strip_suffix(b"\n").ok_or_else(|| refuse("it does not end"))?;
            let (key, claim) =
                parse(text).ok_or_else(|| refuse("expected dev=,ino=,mode=,uid=,gid=,nlink=,rdev="))?;
            if claims.insert(key, claim).is_some() {
                return Err(refuse("it lists a file a second time"));
            }
        }
        Ok(SaveFile { claims })
    }

    /// Returns how many files it has.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Returns what it says of a file. Where the file is of another kind, the inode number is in another life, and the line is
    /// about a file that is gone.
    pub(super) fn get(&self, stat: &Stat) -> Option<Claim> {
        let claim = self.claims.get(&(stat.dev, stat.ino))?;
        claim.kind.is_some_and(|kind| can_stand_for(stat, kind)).then_some(*claim)
    }
}

fn parse(line: &[u8]) -> Option<((u64, u64), Claim)> {
    let mut fields = std::str::from_utf8(line).ok()?.split(',');
    let mut next = |name: &str, radix: u32| -> Option<u64> {
        let digits = fields.next()?.strip_prefix(name)?.strip_prefix('=')?;
        let all = digits.chars().all(|c| c.is_digit(radix) && !c.is_ascii_uppercase());
        u64::from_str_radix(digits, radix).ok().filter(|_| all)
    };
    let key = (next("dev", 16)?, next("ino", 10)?);
    let mode: u32 = next("mode", 8)?.try_into().ok().filter(|&mode| mode <= 0o177_777)?;
    let mut id = |name| u32::try_from(next(name, 10)?).ok().filter(|&id| id != u32::MAX);
    let (uid, gid) = (id("uid")?, id("gid")?);
    next("nlink", 10)?;
    let rdev = next("rdev", 10)?;
    if fields.next().is_some() {
        return None;
    }
    let kind = Kind::from_mode(mode)?;
    let rdev = match kind {
        Kind::CharDevice | Kind::BlockDevice => (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        _ => (0, 0),
    };
    let mode = Some((mode & 0o7777) as u16);
    Some((key, Claim { uid: Some(uid), gid: Some(gid), mode, kind: Some(kind), rdev }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const LINE: &str = "dev=fe00,ino=10011060,mode=60644,uid=1,gid=2,nlink=1,rdev=1050668\n";

    #[test]
    fn a_line_is_read_as_it_was_meant() {
        let save = SaveFile::read(LINE.as_bytes()).unwrap();
        let claim = save.claims[&(0xfe00, 10_011_060)];
        let mode = Some(0o644);
        let kind = Some(Kind::BlockDevice);
        assert_eq!(claim, Claim { uid: Some(1), gid: Some(2), mode, kind, rdev: (8, 300) });
        assert!(SaveFile::read(&b""[..]).unwrap().is_empty());
    }

    #[test]
    fn what_is_anything_else_is_refused() {
        let good = LINE.trim_end();
        let cases = [
            good.to_string(),
            "\n".into(),
            format!(" {LINE}"),
            format!("{good},more=1\n"),
            format!("{good} /path\n"),
            format!("{LINE}{LINE}"),
            format!("{LINE}\n"),
            LINE.replace("dev=fe00", "dev=FE00"),
            LINE.replace("dev=fe00", "dev=0xfe00"),
            LINE.replace("dev=fe00", "dev="),
            LINE.replace("dev=fe00", "dev=+1"),
            LINE.replace("ino=10011060", "ino=18446744073709551616"),
            LINE.replace("mode=60644", "mode=644"),
            LINE.replace("mode=60644", "mode=60844"),
            LINE.replace("mode=60644", "mode=1060644"),
            LINE.replace("uid=1", "uid=4294967295"),
            LINE.replace("uid=1", "uid=-1"),
            LINE.replace("gid=2,", ""),
            LINE.replace("uid=1,gid=2", "gid=2,uid=1"),
            LINE.replace("rdev=1050668", "rdev="),
            LINE.replace("dev=fe00", &format!("dev={}", "0".repeat(100_000))),
            "\0".repeat(1000),
        ];
        for text in cases {
            let error = SaveFile::read(text.as_bytes()).expect_err(&text[..text.len().min(80)]);
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        assert_eq!(SaveFile::read(&b"dev=\xff\n"[..]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
