//! Owners of a tree's files where no record has them.

use std::str::FromStr;

use crate::error::{Error, Result};

/// A policy for the owners of a tree's entries. An entry in the tree's [`Ledger`](super::Ledger) has its owner from there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OwnerPolicy {
    /// Every file belongs to 0:0. The default for a plain directory: the bytes are the same for every user.
    #[default]
    Root,
    /// The owners on disk, as they are.
    Keep,
    /// Every file belongs to this user and group.
    Fixed(u32, u32),
    /// Ranges of ids on disk and what they stand for, as in `/proc/self/uid_map`; an id outside every range is an error.
    Map(Vec<IdRange>),
}

/// `count` ids beginning with `disk` stand for those beginning with `image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id in the image.
    pub image: u32,
    /// The first id on disk.
    pub disk: u32,
    /// How many.
    pub count: u32,
}

impl OwnerPolicy {
    /// Returns the policy for owners on disk as this process has them: root has exact ones; without privileges nearly everything on
    /// disk is the caller's own, and stands for 0:0. The default for an overlay's upper directory: its files have the
    /// owners that a running system gave them.
    pub fn as_seen() -> OwnerPolicy {
        match rustix::process::geteuid().is_root() {
            true => OwnerPolicy::Keep,
            false => OwnerPolicy::Root,
        }
    }

    /// Returns the owner an entry gets that has `uid` and `gid` on disk. `None` when a map does not cover it.
    pub fn apply(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        match self {
            OwnerPolicy::Root => Some((0, 0)),
            OwnerPolicy::Keep => Some((uid, gid)),
            OwnerPolicy::Fixed(uid, gid) => Some((*uid, *gid)),
            OwnerPolicy::Map(ranges) => {
                let map = |id: u32| {
                    let range = ranges.iter().find(|r| id >= r.disk && id - r.disk < r.count)?;
                    range.image.checked_add(id - range.disk)
                };
                Some((map(uid)?, map(gid)?))
            }
        }
    }
}

impl FromStr for OwnerPolicy {
    type Err = Error;

    /// Reads `root`, `keep`, `UID:GID`, or `map:IMAGE:DISK:COUNT[,IMAGE:DISK:COUNT...]`.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid("read owner", "expected root, keep, UID:GID or map:IMAGE:DISK:COUNT[,...]")
                .with_path(text)
        };
        let numbers = |text: &str| -> Option<Vec<u32>> { text.split(':').map(|n| n.parse().ok()).collect() };
        match text {
            "root" => Ok(OwnerPolicy::Root),
            "keep" => Ok(OwnerPolicy::Keep),
            _ => {
                if let Some(ranges) = text.strip_prefix("map:") {
                    let range = |text: &str| match numbers(text)?[..] {
                        [image, disk, count] if count > 0 => Some(IdRange { image, disk, count }),
                        _ => None,
                    };
                    let ranges: Option<Vec<IdRange>> = ranges.split(',').map(range).collect();
                    return ranges.map(OwnerPolicy::Map).ok_or_else(refuse);
                }
                match numbers(text).as_deref() {
                    // 2^32 - 1 means "leave unchanged" to chown(2) and can own nothing.
                    Some(&[uid, gid]) if uid != u32::MAX && gid != u32::MAX => {
                        Ok(OwnerPolicy::Fixed(uid, gid))
                    }
                    _ => Err(refuse()),
                }
            }
        }
    }
}

impl std::fmt::Display for OwnerPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OwnerPolicy::Root => f.write_str("root"),
            OwnerPolicy::Keep => f.write_str("keep"),
            OwnerPolicy::Fixed(uid, gid) => write!(f, "{uid}:{gid}"),
            OwnerPolicy::Map(ranges) => {
                f.write_str("map:")?;
                for (i, r) in ranges.iter().enumerate() {
                    write!(f, "{}{}:{}:{}", if i > 0 { "," } else { "" }, r.image, r.disk, r.count)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_parse_print_and_apply() {
        let cases = [("root", (0, 0)), ("keep", (1000, 1005)), ("7:8", (7, 8)), ("map:0:1000:10", (0, 5))];
        for (text, owner) in cases {
            let policy: OwnerPolicy = text.parse().unwrap();
            assert_eq!(policy.to_string(), text);
            assert_eq!(policy.apply(1000, 1005), Some(owner));
        }
        assert_eq!("map:0:1000:10".parse::<OwnerPolicy>().unwrap().apply(1010, 1000), None);
        for text in
            ["", "1", "a:b", "1:2:3", "4294967295:0", "-1:0", "map:", "map:1:2", "map:0:0:0", "4294967296:1"]
        {
            assert!(text.parse::<OwnerPolicy>().is_err(), "{text:?} parsed");
        }
    }
}
