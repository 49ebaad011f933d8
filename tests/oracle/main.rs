//! Other people's tools read what we write, and we read what they write: GNU tar, umoci, skopeo, Docker.
//!
//! A tool that is missing is named as skipped; in CI that is a failure. `TREERING_CORPUS` names a real root filesystem to
//! use besides the small trees made here.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::docker::Engine;
use support::tools::{need, run};
use support::{Scratch, describe, is_root, scan_with, sh};
use treering::Control;
use treering::archive::{LoadOptions, load};
use treering::compress::{Compression, Profile};
use treering::diff::Change;
use treering::fs::Root;
use treering::image::Tree;
use treering::image::{
    Base, CheckoutOptions, CommitOptions, DiffOptions, Image, TreeDiff, UnpackOptions, checkout, commit,
    diff_image, diff_overlay, diff_tree, unpack,
};
use treering::store::Store;
use treering::tree::{NONE, OwnerPolicy, ScanOptions, Snapshot, scan};

fn control() -> Control {
    Control::default()
}

/// Makes a tree with a bit of everything; more of it as root.
fn sample(dir: &Path) {
    sh(
        dir,
        "mkdir -p etc usr/bin usr/share/doc/x var/empty; echo hello >etc/conf; echo bin >usr/bin/prog; chmod 4755 usr/bin/prog
         ln usr/bin/prog usr/bin/prog2; ln -s ../usr/bin bin; ln -s /nowhere broken; mkfifo var/pipe; chmod 1777 var/empty
         touch -d '2001-02-03 04:05:06' etc/conf usr; mkdir -p \"$(printf 'n%.0s' $(seq 120))/$(printf 'm%.0s' $(seq 150))\"
         echo deep >\"$(printf 'n%.0s' $(seq 120))/$(printf 'm%.0s' $(seq 150))/file\"; printf x >\"$(printf 'caf\\303\\251 \\377')\"
         truncate -s 300K sparse; setfattr -n user.note -v value etc/conf 2>/dev/null || true",
    );
    if is_root() {
        sh(
            dir,
            "mknod null c 1 3; chown 12:34 var/empty; chown -h 5:6 broken; setcap cap_net_raw+ep usr/bin/prog2 2>/dev/null || true
             setfacl -m u:1234:rwx etc 2>/dev/null || true",
        );
    }
}

fn keep(path: &Path) -> Snapshot {
    let owner = if is_root() { OwnerPolicy::Keep } else { OwnerPolicy::Root };
    scan_with(path, &ScanOptions { owner: &owner, ..ScanOptions::default() }).snapshot
}

/// Returns what two trees have in common when whole seconds are kept: everything but fractions of a second.
fn listing(path: &Path) -> BTreeMap<String, String> {
    listed(&keep(path), path)
}

fn listed(snapshot: &Snapshot, path: &Path) -> BTreeMap<String, String> {
    let seconds = |line: String| {
        let dot = line.find('.').expect("a time stamp has a fraction");
        format!("{}{}", &line[..dot], &line[dot + 10..])
    };
    describe(snapshot, Some(path)).into_iter().map(|(path, line)| (path, seconds(line))).collect()
}

fn same(left: &Path, right: &Path) {
    agree(&listing(left), &listing(right));
}

fn agree(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) {
    for (path, line) in left {
        assert_eq!(Some(line), right.get(path), "{path}");
    }
    for path in right.keys() {
        assert!(left.contains_key(path), "{path} is too much");
    }
}

fn trees(scratch: &Scratch) -> Vec<PathBuf> {
    let tree = scratch.dir("sample");
    sample(&tree);
    let mut trees = vec![tree];
    // A real root filesystem belongs to root: devices, owners, capabilities.
    if let Some(corpus) = std::env::var_os("TREERING_CORPUS").filter(|_| is_root()) {
        trees.push(corpus.into());
    }
    trees
}

fn commit_tree(
    store: &Store,
    tree: &Path,
    name: &str,
    compression: Compression,
) -> treering::image::Committed {
    let options = CommitOptions {
        base: Base::Scratch,
        owners: if is_root() { OwnerPolicy::Keep } else { OwnerPolicy::Root }.into(),
        profile: Profile::new(compression, None).unwrap(),
        created: Some(1_700_000_000),
        ..CommitOptions::default()
    };
    commit(store, tree, Some(name), &options, &control()).unwrap()
}

