//! The plan by which a tree becomes an image, with the digests that this takes.

use std::collections::HashMap;

use super::read::ImageFiles;
use crate::diff::content;
use crate::diff::transition::{Stay, Transition};
use crate::error::Result;
use crate::fs::{Kind, Root};
use crate::progress::Control;
use crate::threads;
use crate::tree::walk::Pair;
use crate::tree::{NONE, Snapshot};

/// A plan.
pub(crate) struct Plan {
    pub transition: Transition,
    /// The digests of contents that are wanted, of all files that may have to be compared with them, by their first names.
    pub digests: HashMap<u32, [u8; 32]>,
}

/// A tree as a scan just found it, and where more is known of its content.
pub(crate) struct Found<'a> {
    pub root: &'a Root,
    pub now: &'a Snapshot,
    /// A list that files of the tree are in as they are now, and the numbers that they have there, see
    /// [`known_contents`](super::known_contents).
    pub list: Option<&'a Snapshot>,
    pub known: Vec<u32>,
    /// Threads that read files; 0 for one per processor.
    pub threads: usize,
}

impl Plan {
    /// Compares a tree with an image. Where two contents are neither from the same place nor of digests that are known, those that could
    /// be the same are read: the file in the tree, and the one in its layer.
    pub fn new(found: &Found<'_>, files: &ImageFiles, control: &Control) -> Result<Plan> {
        let (now, wanted) = (found.now, files.list());
        let listed = |old: u32| found.known.get(old as usize).copied().filter(|&number| number != NONE);
        let known = |pair: Pair| {
            now.same_content(pair.old, wanted, pair.new)
                .or_else(|| found.list?.same_content(listed(pair.old)?, wanted, pair.new))
        };
        let transition = Transition::new(now, wanted, known);
        let mut leaders = Vec::new();
        let mut doubtful = Vec::new();
        for step in &transition.files {
            let meta = wanted.meta(step.leader);
            if meta.kind != Kind::File || meta.size == 0 {
                continue;
            }
            match step.stays {
                Some((_, Stay::Check { .. })) => leaders.push(step.leader),
                // Its names are looked at again once they are made.
                _ if step.names.len() > 1 => leaders.push(step.leader),
                Some((place, _)) if now.meta(place.old).nlink > 1 => leaders.push(step.leader),
                _ => {}
            }
            if let Some((place, Stay::Check { metadata: false })) = step.stays {
                doubtful.push(place.old);
            }
        }
        let digests = files.digests(&leaders, control)?;
        if doubtful.is_empty() {
            return Ok(Plan { transition, digests });
        }
        // Those with other metadata are looked at once they have it.
        let found_digests = hash(found, &doubtful, control)?;
        let digest_of = |old: u32| {
            let digest = found_digests.get(&old).copied().or_else(|| now.digest(old));
            digest.or_else(|| found.list?.digest(listed(old)?))
        };
        let transition = Transition::new(now, wanted, |pair| {
            known(pair).or_else(|| match digests.get(&wanted.leader(pair.new)) {
                Some(digest) => Some(digest_of(pair.old)? == *digest),
                None => None,
            })
        });
        Ok(Plan { transition, digests })
    }
}

/// Reads files of the tree, on several threads. Of one that cannot be read, or is not what was found any more, there is no digest.
fn hash(found: &Found<'_>, files: &[u32], control: &Control) -> Result<HashMap<u32, [u8; 32]>> {
    let count = threads::count(found.threads);
    let digests = threads::each(
        count,
        "treering-hash",
        files,
        || (),
        |(), &file| {
            control.check("compare content")?;
            Ok(content::digest_of(file, found.now, found.root, control).map(|digest| (file, digest)))
        },
    )?;
    Ok(digests.into_iter().flatten().collect())
}
