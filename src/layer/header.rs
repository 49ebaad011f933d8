//! Writing tar headers: one canonical form per entry, so that the same tree gives the same bytes.
//!
//! Every entry is a POSIX ustar header. A PAX extended header stands before it only if something does not fit
//! (POSIX pax, "ustar Interchange Format" and "pax Extended Header"; image-spec, layer.md, "File Attributes").

use std::borrow::Cow;

use tar::{Header, UstarHeader};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::Kind;
use crate::layer::{pax, whiteout};

/// The size of a tar block.
pub const BLOCK: usize = 512;
/// The two zero blocks that end an archive (POSIX pax, "ustar Interchange Format").
pub(super) const TRAILER: u64 = 2 * BLOCK as u64;
/// The longest path or link target an entry may have.
pub const MAX_PATH: usize = 64 * 1024;
/// The longest component of a path: `NAME_MAX` on every Linux filesystem.
pub const MAX_COMPONENT: usize = 255;
/// The most bytes of PAX records one entry may have.
pub const MAX_METADATA: usize = 1024 * 1024;
/// The longest value of one extended attribute: `XATTR_SIZE_MAX` on Linux.
pub const MAX_XATTR_VALUE: usize = 64 * 1024;
/// The most bytes the names of one entry's extended attributes may have together, each with a NUL: `XATTR_LIST_MAX` on
/// Linux, which can list no more.
pub const MAX_XATTR_NAMES: usize = 64 * 1024;
/// The longest target of a symbolic link: `PATH_MAX` on Linux without the NUL.
pub const MAX_SYMLINK: usize = 4095;

/// The largest number in the eight-byte octal fields (uid, gid, device numbers).
const MAX_OCTAL_7: u64 = 0o7777777;
/// The largest number in the twelve-byte octal fields (size, mtime).
pub(crate) const MAX_OCTAL_11: u64 = 0o77777777777;

/// The type of an entry (POSIX pax, "typeflag"; sockets have no type in tar).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file, sparse or not.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name for an earlier entry.
    Hardlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

impl EntryKind {
    /// Returns the type flag POSIX gives this kind.
    pub fn typeflag(self) -> u8 {
        match self {
            EntryKind::File => b'0',
            EntryKind::Hardlink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::CharDevice => b'3',
            EntryKind::BlockDevice => b'4',
            EntryKind::Directory => b'5',
            EntryKind::Fifo => b'6',
        }
    }

    /// Returns what a file of this kind is in a tar; `None` for a socket.
    pub fn of(kind: Kind) -> Option<EntryKind> {
        Some(match kind {
            Kind::File => EntryKind::File,
            Kind::Directory => EntryKind::Directory,
            Kind::Symlink => EntryKind::Symlink,
            Kind::CharDevice => EntryKind::CharDevice,
            Kind::BlockDevice => EntryKind::BlockDevice,
            Kind::Fifo => EntryKind::Fifo,
            Kind::Socket => return None,
        })
    }

    /// Returns whether this is a character or block device.
    pub fn is_device(self) -> bool {
        matches!(self, EntryKind::CharDevice | EntryKind::BlockDevice)
    }
}

/// The precision of modification times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MtimePrecision {
    /// Whole seconds, truncated towards minus infinity: no entry needs a PAX header for its time.
    #[default]
    Seconds,
    /// Nanoseconds: an entry with any in its time gets a PAX header.
    Nanoseconds,
}

impl MtimePrecision {
    /// Chooses nanoseconds or whole seconds.
    pub fn nanoseconds(wanted: bool) -> MtimePrecision {
        if wanted { MtimePrecision::Nanoseconds } else { MtimePrecision::Seconds }
    }
}

/// An entry to write. Everything is bytes: paths need not be UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct HeaderEntry<'a> {
    /// Components joined by single slashes, none leading, none trailing; empty (or `.`) for the root itself.
    pub path: &'a [u8],
    /// The kind of the entry.
    pub kind: EntryKind,
    /// Permission bits; the file type bits of a `st_mode` are ignored.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content that follow; 0 for all but files.
    pub size: u64,
    /// Seconds, and nanoseconds that count upwards from them: -1.5 s is `(-2, 500_000_000)`.
    pub mtime: (i64, u32),
    /// The text of a symbolic link, or the path of the entry a hard link joins; ignored for others.
    pub link: &'a [u8],
    /// Major and minor number of a device; ignored for others.
    pub rdev: (u32, u32),
    /// Names and values of extended attributes, in any order.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

