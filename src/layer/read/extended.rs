//! The meaning of an extended header's records for the entry they belong to.

use super::ReadLimits;
use super::acl;
use super::sparse::SparseKeys;
use crate::error::escape;
use crate::layer::fault::{Fault, Parsed};
use crate::layer::pax::{self, Records, name, twice};

/// Names and values of extended attributes.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The settings of an `x` or `g` header. A setting is `Some(None)` where an empty value takes back what a global header
/// said (POSIX pax: a zero-length value deletes).
#[derive(Debug, Default, PartialEq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<Option<u32>>,
    pub(super) gid: Option<Option<u32>>,
    pub(super) mtime: Option<Option<(i64, u32)>>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) xattrs: Xattrs,
    /// Attributes without a usable value, and why.
    pub(super) lost: Vec<(Vec<u8>, &'static str)>,
    pub(super) sparse: Option<Box<SparseKeys>>,
}

/// Which of several writers' keywords an attribute came from.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Schily,
    Libarchive,
    Acl,
}

impl Extended {
    /// Returns the records of the `x` header before an entry.
    ///
    /// POSIX lets the last of two records with one keyword win, and libraries have disagreed about it: two are an
    /// error here. Keywords that an entry does not need are ignored, as POSIX demands.
    pub(super) fn parse(body: &[u8], limits: &ReadLimits) -> Parsed<Self> {
        let mut header = Extended::default();
        let mut attributes = Vec::new();
        let mut seen = Seen::default();
        for record in Records::new(body) {
            let (keyword, value) = record?;
            match keyword {
                b"path" => once(&mut header.path, keyword, name(keyword, value)?)?,
                b"linkpath" => once(&mut header.link, keyword, name(keyword, value)?)?,
                b"size" => once(&mut header.size, keyword, pax::parse_decimal(value)?)?,
                b"uid" => once(&mut header.uid, keyword, owner(value)?)?,
                b"gid" => once(&mut header.gid, keyword, owner(value)?)?,
                b"mtime" => once(&mut header.mtime, keyword, time(value)?)?,
                b"SCHILY.devmajor" => once(&mut header.major, keyword, device(value)?)?,
                b"SCHILY.devminor" => once(&mut header.minor, keyword, device(value)?)?,
                b"SCHILY.acl.access" | b"SCHILY.acl.default" => {
                    let access = keyword == b"SCHILY.acl.access";
                    let name = if access { acl::ACCESS } else { acl::DEFAULT }.to_vec();
                    match acl::from_text(value)? {
                        Some(value) => attributes.push((name, Origin::Acl, value)),
                        None => header.lost.push((name, acl::NAMES_ONLY)),
                    }
                }
                b"SCHILY.acl.ace" => header.lost.push((acl::NFS4.to_vec(), acl::NFS4_ONLY)),
                _ => {
                    if let Some(rest) = keyword.strip_prefix(pax::XATTR_PREFIX) {
                        attributes.push((xattr_name(rest.to_vec())?, Origin::Schily, value.to_vec()));
                    } else if let Some(rest) = keyword.strip_prefix(b"LIBARCHIVE.xattr.") {
                        let value = base64(value)?;
                        attributes.push((xattr_name(url_decoded(rest)?)?, Origin::Libarchive, value));
                    } else if let Some(rest) = keyword.strip_prefix(b"GNU.sparse.") {
                        header.sparse.get_or_insert_default().record(rest, value, limits)?;
                    } else {
                        seen.check(keyword, value)?;
                    }
                }
            }
        }
        header.xattrs = merged(attributes, limits)?;
        let Extended { xattrs, lost, .. } = &mut header;
        if lost.iter().enumerate().any(|(i, (name, _))| lost[..i].iter().any(|(before, _)| before == name)) {
            return Err(Fault::corrupt("an ACL is given twice"));
        }
        // The archive may have it in the kernel's own form as well.
        lost.retain(|(name, _)| !xattrs.iter().any(|(known, _)| known == name));
        Ok(header)
    }

