//! Putting what the workers found together into one snapshot.

use std::collections::HashMap;
use std::io::ErrorKind;

use super::worker::{Found, Raw, Shared, Worker};
use super::{SCAN, Scan};
use crate::error::{At, Error, Result};
use crate::fs::clock::TICK_NANOS;
use crate::fs::root::{c_name, split, was_replaced};
use crate::fs::{Kind, Timestamp};
use crate::tree::codec::{Record, Writer};
use crate::tree::entry::{Flags, Meta, NONE};
use crate::tree::hash::hash_file_at;
use crate::tree::snapshot::Snapshot;

/// The filesystem's clock, against which alone a time stamp proves anything.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// When the scan began. What was stamped a tick before that, or later, may have changed behind the same stamp.
    pub began: Timestamp,
    /// When all was looked at. What was stamped more than a tick before can only change with another stamp.
    pub now: Timestamp,
}

/// Puts the workers' blocks together: directory by directory from the root on, children sorted by name.
pub(super) fn assemble(
    root_raw: Raw,
    found: &[Found],
    clock: Clock,
    worker: &mut Worker<'_, '_>,
) -> Result<Scan> {
    let directories = found.iter().map(|f| f.blocks.len()).sum::<usize>();
    let mut blocks: Vec<(usize, u32, u32, bool)> = vec![(0, 0, 0, false); directories];
    for (worker, part) in found.iter().enumerate() {
        for block in &part.blocks {
            blocks[block.directory as usize] = (worker, block.first, block.count, block.left_out);
        }
    }
    let total = 1 + found.iter().map(|f| f.entries.len()).sum::<usize>();
    let mut writer = Writer::with_capacity(total);
    writer.scanned_by = worker.shared.options.fingerprint();
    let limit = clock.began.minus_nanos(TICK_NANOS);
    let mut order: Vec<u32> = Vec::with_capacity(total);
    let mut shared: HashMap<(u64, u64), Vec<u32>> = HashMap::new();
    let mut racy = Vec::new();
    let mut push = |writer: &mut Writer, raw: &Raw, bytes: &[u8], parent: u32| -> Result<u32> {
        let slice = |(at, len): (u32, u32)| &bytes[at as usize..at as usize + len as usize];
        let name = slice((raw.name.0, raw.name.1 as u32));
        let mut meta = raw.meta;
        let left_out = raw.directory != NONE && blocks[raw.directory as usize].3;
        meta.flags.set(Flags::LEFT_OUT, left_out);
        meta.flags.set(Flags::RACY, meta.ctime >= limit);
        let target = slice(raw.target);
        let record = Record {
            name: (writer.store(name)?, raw.name.1),
            parent,
            meta,
            leader: writer.len(),
            target: if target.is_empty() { (0, 0) } else { (writer.store(target)?, target.len() as u32) },
            children: (0, 0),
            xattrs: writer.store_xattrs(slice(raw.xattrs))?,
            digest: writer.store_digest(raw.digest),
            place: writer.store_place(raw.place),
        };
        let index = writer.push(&record)?;
        if meta.nlink > 1 && meta.kind != Kind::Directory {
            shared.entry((meta.dev, meta.ino)).or_default().push(index);
        }
        if meta.flags.contains(Flags::RACY) && meta.kind == Kind::File {
            racy.push(index);
        }
        Ok(index)
    };
    let root_bytes = found.first().map_or(&[][..], |f| &f.bytes);
    push(&mut writer, &root_raw, root_bytes, 0)?;
    order.push(root_raw.directory);
    let mut index = 0;
    while index < order.len() {
        let directory = order[index];
        if directory != NONE {
            let (worker, first, count, _) = blocks[directory as usize];
            let start = writer.len();
            let part = &found[worker];
            for raw in &part.entries[first as usize..(first + count) as usize] {
                push(&mut writer, raw, &part.bytes, index as u32)?;
                order.push(if raw.meta.kind == Kind::Directory { raw.directory } else { NONE });
            }
            if count > 0 {
                writer.set_children(index as u32, start, count);
            }
        }
        index += 1;
    }
    for group in shared.values().filter(|group| group.len() > 1) {
        let leader = group.iter().copied().min_by_key(|&index| writer.path(index));
        for &index in group {
            writer.set_leader(index, leader.expect("a group has members"));
        }
    }
    for index in racy {
        settle(&mut writer, index, clock.now, worker)?;
    }
    Ok(Scan {
        snapshot: Snapshot::from_writer(writer, clock.began),
        skipped: Vec::new(),
        owners_replaced: 0,
        learned: Vec::new(),
        unchanged: 0,
        excluded: 0,
    })
}

/// Reads once more a file with a time stamp that proved nothing the first time. If it is as it was, the stamp is proof now. Else the
/// entry stays in doubt, with the digest of its content, so that the next comparison can decide.
fn settle(writer: &mut Writer, index: u32, now: Timestamp, worker: &mut Worker<'_, '_>) -> Result<()> {
    let Shared { root, control, .. } = worker.shared;
    control.check(SCAN)?;
    let path = writer.path(index);
    let (parent, name) = split(&path);
    let dir = match root.open_dir(parent) {
        Err(error) if was_replaced(&error) => return Ok(()),
        other => other.at(SCAN, root.describe(parent))?,
    };
    let name = c_name(name).at(SCAN, root.describe(&path))?;
    let meta = writer.meta(index);
    if meta.ctime < now.minus_nanos(TICK_NANOS)
        && let Some((seen, xattrs)) = worker.look_again(&dir, &name, &path)?
        && (Meta { flags: meta.flags, ..seen }) == meta
        && xattrs == writer.xattrs(index)
    {
        writer.set_flags(index, meta.flags - Flags::RACY);
        return Ok(());
    }
    match hash_file_at(&dir, &name, &mut Vec::new(), control) {
        Ok((digest, stat)) if meta.is_as_in(&stat) => writer.set_digest(index, digest),
        // It changed since. Without a digest the next comparison takes it for changed; and a commit reads it again and fails with
        // `Changed`.
        Ok(_) => {}
        Err(error) if was_replaced(&error) || error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => return Err(Error::io(SCAN, root.describe(&path), error)),
    }
    Ok(())
}
