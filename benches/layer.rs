//! Producing a first layer's tar from the files, and planning it. Throughput is bytes of tar.
#![allow(clippy::disallowed_methods)]

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use treering::fs::Root;
use treering::layer::TarSource;
use treering::layer::{LayerOptions, LayerPlan, LayerTar};

fn benches(c: &mut Criterion) {
    let dir = common::scratch();
    let root = Root::open(common::tree(dir.path())).expect("the tree");
    let snapshot = common::scan(&root, 0, None);
    let changes = common::all_added(&snapshot);
    let plan = || LayerPlan::new(&changes, None, &snapshot, LayerOptions::default()).expect("a plan");
    let tar = LayerTar::new(plan(), &root);
    let mut group = c.benchmark_group("layer");
    group.throughput(Throughput::Elements(changes.len() as u64));
    group.bench_function("plan", |b| b.iter(plan));
    group.throughput(Throughput::Bytes(tar.len()));
    group.sample_size(20);
    group.bench_function("fill", |b| {
        let mut chunk = vec![0; 1 << 20];
        b.iter(|| {
            let mut worker = tar.worker();
            let mut offset = 0;
            while offset < tar.len() {
                let n = (tar.len() - offset).min(chunk.len() as u64) as usize;
                tar.fill(&mut worker, offset, &mut chunk[..n]).expect("a chunk");
                offset += n as u64;
            }
        })
    });
    group.finish();
}

criterion_group!(layer, benches);
criterion_main!(layer);
