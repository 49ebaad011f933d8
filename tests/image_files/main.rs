//! Files of images, read without unpacking: whatever made the layers, and whatever is in the index.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use treering::archive::{ImportOptions, import};
use treering::compress::{Compression, LayerIndex, Profile};
use treering::image::{CommitOptions, Image, ImageFiles, UnpackOptions, commit, contents, entries, unpack};
use treering::store::{FsckLevel, ProblemKind, PruneOptions, Store};
use treering::{Control, Digest, ErrorKind};

mod noted;
mod unindexed;

/// Bytes that compress somewhat, the same for the same seed.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = state.to_le_bytes();
        out.extend_from_slice(&word[..4]);
        out.extend_from_slice(b"tree");
    }
    out.truncate(length);
    out
}

type Tree = BTreeMap<String, Vec<u8>>;

fn tree() -> Tree {
    let mut tree = Tree::new();
    for n in 0..24 {
        tree.insert(format!("d{}/f{n}", n % 4), bytes(n, 300 * n as usize));
    }
    tree.insert("big".into(), bytes(1000, 9 << 20));
    tree.insert("d1/big".into(), bytes(1001, 5 << 20));
    tree.insert("d2/last".into(), bytes(1002, 3 << 20));
    tree
}

fn tar(tree: &Tree) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Compresses as other tools do.
fn packed(tar: &[u8], how: &str) -> Vec<u8> {
    let gzip = |every: usize| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        for piece in tar.chunks(every) {
            out.write_all(piece).unwrap();
            out.flush().unwrap();
        }
        out.finish().unwrap()
    };
    let ours = |compression| {
        struct Memory<'a>(&'a [u8]);
        impl treering::layer::TarSource for Memory<'_> {
            type Worker = ();
            fn len(&self) -> u64 {
                self.0.len() as u64
            }
            fn worker(&self) {}
            fn fill(
                &self,
                _: &mut (),
                offset: u64,
                buf: &mut [u8],
            ) -> treering::Result<treering::layer::Filled> {
                buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
                Ok(treering::layer::Filled::Data)
            }
        }
        let mut out = Vec::new();
        let profile = Profile::new(compression, None).unwrap();
        treering::compress::write(&Memory(tar), &profile, 2, &mut out, &Control::default()).unwrap();
        out
    };
    match how {
        "plain" => tar.to_vec(),
        "gzip" => gzip(tar.len()),
        "flushed" => gzip(1 << 20),
        "ours-gzip" => ours(Compression::Gzip),
        "ours-zstd" => ours(Compression::Zstd),
        _ => unreachable!(),
    }
}

const HOW: [&str; 5] = ["plain", "gzip", "flushed", "ours-gzip", "ours-zstd"];

fn store_with(dir: &Path, layer: &[u8]) -> (Store, Image) {
    let store = Store::open(dir).unwrap();
    let image = imported(&store, layer);
    (store, image)
}

/// Makes an image of one layer, `app:1`.
fn imported(store: &Store, layer: &[u8]) -> Image {
    let input = std::io::Cursor::new(layer.to_vec());
    import(
        store,
        Box::new(input),
        Some(&"app:1".parse().unwrap()),
        &ImportOptions::default(),
        &Control::default(),
    )
    .unwrap();
    Image::open(store, "app:1", None).unwrap()
}

fn index_path(dir: &Path, image: &Image) -> std::path::PathBuf {
    dir.join("layers").join(format!("index-{}", image.layers()[0].digest.hex()))
}