/// The place of a name in a ustar header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All in the name field.
    Name,
    /// Split at the slash with this index: prefix before, name after.
    Split(usize),
    /// Nowhere: a PAX record holds it.
    Pax,
}

/// The fields that do not fit into the ustar header of an entry.
struct Plan {
    place: Place,
    link: bool,
    size: bool,
    uid: bool,
    gid: bool,
    mtime: bool,
    xattrs: bool,
}

impl Plan {
    fn new(entry: &HeaderEntry<'_>, precision: MtimePrecision) -> Result<Self> {
        check(entry)?;
        let exact = precision == MtimePrecision::Nanoseconds && entry.mtime.1 != 0;
        Ok(Plan {
            place: place(entry.path, entry.kind == EntryKind::Directory),
            link: has_link(entry.kind) && entry.link.len() > 100,
            size: entry.size > MAX_OCTAL_11,
            uid: u64::from(entry.uid) > MAX_OCTAL_7,
            gid: u64::from(entry.gid) > MAX_OCTAL_7,
            mtime: exact || octal_mtime(entry).is_none(),
            xattrs: !entry.xattrs.is_empty(),
        })
    }

    fn needs_pax(&self) -> bool {
        self.place == Place::Pax
            || self.link
            || self.size
            || self.uid
            || self.gid
            || self.mtime
            || self.xattrs
    }

    /// Returns the PAX records of an entry, sorted by keyword.
    fn records<'a>(&self, entry: &HeaderEntry<'a>, precision: MtimePrecision) -> Result<Vec<Record<'a>>> {
        let mut records = Vec::new();
        let mut push = |keyword: &'static [u8], value: Cow<'a, [u8]>| {
            records.push((Cow::Borrowed(keyword), value));
        };
        if self.place == Place::Pax {
            push(
                b"path",
                match entry.kind {
                    EntryKind::Directory => [entry.path, b"/"].concat().into(),
                    _ => entry.path.into(),
                },
            );
        }
        if self.link {
            push(b"linkpath", entry.link.into());
        }
        if self.size {
            push(b"size", entry.size.to_string().into_bytes().into());
        }
        if self.uid {
            push(b"uid", entry.uid.to_string().into_bytes().into());
        }
        if self.gid {
            push(b"gid", entry.gid.to_string().into_bytes().into());
        }
        if self.mtime {
            let nanoseconds = if precision == MtimePrecision::Nanoseconds { entry.mtime.1 } else { 0 };
            push(b"mtime", pax::format_time(entry.mtime.0, nanoseconds).into());
        }
        for &(name, value) in entry.xattrs {
            records.push((Cow::Owned([pax::XATTR_PREFIX, name].concat()), Cow::Borrowed(value)));
        }
        records.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = records.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let name = String::from_utf8_lossy(&pair[0].0[pax::XATTR_PREFIX.len()..]).into_owned();
            return Err(Error::invalid(
                "write layer",
                format!("the extended attribute {name} is given twice"),
            )
            .with_path(entry.path));
        }
        let total: usize = records.iter().map(|(key, value)| pax::record_len(key.len(), value.len())).sum();
        if total > MAX_METADATA {
            let message = format!("{total} bytes of extended header; the most is {MAX_METADATA}");
            return Err(Error::limit("write layer", message).with_path(entry.path));
        }
        Ok(records)
    }
}

type Record<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Returns how many bytes [`write_header`] appends for this entry. Allocates nothing unless the entry needs a PAX header.
pub fn header_len(entry: &HeaderEntry<'_>, precision: MtimePrecision) -> Result<u64> {
    let plan = Plan::new(entry, precision)?;
    if !plan.needs_pax() {
        return Ok(BLOCK as u64);
    }
    let records = plan.records(entry, precision)?;
    let body: usize = records.iter().map(|(key, value)| pax::record_len(key.len(), value.len())).sum();
    Ok((2 * BLOCK + body.next_multiple_of(BLOCK)) as u64)
}

