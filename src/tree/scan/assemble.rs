//! Putting what the workers found together into one snapshot.

use std::collections::HashMap;

use super::worker::{Found, Raw};
use super::{SCAN, Scan, replaced, vanished};
use crate::error::{At, Result};
use crate::fs::root::c_name;
use crate::fs::{Kind, Root, Timestamp, clock};
use crate::progress::Control;
use crate::tree::codec::{Record, Writer};
use crate::tree::entry::{Flags, NONE};
use crate::tree::hash::hash_file_at;
use crate::tree::snapshot::Snapshot;

/// Puts the workers' blocks together: directory by directory from the root on, children sorted by name.
pub(super) fn assemble(
    root_raw: Raw,
    found: &[Found],
    now: Timestamp,
    root: &Root,
    control: &Control,
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
    let limit = now.minus_nanos(clock::TICK_NANOS);
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
        };
        let index = writer.push(&record)?;
        if meta.nlink > 1 && meta.kind != Kind::Directory {
            shared.entry((meta.dev, meta.ino)).or_default().push(index);
        }
        if meta.flags.contains(Flags::RACY) && meta.kind == Kind::File && raw.digest.is_none() {
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
    for (index, digest) in hash_racy(&writer, &racy, root, control)? {
        writer.set_digest(index, digest);
    }
    Ok(Scan {
        snapshot: Snapshot::from_writer(writer, now),
        skipped: Vec::new(),
        owners_replaced: 0,
        learned: Vec::new(),
        unchanged: 0,
    })
}

/// The content digests of entries whose time stamps prove nothing, so that the next comparison can tell.
fn hash_racy(
    snapshot: &Writer,
    racy: &[u32],
    root: &Root,
    control: &Control,
) -> Result<Vec<(u32, [u8; 32])>> {
    let mut out = Vec::with_capacity(racy.len());
    let mut buffer = Vec::new();
    for &index in racy {
        control.check(SCAN)?;
        let path = snapshot.path(index);
        let (parent, name) = crate::fs::root::split(&path);
        let dir = root.open_dir(parent).map_err(|error| vanished(error, SCAN, root.describe(parent)))?;
        let name = c_name(name).at(SCAN, root.describe(&path))?;
        match hash_file_at(&dir, &name, &mut buffer, control) {
            Ok((digest, stat)) if snapshot.meta(index).is_as_in(&stat) => out.push((index, digest)),
            Ok(_) => return Err(replaced(SCAN, root.describe(&path))),
            // What we may not read cannot be committed either; the comparison then takes it for changed.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(vanished(error, SCAN, root.describe(&path))),
        }
    }
    Ok(out)
}
