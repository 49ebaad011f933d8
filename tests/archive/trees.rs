//! Import and export: tars of filesystems, in and out.

use std::io::Cursor;

use treering::archive::{ExportOptions, ExportSource, ImportOptions, export, import};
use treering::compress::{Compression, Profile};
use treering::image::{Base, Image, OCI_LAYER, UnpackOptions, unpack};
use treering::layer::read::ReadChunks;
use treering::layer::{ApplyOptions, LayerOptions, MtimePrecision, Target};
use treering::layer::{Filled, TarSource};
use treering::store::{PruneOptions, Reference, Store};
use treering::{Control, Digest, ErrorKind, Result};

use crate::{commit_as, grow, store, two_layers};
use support::tar::{Entry, dir, file, hardlink, symlink, tar};
use support::{Scratch, describe, scan};

/// Bytes as a [`TarSource`], to compress them.
struct Bytes<'a>(&'a [u8]);

impl TarSource for Bytes<'_> {
    type Worker = ();
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn worker(&self) {}
    fn fill(&self, (): &mut (), offset: u64, out: &mut [u8]) -> Result<Filled> {
        out.copy_from_slice(&self.0[offset as usize..offset as usize + out.len()]);
        Ok(Filled::Data)
    }
}

pub fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    let profile = Profile::new(compression, None).unwrap();
    treering::compress::write(&Bytes(bytes), &profile, 2, &mut out, &Control::default()).unwrap();
    out
}

fn import_bytes(store: &Store, bytes: &[u8], options: &ImportOptions) -> Result<treering::image::Committed> {
    let name = Reference::parse("in:v1").unwrap();
    import(store, Box::new(Cursor::new(bytes.to_vec())), Some(&name), options, &Control::default())
}

fn export_bytes(store: &Store, source: ExportSource<'_>, precision: MtimePrecision) -> Vec<u8> {
    let layer = LayerOptions { precision, ..LayerOptions::default() };
    let options = ExportOptions { layer, ..ExportOptions::default() };
    let mut out = Vec::new();
    export(store, source, &options, &mut out, &Control::default()).unwrap();
    out
}

/// Returns the entries that a tar unpacks to.
fn unpacked(bytes: &[u8], scratch: &Scratch, name: &str) -> std::collections::BTreeMap<String, String> {
    let path = scratch.dir(name);
    let root = treering::fs::Root::open(&path).unwrap();
    let mut target = Target::empty(&root, ApplyOptions::default()).unwrap();
    target.apply(ReadChunks::new(Cursor::new(bytes.to_vec())), &Control::default()).unwrap();
    target.finish().unwrap();
    describe(&scan(&path).snapshot, Some(&path))
}

#[test]
fn a_tar_becomes_a_layer_byte_for_byte() {
    let scratch = Scratch::new();
    let plain = tar(&[dir("etc/"), file("etc/motd", "hello"), hardlink("motd", "etc/motd")]);
    let options = ImportOptions {
        changes: vec!["CMD [\"/app\"]".into(), "ENV A=b".into()],
        message: Some("from a tar".into()),
        created: Some(0),
        platform: Some("linux/arm64".parse().unwrap()),
        ..ImportOptions::default()
    };
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let store = store(&scratch, &format!("store-{compression}"));
        let input = compress(&plain, compression);
        let made = import_bytes(&store, &input, &options).unwrap();
        let layer = made.layer.unwrap();
        assert_eq!((layer.digest, layer.size), (Digest::of(&input), input.len() as u64));
        assert_eq!((layer.diff_id, layer.diff_size), (Digest::of(&plain), plain.len() as u64));
        assert_eq!((made.stat.added, made.stat.bytes), (3, 5));
        let image = Image::open(&store, "in:v1", Some(&"linux/arm64".parse().unwrap())).unwrap();
        assert_eq!(*image.id(), made.image_id);
        assert_eq!(image.layers()[0].diff_id, layer.diff_id);
        assert_eq!(image.config().history()[0].comment.as_deref(), Some("from a tar"));
        assert_eq!(image.config().run().cmd.as_deref(), Some(&["/app".to_string()][..]));
        assert_eq!(store.layer_info(&layer.digest).unwrap().unwrap().diff_size, Some(layer.diff_size));
    }
    // Compressed anew, the tar inside stays.
    let store = store(&scratch, "anew");
    let profile = Some(Profile::new(Compression::None, None).unwrap());
    let again = ImportOptions { profile, ..options };
    let made = import_bytes(&store, &compress(&plain, Compression::Gzip), &again).unwrap();
    assert_eq!(made.layer.unwrap().digest, Digest::of(&plain));
    let image = Image::open(&store, "in:v1", Some(&"linux/arm64".parse().unwrap())).unwrap();
    assert_eq!(image.layers()[0].descriptor.media_type().as_ref(), OCI_LAYER);
}