    /// Returns the records of a `g` header, which hold for every entry after it.
    ///
    /// GNU tar and Python apply them, Go (and so Docker) and libarchive do not. Owner and time are applied, as POSIX
    /// says; a global name, size, attribute or sparse map makes no sense for more than one entry and is an error.
    pub(super) fn parse_global(body: &[u8], limits: &ReadLimits) -> Parsed<Self> {
        let header = Self::parse(body, limits)?;
        let Extended { path: None, link: None, size: None, major: None, minor: None, sparse: None, .. } =
            &header
        else {
            return Err(Fault::corrupt(
                "a global header sets the name, size, device or holes of every entry",
            ));
        };
        if !header.xattrs.is_empty() || !header.lost.is_empty() {
            return Err(Fault::unsupported("a global header sets extended attributes"));
        }
        Ok(header)
    }

    /// Takes over what a later global header says.
    pub(super) fn update_global(&mut self, later: Extended) {
        self.uid = later.uid.or(self.uid);
        self.gid = later.gid.or(self.gid);
        self.mtime = later.mtime.or(self.mtime);
    }
}

/// Keywords that must be well formed and change nothing.
#[derive(Default)]
struct Seen {
    charset: bool,
}

impl Seen {
    fn check(&mut self, keyword: &[u8], value: &[u8]) -> Parsed<()> {
        match keyword {
            b"atime" | b"ctime" | b"LIBARCHIVE.creationtime" => drop(time(value)?),
            b"hdrcharset" if self.charset => return Err(twice(keyword)),
            // Both mean that names are the bytes in the record. So does an empty value: the default is UTF-8.
            b"hdrcharset" if matches!(value, b"" | b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => {
                self.charset = true
            }
            b"hdrcharset" => {
                return Err(Fault::unsupported("a PAX header is in another character set than UTF-8"));
            }
            b"SCHILY.dev"
            | b"SCHILY.ino"
            | b"SCHILY.nlink"
            | b"SCHILY.fflags"
            | b"SCHILY.release"
            | b"SCHILY.archtype"
            | b"SCHILY.volhdr.fallback" => {}
            // What star's first header says of the whole archive.
            _ if keyword.starts_with(b"SCHILY.volhdr.") => {}
            // What is left of these families changes the type, the place or the content of an entry.
            _ if keyword.starts_with(b"SCHILY.") || keyword.starts_with(b"GNU.") => {
                return Err(Fault::unsupported(format!(
                    "the PAX keyword {} is not for layers",
                    escape(keyword)
                )));
            }
            _ => {}
        }
        Ok(())
    }
}

fn once<T>(setting: &mut Option<T>, keyword: &[u8], value: T) -> Parsed<()> {
    if setting.replace(value).is_some() {
        return Err(twice(keyword));
    }
    Ok(())
}

fn owner(value: &[u8]) -> Parsed<Option<u32>> {
    if value.is_empty() {
        return Ok(None);
    }
    narrow_owner(pax::parse_decimal(value)?).map(Some)
}

/// Returns a user or group id. The largest number is -1 to chown, which leaves the owner as it is: no user has it.
pub(super) fn narrow_owner(id: u64) -> Parsed<u32> {
    u32::try_from(id)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| Fault::corrupt(format!("{id} is not a user or group id")))
}

fn time(value: &[u8]) -> Parsed<Option<(i64, u32)>> {
    if value.is_empty() { Ok(None) } else { pax::parse_time(value).map(Some) }
}

fn device(value: &[u8]) -> Parsed<u32> {
    u32::try_from(pax::parse_decimal(value)?).map_err(|_| Fault::corrupt("a device number is too large"))
}

fn xattr_name(name: Vec<u8>) -> Parsed<Vec<u8>> {
    if !pax::is_xattr_name(&name) {
        let name = escape(&name);
        return Err(Fault::unsupported(format!(
            "{name:?} is not a name of an extended attribute all tools agree on"
        )));
    }
    Ok(name)
}

/// Sorts attributes by name. libarchive writes each twice, by star's keyword and by its own: the values must agree.
fn merged(mut attributes: Vec<(Vec<u8>, Origin, Vec<u8>)>, limits: &ReadLimits) -> Parsed<Xattrs> {
    attributes.sort_unstable();
    let mut out: Xattrs = Vec::with_capacity(attributes.len());
    let mut last = None;
    for (name, origin, value) in attributes {
        if value.len() > limits.max_xattr {
            let (name, len) = (escape(&name), value.len());
            return Err(Fault::limit(format!("the extended attribute {name} has {len} bytes")));
        }
        match out.last() {
            Some((before, _)) if *before == name && last.as_ref() == Some(&origin) => {
                return Err(Fault::corrupt(format!(
                    "the extended attribute {} is given twice",
                    escape(&name)
                )));
            }
            Some((before, other)) if *before == name => {
                if *other != value {
                    let name = escape(&name);
                    return Err(Fault::corrupt(format!(
                        "the extended attribute {name} is given with two values"
                    )));
                }
            }
            _ => out.push((name, value)),
        }
        last = Some(origin);
    }
    let names: usize = out.iter().map(|(name, _)| name.len() + 1).sum();
    if names > limits.max_xattr_names {
        let most = limits.max_xattr_names;
        let message = format!("the names of extended attributes have {names} bytes; the most is {most}");
        return Err(Fault::limit(message));
    }
    Ok(out)
}

