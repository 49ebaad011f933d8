//! Changes in a tree since the image that it is bound to, so that a checkout does not throw them away unasked.

use std::collections::HashMap;

use super::checkout::CheckoutOptions;
use super::read::ImageFiles;
use crate::diff::{Change, CompareOptions, Comparison, Reasons, compare, content, listed};
use crate::error::{Error, ErrorKind, Result, escape};
use crate::fs::Root;
use crate::hint::Hint;
use crate::progress::Control;
use crate::tree::Snapshot;

const CHECKOUT: &str = "check out";
/// How many local changes an error lists.
const LISTED: usize = 5;

/// Refuses a tree with local changes, and lists the first of them.
pub(super) fn refuse_changes<'l>(
    root: &Root,
    index: Option<&Snapshot>,
    files: &dyn Fn() -> Result<Option<&'l ImageFiles>>,
    now: &Snapshot,
    options: &CheckoutOptions,
    control: &Control,
) -> Result<()> {
    let found = match index {
        Some(index) => Some(index),
        None => files()?.map(ImageFiles::list),
    };
    let Some(old) = found else {
        let message = "cannot check for local changes: the image of the tree is damaged";
        return Err(Error::new(ErrorKind::InUse, CHECKOUT, message)
            .with_path(root.describe(b""))
            .with_hint(Hint::Discard));
    };
    let mut comparison: Comparison<'_> = compare(old, now, &CompareOptions::default());
    let suspect = |change: &&Change| change.reasons.contains(Reasons::SUSPECT);
    if comparison.changes.iter().any(|change| suspect(&change)) {
        let suspects = comparison.changes.iter().filter(suspect).map(|change| change.old);
        let digests = digests_of(old, suspects, files, control)?;
        comparison.settle(options.apply.threads, |change| {
            content::same_as_digest(change, digests.get(&change.old).copied(), now, root, control)
        })?;
    }
    let changes = &comparison.changes;
    let own = |change: &&Change| change.reasons != Reasons::PARENT;
    let numbers = listed(changes, Some(old), now);
    let mut local: Vec<&Change> =
        numbers.into_iter().map(|number| &changes[number as usize]).filter(own).collect();
    if local.is_empty() {
        // The root's own, or a name more: not listed, and lost all the same.
        local = changes.iter().filter(own).collect();
    }
    if local.is_empty() {
        return Ok(());
    }
    let name =
        |change: &&&Change| format!("{} /{}", change.kind.letter(), escape(&change.path(Some(old), now)));
    let mut words: Vec<String> = local.iter().take(LISTED).map(|change| name(&change)).collect();
    if local.len() > LISTED {
        words.push(format!("and {} more", local.len() - LISTED));
    }
    let message = format!("the tree has changes that are in no image: {}", words.join(", "));
    Err(Error::new(ErrorKind::InUse, CHECKOUT, message)
        .with_path(root.describe(b""))
        .with_hint(Hint::CommitOrDiscard))
}

/// Returns the digests of contents of some entries of an index: those in it, else those of the image that it is of, which `files` opens. Of a
/// damaged image there are none.
fn digests_of<'l>(
    index: &Snapshot,
    entries: impl Iterator<Item = u32>,
    files: &dyn Fn() -> Result<Option<&'l ImageFiles>>,
    control: &Control,
) -> Result<HashMap<u32, [u8; 32]>> {
    let (mut found, mut missing) = (HashMap::new(), Vec::new());
    for entry in entries {
        match index.digest(entry) {
            Some(digest) => drop(found.insert(entry, digest)),
            None => missing.push(entry),
        }
    }
    let files = if missing.is_empty() { None } else { files()? };
    let Some(files) = files else { return Ok(found) };
    let listed: HashMap<u32, u32> = missing
        .into_iter()
        .filter_map(|entry| Some((entry, files.list().lookup(&index.path(entry))?)))
        .collect();
    let wanted: Vec<u32> = listed.values().copied().collect();
    match files.digests(&wanted, control) {
        Ok(digests) => {
            found.extend(listed.iter().filter_map(|(entry, number)| Some((*entry, *digests.get(number)?))));
            Ok(found)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Ok(found),
        Err(error) => Err(error),
    }
}