/// Compares every file with what it is, one by one and all in one pass.
fn check(store: &Store, image: &Image, tree: &Tree) {
    let control = Control::default();
    let files = ImageFiles::open(store, image, &control).unwrap();
    let mut wanted = BTreeMap::new();
    for (path, content) in tree {
        let entry = files.resolve(path).unwrap();
        assert!(files.read(entry, 1 << 30, &control).unwrap() == *content, "{path}");
        wanted.insert(entry, content);
    }
    let files = ImageFiles::open(store, image, &control).unwrap();
    let all: Vec<u32> = wanted.keys().copied().collect();
    let mut seen = Vec::new();
    files
        .read_each(&all, &control, &mut |entry, content| {
            let mut read = Vec::new();
            content.read_to_end(&mut read).unwrap();
            assert!(read == *wanted[&entry]);
            seen.push(entry);
            Ok(())
        })
        .unwrap();
    seen.sort_unstable();
    assert_eq!(seen, all);
}

#[test]
fn files_come_out_of_layers_of_every_kind() {
    let tree = tree();
    let tar = tar(&tree);
    for how in HOW {
        let temp = tempfile::tempdir().unwrap();
        let (store, image) = store_with(temp.path(), &packed(&tar, how));
        check(&store, &image, &tree);
        let path = index_path(temp.path(), &image);
        let index = std::fs::read(&path).unwrap();
        assert!(index.len() as u64 <= LayerIndex::cap(image.layers()[0].size), "{how}");
        // Without the index, and with a damaged one, the same; both are made anew.
        std::fs::remove_file(&path).unwrap();
        check(&store, &image, &tree);
        assert_eq!(std::fs::read(&path).unwrap(), index, "{how}");
        std::fs::write(&path, &index[..index.len() / 2]).unwrap();
        let report = store.fsck(FsckLevel::Reachability, &Control::default()).unwrap();
        assert!(report.problems.iter().any(|it| it.kind == ProblemKind::BadLayerIndex), "{how}");
        check(&store, &image, &tree);
        assert_eq!(std::fs::read(&path).unwrap(), index, "{how}");
        let report = store.fsck(FsckLevel::Reachability, &Control::default()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        // It goes with its blob.
        store.untag(&"app:1".parse().unwrap()).unwrap();
        store.prune(&PruneOptions::default(), &Control::default()).unwrap();
        assert!(!path.exists());
    }
}

/// Returns an index with other bytes in it, and the checksum of those.
fn forged(index: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut forged = index.to_vec();
    for &(at, value) in changes {
        forged[at] = value;
    }
    let mut crc = flate2::Crc::new();
    crc.update(&forged[12..]);
    forged[8..12].copy_from_slice(&crc.sum().to_le_bytes());
    forged
}

fn small_tree() -> Tree {
    let mut tree = Tree::new();
    for n in 0..12 {
        tree.insert(format!("f{n:02}"), bytes(n, 100 + 60_000 * n as usize));
    }
    tree.insert("a".into(), bytes(77, 4 << 20));
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    /// Wherever an index lies, the content is right.
    #[test]
    fn a_hostile_index_gives_the_right_answer(
        how in 0..HOW.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<u8>()), 1..6),
    ) {
        let tree = small_tree();
        let temp = tempfile::tempdir().unwrap();
        let (store, image) = store_with(temp.path(), &packed(&tar(&tree), HOW[how]));
        check(&store, &image, &tree);
        let path = index_path(temp.path(), &image);
        let index = std::fs::read(&path).unwrap();
        // Half of the changes go to the numbers at the front and the places at the end, windows being large.
        let changes: Vec<(usize, u8)> = changes.iter().map(|(at, edge, value)| {
            let at = at.index(index.len() - 12);
            let edge_at = if at % 2 == 0 { at % 40 } else { index.len() - 13 - at % 150 };
            (12 + if *edge { edge_at.min(index.len() - 13) } else { at }, *value)
        }).collect();
        std::fs::write(&path, forged(&index, &changes)).unwrap();
        check(&store, &image, &tree);
    }
}