/// Appends the header of an entry: a PAX extended header if and only if something does not fit into ustar, then
/// the ustar header. Nothing is appended on error. The content, padded to [`BLOCK`], is the caller's to write.
pub fn write_header(entry: &HeaderEntry<'_>, precision: MtimePrecision, out: &mut Vec<u8>) -> Result<()> {
    let plan = Plan::new(entry, precision)?;
    if plan.needs_pax() {
        let records = plan.records(entry, precision)?;
        let start = out.len();
        out.resize(start + BLOCK, 0);
        for (keyword, value) in &records {
            pax::append_record(keyword, value, out);
        }
        let body = out.len() - start - BLOCK;
        out.resize(start + BLOCK + body.next_multiple_of(BLOCK), 0);
        out[start..start + BLOCK].copy_from_slice(pax_header(entry.path, body as u64).as_bytes());
    }
    out.extend_from_slice(ustar_header(entry, &plan).as_bytes());
    Ok(())
}

/// Returns the ustar header that announces a PAX body. Its name is only seen by tools without PAX.
fn pax_header(path: &[u8], body: u64) -> Header {
    let base = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let base = if is_root(base) { b"root" } else { base };
    const DIRECTORY: &[u8] = b"PaxHeaders/";
    let mut header = Header::new_ustar();
    let ustar = fields(&mut header);
    put(&mut ustar.name, DIRECTORY);
    put(&mut ustar.name[DIRECTORY.len()..], base);
    octal(&mut ustar.mode, 0o644);
    octal(&mut ustar.uid, 0);
    octal(&mut ustar.gid, 0);
    octal(&mut ustar.size, body);
    octal(&mut ustar.mtime, 0);
    seal(header, b'x')
}

fn ustar_header(entry: &HeaderEntry<'_>, plan: &Plan) -> Header {
    let slash = entry.kind == EntryKind::Directory;
    let name = if is_root(entry.path) { b"." } else { entry.path };
    let mut header = Header::new_ustar();
    let ustar = fields(&mut header);
    match plan.place {
        Place::Name => {
            put(&mut ustar.name, name);
            if slash {
                ustar.name[name.len()] = b'/';
            }
        }
        Place::Split(at) => {
            put(&mut ustar.prefix, &name[..at]);
            put(&mut ustar.name, &name[at + 1..]);
            if slash {
                ustar.name[name.len() - at - 1] = b'/';
            }
        }
        Place::Pax => {
            // For tools without PAX. A slash at the end would make old ones see a directory.
            let mut short = &name[..name.len().min(ustar.name.len())];
            while let [head @ .., b'/'] = short {
                short = head;
            }
            put(&mut ustar.name, short);
        }
    }
    octal(&mut ustar.mode, u64::from(entry.mode & 0o7777));
    octal(&mut ustar.uid, if plan.uid { 0 } else { u64::from(entry.uid) });
    octal(&mut ustar.gid, if plan.gid { 0 } else { u64::from(entry.gid) });
    octal(&mut ustar.size, if plan.size { 0 } else { entry.size });
    octal(&mut ustar.mtime, octal_mtime(entry).unwrap_or(0));
    if has_link(entry.kind) {
        put(&mut ustar.linkname, entry.link);
    }
    let (major, minor) = if entry.kind.is_device() { entry.rdev } else { (0, 0) };
    octal(&mut ustar.dev_major, u64::from(major));
    octal(&mut ustar.dev_minor, u64::from(minor));
    seal(header, entry.kind.typeflag())
}

/// Returns the fields of a header. Their places are the tar crate's, their bytes are written here.
fn fields(header: &mut Header) -> &mut UstarHeader {
    header.as_ustar_mut().expect("made as one")
}

/// Fills in the type and, last, the checksum: six octal digits, NUL, space.
fn seal(mut header: Header, typeflag: u8) -> Header {
    let ustar = fields(&mut header);
    ustar.typeflag = [typeflag];
    ustar.cksum = *b"        ";
    let sum: u32 = header.as_bytes().iter().map(|&byte| u32::from(byte)).sum();
    octal(&mut fields(&mut header).cksum[..7], u64::from(sum));
    header
}

/// Writes as much as there is room for; all of it wherever the plan says that it fits.
fn put(field: &mut [u8], bytes: &[u8]) {
    let len = bytes.len().min(field.len());
    field[..len].copy_from_slice(&bytes[..len]);
}

/// Writes zero-padded octal digits and a NUL.
fn octal(field: &mut [u8], mut number: u64) {
    let (end, digits) = field.split_last_mut().expect("no field is empty");
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number & 7) as u8;
        number >>= 3;
    }
    *end = 0;
    debug_assert_eq!(number, 0, "the plan moves what does not fit into PAX");
}

