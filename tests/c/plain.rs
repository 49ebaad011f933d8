//! A program on the crate without features: commits a directory, compares it, and unpacks it. usage: plain DIRECTORY
//!
//! `make check-c` builds it and looks at what it imports: nothing that starts a process or opens a socket.

use std::path::Path;

use treering::Control;
use treering::image::{Base, CommitOptions, DiffOptions, UnpackOptions, commit, diff_tree, unpack};
use treering::store::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: plain DIRECTORY")?;
    let (dir, control) = (Path::new(&dir), Control::default());
    let tree = dir.join("tree");
    std::fs::create_dir_all(&tree)?;
    let store = Store::open(dir.join("store"))?;
    for (name, text) in [("app:1", "one"), ("app:2", "another")] {
        std::fs::write(tree.join("file"), text)?;
        let found = diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &control)?;
        assert!(!found.changes.is_empty());
        commit(&store, &tree, Some(name), &CommitOptions::default(), &control)?;
    }
    unpack(&store, "app:2", &dir.join("work"), &UnpackOptions::default(), &control)?;
    assert_eq!(std::fs::read(dir.join("work/file"))?, b"another");
    Ok(())
}
