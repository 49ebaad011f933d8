//! Prints what is different between two directories: names, content, modes, owners, times, attributes. usage: diff_trees
//! OLD NEW
//!
//!     cargo run --example diff_trees -- old new

use std::io::Write;

use treering::Control;
use treering::diff::{CompareOptions, compare, listed};
use treering::fs::Root;
use treering::tree::{OwnerPolicy, ScanOptions, scan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [old, new] = &arguments[..] else { return Err("usage: diff_trees OLD NEW".into()) };
    // Owners as they are on disk, not as they would be in an image.
    let options = ScanOptions { owner: &OwnerPolicy::Keep, ..ScanOptions::default() };
    let control = Control::default();
    let old = scan(&Root::open(old)?, &options, &control)?.snapshot;
    let new = scan(&Root::open(new)?, &options, &control)?.snapshot;
    let found = compare(&old, &new, &CompareOptions::default());
    let mut out = std::io::stdout().lock();
    for at in listed(&found.changes, Some(&old), &new) {
        let change = &found.changes[at as usize];
        // Paths are bytes.
        out.write_all(&[change.kind.letter() as u8, b' ', b'/'])?;
        out.write_all(&change.path(Some(&old), &new))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
