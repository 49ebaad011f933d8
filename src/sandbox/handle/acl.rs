//! POSIX ACLs as extended attributes (linux/posix_acl_xattr.h: version 2, then tag, permissions and id of each entry).

use rustix::io::Errno;

use crate::sandbox::credentials::Credentials;

/// The attribute of an access ACL.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a default ACL.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// Returns the users and groups that an attribute names.
pub fn ids(value: &[u8]) -> impl Iterator<Item = u32> {
    let (chunks, _) = value.get(4..).unwrap_or_default().as_chunks::<8>();
    chunks.iter().map(entry).filter(|entry| matches!(entry.tag, USER | GROUP)).map(|entry| entry.id)
}

/// An ACL that the kernel would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

impl Acl {
    /// Reads an attribute: EINVAL where the kernel would say so (posix_acl_valid()). One without entries is none.
    pub fn read(value: &[u8]) -> Result<Option<Acl>, Errno> {
        let (version, rest) = value.split_first_chunk::<4>().ok_or(Errno::INVAL)?;
        if u32::from_le_bytes(*version) != 2 {
            return Err(Errno::OPNOTSUPP);
        }
        let (chunks, []) = rest.as_chunks::<8>() else { return Err(Errno::INVAL) };
        let entries: Vec<Entry> = chunks.iter().map(entry).collect();
        if entries.is_empty() {
            return Ok(None);
        }
        // In this order, each tag once but for named users and groups.
        let order = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER];
        let mut last = 0;
        for entry in &entries {
            let place = order.iter().position(|&tag| tag == entry.tag).ok_or(Errno::INVAL)?;
            let many = matches!(entry.tag, USER | GROUP);
            if place < last || entry.permissions > 7 || (many && entry.id == NO_ID) {
                return Err(Errno::INVAL);
            }
            if place == last && !many && entry.tag != USER_OBJ {
                return Err(Errno::INVAL);
            }
            last = place;
        }
        let count = |tag| entries.iter().filter(|entry| entry.tag == tag).count();
        let named = count(USER) + count(GROUP) > 0;
        if count(USER_OBJ) != 1 || count(GROUP_OBJ) != 1 || count(OTHER) != 1 || (named && count(MASK) != 1) {
            return Err(Errno::INVAL);
        }
        Ok(Some(Acl(entries)))
    }

    /// Returns the attribute, as the kernel gives it back.
    pub fn write(&self) -> Vec<u8> {
        let mut out = 2u32.to_le_bytes().to_vec();
        for entry in &self.0 {
            out.extend_from_slice(&entry.tag.to_le_bytes());
            out.extend_from_slice(&entry.permissions.to_le_bytes());
            let named = matches!(entry.tag, USER | GROUP);
            out.extend_from_slice(&(if named { entry.id } else { NO_ID }).to_le_bytes());
        }
        out
    }

    /// Returns whether permission bits say all of it.
    pub fn is_mode(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.tag, USER_OBJ | GROUP_OBJ | OTHER))
    }

    /// Returns the permission bits that go with it: those of the group are the mask's, where there is one.
    pub fn mode(&self) -> u16 {
        let of = |tag| self.0.iter().find(|entry| entry.tag == tag).map(|entry| entry.permissions);
        let group = of(MASK).or(of(GROUP_OBJ)).unwrap_or(0);
        of(USER_OBJ).unwrap_or(0) << 6 | group << 3 | of(OTHER).unwrap_or(0)
    }

    /// Returns whether it gives a thread all of `wanted` (acl(5), ACCESS CHECK ALGORITHM). The owner's id and the group's
    /// are the file's.
    pub fn grants(&self, who: &Credentials, owner: u32, group: u32, wanted: u16) -> bool {
        let mask = self.0.iter().find(|entry| entry.tag == MASK).map_or(7, |entry| entry.permissions);
        let mut in_a_group = false;
        for entry in &self.0 {
            match entry.tag {
                USER_OBJ if who.uid.file == owner => return entry.permissions & wanted == wanted,
                USER if who.uid.file == entry.id => return entry.permissions & mask & wanted == wanted,
                GROUP_OBJ | GROUP => {
                    let id = if entry.tag == GROUP { entry.id } else { group };
                    if who.in_group(id) {
                        in_a_group = true;
                        if entry.permissions & mask & wanted == wanted {
                            return true;
                        }
                    }
                }
                OTHER => return !in_a_group && entry.permissions & wanted == wanted,
                _ => {}
            }
        }
        false
    }

    /// Changes it as chmod(2) does.
    pub fn set_mode(&mut self, mode: u16) {
        let masked = self.0.iter().any(|entry| entry.tag == MASK);
        for entry in &mut self.0 {
            match entry.tag {
                USER_OBJ => entry.permissions = mode >> 6 & 7,
                OTHER => entry.permissions = mode & 7,
                MASK => entry.permissions = mode >> 3 & 7,
                GROUP_OBJ if !masked => entry.permissions = mode >> 3 & 7,
                _ => {}
            }
        }
    }

    /// Returns what a new file gets of a directory's default ACL: limited by the mode it is created with (posix_acl_create()).
    pub fn inherited(mut self, mode: u16) -> Acl {
        let masked = self.0.iter().any(|entry| entry.tag == MASK);
        for entry in &mut self.0 {
            match entry.tag {
                USER_OBJ => entry.permissions &= mode >> 6 & 7,
                OTHER => entry.permissions &= mode & 7,
                MASK => entry.permissions &= mode >> 3 & 7,
                GROUP_OBJ if !masked => entry.permissions &= mode >> 3 & 7,
                _ => {}
            }
        }
        self
    }
}

