//! Throughput of writing and reading layers, in bytes of tar per second, both digests included.
//!
//! `TREERING_BENCH_TAR=layer.tar cargo bench --bench compress` measures a real layer (it is read into memory);
//! otherwise the data is this program itself, which is at least real machine code, up to 64 MiB of it.

use std::hint::black_box;
use std::io;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use treering::Control;
use treering::compress::{Compression, DecodeOptions, Decoder, Profile, write};
use treering::layer::{Filled, TarSource};

/// A tar stream in memory.
struct Memory(Vec<u8>);

impl TarSource for Memory {
    type Worker = ();

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn worker(&self) {}

    fn fill(&self, _: &mut (), offset: u64, buf: &mut [u8]) -> treering::Result<Filled> {
        buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
        Ok(Filled::Data)
    }
}

/// A blob that any number of readers share.
#[derive(Clone)]
struct Blob(std::sync::Arc<Vec<u8>>);

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

// A benchmark reads the file its user named; the rule is for the library.
#[allow(clippy::disallowed_methods)]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("the benchmark's input can be read")
}

fn data() -> Memory {
    Memory(match std::env::var_os("TREERING_BENCH_TAR") {
        Some(path) => read(Path::new(&path)),
        None => {
            let mut bytes = read(&std::env::current_exe().expect("this program has a path"));
            bytes.truncate(64 << 20);
            bytes
        }
    })
}

/// Returns one thread, and as many as there are cores.
fn thread_counts() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 1 { vec![1, cores] } else { vec![1] }
}

fn profiles() -> Vec<Profile> {
    [
        (Compression::None, None),
        (Compression::Gzip, Some(1)),
        (Compression::Gzip, None),
        (Compression::Zstd, Some(1)),
        (Compression::Zstd, None),
    ]
    .into_iter()
    .map(|(compression, level)| Profile::new(compression, level).expect("these levels exist"))
    .collect()
}

fn writing(criterion: &mut Criterion) {
    let source = data();
    let mut group = criterion.benchmark_group("write");
    group.sample_size(10).throughput(Throughput::Bytes(source.len()));
    for profile in profiles() {
        for threads in thread_counts() {
            group.bench_function(BenchmarkId::new(profile.id(), threads), |bencher| {
                bencher.iter(|| {
                    let control = Control::default();
                    write(&source, &profile, threads, &mut io::sink(), &control).expect("memory can be read")
                });
            });
        }
    }
}

fn reading(criterion: &mut Criterion) {
    let source = data();
    let mut group = criterion.benchmark_group("read");
    group.sample_size(10).throughput(Throughput::Bytes(source.len()));
    let mut blobs = Vec::new();
    for profile in profiles() {
        let mut blob = Vec::new();
        write(&source, &profile, 2, &mut blob, &Control::default()).expect("memory can be read");
        blobs.push((profile.id().to_string(), blob));
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    io::Write::write_all(&mut encoder, &source.0).expect("memory can be written");
    blobs.push(("gzip-foreign".into(), encoder.finish().expect("memory can be written")));
    for (name, blob) in blobs {
        let blob = Blob(std::sync::Arc::new(blob));
        for threads in thread_counts() {
            group.bench_function(BenchmarkId::new(&name, threads), |bencher| {
                bencher.iter(|| {
                    let options = DecodeOptions { threads, ..DecodeOptions::default() };
                    let input = Box::new(io::Cursor::new(blob.clone()));
                    let mut decoder = Decoder::new(input, options, Control::default()).expect("known format");
                    while let Some(chunk) = decoder.next_chunk().expect("our own blob") {
                        black_box(chunk);
                    }
                    decoder.finish().expect("our own blob")
                });
            });
        }
    }
}

criterion_group!(benches, writing, reading);
criterion_main!(benches);