#[test]
fn a_tar_that_is_no_filesystem_is_refused() {
    let scratch = Scratch::new();
    let store = store(&scratch, "store");
    let big = "x".repeat(5000);
    let cases: Vec<(&str, Vec<u8>, ErrorKind)> = vec![
        ("no tar", vec![b'x'; 2000], ErrorKind::Corrupt),
        ("cut short", tar(&[file("a", &big)])[..3000].to_vec(), ErrorKind::Corrupt),
        ("a whiteout", tar(&[file("a", &big), file(".wh.b", "")]), ErrorKind::Corrupt),
        ("an opaque whiteout", tar(&[dir("a"), file("a/.wh..wh..opq", "")]), ErrorKind::Corrupt),
        ("a path that leads out", tar(&[file("../a", &big)]), ErrorKind::Corrupt),
        ("a hard link to nothing", tar(&[hardlink("a", "b")]), ErrorKind::Corrupt),
        ("nothing", Vec::new(), ErrorKind::Corrupt),
        (
            "cut short between entries",
            tar(&[file("a", "1"), file("b", "2")])[..1024].to_vec(),
            ErrorKind::Corrupt,
        ),
        ("zeros without end", [tar(&[file("a", "1")]), vec![0; 17 << 20]].concat(), ErrorKind::Limit),
        ("a link nobody can make", tar(&[symlink("l", "x".repeat(4096))]), ErrorKind::Limit),
        ("below a file", tar(&[file("a", &big), file("a/b", &big)]), ErrorKind::Corrupt),
        ("xz cut short", b"\xfd7zXZ\0\0\0".to_vec(), ErrorKind::Corrupt),
        ("bzip2 cut short", b"BZh91AY&SY\0".to_vec(), ErrorKind::Corrupt),
        ("lz4", b"\x04\x22\x4d\x18\0".to_vec(), ErrorKind::Unsupported),
    ];
    for (what, bytes, kind) in cases {
        for profile in [None, Some(Profile::default())] {
            let options = ImportOptions { profile, ..ImportOptions::default() };
            let error = match import_bytes(&store, &bytes, &options) {
                Ok(_) => panic!("{what}: it is imported"),
                Err(error) => error,
            };
            assert_eq!(error.kind(), kind, "{what}: {error}");
            if kind == ErrorKind::Unsupported {
                assert!(error.hint().is_some(), "{what}");
            }
        }
    }
    assert!(store.entries().unwrap().is_empty());
    store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!(store.usage(&Control::default()).unwrap().blob_bytes, 0);
}

/// They are layers as gzip and zstd are, but not in their own bytes.
#[test]
fn xz_and_bzip2_become_the_layer_that_the_tar_would() {
    let scratch = Scratch::new();
    let bytes = tar(&[dir("d"), file("d/a", "x".repeat(300_000)), symlink("l", "d/a")]);
    let anew = ImportOptions { profile: Some(Profile::default()), ..ImportOptions::default() };
    let expected = import_bytes(&store(&scratch, "plain"), &bytes, &anew).unwrap().layer.unwrap();
    for program in ["xz", "bzip2"] {
        let Some(packed) = support::tools::packed(program, &bytes) else { continue };
        let store = store(&scratch, program);
        for options in [ImportOptions::default(), anew.clone()] {
            let layer = import_bytes(&store, &packed, &options).unwrap().layer.unwrap();
            assert_eq!((layer.digest, layer.diff_id), (expected.digest, expected.diff_id), "{program}");
        }
        let zstd = Profile::new(Compression::Zstd, None).unwrap();
        let options = ImportOptions { profile: Some(zstd), ..ImportOptions::default() };
        assert_eq!(import_bytes(&store, &packed, &options).unwrap().layer.unwrap().diff_id, expected.diff_id);
        for cut in [packed.len() - 1, packed.len() / 2] {
            let error = import_bytes(&store, &packed[..cut], &options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{program} {cut}: {error}");
        }
        let few = treering::compress::DecodeLimits { max_output: 100_000, ..Default::default() };
        let options = ImportOptions { decode: few, ..ImportOptions::default() };
        assert_eq!(
            import_bytes(&store, &packed, &options).unwrap_err().kind(),
            ErrorKind::Limit,
            "{program}"
        );
    }
}

#[test]
fn an_export_is_what_the_image_unpacks_to() {
    let scratch = Scratch::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let store = store(&scratch, &format!("store-{compression}"));
        two_layers(&store, &scratch, compression);
        let exported = export_bytes(&store, ExportSource::Image("app:v1"), MtimePrecision::Seconds);
        assert_eq!(exported, export_bytes(&store, ExportSource::Image("app:v1"), MtimePrecision::Seconds));
        let path = scratch.join(&format!("unpacked-{compression}"));
        unpack(&store, "app:v1", &path, &UnpackOptions::default(), &Control::default()).unwrap();
        let left = describe(&scan(&path).snapshot, Some(&path));
        assert_eq!(left, unpacked(&exported, &scratch, &format!("exported-{compression}")));
        // And it makes an image again.
        import_bytes(&store, &exported, &ImportOptions::default()).unwrap();
    }
}