fn entry(bytes: &[u8; 8]) -> Entry {
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    Entry {
        tag: short(0),
        permissions: short(2),
        id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

/// Returns an attribute after chmod(2). What is no ACL stays as it is.
pub fn with_mode(value: &[u8], mode: u16) -> Vec<u8> {
    match Acl::read(value) {
        Ok(Some(mut acl)) => {
            acl.set_mode(mode);
            acl.write()
        }
        _ => value.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries = entries.iter().map(|&(tag, permissions, id)| Entry { tag, permissions, id }).collect();
        Acl(entries).write()
    }

    #[test]
    fn mode_and_mask_follow_each_other() {
        let value = acl(&[(USER_OBJ, 7, 0), (USER, 7, 1234), (GROUP_OBJ, 5, 0), (MASK, 7, 0), (OTHER, 5, 0)]);
        let mut read = Acl::read(&value).unwrap().unwrap();
        assert_eq!((read.mode(), read.is_mode(), read.write()), (0o775, false, value));
        read.set_mode(0o640);
        assert_eq!(read.mode(), 0o640);
        assert_eq!(read.clone().inherited(0o600).mode(), 0o600);
    }

    #[test]
    fn a_named_user_is_limited_by_the_mask_and_a_group_that_refuses_is_not_others() {
        use crate::sandbox::order::Ids;
        let value = acl(&[
            (USER_OBJ, 7, 0),
            (USER, 7, 5),
            (GROUP_OBJ, 0, 0),
            (GROUP, 4, 9),
            (MASK, 5, 0),
            (OTHER, 7, 0),
        ]);
        let list = Acl::read(&value).unwrap().unwrap();
        let who = |uid, gid| Credentials::of(&Ids { uid, gid, groups: vec![] });
        for (uid, gid, wanted, granted) in [
            (1, 3, 7, true),
            (5, 3, 5, true),
            (5, 3, 2, false),
            (6, 2, 4, false),
            (6, 9, 4, true),
            (6, 9, 1, false),
            (6, 6, 7, true),
        ] {
            assert_eq!(list.grants(&who(uid, gid), 1, 2, wanted), granted, "{uid} {gid} {wanted}");
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        for entries in [
            &[(USER_OBJ, 7, 0), (GROUP_OBJ, 5, 0)][..],
            &[(USER_OBJ, 7, 0), (USER, 7, 1), (GROUP_OBJ, 5, 0), (OTHER, 0, 0)],
            &[(GROUP_OBJ, 5, 0), (USER_OBJ, 7, 0), (OTHER, 0, 0)],
            &[(USER_OBJ, 9, 0), (GROUP_OBJ, 5, 0), (OTHER, 0, 0)],
            &[(USER_OBJ, 7, 0), (GROUP_OBJ, 5, 0), (GROUP_OBJ, 5, 0), (OTHER, 0, 0)],
        ] {
            assert_eq!(Acl::read(&acl(entries)), Err(Errno::INVAL), "{entries:?}");
        }
        assert_eq!(Acl::read(&acl(&[])), Ok(None));
        assert_eq!(Acl::read(b"xx"), Err(Errno::INVAL));
        assert_eq!(Acl::read(&1u32.to_le_bytes()), Err(Errno::OPNOTSUPP));
    }
}
