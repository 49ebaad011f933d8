//! rpm's databases: headers of packages, in a file of one of three kinds.
//!
//! Nothing in such a file is trusted. A reader gives up where the file contradicts itself, and reads no byte more often than a constant
//! number of times: what it gives all together is no longer than the file.

mod berkeley;
mod ndb;
mod sqlite;

use super::{MAX_NAME, Package};

/// Directories of databases: since rpm 4.17 on Fedora and SUSE, elsewhere, and in trees of ostree.
const DIRECTORIES: [&[u8]; 3] = [b"usr/lib/sysimage/rpm/", b"var/lib/rpm/", b"usr/share/rpm/"];
/// Names of databases: SQLite, rpm's own (ndb), Berkeley DB.
const NAMES: [&[u8]; 3] = [b"rpmdb.sqlite", b"Packages.db", b"Packages"];
/// The name of entries that are keys, which rpm keeps as packages without files.
const KEY: &str = "gpg-pubkey";
/// How long the words for a licence may be, in bytes; others are none.
const MAX_LICENCE: usize = 1000;

/// Gets one header after the other. `None` ends the reading.
type Take<'a> = dyn FnMut(&[u8]) -> Option<()> + 'a;

/// Returns whether a file of this path is a database.
pub(super) fn is_database(path: &[u8]) -> bool {
    DIRECTORIES
        .iter()
        .any(|directory| path.strip_prefix(*directory).is_some_and(|name| NAMES.contains(&name)))
}

/// Reads a database. Returns the packages, and whether it could be read whole.
pub(super) fn packages(file: &[u8], most: usize) -> (Vec<Package>, bool) {
    let mut out = Vec::new();
    let mut whole = true;
    let mut take = |header: &[u8]| {
        match package(header) {
            Some(package) if package.name == KEY => {}
            Some(package) if out.len() < most => out.push(package),
            Some(_) => return None,
            None => whole = false,
        }
        Some(())
    };
    let read = match file {
        // As rpm leaves it where nothing was installed yet.
        [] => Some(()),
        _ if file.starts_with(sqlite::MAGIC) => sqlite::each_header(file, &mut take),
        _ if file.starts_with(ndb::MAGIC) => ndb::each_header(file, &mut take),
        _ => berkeley::each_header(file, &mut take),
    };
    (out, whole && read.is_some())
}

/// Returns `N` bytes of a file.
fn bytes_at<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..)?.first_chunk().copied()
}

/// Reads a header (rpm's `docs/manual/hregions.md`): two counts, entries of 16 bytes, their data; all of it big-endian.
fn package(header: &[u8]) -> Option<Package> {
    let count = u32::from_be_bytes(bytes_at(header, 0)?) as usize;
    let length = u32::from_be_bytes(bytes_at(header, 4)?) as usize;
    let (entries, data) = header.get(8..)?.split_at_checked(count.checked_mul(16)?)?;
    let header = Header { entries, data: data.get(..length)? };
    let name = header.text(tag::NAME, MAX_NAME).filter(|name| !name.is_empty())?;
    let of = |wanted| header.text(wanted, MAX_NAME).unwrap_or_default();
    let mut version = of(tag::VERSION);
    let release = of(tag::RELEASE);
    if !release.is_empty() {
        version = format!("{version}-{release}");
    }
    if let Some(epoch) = header.number(tag::EPOCH) {
        version = format!("{epoch}:{version}");
    }
    let bytes = header.number(tag::LONG_SIZE).or_else(|| header.number(tag::SIZE));
    Some(Package {
        name,
        version,
        architecture: of(tag::ARCH),
        bytes: bytes.unwrap_or(0),
        manager: "rpm",
        licence: header.text(tag::LICENSE, MAX_LICENCE).unwrap_or_default(),
        vendor: of(tag::VENDOR),
    })
}

/// Numbers of fields (rpmtag.h).
mod tag {
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const SIZE: u32 = 1009;
    pub const VENDOR: u32 = 1011;
    pub const LICENSE: u32 = 1014;
    pub const ARCH: u32 = 1022;
    pub const LONG_SIZE: u32 = 5009;
}

/// Types of fields (rpmtag.h).
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;

struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl Header<'_> {
    /// Returns where the data of a field begins, if it has this type.
    fn find(&self, tag: u32, kind: u32) -> Option<usize> {
        let wanted = [tag.to_be_bytes(), kind.to_be_bytes()].concat();
        let entry = self.entries.chunks_exact(16).find(|entry| entry.starts_with(&wanted))?;
        Some(u32::from_be_bytes(bytes_at(entry, 8)?) as usize)
    }

    /// Returns a text of at most so many bytes.
    fn text(&self, tag: u32, most: usize) -> Option<String> {
        let text = self.data.get(self.find(tag, STRING)?..)?;
        let end = text.iter().take(most + 1).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&text[..end]).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u64> {
        let long = || Some(u64::from_be_bytes(bytes_at(self.data, self.find(tag, INT64)?)?));
        let short = || Some(u32::from_be_bytes(bytes_at(self.data, self.find(tag, INT32)?)?).into());
        long().or_else(short)
    }
}

#[cfg(test)]
mod tests;