fn octal_mtime(entry: &HeaderEntry<'_>) -> Option<u64> {
    u64::try_from(entry.mtime.0).ok().filter(|&seconds| seconds <= MAX_OCTAL_11)
}

fn has_link(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::Symlink | EntryKind::Hardlink)
}

fn is_root(path: &[u8]) -> bool {
    matches!(path, b"" | b".")
}

/// Returns where a path goes. The split is at the last slash the prefix can reach, as Go's archive/tar does it.
fn place(path: &[u8], directory: bool) -> Place {
    let len = path.len() + usize::from(directory);
    if len <= 100 {
        return Place::Name;
    }
    if len > 155 + 1 + 100 {
        return Place::Pax;
    }
    let (first, last) = (len - 101, 155.min(path.len() - 1));
    match path[first..=last].iter().rposition(|&byte| byte == b'/') {
        Some(at) => Place::Split(first + at),
        None => Place::Pax,
    }
}

/// Refuses what no header can say, or what would come back as something else.
fn check(entry: &HeaderEntry<'_>) -> Result<()> {
    let invalid = |why: &'static str| Err(Error::invalid("write layer", why).with_path(entry.path));
    check_path(entry.path, "path").map_err(|error| error.with_path(entry.path))?;
    if is_root(entry.path) && entry.kind != EntryKind::Directory {
        return invalid("the root of a layer can only be a directory");
    }
    match entry.kind {
        EntryKind::Hardlink => {
            check_path(entry.link, "link target").map_err(|error| error.with_path(entry.path))?;
            if is_root(entry.link) || entry.link == entry.path {
                return invalid("a hard link can join neither the root nor itself");
            }
        }
        EntryKind::Symlink => {
            if entry.link.is_empty() || entry.link.contains(&0) {
                return invalid("a symbolic link must have a target, without NUL bytes");
            }
            if entry.link.len() > MAX_PATH {
                let message =
                    format!("the link target has {} bytes; the most is {MAX_PATH}", entry.link.len());
                return Err(Error::limit("write layer", message).with_path(entry.path));
            }
        }
        _ => {}
    }
    if entry.size != 0 && entry.kind != EntryKind::File {
        return invalid("only files have content");
    }
    if i64::try_from(entry.size).is_err() {
        return invalid("a file cannot have more than 2^63-1 bytes");
    }
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        return invalid("4294967295 (-1) is not a user or group id");
    }
    if entry.mtime.1 >= 1_000_000_000 || entry.mtime.0 == i64::MIN {
        return invalid("the modification time is out of range");
    }
    if entry.kind.is_device() && entry.rdev.0.max(entry.rdev.1) as u64 > MAX_OCTAL_7 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "write layer",
            "the device number does not fit into tar",
        )
        .with_path(entry.path));
    }
    for (name, value) in entry.xattrs {
        if !pax::is_xattr_name(name) {
            let message =
                format!("no layer can hold an extended attribute named {}", crate::error::escape(name));
            return Err(Error::new(ErrorKind::Unsupported, "write layer", message).with_path(entry.path));
        }
        if value.len() > MAX_XATTR_VALUE {
            let message = format!("the extended attribute {} is too long", crate::error::escape(name));
            return Err(Error::limit("write layer", message).with_path(entry.path));
        }
    }
    Ok(())
}

fn check_path(path: &[u8], what: &'static str) -> Result<()> {
    if is_root(path) {
        return Ok(());
    }
    if path.len() > MAX_PATH {
        return Err(Error::limit(
            "write layer",
            format!("the {what} has {} bytes; the most is {MAX_PATH}", path.len()),
        ));
    }
    let mut start = 0;
    for at in 0..=path.len() {
        match path.get(at) {
            Some(0) => return Err(Error::invalid("write layer", format!("the {what} holds a NUL byte"))),
            None | Some(b'/') => {
                let component = &path[start..at];
                if matches!(component, b"" | b"." | b"..") {
                    let message = format!("the {what} is not plain components joined by single slashes");
                    return Err(Error::invalid("write layer", message));
                }
                // A whiteout is longer than the name it removes.
                if component.strip_prefix(whiteout::PREFIX).unwrap_or(component).len() > MAX_COMPONENT {
                    return Err(Error::limit(
                        "write layer",
                        format!("the {what} has a component of more than {MAX_COMPONENT} bytes"),
                    ));
                }
                start = at + 1;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
