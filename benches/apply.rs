//! Applying a plain tar to a fresh directory, its list included. Throughput is bytes of tar.
#![allow(clippy::disallowed_methods)]

mod common;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use treering::Control;
use treering::fs::Root;
use treering::layer::TarSource;
use treering::layer::read::ReadChunks;
use treering::layer::{ApplyOptions, LayerOptions, LayerPlan, LayerTar, Target};

fn benches(c: &mut Criterion) {
    let dir = common::scratch();
    let root = Root::open(common::tree(dir.path())).expect("the tree");
    let snapshot = common::scan(&root, 0, None);
    let plan = LayerPlan::new(&common::all_added(&snapshot), None, &snapshot, LayerOptions::default())
        .expect("a plan");
    let tar = LayerTar::new(plan, &root);
    let mut bytes = vec![0; tar.len() as usize];
    tar.fill(&mut tar.worker(), 0, &mut bytes).expect("the tar");
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.sample_size(10);
    for threads in [1, 2] {
        group.bench_function(format!("plain/{threads}"), |b| {
            b.iter_batched(
                || tempfile::tempdir_in(dir.path()).expect("a directory"),
                |fresh| {
                    let root = Root::open(fresh.path()).expect("the directory");
                    let options = ApplyOptions { threads, ..ApplyOptions::default() };
                    let mut target = Target::empty(&root, options).expect("an empty target");
                    let stream = ReadChunks::with_size(&bytes[..], 1 << 20);
                    target.apply(stream, &Control::default()).expect("a layer");
                    target.finish().expect("a tree");
                    fresh
                },
                BatchSize::PerIteration,
            )
        });
    }
    group.finish();
}

criterion_group!(apply, benches);
criterion_main!(apply);
