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

/// Names of contexts are those of images, and what goes without saying in them is no difference.
#[test]
fn a_context_stands_for_an_image_however_its_name_is_written() {
    let place = Place::new();
    place.write("file", "mine");
    let other =
        BuildOptions { tags: vec!["bb".into()], ..place.options("FROM scratch\nCOPY file /from-bb\n") };
    build(&place.store, &other, &Control::default()).unwrap();
    let contexts = |name: &str, value: &str, text: &str| {
        let options = BuildOptions {
            named_contexts: vec![(name.into(), value.into())],
            ..place.options(&format!("{text}\nENV A=b\n"))
        };
        build(&place.store, &options, &Control::default())
    };
    let same =
        ["alpine", "alpine:latest", "docker.io/library/alpine", "docker.io/alpine:latest", "library/alpine"];
    for name in same {
        for base in same {
            contexts(name, "docker-image://bb", &format!("FROM {base}")).unwrap();
            assert_eq!(place.files_now(), ["f 644 0:0 from-bb"], "{name}: {base}");
            contexts(name, "docker-image://bb", &format!("FROM scratch\nCOPY --from={base} /from-bb /x"))
                .unwrap();
            assert_eq!(place.files_now(), ["f 644 0:0 x"], "{name}: {base}");
        }
    }
    for (name, base) in [("alpine:3", "alpine"), ("alpine", "alpine:3"), ("alpine", "example.org/alpine")] {
        let error = contexts(name, "docker-image://bb", &format!("FROM {base}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {base}");
    }
    // A stage of another name is no context, and one of its name is the context, however it is asked for.
    let text = "FROM scratch AS alpine\nCOPY file /stage\nFROM alpine";
    contexts("alpine:3", "docker-image://bb", text).unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 stage"]);
    let text = "FROM missing AS Alpine\nCOPY absent /stage\nFROM scratch\nCOPY --from=0 /from-bb /x";
    contexts("alpine:latest", "docker-image://bb", text).unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 x"]);
    let options = BuildOptions {
        named_contexts: vec![("alpine".into(), "docker-image://bb".into())],
        target: Some("alpine".into()),
        ..place.options(text)
    };
    build(&place.store, &options, &Control::default()).unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 from-bb"]);
    // Nothing is no context.
    contexts("scratch", "docker-image://bb", "FROM scratch\nCOPY file /").unwrap();
    assert_eq!(place.files_now(), ["f 644 0:0 file"]);
}

#[test]
fn a_stage_begins_with_the_files_of_a_context() {
    let place = Place::new();
    let directory = place.scratch.dir("more");
    std::fs::create_dir(directory.join("d")).unwrap();
    for (path, mode) in [("d/f", 0o751), ("left-out", 0o644)] {
        std::fs::write(directory.join(path), path).unwrap();
        std::fs::set_permissions(directory.join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    std::fs::set_permissions(directory.join("d"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(directory.join(".dockerignore"), "left-out\n.dockerignore\n").unwrap();
    let options = |text: &str| BuildOptions {
        named_contexts: vec![("Base".into(), directory.to_str().unwrap().into())],
        ..place.options(text)
    };
    let text = "FROM base AS one\nCOPY --from=base d/f /g\nFROM one\nENV A=b\n";
    let built = build(&place.store, &options(text), &Control::default()).unwrap();
    assert_eq!(place.entries(), ["d 700 0:0 d", "f 751 0:0 d/f", "f 751 0:0 g"]);
    assert_eq!(place.read("d/f"), "d/f");
    let image = place.image();
    let run = image.config().run();
    assert_eq!(run.env.as_deref().unwrap()[1], "A=b");
    assert!(run.env.as_deref().unwrap()[0].starts_with("PATH=") && run.cmd.is_none());
    // As a COPY of everything: the same layer, from the cache.
    let copied = options("FROM scratch\nCOPY --from=base . /\nCOPY --from=base d/f /g\nENV A=b\n");
    let again = build(&place.store, &copied, &Control::default()).unwrap();
    assert_eq!((again.carried_out, again.image_id), (0, built.image_id));
    let again = build(&place.store, &options(text), &Control::default()).unwrap();
    assert_eq!((again.carried_out, again.image_id), (0, built.image_id));
    let (warnings, _) =
        check(&place.store, &options("FROM base\nCOPY $x $PATH\n"), &Control::default()).unwrap();
    assert_eq!(warnings.iter().map(|w| w.rule).collect::<Vec<_>>(), ["UndefinedVar"]);
}
