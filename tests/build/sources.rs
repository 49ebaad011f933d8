//! Sources of copies: how much of a layer is read, and what a stream still gives when the cache has lost a layer.

use std::fs::File;

use super::*;

/// Bytes that no compressor makes smaller.
fn noise(size: usize) -> Vec<u8> {
    let mut seed = 1u64;
    let next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

#[test]
fn a_file_of_a_large_layer_is_read_without_the_rest_of_it() {
    let place = Place::new();
    for number in 0..4 {
        std::fs::write(place.context.join(format!("large{number}")), noise(8 << 20)).unwrap();
    }
    place.write("small", "x");
    place.build("FROM scratch\nCOPY . /all/\n");
    place.store.tag(&"base".parse().unwrap(), &place.store.entries().unwrap()[0].descriptor).unwrap();
    let control = Control::default();
    let options = place.options("FROM scratch\nCOPY --from=base /all/small /all/large1 /here/\n");
    build(&place.store, &options, &control).unwrap();
    let read = control.counters.bytes_read.load(std::sync::atomic::Ordering::Relaxed);
    // The file out of the layer, and once more into the new one.
    assert!((8 << 20..24 << 20).contains(&read), "{read} bytes");
    let out = place.scratch.join("out");
    treering::image::unpack(&place.store, "t", &out, &Default::default(), &Control::default()).unwrap();
    assert!(std::fs::read(out.join("here/large1")).unwrap() == noise(8 << 20));
    assert_eq!(std::fs::read(out.join("here/small")).unwrap(), b"x");
}

#[test]
fn a_stream_gives_its_files_again_when_the_layer_of_a_record_is_gone() {
    let place = Place::new();
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [("Dockerfile", "FROM scratch\nCOPY a /a\nCOPY b /b\n"), ("a", "1"), ("b", "2")] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let path = place.scratch.join("context.tar");
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    let by_stream = || {
        let options = BuildOptions {
            context: ContextSource::Stream(Arc::new(File::open(&path).unwrap())),
            dockerfile: DockerfileSource::Default,
            source_date_epoch: Some(86_400),
            ..place.options("")
        };
        build(&place.store, &options, &Control::default())
    };
    let first = by_stream().unwrap();
    let layers = place.image().layers().to_vec();
    for lost in &layers {
        std::fs::remove_file(place.scratch.join("store/oci/blobs/sha256").join(lost.digest.hex())).unwrap();
        let again = by_stream().unwrap();
        assert_eq!(again.image_id, first.image_id);
        assert_eq!((again.cached, again.carried_out), (1, 1), "the other layer is there");
        let report = place.store.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
    }
}
