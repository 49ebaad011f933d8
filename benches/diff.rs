//! Comparing two snapshots of the same tree. Throughput is entries.
#![allow(clippy::disallowed_methods)]

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use treering::diff::{CompareOptions, compare};
use treering::fs::Root;

fn benches(c: &mut Criterion) {
    let dir = common::scratch();
    let tree = common::tree(dir.path());
    let root = Root::open(&tree).expect("the tree");
    let old = common::scan(&root, 0, None);
    let mut group = c.benchmark_group("diff");
    group.throughput(Throughput::Elements(old.len() as u64));
    let same = common::scan(&root, 0, Some(&old));
    group.bench_function("unchanged", |b| b.iter(|| compare(&old, &same, &CompareOptions::default())));
    if std::env::var_os("TREERING_BENCH_TREE").is_none() {
        for d in 0..200 {
            std::fs::write(tree.join(format!("dir{d:03}/sub/file07")), "changed").expect("a file");
        }
        let new = common::scan(&root, 0, Some(&old));
        group.bench_function("1-in-50", |b| b.iter(|| compare(&old, &new, &CompareOptions::default())));
    }
    group.finish();
}

criterion_group!(diff, benches);
criterion_main!(diff);
