//! Cache keys: digests of what a step depends on.
//!
//! `key(step) = sha256(format version, canonical JSON)`: the instruction with its words resolved, the platform, the key of the step
//! before, and the inputs. No times and no owners of the disk are in it.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::pick::Pick;
use super::source::SourceTree;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Kind;

/// Changes whenever a key means something else, or a step makes other bytes.
const FORMAT: &str = "treering build 1";

/// Returns the digest of a value.
pub(super) fn of(value: &Value) -> Digest {
    Digest::of(&serde_json::to_vec(&json!([FORMAT, value])).unwrap_or_default())
}

/// Returns the digest of everything that is copied: for each path, relative to where it goes, type, mode, owner, link
/// target, extended attributes and the digest of the content. Files must have been hashed.
pub(super) fn of_picks(source: &SourceTree, picks: &[Pick]) -> Result<String> {
    let mut hasher = Sha256::new();
    for pick in picks {
        field(&mut hasher, &pick.name);
        field(&mut hasher, pick.parents.as_deref().unwrap_or(b"\0"));
        for (path, node) in
            std::iter::once((&b""[..], pick.node)).chain(pick.below.iter().map(|(p, n)| (&p[..], *n)))
        {
            let inode = source.tree.inode(node);
            let meta = &inode.meta;
            field(&mut hasher, path);
            hasher.update([meta.kind as u8]);
            hasher.update(meta.mode.to_le_bytes());
            if !source.is_local() {
                hasher.update(meta.uid.to_le_bytes());
                hasher.update(meta.gid.to_le_bytes());
            }
            hasher.update(meta.rdev.0.to_le_bytes());
            hasher.update(meta.rdev.1.to_le_bytes());
            field(&mut hasher, &inode.target);
            field(&mut hasher, &inode.xattrs);
            if meta.kind == Kind::File {
                let digest = inode.digest.ok_or_else(|| {
                    Error::corrupt("build", "a file without a digest").with_path(source.describe(node))
                })?;
                hasher.update(digest);
            }
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    Ok(Digest::from_bytes(digest).to_string())
}

fn field(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