#[test]
fn every_field_of_an_index_may_be_wrong() {
    // Of plain gzip there has to be enough for a window.
    let tiny: Tree = (0..6).map(|n| (format!("f{n}"), bytes(n, 3000 * n as usize))).collect();
    for (how, tree) in [("gzip", small_tree()), ("ours-gzip", tiny.clone()), ("plain", tiny)] {
        let temp = tempfile::tempdir().unwrap();
        let (store, image) = store_with(temp.path(), &packed(&tar(&tree), how));
        check(&store, &image, &tree);
        let path = index_path(temp.path(), &image);
        let index = std::fs::read(&path).unwrap();
        let step = if how == "gzip" { 5 } else { 1 };
        let front = 12..40.min(index.len());
        let back = index.len().saturating_sub(100).max(40)..index.len();
        for at in front.chain(back).step_by(step) {
            let value = index[at] ^ [1, 0x80, 0xff][at % 3];
            std::fs::write(&path, forged(&index, &[(at, value)])).unwrap();
            let control = Control::default();
            let files = ImageFiles::open(&store, &image, &control).unwrap();
            for name in tree.keys().rev().take(2) {
                let entry = files.resolve(name).unwrap();
                assert!(files.read(entry, 1 << 30, &control).unwrap() == tree[name], "{how}, byte {at}");
            }
        }
    }
}

