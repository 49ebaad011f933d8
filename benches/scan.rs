//! The first scan of a tree, and the second one, of which nothing changed. Throughput is entries.
#![allow(clippy::disallowed_methods)]

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use treering::fs::Root;

fn benches(c: &mut Criterion) {
    let dir = common::scratch();
    let root = Root::open(common::tree(dir.path())).expect("the tree");
    let first = common::scan(&root, 0, None);
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(first.len() as u64));
    for threads in [1, 2] {
        group.bench_function(format!("first/{threads}"), |b| b.iter(|| common::scan(&root, threads, None)));
        group.bench_function(format!("unchanged/{threads}"), |b| {
            b.iter(|| common::scan(&root, threads, Some(&first)))
        });
    }
    group.finish();
}

criterion_group!(scan, benches);
criterion_main!(scan);
