//! usage: STORE TREE TIMES: commits a tree that often and prints how many seconds each time took.
#![allow(clippy::disallowed_methods, missing_docs)]

use std::path::Path;
use std::time::Instant;

use treering::Control;
use treering::image::{Base, CommitOptions, commit};
use treering::store::Store;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, store, tree, times] = &arguments[..] else {
        // `cargo bench` runs every bench; this one is run by its script.
        println!("run it with: python3 benches/surfaces");
        return;
    };
    let store = Store::open(store).expect("a store");
    let options = CommitOptions { base: Base::Scratch, created: Some(0), ..CommitOptions::default() };
    for _ in 0..times.parse().expect("a number") {
        let began = Instant::now();
        commit(&store, Path::new(tree), Some("a:b"), &options, &Control::default()).expect("a commit");
        println!("{:.6}", began.elapsed().as_secs_f64());
    }
}
