//! Comparing two snapshots.
//!
//! An entry with the same stat identity (device, inode, size, mtime, ctime, links) is the same, unread. Otherwise the
//! metadata decides, and where all of it agrees but the identity does not, the entry is a suspect: its content must be
//! compared before it can be called unchanged.

use super::change::{Change, ChangeKind, Reasons};
use super::{links, parents};
use crate::dockerfile::Ignore;
use crate::error::Result;
use crate::fs::{Kind, Timestamp};
use crate::threads;
use crate::tree::walk::{Descend, Pair, Walk2};
use crate::tree::{Flags, NONE, Snapshot};

/// The trust of a comparison in metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompareMode {
    /// Trust the stat identity; compare the content of everything else with the same metadata.
    #[default]
    Auto,
    /// Trust size and time stamps alone; never read content.
    Metadata,
    /// Trust nothing: compare the content of every file.
    Content,
}

impl std::str::FromStr for CompareMode {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(CompareMode::Auto),
            "metadata" => Ok(CompareMode::Metadata),
            "content" => Ok(CompareMode::Content),
            _ => Err(crate::Error::invalid("read compare mode", "expected auto, metadata or content")
                .with_path(text)),
        }
    }
}

/// Options of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompareOptions {
    /// How far to trust metadata.
    pub mode: CompareMode,
    /// Take times that agree in the second for different when one of them has no fraction. Off, such times are the
    /// same, because layers usually carry whole seconds.
    pub exact_times: bool,
    /// Take times from this second on for this second (seconds since 1970): what a layer with clamped times would say.
    pub clamp_mtime: Option<i64>,
    /// Give all reasons of a change: content is in doubt also where something else differs already. Off where it only matters
    /// that there is a change, which then needs no reading.
    pub all_reasons: bool,
    /// Let times say nothing: what differs in its time alone is settled by its content, and a directory is the same.
    pub ignore_times: bool,
}

/// The outcome of [`compare`]: changes in byte order of their paths, some of them still to be settled by content.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// The changes, the directories above them included; the root is among them when its own metadata changed.
    pub changes: Vec<Change>,
    old: &'a Snapshot,
    new: &'a Snapshot,
}

/// Compares two snapshots by what they hold. Entries with [`Reasons::SUSPECT`] await
/// [`Comparison::settle`](Comparison::settle); one that is never settled stays a change.
pub fn compare<'a>(old: &'a Snapshot, new: &'a Snapshot, options: &CompareOptions) -> Comparison<'a> {
    let mut changes: Vec<Change> = Vec::new();
    let mut pairs_linked: Vec<Pair> = Vec::new();
    let root = Pair { old: 0, new: 0 };
    let steps = std::iter::once(root).chain(Walk2::new(Some(old), Some(new), Descend::New));
    for pair in steps {
        let change = match (pair.old, pair.new) {
            (index, NONE) if hidden(old, new, index) => None,
            (_, NONE) => Some((ChangeKind::Deleted, Reasons::empty())),
            (NONE, _) => Some((ChangeKind::Added, Reasons::empty())),
            _ => {
                let reasons = reasons(old, new, pair, options);
                let unseen = new.meta(pair.new).flags.contains(Flags::UNSEEN);
                if !unseen && (new.meta(pair.new).nlink > 1 || old.meta(pair.old).nlink > 1) {
                    pairs_linked.push(pair);
                }
                (!reasons.is_empty()).then_some((ChangeKind::Changed, reasons))
            }
        };
        if let Some((kind, reasons)) = change {
            changes.push(Change { kind, reasons, old: pair.old, new: pair.new, opaque: false });
        }
    }
    links::mark(old, new, &pairs_linked, &mut changes);
    parents::list(old, new, &mut changes);
    Comparison { changes, old, new }
}

/// Returns whether an entry that only the old side has lies where the new side was not looked at: it is not known to be
/// gone. Of a directory that is gone only the directory itself is a change, so the parent is all there is to ask.
fn hidden(old: &Snapshot, new: &Snapshot, index: u32) -> bool {
    // The root is never unseen.
    match old.parent(index) {
        0 => false,
        parent => {
            new.lookup(&old.path(parent)).is_some_and(|parent| new.meta(parent).flags.contains(Flags::UNSEEN))
        }
    }
}