#[test]
fn layers_are_merged_with_links_across_them() {
    let scratch = Scratch::new();
    let store = store(&scratch, "store");
    let layers: Vec<Vec<Entry>> = vec![
        vec![
            dir("./").mode(0o711),
            dir("a/").mode(0o750),
            file("a/kept", "kept by a link"),
            file("a/gone", "gone"),
            file("a/replaced", "old"),
            file("z", "moved below"),
            symlink("to-a", "a"),
            dir("opaque"),
            file("opaque/hidden", "hidden"),
            file("sparse", vec![0; 100_000]),
        ],
        vec![
            hardlink("b", "a/kept"),
            file("a/.wh.gone", ""),
            file("a/replaced", "new and longer"),
            file("opaque/.wh..wh..opq", ""),
            file("opaque/seen", "seen"),
            file("to-a/through", "the link"),
            hardlink("c", "to-a"),
        ],
        vec![
            file("a/.wh.kept", ""),
            file("again", "first"),
            file("again", "second"),
            dir("z"),
            hardlink("z/below", "b"),
            file("b2", "").xattr("user.note", "x"),
            hardlink("b3", "b2"),
            dir("new/"),
        ],
    ];
    let layers: Vec<Vec<u8>> = layers.iter().map(|entries| tar(entries)).collect();
    let slices: Vec<&[u8]> = layers.iter().map(|layer| &layer[..]).collect();
    let config = crate::images::config("linux/amd64", &slices);
    let manifest = crate::images::manifest(&config, &slices);
    for bytes in slices.iter().chain([&&config[..], &&manifest[..]]) {
        store.put_blob(bytes).unwrap();
    }
    let entry = crate::images::points_to(treering::image::OCI_MANIFEST, &manifest, None);
    store.tag(&Reference::parse("app:v1").unwrap(), &entry).unwrap();
    let exported = export_bytes(&store, ExportSource::Image("app:v1"), MtimePrecision::Seconds);
    let path = scratch.join("whole");
    unpack(&store, "app:v1", &path, &UnpackOptions::default(), &Control::default()).unwrap();
    let whole = describe(&scan(&path).snapshot, Some(&path));
    assert_eq!(whole, unpacked(&exported, &scratch, "exported"));
    // The image of the export holds the same tree.
    import_bytes(&store, &exported, &ImportOptions::default()).unwrap();
    crate::images::same_tree(&store, "app:v1", &store, "in:v1", &scratch);
}

#[test]
fn a_directory_is_exported_as_the_layer_it_would_be() {
    let scratch = Scratch::new();
    let store = store(&scratch, "store");
    let tree = scratch.dir("tree");
    grow(&tree);
    let exported = export_bytes(&store, ExportSource::Tree(&tree), MtimePrecision::Seconds);
    let made = commit_as(&store, &tree, "app:v1", Base::Scratch, Compression::None);
    assert_eq!(Digest::of(&exported), made.layer.unwrap().diff_id);
    let made = import_bytes(&store, &exported, &ImportOptions::default()).unwrap();
    assert_eq!(made.layer.unwrap().digest, Digest::of(&exported));
}
