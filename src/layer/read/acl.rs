//! POSIX ACLs as text in PAX records, turned into the extended attribute the kernel keeps them in.
//!
//! `SCHILY.acl.access` and `SCHILY.acl.default` are acl_to_text(3) lines, separated by commas or newlines; star and
//! libarchive append the numeric id to named entries. GNU tar writes names alone, even with `--numeric-owner`; to find
//! their ids would take this host's user database, which says nothing about the image's users: such an ACL is lost.

use crate::layer::fault::{Fault, Parsed};

/// The attribute of an access ACL.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a default ACL.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The attribute of an NFSv4 ACL, as macOS and FreeBSD have them.
pub(super) const NFS4: &[u8] = b"system.nfs4_acl";
/// The reason why such an ACL is lost.
pub(super) const NFS4_ONLY: &str = "it is an NFSv4 ACL, and Linux filesystems have POSIX ACLs";

/// The reason why an ACL is lost that has users or groups by name only.
pub(super) const NAMES_ONLY: &str = "the archive names a user or group of the ACL without its number";

/// Returns the value of the attribute for an ACL in text form (linux/posix_acl_xattr.h: version 2, then tag, permissions and
/// id of each entry, in the order of tags and ids). `None` where a user or group has a name and no number.
pub(super) fn from_text(text: &[u8]) -> Parsed<Option<Vec<u8>>> {
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    let mut nameless = true;
    for line in text.split(|byte| matches!(byte, b',' | b'\n')) {
        let line = line.trim_ascii();
        if !line.is_empty() {
            match entry(line)? {
                Some(entry) => entries.push(entry),
                None => nameless = false,
            }
        }
    }
    if !nameless {
        return Ok(None);
    }
    entries.sort_unstable();
    if entries.windows(2).any(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
        return Err(Fault::corrupt("an ACL names the same user or group twice"));
    }
    let has = |tag| entries.iter().any(|entry| entry.0 == tag);
    if !has(USER_OBJ) || !has(GROUP_OBJ) || !has(OTHER) || ((has(USER) || has(GROUP)) && !has(MASK)) {
        return Err(Fault::corrupt("an ACL lacks its user, group, other or mask entry"));
    }
    let mut value = Vec::with_capacity(4 + 8 * entries.len());
    value.extend_from_slice(&2u32.to_le_bytes());
    for (tag, id, permissions) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(Some(value))
}

/// Returns the permissions of the mask in the value of an access ACL; `None` where it has none.
pub(super) fn mask(value: &[u8]) -> Option<u32> {
    let entries = value.strip_prefix(&2u32.to_le_bytes())?.chunks_exact(8);
    let mut masks = entries.filter(|entry| entry[..2] == MASK.to_le_bytes());
    masks.next().map(|entry| u32::from(entry[2]) & 7)
}

/// Parses one entry; `None` if its user or group has a name and no number.
fn entry(line: &[u8]) -> Parsed<Option<(u16, u32, u16)>> {
    let malformed = || Fault::corrupt("an ACL entry is not type:qualifier:permissions");
    let mut fields = line.split(|&byte| byte == b':');
    let (Some(kind), Some(qualifier), Some(permissions)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(malformed());
    };
    let id = fields.next();
    if fields.next().is_some() {
        return Err(malformed());
    }
    let named = !qualifier.is_empty();
    let tag = match (kind, named) {
        (b"user" | b"u", false) => USER_OBJ,
        (b"user" | b"u", true) => USER,
        (b"group" | b"g", false) => GROUP_OBJ,
        (b"group" | b"g", true) => GROUP,
        (b"mask" | b"m", false) => MASK,
        (b"other" | b"o", false) => OTHER,
        _ => return Err(malformed()),
    };
    let permissions = self::permissions(permissions).ok_or_else(malformed)?;
    let id = match (named, id) {
        (false, None) => Some(u32::MAX),
        (false, Some(_)) => return Err(malformed()),
        (true, Some(id)) => Some(number(id).ok_or_else(malformed)?),
        (true, None) => number(qualifier),
    };
    Ok(id.map(|id| (tag, id, permissions)))
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok().filter(|&id| id != u32::MAX)
}

fn permissions(text: &[u8]) -> Option<u16> {
    let &[r, w, x] = text else { return None };
    let bit = |byte, letter, value| match byte {
        b'-' => Some(0),
        _ if byte == letter => Some(value),
        _ => None,
    };
    Some(bit(r, b'r', 4)? | bit(w, b'w', 2)? | bit(x, b'x', 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_the_kernel_stores() {
        let expected: &[u8] = &[
            2, 0, 0, 0, //
            1, 0, 6, 0, 255, 255, 255, 255, //
            2, 0, 4, 0, 232, 3, 0, 0, //
            4, 0, 4, 0, 255, 255, 255, 255, //
            8, 0, 5, 0, 10, 0, 0, 0, //
            16, 0, 5, 0, 255, 255, 255, 255, //
            32, 0, 0, 0, 255, 255, 255, 255,
        ];
        for text in [
            "user::rw-,user:1000:r--,group::r--,group:10:r-x,mask::r-x,other::---",
            "other::---\nmask::r-x\ngroup:10:r-x\ngroup::r--\nuser:1000:r--\nuser::rw-\n",
            "user::rw-,user:joe:r--:1000,group::r--,group:wheel:r-x:10,mask::r-x,other::---",
            "u::rw-,u:1000:r--,g::r--,g:10:r-x,m::r-x,o::---",
        ] {
            assert_eq!(from_text(text.as_bytes()).unwrap().unwrap(), expected, "{text}");
        }
        assert_eq!(from_text(b"user::rw-,group::r--,other::r--").unwrap().unwrap().len(), 28);
    }

    #[test]
    fn what_needs_guessing_is_refused() {
        let names = from_text(b"user::rw-,user:joe:r--,group::r--,mask::r--,other::---");
        assert_eq!(names.unwrap(), None, "the kernel's form has no place for names");
        assert!(from_text(b"user::rw-,user:joe:rr-,group::r--,mask::r--,other::---").is_err());
        for text in [
            "",
            "user::rw-",
            "user::rw-,group::r--",
            "user::rw-,group::r--,other::r--,user:5:rwx",
            "user::rw-,user::rw-,group::r--,other::r--",
            "user::rw-,group::r--,other::r--,mask::r--,user:5:rwx,user:5:rwx",
            "user::rw,group::r--,other::r--",
            "user::wr-,group::r--,other::r--",
            "user::rw-:1,group::r--,other::r--",
            "user::rw-,group::r--,other:5:r--",
            "user::rw-,group::r--,other::r--,mask::r--,user:x:rwx:4294967295",
            "user::rw-,group::r--,other::r--,mask::r--,user:x:rwx:+5",
            "user::rw-,group::r--,other::r--,mask::r--,user:x:rwx:5:6",
            "user:rw-,group::r--,other::r--",
            "owner@:rw-::allow",
        ] {
            assert!(from_text(text.as_bytes()).is_err(), "{text:?} parsed");
        }
    }
}