fn same_time(a: Timestamp, b: Timestamp, options: &CompareOptions) -> bool {
    let exact = options.exact_times;
    let clamped = |time: Timestamp| match options.clamp_mtime {
        Some(secs) if time.secs >= secs => Timestamp { secs, nanos: 0 },
        _ => time,
    };
    let (a, b) = (clamped(a), clamped(b));
    a == b || (!exact && a.secs == b.secs && (a.nanos == 0 || b.nanos == 0))
}

/// Returns all that differs between two entries of one path.
pub(super) fn reasons(old: &Snapshot, new: &Snapshot, pair: Pair, options: &CompareOptions) -> Reasons {
    let (o, n) = (old.meta(pair.old), new.meta(pair.new));
    let identity = options.mode != CompareMode::Content && o.same_identity(&n);
    let mut reasons = Reasons::empty();
    // It is hidden by what is mounted over it.
    if n.flags.contains(Flags::UNSEEN) {
        return reasons;
    }
    if o.kind != n.kind {
        return Reasons::TYPE;
    }
    let mut differs = |flag: Reasons, different: bool| reasons.set(flag, different);
    differs(Reasons::MODE, o.mode != n.mode && n.kind != Kind::Symlink);
    differs(Reasons::OWNER, (o.uid, o.gid) != (n.uid, n.gid));
    differs(Reasons::MTIME, !options.ignore_times && !same_time(o.mtime, n.mtime, options));
    differs(Reasons::DEVICE, o.rdev != n.rdev);
    differs(Reasons::CONTENT, o.size != n.size);
    // Compared whatever the identity says: a ledger's attributes change without the disk's ctime.
    differs(Reasons::XATTRS, old.xattrs(pair.old) != new.xattrs(pair.new));
    differs(Reasons::TARGET, old.link_target(pair.old) != new.link_target(pair.new));
    let open = reasons.is_empty() || (options.all_reasons && !reasons.contains(Reasons::CONTENT));
    if open && n.kind == Kind::File && n.size > 0 && !identity {
        let known = old.same_content(pair.old, new, pair.new).filter(|_| !n.flags.contains(Flags::RACY));
        match known {
            Some(true) => {}
            Some(false) => reasons |= Reasons::CONTENT,
            None if options.mode == CompareMode::Metadata => {}
            None => reasons |= Reasons::SUSPECT,
        }
    }
    reasons
}

/// Takes back the changes of what is left out by its path, see [`Comparison::exclude`].
pub(crate) fn exclude(changes: &mut Vec<Change>, old: &Snapshot, new: &Snapshot, exclude: &Ignore) {
    if !exclude.is_empty() {
        changes.retain(|change| {
            let path = change.path(Some(old), new);
            // A directory comes with what is taken in again out of it.
            let comes = change.kind == ChangeKind::Added && new.meta(change.new).kind == Kind::Directory;
            !exclude.is_ignored(&path) || (comes && exclude.may_keep_below(&path))
        });
        parents::list(old, new, changes);
    }
}

impl Comparison<'_> {
    /// Settles the suspects: asks `same` for each, from several threads, and drops those with the same content. `None`
    /// means that it cannot be decided; such an entry stays a change.
    pub fn settle(
        &mut self,
        threads: usize,
        same: impl Fn(&Change) -> Result<Option<bool>> + Sync,
    ) -> Result<()> {
        let suspects: Vec<usize> = self
            .changes
            .iter()
            .enumerate()
            .filter(|(_, change)| change.reasons.contains(Reasons::SUSPECT))
            .map(|(at, _)| at)
            .collect();
        if suspects.is_empty() {
            return Ok(());
        }
        let changes = &self.changes;
        let answers = threads::each(
            threads::count(threads),
            "treering-diff",
            &suspects,
            || (),
            |(), &at| Ok((at, same(&changes[at])?)),
        )?;
        let mut gone = vec![false; self.changes.len()];
        for (at, answer) in answers {
            let reasons = &mut self.changes[at].reasons;
            if let Some(same) = answer {
                reasons.remove(Reasons::SUSPECT);
                reasons.set(Reasons::CONTENT, !same);
                gone[at] = reasons.is_empty();
            }
        }
        let mut at = 0;
        self.changes.retain(|_| {
            at += 1;
            !gone[at - 1]
        });
        parents::list(self.old, self.new, &mut self.changes);
        Ok(())
    }

    /// Takes back the changes of what is left out by its path: it is not looked at, and stays what it was.
    pub fn exclude(&mut self, exclude: &Ignore) {
        self::exclude(&mut self.changes, self.old, self.new, exclude);
    }

    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
