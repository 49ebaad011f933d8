//! Decoding, for the overlay tests.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use treering::diff::{OverlayDiff, OverlayOptions, overlay};
use treering::error::escape;
use treering::fs::Root;
use treering::tree::OwnerPolicy;
use treering::{Control, Event, Events};

pub fn decode(upper: &Path, lowers: &[PathBuf]) -> treering::Result<OverlayDiff> {
    decode_warned(upper, lowers).map(|(diff, _)| diff)
}

/// Decodes, and returns the warnings as well.
pub fn decode_warned(upper: &Path, lowers: &[PathBuf]) -> treering::Result<(OverlayDiff, Vec<String>)> {
    let lowers: Vec<Root> = lowers.iter().map(|path| Root::open(path).unwrap()).collect();
    let options = OverlayOptions { owner: &OwnerPolicy::Keep, threads: 2, ..OverlayOptions::default() };
    let events = Events::queue(256);
    let control = Control { events: events.clone(), ..Control::default() };
    let diff = overlay(&Root::open(upper)?, &lowers, &options, &control)?;
    let warnings = std::iter::from_fn(|| events.poll()).filter_map(|event| match event {
        Event::Warning { message, .. } => Some(message),
        _ => None,
    });
    Ok((diff, warnings.collect()))
}

pub fn listed(diff: &OverlayDiff) -> Vec<String> {
    let line = |c: &treering::diff::Change| {
        let path = escape(&c.path(Some(&diff.lower), &diff.upper));
        format!("{} {path}{}", c.kind.letter(), if c.opaque { " opaque" } else { "" })
    };
    diff.changes.iter().filter(|c| c.new != 0).map(line).collect()
}

pub fn read(root: &Root, path: &[u8]) -> Vec<u8> {
    let fd = root.open_file(path).unwrap();
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(fd), &mut out).unwrap();
    out
}
