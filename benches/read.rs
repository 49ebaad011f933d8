//! Reading archives: headers of many small entries, and content that passes through.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use treering::Result;
use treering::layer::header::{EntryKind, HeaderEntry, MtimePrecision, write_header};
use treering::layer::read::{ChunkStream, LayerReader, ReadLimits};

/// Returns an archive in chunks of one mebibyte, as a decompressor gives them.
fn chunks(entries: usize, size: usize, precision: MtimePrecision) -> Vec<Arc<Vec<u8>>> {
    let mut out = Vec::new();
    for number in 0..entries {
        let path = format!("usr/lib/python3/dist-packages/package{}/module{number}.py", number % 100);
        let entry = HeaderEntry {
            path: path.as_bytes(),
            kind: EntryKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: size as u64,
            mtime: (1_700_000_000, 123_456_789),
            link: b"",
            rdev: (0, 0),
            xattrs: &[],
        };
        write_header(&entry, precision, &mut out).expect("a header");
        out.resize(out.len() + size, number as u8);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out.chunks(1 << 20).map(|chunk| Arc::new(chunk.to_vec())).collect()
}

struct Chunks<'a>(std::slice::Iter<'a, Arc<Vec<u8>>>);

impl ChunkStream for Chunks<'_> {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        Ok(self.0.next().cloned())
    }
}

fn read(chunks: &[Arc<Vec<u8>>]) -> usize {
    let mut reader = LayerReader::new(Chunks(chunks.iter()), ReadLimits::default());
    let mut pieces = 0;
    while reader.next_entry().expect("an entry").is_some() {
        while reader.next_data().expect("data").is_some() {
            pieces += 1;
        }
    }
    pieces
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.sample_size(20);
    for (name, precision) in [("ustar", MtimePrecision::Seconds), ("pax", MtimePrecision::Nanoseconds)] {
        let archive = chunks(50_000, 0, precision);
        group.throughput(Throughput::Elements(50_000));
        group.bench_function(format!("headers/{name}"), |b| b.iter(|| read(&archive)));
    }
    let archive = chunks(64, 4 << 20, MtimePrecision::Seconds);
    group.throughput(Throughput::Bytes(archive.iter().map(|chunk| chunk.len() as u64).sum()));
    group.bench_function("content", |b| b.iter(|| read(&archive)));
    let entry = HeaderEntry {
        path: b"usr/lib/python3/dist-packages/package/module.py",
        kind: EntryKind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 1234,
        mtime: (1_700_000_000, 0),
        link: b"",
        rdev: (0, 0),
        xattrs: &[],
    };
    let mut out = Vec::with_capacity(4096);
    group.throughput(Throughput::Elements(1));
    group.bench_function("write_header", |b| {
        b.iter(|| {
            out.clear();
            write_header(&entry, MtimePrecision::Seconds, &mut out)
        })
    });
    group.finish();
}

criterion_group!(reading, benches);
criterion_main!(reading);