#[test]
fn gnu_tar_unpacks_our_layers() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    for (number, tree) in trees(&scratch).iter().enumerate() {
        let layer = commit_tree(&store, tree, "t:t", Compression::None).layer.unwrap();
        let blob = scratch.join("store/oci/blobs/sha256").join(layer.digest.hex());
        let out = scratch.dir(&format!("tar{number}"));
        let mut tar = Command::new("tar");
        // In byte order of paths a directory's entries need not follow it at once (`a`, `a.conf`, `a/x`); without the
        // option GNU tar would set the directory's time too early.
        tar.arg("-C").arg(&out).args([
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--delay-directory-restore",
            "-xpf",
        ]);
        run(tar.arg(&blob));
        same(tree, &out);
    }
}

#[test]
fn umoci_unpacks_our_images() {
    if !need("umoci", &["--version"]) {
        return;
    }
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    for (number, tree) in trees(&scratch).iter().enumerate() {
        for compression in [Compression::Gzip, Compression::None] {
            let name = format!("app:{compression}{number}");
            commit_tree(&store, tree, &name, compression);
            let bundle = scratch.join(&format!("umoci-{compression}{number}"));
            let mut umoci = Command::new("umoci");
            umoci.arg("unpack");
            if !is_root() {
                umoci.arg("--rootless");
            }
            let image = format!("{}:{name}", scratch.join("store/oci").display());
            run(umoci.arg("--image").arg(image).arg(&bundle));
            if is_root() {
                same(tree, &bundle.join("rootfs"));
            } else {
                sh(
                    scratch.path(),
                    &format!("diff -r --no-dereference --exclude=pipe sample {}/rootfs", bundle.display()),
                );
            }
        }
    }
}

