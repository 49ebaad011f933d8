//! The cost of the C ABI over the Rust call: a commit, and a change iterated. Both sides run in this process, so only the
//! boundary differs.
#![allow(clippy::disallowed_methods)]

mod common;

use std::ptr::{null, null_mut};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use treering::Control;
use treering::capi::commit::{treering_commit, treering_commit_result};
use treering::capi::commit_options::treering_commit_options;
use treering::capi::diff::{
    treering_change, treering_diff_free, treering_diff_next, treering_diff_rewind, treering_diff_tree,
};
use treering::capi::status::treering_status::TREERING_OK;
use treering::capi::store::{treering_store_free, treering_store_open};
use treering::compress::{Compression, Profile};
use treering::image::{Base, CommitOptions, DiffOptions, commit, diff_tree};
use treering::store::Store;

fn benches(c: &mut Criterion) {
    let dir = common::scratch();
    let tree = common::tree(dir.path());
    let path = tree.as_os_str().as_encoded_bytes();
    let at = dir.path().join("store");

    let mut group = c.benchmark_group("boundary");
    group.sample_size(30);
    let store = Store::open(&at).expect("a store");
    let profile = Profile::new(Compression::Zstd, None).expect("a profile");
    let options = CommitOptions { base: Base::Scratch, profile, ..CommitOptions::default() };
    group.bench_function("commit/rust", |b| {
        b.iter(|| commit(&store, &tree, Some("a:b"), &options, &Control::default()).expect("a commit"))
    });
    let name = at.as_os_str().as_encoded_bytes();
    let (mut handle, mut made) = (null_mut(), std::mem::MaybeUninit::<treering_commit_result>::uninit());
    // SAFETY: zeros are the defaults, as the header has it.
    let defaults: treering_commit_options = unsafe { std::mem::zeroed() };
    let options =
        treering_commit_options { base: c"scratch".as_ptr(), compression: c"zstd".as_ptr(), ..defaults };
    // SAFETY: all pointers are to local variables, slices and C strings that outlive the calls.
    unsafe {
        let status = treering_store_open(name.as_ptr(), name.len(), null(), 0, &mut handle, null_mut());
        assert_eq!(status, TREERING_OK);
        group.bench_function("commit/c", |b| {
            b.iter(|| {
                let status = treering_commit(
                    handle,
                    path.as_ptr(),
                    path.len(),
                    c"a:b".as_ptr(),
                    &options,
                    size_of::<treering_commit_options>(),
                    null(),
                    made.as_mut_ptr(),
                    size_of::<treering_commit_result>(),
                    null_mut(),
                    null_mut(),
                );
                assert_eq!(status, TREERING_OK);
            })
        });
    }

    let diff = diff_tree(None, &tree, &Base::Scratch, &DiffOptions::default(), &Control::default());
    let diff = diff.expect("a diff");
    group.throughput(Throughput::Elements(diff.listed().count() as u64));
    group.bench_function("changes/rust", |b| {
        b.iter(|| diff.listed().map(|change| diff.path(change).len()).sum::<usize>())
    });
    let mut handle_of_diff = null_mut();
    // SAFETY: as above; `changes` has room for as many changes as is said.
    unsafe {
        let status = treering_diff_tree(
            null(),
            path.as_ptr(),
            path.len(),
            c"scratch".as_ptr(),
            null(),
            0,
            null(),
            &mut handle_of_diff,
            null_mut(),
            null_mut(),
        );
        assert_eq!(status, TREERING_OK);
        group.bench_function("changes/c", |b| {
            b.iter(|| {
                let mut changes = [const { std::mem::MaybeUninit::<treering_change>::uninit() }; 256];
                let (mut n, mut total) = (0, 0);
                treering_diff_rewind(handle_of_diff, null_mut());
                loop {
                    let out = changes.as_mut_ptr().cast();
                    let size = size_of::<treering_change>();
                    treering_diff_next(handle_of_diff, out, size, 256, &mut n, null_mut());
                    if n == 0 {
                        return total;
                    }
                    total +=
                        changes[..n].iter().map(|change| change.assume_init_ref().path_len).sum::<usize>();
                }
            })
        });
    }
    treering_diff_free(handle_of_diff);
    treering_store_free(handle);
    group.finish();
}

criterion_group!(boundary, benches);
criterion_main!(boundary);