#[test]
fn whichever_layer_holds_a_file_and_whatever_leads_to_it() {
    let temp = tempfile::tempdir().unwrap();
    let mut tree = tar::Builder::new(Vec::new());
    let mut put = |path: &str, kind: tar::EntryType, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        match link {
            "" => tree.append_data(&mut header, path, content).unwrap(),
            link => tree.append_link(&mut header, path, link).unwrap(),
        }
    };
    put("usr/", tar::EntryType::Directory, "", b"");
    put("usr/lib/", tar::EntryType::Directory, "", b"");
    put("usr/lib/os-release", tar::EntryType::Regular, "", b"NAME=tree\n");
    put("lib", tar::EntryType::Symlink, "usr/lib", b"");
    put("etc/", tar::EntryType::Directory, "", b"");
    put("etc/os-release", tar::EntryType::Symlink, "../lib/os-release", b"");
    put("etc/out", tar::EntryType::Symlink, "/../../../../etc/passwd", b"");
    put("etc/hard", tar::EntryType::Link, "usr/lib/os-release", b"");
    put("etc/passwd", tar::EntryType::Regular, "", b"inside\n");
    put("etc/empty", tar::EntryType::Regular, "", b"");
    let tar = tree.into_inner().unwrap();
    let (store, _) = store_with(&temp.path().join("store"), &packed(&tar, "gzip"));
    let work = temp.path().join("work");
    let control = Control::default();
    unpack(&store, "app:1", &work, &UnpackOptions::default(), &control).unwrap();
    std::fs::write(work.join("usr/lib/new"), b"new\n").unwrap();
    std::fs::write(work.join("etc/passwd"), b"changed\n").unwrap();
    std::fs::set_permissions(work.join("etc/passwd"), PermissionsExt::from_mode(0o600)).unwrap();
    commit(&store, &work, Some("app:2"), &CommitOptions::default(), &control).unwrap();
    let image = Image::open(&store, "app:2", None).unwrap();
    assert_eq!(image.layers().len(), 2);
    let files = ImageFiles::open(&store, &image, &control).unwrap();
    let read = |path: &str| {
        let entry = files.resolve(path).unwrap();
        String::from_utf8(files.read(entry, 100, &control).unwrap()).unwrap()
    };
    for path in ["/etc/os-release", "lib/os-release", "/etc/hard", "etc/../lib/./os-release"] {
        assert_eq!(read(path), "NAME=tree\n", "{path}");
    }
    assert_eq!([read("/lib/new"), read("/etc/out"), read("etc/empty")], ["new\n", "changed\n", ""]);
    let error = files.resolve("/etc/none").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = files.read(files.resolve("/etc").unwrap(), 9, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = files.read(files.resolve("/etc/passwd").unwrap(), 3, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    // The first image still has what it had.
    let image = Image::open(&store, "app:1", None).unwrap();
    let files = ImageFiles::open(&store, &image, &control).unwrap();
    assert_eq!(files.read(files.resolve("etc/passwd").unwrap(), 100, &control).unwrap(), b"inside\n");
    // A blob that is damaged is an error, not another content.
    let blob = temp.path().join("store/oci/blobs/sha256").join(image.layers()[0].digest.hex());
    let mut damaged = std::fs::read(&blob).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    std::fs::set_permissions(&blob, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&blob, damaged).unwrap();
    let files = ImageFiles::open(&store, &image, &control).unwrap();
    let error = files.read(files.resolve("etc/passwd").unwrap(), 100, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_list_that_lies_is_an_error() {
    let tree = small_tree();
    let temp = tempfile::tempdir().unwrap();
    let (store, image) = store_with(temp.path(), &packed(&tar(&tree), "ours-gzip"));
    let control = Control::default();
    let list = entries(&store, &image, &control).unwrap();
    let entry = list.lookup(b"f03").unwrap();
    let chain = treering::image::chain_ids(&[image.layers()[0].diff_id])[0];
    // The record of the entry: the number of its layer, and the block; with other ones, and with those of other files.
    let at = 128 + entry as usize * 128 + 116;
    let of = |name: &str| list.place(list.lookup(name.as_bytes()).unwrap()).unwrap().block;
    let blocks = [of("f04"), of("f02"), of("f03") + 1, 0, u64::MAX, 1 << 40];
    let lies = blocks.map(|block| (1u32, block)).into_iter().chain([(0, of("f03")), (0, 0)]);
    for (layer, block) in lies {
        let mut other = list.as_bytes().to_vec();
        other[at..at + 4].copy_from_slice(&layer.to_le_bytes());
        other[at + 4..at + 12].copy_from_slice(&block.to_le_bytes());
        for summed in [false, true] {
            if summed {
                let body = other.len() - 4;
                let mut crc = flate2::Crc::new();
                crc.update(&other[..body]);
                other[body..].copy_from_slice(&crc.sum().to_le_bytes());
            }
            store.put_chain_list(&chain, &other).unwrap();
            let files = ImageFiles::open(&store, &image, &control).unwrap();
            // Either the list was seen to be damaged and made anew, or the file is not handed out: another one has another size.
            match files.read(entry, 1 << 20, &control) {
                Ok(content) => assert!(content == tree["f03"], "{layer} {block}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{layer} {block}"),
            }
        }
    }
}

/// An old list has digests and no places: it is made anew, and so is an index of another version.
#[test]
fn what_an_earlier_version_noted_is_made_anew() {
    let tree = small_tree();
    let temp = tempfile::tempdir().unwrap();
    let (store, image) = store_with(temp.path(), &packed(&tar(&tree), "gzip"));
    check(&store, &image, &tree);
    let control = Control::default();
    let (path, noted) = (index_path(temp.path(), &image), known(temp.path()));
    let mut list = entries(&store, &image, &control).unwrap().as_bytes().to_vec();
    for record in list[128..].chunks_exact_mut(128).take(tree.len() + 1) {
        record[116..].fill(0);
    }
    let body = list.len() - 4;
    let mut crc = flate2::Crc::new();
    crc.update(&list[..body]);
    list[body..].copy_from_slice(&crc.sum().to_le_bytes());
    let chain = treering::image::chain_ids(&[image.layers()[0].diff_id])[0];
    store.put_chain_list(&chain, &list).unwrap();
    let index = std::fs::read(&path).unwrap();
    std::fs::write(&path, [b"treeidx1", &index[8..]].concat()).unwrap();
    let report = store.fsck(FsckLevel::Reachability, &control).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    check(&store, &image, &tree);
    assert!(known(temp.path()) == noted);
}

#[test]
fn digests_are_made_when_they_are_asked_for_and_kept() {
    let tree = tree();
    for how in HOW {
        let temp = tempfile::tempdir().unwrap();
        let (store, image) = store_with(temp.path(), &packed(&tar(&tree), how));
        let control = Control::default();
        let list = entries(&store, &image, &control).unwrap();
        assert!(
            (0..list.len()).all(|entry| list.digest(entry).is_none()),
            "{how}: nothing is hashed for a list"
        );
        assert_eq!(list.digest_count(), 1, "{how}: the DiffID of the layer");
        let files = ImageFiles::open(&store, &image, &control).unwrap();
        let entry = |path: &str| list.lookup(path.as_bytes()).unwrap();
        let few: Vec<u32> = tree.keys().step_by(3).map(|path| entry(path)).collect();
        let some = files.digests(&few, &control).unwrap();
        assert_eq!(some.len(), few.iter().filter(|&&entry| list.meta(entry).size > 0).count(), "{how}");
        let whole = contents(&store, &image, &control).unwrap();
        for (path, content) in &tree {
            let expected = (!content.is_empty()).then(|| *Digest::of(content).bytes());
            assert_eq!(whole.digest(entry(path)), expected, "{how}: {path}");
            assert_eq!(whole.place(entry(path)), list.place(entry(path)));
            assert!(some.get(&entry(path)).is_none_or(|digest| Some(*digest) == expected));
        }
        // From then on nothing is read for them.
        let blob = temp.path().join("oci/blobs/sha256").join(image.layers()[0].digest.hex());
        std::fs::rename(&blob, temp.path().join("away")).unwrap();
        assert!(contents(&store, &image, &control).unwrap().as_bytes() == whole.as_bytes(), "{how}");
        std::fs::rename(temp.path().join("away"), &blob).unwrap();
        // What is damaged there is made again.
        let kept = temp.path().join("layers").join(image.layers()[0].diff_id.hex()).join("digests");
        let mut bytes = std::fs::read(&kept).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&kept, bytes).unwrap();
        assert!(contents(&store, &image, &control).unwrap().as_bytes() == whole.as_bytes(), "{how}");
        // It goes with the image.
        store.untag(&"app:1".parse().unwrap()).unwrap();
        store.prune(&PruneOptions::default(), &control).unwrap();
        assert!(!kept.exists(), "{how}");
    }
}

/// Returns a sparse file as GNU tar describes it: all of it a hole.
fn hole(name: &str, size: u64) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    for field in [100..107, 108..115, 116..123, 124..135, 136..147] {
        header[field].fill(b'0');
    }
    header[156] = b'S';
    header[257..265].copy_from_slice(b"ustar  \0");
    let number = |field: &mut [u8]| {
        field[0] = 0x80;
        field[4..].copy_from_slice(&size.to_be_bytes());
    };
    number(&mut header[386..398]);
    header[398..409].fill(b'0');
    number(&mut header[483..495]);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.to_vec()
}

#[test]
fn holes_without_end_are_not_hashed() {
    let small =
        [tar(&Tree::from([("a".into(), b"a".to_vec())]))[..1024].to_vec(), hole("small", 3 << 20)].concat();
    let layer = [small, hole("large", 900 << 30), vec![0; 1024]].concat();
    let temp = tempfile::tempdir().unwrap();
    let (store, image) = store_with(temp.path(), &layer);
    let began = std::time::Instant::now();
    let control = Control::default();
    let files = ImageFiles::open(&store, &image, &control).unwrap();
    // Hashing all of it takes the fastest processor minutes.
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    let entry = |name: &str| files.list().lookup(name.as_bytes()).unwrap();
    assert!(files.list().digest(entry("large")).is_none());
    let asked = files.digests(&[entry("large"), entry("small")], &control).unwrap();
    assert_eq!(asked.keys().collect::<Vec<_>>(), [&entry("small")]);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    // It is read all the same.
    let mut begin = vec![1; 20 << 20];
    files.reader(entry("large"), &control).unwrap().read_exact(&mut begin).unwrap();
    assert!(begin.iter().all(|&byte| byte == 0));
    assert!(files.read(entry("small"), 3 << 20, &control).unwrap() == vec![0; 3 << 20]);
    assert_eq!(files.read(entry("a"), 1, &control).unwrap(), b"a");
}

/// Returns the lists and indexes of a store, by their names.
fn known(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in dir.join("layers").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name.starts_with("index-") {
            out.insert(name, std::fs::read(&path).unwrap());
        } else if let Ok(list) = std::fs::read(path.join("list")) {
            out.insert(name, list);
        }
    }
    out
}