#[test]
fn we_unpack_what_umoci_made() {
    if !need("umoci", &["--version"]) || !need("skopeo", &["--version"]) {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.dir("sample");
    sample(&tree);
    let rootless = if is_root() { "" } else { "--rootless" };
    // umoci refuses to read back a name it cannot write in its manifest's character set; it is not what is tested here.
    sh(
        scratch.path(),
        &format!(
            "umoci init --layout other; umoci new --image other:v1; umoci unpack {rootless} --image other:v1 bundle
             cp -a sample/etc sample/usr sample/var sample/bin bundle/rootfs/; umoci repack --image other:v1 bundle
             rm -rf bundle; umoci unpack {rootless} --image other:v1 bundle; rm -rf bundle/rootfs/usr/share; echo more >bundle/rootfs/etc/more
             umoci repack --image other:v2 bundle"
        ),
    );
    let store = Store::open(scratch.join("store")).unwrap();
    sh(scratch.path(), "skopeo --insecure-policy copy --quiet oci:other:v2 oci:store/oci:other:v2");
    let ours = scratch.join("ours");
    unpack(&store, "other:v2", &ours, &UnpackOptions::default(), &control()).unwrap();
    sh(
        scratch.path(),
        "diff -r --no-dereference --exclude=pipe bundle/rootfs ours; test -p ours/var/pipe; test ! -e ours/usr/share",
    );
    let diff = diff_tree(Some(&store), &ours, &Base::Auto, &DiffOptions::default(), &control()).unwrap();
    assert_eq!(diff.changes, vec![]);
}

#[test]
fn skopeo_copies_our_images_and_finds_the_same_digests() {
    if !need("skopeo", &["--version"]) {
        return;
    }
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let kinds = [Compression::Gzip, Compression::Zstd, Compression::None];
    let trees = trees(&scratch);
    for (number, (tree, compression)) in
        trees.iter().flat_map(|tree| kinds.map(|compression| (tree, compression))).enumerate()
    {
        let name = format!("app:{compression}{number}");
        let made = commit_tree(&store, tree, &name, compression);
        // A copy to another layout verifies every digest on the way and keeps the manifest as it is.
        sh(
            scratch.path(),
            &format!(
                "skopeo --insecure-policy copy --quiet --dest-oci-accept-uncompressed-layers oci:store/oci:{name} oci:copy{number}:{name}"
            ),
        );
        let copied = sh(scratch.path(), &format!("jq -r .manifests[0].digest copy{number}/index.json"));
        assert_eq!(copied.trim(), made.manifest.to_string());
        if compression == Compression::Zstd {
            // Docker's schema has no type for it.
            continue;
        }
        // To Docker's archive every layer is decompressed and its DiffID compared with the configuration's.
        let archive = format!("{number}.tar");
        sh(
            scratch.path(),
            &format!(
                "skopeo --insecure-policy copy --quiet oci:store/oci:{name} docker-archive:{archive}:{name}"
            ),
        );
        let listed = sh(scratch.path(), &format!("tar -xOf {archive} manifest.json | jq -r .[0].Config"));
        assert!(listed.contains(&made.image_id.hex()), "{listed}");
        // And what skopeo wrote is to us what it came from.
        same_when_loaded(&scratch, &archive, &name, tree);
    }
}

/// Loads an archive into a store of its own; its image is the tree.
fn same_when_loaded(scratch: &Scratch, archive: &str, name: &str, tree: &Path) {
    let store = Store::open(scratch.join(&format!("store-of-{archive}"))).unwrap();
    let input = std::fs::File::open(scratch.join(archive)).unwrap();
    let loaded = load(&store, Box::new(input), &LoadOptions::default(), &control()).unwrap();
    assert_eq!(loaded.len(), 1);
    let out = scratch.join(&format!("out-of-{archive}"));
    unpack(&store, name, &out, &UnpackOptions::default(), &control()).unwrap();
    // With its record in the store: without privileges no setuid bit is on the disk.
    let root = Root::open(&out).unwrap();
    let tree_of = Tree::open(&store, &root).unwrap();
    assert!(tree_of.is_bound(), "it was unpacked");
    agree(
        &listing(tree),
        &listed(&scan(&root, &tree_of.owners.scan_options(), &control()).unwrap().snapshot, &out),
    );
    sh(scratch.path(), &format!("rm -rf store-of-{archive} out-of-{archive}"));
}

fn save_for_docker(store: &Store, name: &str, file: &Path) {
    let mut archive = std::fs::File::create(file).unwrap();
    let format = treering::archive::Format::DockerArchive;
    treering::archive::save(store, &[name.to_string()], format, &mut archive, &control()).unwrap();
}

#[test]
fn docker_takes_real_trees_and_gives_them_back() {
    let scratch = Scratch::new();
    let Some(engine) = Engine::start(scratch.path()) else { return };
    let store = Store::open(scratch.join("store")).unwrap();
    for (number, tree) in trees(&scratch).iter().enumerate() {
        let name = format!("real:v{number}");
        let made = commit_tree(&store, tree, &name, Compression::Gzip);
        let (ours, theirs) = (scratch.join("ours.tar"), format!("theirs{number}.tar"));
        save_for_docker(&store, &name, &ours);
        engine.docker(&["load", "-q", "-i", ours.to_str().unwrap()]);
        let layers = engine.docker(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", &name]);
        assert!(layers.contains(&made.layer.unwrap().diff_id.to_string()), "{layers}");
        engine.docker(&["save", "-o", scratch.join(&theirs).to_str().unwrap(), &name]);
        same_when_loaded(&scratch, &theirs, &name, tree);
    }
}

/// The same image, unpacked by root and by a user without any privileges, becomes the same layer again.
#[test]
fn digests_are_the_same_as_root_and_without_privileges() {
    if !is_root() {
        println!("SKIP-PART root: one of the two halves needs root; the same test runs as root");
        return;
    }
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    // A place and a program that everybody can reach.
    sh(scratch.path(), &format!("chmod 755 .; cp {} treering; chmod 755 treering", support::program()));
    for (number, tree) in trees(&scratch).iter().enumerate() {
        let made = commit_tree(&store, tree, "real:v1", Compression::Gzip).layer.unwrap();
        let archive = scratch.join(&format!("real{number}.tar"));
        save_for_docker(&store, "real:v1", &archive);
        sh(scratch.path(), "chmod 644 real*.tar");
        let again = |runner: &[&str], home: &str| {
            let script = format!(
                "cd {home}; export TREERING_ROOT=$PWD/again; t={0}/treering; $t load -q -i {0}/real{number}.tar >/dev/null
                 $t unpack -q real:v1 work; $t commit -q --json --base scratch work again:v1; chmod -R u+rwX work",
                scratch.path().display()
            );
            let mut command = Command::new(runner[0]);
            let rest = &runner[1..];
            command.args(rest).args(["-euc", &script]).current_dir(scratch.path());
            let said: serde_json::Value = serde_json::from_str(&run(&mut command)).unwrap();
            (said["layer"]["diff_id"].clone(), said["layer"]["digest"].clone())
        };
        let home = scratch.dir(&format!("home{number}"));
        let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unprivileged.sh");
        let as_root = again(&["sh"], home.to_str().unwrap());
        assert_eq!(
            as_root,
            again(&["bash", runner.to_str().unwrap(), "/bin/sh"], "$HOME"),
            "{}",
            tree.display()
        );
        assert_eq!(as_root.0, made.diff_id.to_string(), "{}", tree.display());
    }
}

/// A whiteout of a name that leaves no room for the prefix is longer than any name on disk; it is never one.
#[test]
fn others_take_whiteouts_of_the_longest_names() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(
        &tree,
        "for n in 251 252 255; do : >$(printf 'n%.0s' $(seq $n)); done; echo x >stays; mkdir d; echo x >d/f",
    );
    commit_tree(&store, &tree, "long:v1", Compression::Gzip);
    sh(&tree, "rm nnn*");
    let options = CommitOptions {
        base: Base::Image("long:v1".into()),
        owners: if is_root() { OwnerPolicy::Keep } else { OwnerPolicy::Root }.into(),
        created: Some(1_700_000_000),
        ..CommitOptions::default()
    };
    let made = commit(&store, &tree, Some("long:v2"), &options, &control()).unwrap();
    assert_eq!(made.stat.deleted, 3);
    let ours = scratch.join("ours");
    unpack(&store, "long:v2", &ours, &UnpackOptions::default(), &control()).unwrap();
    same(&tree, &ours);
    if need("umoci", &["--version"]) {
        let bundle = scratch.join("umoci");
        let mut umoci = Command::new("umoci");
        umoci.arg("unpack");
        if !is_root() {
            umoci.arg("--rootless");
        }
        run(umoci
            .arg("--image")
            .arg(format!("{}:long:v2", scratch.join("store/oci").display()))
            .arg(&bundle));
        assert_eq!(sh(&bundle.join("rootfs"), "find . | sort"), sh(&tree, "find . | sort"));
    }
    let Some(engine) = Engine::start(scratch.path()) else { return };
    let mut archive = std::fs::File::create(scratch.join("long.tar")).unwrap();
    let names = ["long:v2".to_string()];
    treering::archive::save(
        &store,
        &names,
        treering::archive::Format::DockerArchive,
        &mut archive,
        &control(),
    )
    .unwrap();
    engine.docker(&["load", "-i", scratch.join("long.tar").to_str().unwrap()]);
    engine.docker(&["create", "--name", "long", "long:v2", "none"]);
    engine.docker(&["export", "-o", scratch.join("long-flat.tar").to_str().unwrap(), "long"]);
    let listed = sh(scratch.path(), "tar -tf long-flat.tar");
    assert!(listed.contains("stays") && !listed.contains("nnn"), "{listed}");
}

/// Edits that both sides run with `/` or the tree as working directory.
const EDITS: &[&str] = &[
    "echo new >etc/new; echo changed >>etc/hosts.conf",
    "rm etc/conf; rm -r usr/share",
    "mkdir -p opt/a/b; echo x >opt/a/b/c; mkdir opt/empty",
    "chmod 700 usr/bin/prog; chown 7:8 var",
    "rm -r var/dir; echo file >var/dir",
    "rm etc/file; mkdir etc/file; echo x >etc/file/inside",
    "mv usr/bin/one usr/bin/two; ln -s two usr/bin/three; ln -sf other usr/link",
    "touch -d @1000000000 usr/bin/tool; mkfifo tmp/pipe",
    "rm -r lib; mkdir lib; echo again >lib/new",
    "ln etc/hosts.conf etc/hosts2; ln usr/bin/prog tmp/prog",
    "chown 5:5 etc/file; chown -h 3:4 usr/link; echo x >etc/theirs; chown 9:9 etc/theirs",
];

#[test]
fn docker_loads_our_images_and_docker_diff_agrees_line_by_line() {
    let scratch = Scratch::new();
    let Some(engine) = Engine::start(scratch.path()) else { return };
    let tree = scratch.dir("tree");
    // A root filesystem that can run a shell without anything from outside: busybox is one static file.
    if !need("busybox", &["true"]) {
        return;
    }
    sh(
        &tree,
        "mkdir -p bin etc usr/bin usr/share/doc var/dir tmp lib proc sys dev root; cp \"$(command -v busybox)\" bin/busybox
         for tool in sh cat rm mkdir mv ln chmod chown touch mkfifo echo sleep true; do ln -s busybox bin/$tool; done
         echo c >etc/conf; echo h >etc/hosts.conf; echo f >etc/file; echo d >usr/share/doc/d; echo 1 >usr/bin/one
         echo p >usr/bin/prog; echo t >usr/bin/tool; ln -s one usr/link; echo v >var/dir/v; echo l >lib/l; chmod 1777 tmp
         find . -exec touch -h -d @1500000000 {} +",
    );
    let store = Store::open(scratch.join("store")).unwrap();
    let made = commit_tree(&store, &tree, "base:v1", Compression::Gzip);
    let mut archive = std::fs::File::create(scratch.join("base.tar")).unwrap();
    let names = ["base:v1".to_string()];
    treering::archive::save(
        &store,
        &names,
        treering::archive::Format::DockerArchive,
        &mut archive,
        &control(),
    )
    .unwrap();
    let said = engine.docker(&["load", "-i", scratch.join("base.tar").to_str().unwrap()]);
    assert!(said.contains("base:v1"), "{said}");
    let id = engine.docker(&["image", "inspect", "--format", "{{.Id}} {{json .RootFS.Layers}}", "base:v1"]);
    assert!(id.contains(&made.image_id.to_string()), "{id}");
    assert!(id.contains(&made.layer.unwrap().diff_id.to_string()), "{id}");

    let mut overlays = 0;
    for (number, edit) in EDITS.iter().chain([&EDITS.join("\n")[..]].iter()).enumerate() {
        let name = format!("edit{number}");
        let ran = engine
            .command(&[
                "run",
                "--network=none",
                "--name",
                &name,
                "base:v1",
                "/bin/sh",
                "-euc",
                &format!("cd /\n{edit}"),
            ])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{edit}: {}", String::from_utf8_lossy(&ran.stderr));
        let mut theirs: Vec<String> = engine.docker(&["diff", &name]).lines().map(String::from).collect();
        let by_path = |line: &String| line[2..].to_string();
        theirs.sort_by_key(by_path);
        overlays += usize::from(same_in_the_upper_directory(&engine, &name, &store, &theirs));
        engine.docker(&["rm", &name]);

        let ours_dir = scratch.join(&name);
        unpack(&store, "base:v1", &ours_dir, &UnpackOptions::default(), &control()).unwrap();
        sh(&ours_dir, edit);
        let diff =
            diff_tree(Some(&store), &ours_dir, &Base::Auto, &DiffOptions::default(), &control()).unwrap();
        assert_eq!(lines(&diff), theirs, "{edit}");
    }
    if overlays == 0 {
        println!("SKIP-PART docker: its storage driver here is not overlay2, so there is no upper directory");
    }
}

/// Checks that Docker's own upper directory, decoded and committed, says what `docker diff` says and has the owners it has
/// on disk. `false` where the storage driver has none.
fn same_in_the_upper_directory(engine: &Engine, container: &str, store: &Store, theirs: &[String]) -> bool {
    let place = |what: &str| {
        let format = format!("{{{{.GraphDriver.Name}}}} {{{{index .GraphDriver.Data {what:?}}}}}");
        let said = engine.docker(&["inspect", "--type=container", "--format", &format, container]);
        said.trim().strip_prefix("overlay2 ").map(String::from)
    };
    let (Some(upper), Some(lowers)) = (place("UpperDir"), place("LowerDir")) else { return false };
    let lowers: Vec<PathBuf> = lowers.split(':').map(PathBuf::from).collect();
    let found =
        diff_overlay(Some(store), Path::new(&upper), &lowers, &DiffOptions::default(), &control()).unwrap();
    assert_eq!(lines(&found.diff), theirs, "{upper}");
    let options = CommitOptions { base: Base::Image("base:v1".into()), lowers, ..CommitOptions::default() };
    commit(store, Path::new(&upper), Some("upper:v1"), &options, &control()).unwrap();
    let made = diff_image(store, Some("base:v1"), "upper:v1", &DiffOptions::default(), &control()).unwrap();
    for change in made.listed().filter(|change| change.new != NONE) {
        let (path, meta) = (made.path(change), made.new.meta(change.new));
        let there = Path::new(&upper).join(std::ffi::OsStr::from_bytes(&path));
        // A directory that was not copied up is in the lower ones.
        let Ok(there) = std::fs::symlink_metadata(&there) else { continue };
        assert_eq!((meta.uid, meta.gid), (there.uid(), there.gid()), "{}", treering::error::escape(&path));
    }
    true
}

fn lines(diff: &TreeDiff) -> Vec<String> {
    let line = |change: &Change| {
        format!("{} /{}", change.kind.letter(), treering::error::escape(&diff.path(change)))
    };
    diff.listed().map(line).collect()
}

/// What a checkout leaves is what other tools unpack: GNU tar the layer, umoci the image.
#[test]
fn a_checked_out_tree_is_what_others_unpack() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("sample");
    sample(&tree);
    commit_tree(&store, &tree, "t:1", Compression::None);
    sh(
        &tree,
        "echo other >etc/conf; rm usr/bin/prog2 var/pipe; mkdir -p var/pipe/in; rm -r usr/share; ln etc/conf etc/again
         chmod 700 var; touch -d '2002-02-03 04:05:06' etc/conf var; printf more >>sparse",
    );
    commit_tree(&store, &tree, "t:2", Compression::None);
    let work = scratch.join("work");
    unpack(&store, "t:1", &work, &UnpackOptions::default(), &control()).unwrap();
    // Without privileges the disk does not have all of it, and others do not say what it lacks.
    let like = |theirs: &Path| match is_root() {
        true => same(&work, theirs),
        false => drop(sh(
            scratch.path(),
            &format!("diff -r --no-dereference --exclude=pipe work {}", theirs.display()),
        )),
    };
    let options = CheckoutOptions { discard: true, ..CheckoutOptions::default() };
    for (round, name) in ["t:2", "t:1", "t:2"].into_iter().enumerate() {
        sh(&work, "echo dirt >dirt; rm -rf etc/conf; mkdir -p new; chmod 711 .");
        checkout(&store, name, &work, &options, &control()).unwrap();
        let image = Image::open(&store, name, None).unwrap();
        let blob = scratch.join("store/oci/blobs/sha256").join(image.layers()[0].digest.hex());
        let out = scratch.dir(&format!("tar{round}"));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&out).args(["--xattrs", "--xattrs-include=*", "--numeric-owner"]);
        run(tar.args(["--delay-directory-restore", "-xpf"]).arg(&blob));
        like(&out);
        if !need("umoci", &["--version"]) {
            continue;
        }
        let bundle = scratch.join(&format!("bundle{round}"));
        let mut umoci = Command::new("umoci");
        umoci.args(["unpack", "--image"]).arg(format!("{}:{name}", scratch.join("store/oci").display()));
        if !is_root() {
            umoci.arg("--rootless");
        }
        run(umoci.arg(&bundle));
        like(&bundle.join("rootfs"));
    }
}