/// Decodes `%XX` escapes, as libarchive writes names of attributes.
fn url_decoded(text: &[u8]) -> Parsed<Vec<u8>> {
    let nibble = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte != b'%' {
            out.push(byte);
            at += 1;
            continue;
        }
        let (Some(high), Some(low)) = (nibble(text.get(at + 1)), nibble(text.get(at + 2))) else {
            return Err(Fault::corrupt("a LIBARCHIVE.xattr name has a broken % escape"));
        };
        out.push((high << 4 | low) as u8);
        at += 3;
    }
    Ok(out)
}

/// Decodes base64 with or without padding; the bits that are left over must be zero.
fn base64(text: &[u8]) -> Parsed<Vec<u8>> {
    let refuse = || Fault::corrupt("a LIBARCHIVE.xattr value is not base64");
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let digits = &text[..text.len() - padding];
    if digits.len() % 4 == 1 || (padding > 0 && (padding > 2 || !text.len().is_multiple_of(4))) {
        return Err(refuse());
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0);
    for &byte in digits {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(refuse()),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if bits != 0 {
        return Err(refuse());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (keyword, value) in records {
            pax::append_record(keyword.as_bytes(), value, &mut out);
        }
        out
    }

    fn parse(records: &[(&str, &[u8])]) -> Parsed<Extended> {
        Extended::parse(&body(records), &ReadLimits::default())
    }

    #[test]
    fn an_acl_of_names_is_lost_unless_it_is_there_as_an_attribute_too() {
        let names: &[u8] = b"user::rw-,user:joe:r--,group::r--,mask::r--,other::---";
        let header = parse(&[("SCHILY.acl.access", names)]).unwrap();
        assert_eq!(header.lost, [(acl::ACCESS.to_vec(), acl::NAMES_ONLY)]);
        assert_eq!(header.xattrs, []);
        let both = [("SCHILY.acl.access", names), ("SCHILY.xattr.system.posix_acl_access", b"\x02")];
        let header = parse(&both).unwrap();
        assert_eq!(header.lost, []);
        assert_eq!(header.xattrs.len(), 1);
        assert!(parse(&[("SCHILY.acl.default", names), ("SCHILY.acl.default", names)]).is_err());
        let global = Extended::parse_global(&body(&[("SCHILY.acl.access", names)]), &ReadLimits::default());
        assert!(global.is_err());
    }

    #[test]
    fn records_say_what_they_say() {
        let header = parse(&[
            ("path", b"p\xff/q"),
            ("linkpath", b"l"),
            ("size", b"9000000000"),
            ("uid", b"3000000"),
            ("gid", b""),
            ("mtime", b"-1.5"),
            ("atime", b"5"),
            ("uname", b"joe"),
            ("comment", b"anything \0 at all"),
            ("hdrcharset", b"BINARY"),
            ("MSWINDOWS.rawsd", b"AQAA"),
            ("SCHILY.xattr.user.b", b"\0="),
            ("LIBARCHIVE.xattr.user.b", b"AD0"),
            ("LIBARCHIVE.xattr.user.%61", b"aGk="),
            ("SCHILY.acl.access", b"user::rw-,group::r--,other::r--"),
        ])
        .unwrap();
        assert_eq!(header.path.unwrap(), b"p\xff/q");
        assert_eq!(header.size, Some(9_000_000_000));
        assert_eq!((header.uid, header.gid), (Some(Some(3_000_000)), Some(None)));
        assert_eq!(header.mtime, Some(Some((-2, 500_000_000))));
        let names: Vec<_> = header.xattrs.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, [acl::ACCESS, b"user.a", b"user.b"]);
        assert_eq!(header.xattrs[1].1, b"hi");
        assert_eq!(header.xattrs[2].1, b"\0=");
    }

    #[test]
    fn what_readers_take_differently_is_an_error() {
        let bad: &[&[(&str, &[u8])]] = &[
            &[("path", b"a"), ("path", b"a")],
            &[("size", b"1"), ("size", b"1")],
            &[("path", b"")],
            &[("path", b"a\0b")],
            &[("linkpath", b"")],
            &[("size", b"")],
            &[("size", b"-1")],
            &[("size", b"+1")],
            &[("size", b"0x1")],
            &[("size", b" 1")],
            &[("size", b"1.0")],
            &[("size", b"9223372036854775808")],
            &[("size", b"18446744073709551616")],
            &[("uid", b"-1")],
            &[("uid", b"4294967295")],
            &[("uid", b"4294967296")],
            &[("gid", b"root")],
            &[("mtime", b"now")],
            &[("atime", b"now")],
            &[("hdrcharset", b"KOI8-R")],
            &[("SCHILY.xattr.", b"v")],
            &[("SCHILY.xattr.user.a%3Db", b"v")],
            &[("SCHILY.xattr.user.a", b"v"), ("SCHILY.xattr.user.a", b"v")],
            &[("SCHILY.xattr.user.a", b"v"), ("LIBARCHIVE.xattr.user.a", b"aGk")],
            &[("LIBARCHIVE.xattr.user.a%3Db", b"aGk")],
            &[("LIBARCHIVE.xattr.user.%0", b"aGk")],
            &[("LIBARCHIVE.xattr.user.a", b"a")],
            &[("LIBARCHIVE.xattr.user.a", b"a===")],
            &[("LIBARCHIVE.xattr.user.a", b"aG!k")],
            &[("LIBARCHIVE.xattr.user.a", b"aGl")],
            &[("SCHILY.acl.access", b"nonsense")],
            &[("SCHILY.filetype", b"sparse")],
            &[("SCHILY.realsize", b"5")],
            &[("GNU.dumpdir", b"Ya\0\0")],
            &[("GNU.volume.filename", b"a")],
            &[("GNU.sparse.nonsense", b"1")],
            &[("SCHILY.devmajor", b"4294967296")],
        ];
        for records in bad {
            assert!(parse(records).is_err(), "{records:?} parsed");
        }
        let long = vec![0; 64 * 1024 + 1];
        assert!(parse(&[("SCHILY.xattr.user.a", &long)]).is_err());
        assert!(parse(&[("SCHILY.xattr.user.a", &long[1..])]).is_ok());
    }

    #[test]
    fn an_entry_has_no_more_attributes_than_the_kernel_can_list() {
        let names = |count: usize| -> Vec<String> {
            (0..count).map(|i| format!("SCHILY.xattr.user.{i:010}")).collect()
        };
        let parse =
            |names: &[String]| parse(&names.iter().map(|name| (&name[..], &b"v"[..])).collect::<Vec<_>>());
        // `user.`, ten digits and a NUL.
        assert_eq!(parse(&names(4096)).unwrap().xattrs.len(), 4096);
        assert_eq!(parse(&names(4097)).unwrap_err().kind, crate::ErrorKind::Limit);
    }

    #[test]
    fn what_no_layer_needs_is_read_and_reported_where_something_is_lost() {
        let header =
            parse(&[("SCHILY.acl.ace", b"owner@:rw::allow"), ("SCHILY.volhdr.blocksize", b"20")]).unwrap();
        assert_eq!(header.lost, [(b"system.nfs4_acl".to_vec(), acl::NFS4_ONLY)]);
        let limits = ReadLimits::default();
        let star = body(&[("SCHILY.volhdr.label", b"x"), ("SCHILY.volhdr.dumplevel", b"0")]);
        assert!(Extended::parse_global(&star, &limits).is_ok());
    }

    #[test]
    fn global_headers_set_only_what_can_be_common() {
        let limits = ReadLimits::default();
        let global = |records: &[(&str, &[u8])]| Extended::parse_global(&body(records), &limits);
        assert!(global(&[("comment", b"5e2a1f"), ("uid", b"0"), ("mtime", b"1")]).is_ok());
        for keyword in
            ["path", "linkpath", "size", "SCHILY.devmajor", "SCHILY.xattr.user.a", "GNU.sparse.major"]
        {
            assert!(global(&[(keyword, b"1")]).is_err(), "{keyword}");
        }
    }
}