fn forget(dir: &Path) {
    for name in known(dir).into_keys() {
        let path = dir.join("layers").join(name);
        let list = path.join("list");
        std::fs::remove_file(if list.exists() { list } else { path }).unwrap();
    }
    assert!(known(dir).is_empty());
}

#[test]
fn an_unpack_makes_the_list_and_the_indexes_that_a_look_makes() {
    for how in HOW {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("store");
        let (store, _) = store_with(&root, &packed(&tar(&tree()), how));
        let (work, control) = (temp.path().join("work"), Control::default());
        unpack(&store, "app:1", &work, &UnpackOptions::default(), &control).unwrap();
        // A layer on top, in which there is something of everything.
        let script = "rm d0/f0; ln big twice; ln -s big link; mkdir new; echo new >new/file; cp d2/last copy
            truncate -s 3M hole; printf end >>hole; mkfifo pipe; rm -r d3; echo file >d3; touch -d @1.5 new/file";
        let mut sh = std::process::Command::new("sh");
        assert!(sh.args(["-euc", script]).current_dir(&work).status().unwrap().success());
        commit(&store, &work, Some("app:2"), &CommitOptions::default(), &control).unwrap();
        forget(&root);
        contents(&store, &Image::open(&store, "app:2", None).unwrap(), &control).unwrap();
        let looked = known(&root);
        assert_eq!(looked.len(), 3, "two indexes and a list: {:?}", looked.keys());
        forget(&root);
        unpack(&store, "app:2", &temp.path().join("again"), &UnpackOptions::default(), &control).unwrap();
        let unpacked = known(&root);
        assert_eq!(unpacked.keys().collect::<Vec<_>>(), looked.keys().collect::<Vec<_>>());
        for (name, bytes) in &looked {
            assert!(unpacked[name] == *bytes, "{how}: {name}");
        }
        // From then on no layer is read as a whole: with its list alone the image is compared, and listed.
        let image = Image::open(&store, "app:2", None).unwrap();
        for layer in image.layers() {
            std::fs::remove_file(root.join("oci/blobs/sha256").join(layer.digest.hex())).unwrap();
        }
        let files = ImageFiles::open(&store, &image, &control).unwrap();
        assert!(files.resolve("new/file").is_ok());
        let options = treering::image::DiffOptions::default();
        let diff = treering::image::diff_image(&store, Some("app:2"), "app:2", &options, &control).unwrap();
        assert!(diff.changes.is_empty());
    }
}

#[test]
fn another_base_is_compared_without_reading_a_layer_or_a_file() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("store");
    let (store, image) = store_with(&root, &packed(&tar(&tree()), "gzip"));
    let (work, control) = (temp.path().join("work"), Control::default());
    unpack(&store, "app:1", &work, &UnpackOptions::default(), &control).unwrap();
    std::fs::write(work.join("new"), "new").unwrap();
    commit(&store, &work, Some("app:2"), &CommitOptions::default(), &control).unwrap();
    // As after a fresh unpack, but of an image that is bound to another one.
    std::fs::remove_file(root.join("oci/blobs/sha256").join(image.layers()[0].digest.hex())).unwrap();
    let base = treering::image::Base::Image("app:1".into());
    let options = CommitOptions { base, ..CommitOptions::default() };
    let counted = Control::default();
    let made = commit(&store, &work, Some("app:3"), &options, &counted).unwrap();
    assert_eq!((made.stat.added, made.stat.changed), (1, 0), "{:?}", made.stat);
    let read = counted.counters.bytes_read.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read < 16 << 10, "{read} bytes, of a tree of 17 MB");
}
