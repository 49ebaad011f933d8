//! Owners that others recorded: fakeroot, umoci's `user.rootlesscontainers`, `user.containers.override_stat`. And what an
//! image says of itself under these names, which must not be believed.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rustix::fs::XattrFlags;
use support::command::World;
use support::is_root;
use support::tar::{Entry, device, dir, fifo, file, hardlink, symlink};
use support::tools::{need, run};
use treering::fs::{Kind, Root};
use treering::layer::read::{LayerReader, ReadChunks, ReadLimits};
use treering::tree::{OwnerPolicy, OwnerSource, OwnerXattr, Scan, ScanOptions, Snapshot};
use treering::{Control, ErrorKind};

const ROOTLESS: &str = "user.rootlesscontainers";
const OVERRIDE: &str = "user.containers.override_stat";

/// Returns kind, permissions, owner and device of everything in a tar, by path.
fn entries(tar: &[u8]) -> BTreeMap<String, String> {
    let mut reader = LayerReader::new(ReadChunks::new(std::io::Cursor::new(tar)), ReadLimits::default());
    let mut out = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let line = format!(
            "{:?} {:o} {}:{} {:?} {}",
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.rdev,
            entry.link.escape_ascii()
        );
        assert_eq!(out.insert(entry.path.escape_ascii().to_string(), line), None);
    }
    out
}

fn scan(path: &Path, source: &OwnerSource) -> treering::Result<Scan> {
    let options = ScanOptions { owner: &OwnerPolicy::Root, owner_from: source, ..ScanOptions::default() };
    treering::tree::scan(&Root::open(path).unwrap(), &options, &Control::default())
}

fn owner(snapshot: &Snapshot, path: &str) -> (u32, u32) {
    let meta = snapshot.meta(snapshot.lookup(path.as_bytes()).unwrap());
    (meta.uid, meta.gid)
}

fn attribute(path: &Path, name: &str) -> Option<String> {
    let mut value = [0u8; 256];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    Some(value[..len].escape_ascii().to_string())
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Returns an image with owners of all sorts, also on what cannot carry an attribute.
fn layer() -> Vec<Entry> {
    vec![
        dir("./").owner(0, 0).mode(0o755),
        dir("home").owner(0, 0),
        dir("home/me").owner(1000, 1001).mode(0o2750),
        file("home/me/f", "x").owner(1000, 1001).mode(0o600),
        hardlink("home/me/g", "home/me/f").owner(1000, 1001).mode(0o600),
        file("bin", "x").mode(0o4755),
        file("group", "x").owner(0, 42),
        file("high", "x").owner(4_000_000, 65_534),
    ]
}

fn image(world: &World, name: &str, entries: &[Entry]) {
    std::fs::write(world.join("layer.tar"), support::tar::tar(entries)).unwrap();
    world.run(&["import", "layer.tar", name]).ok();
}

/// fakeroot's own tar reads what we read.
#[test]
fn a_tree_made_under_fakeroot() {
    if !need("fakeroot", &["--version"]) {
        return;
    }
    let world = World::new();
    world.sh(
        "umask 022; fakeroot -s save sh -euc '
            mkdir -p t/dev t/home; echo x >t/home/f; chown 1000:1001 t/home/f; chmod 640 t/home/f; ln t/home/f t/home/g
            echo x >t/bin; chown 0:5 t/bin; chmod 4755 t/bin; mknod t/dev/null c 1 3; chmod 666 t/dev/null
            mknod t/dev/sda b 8 300; mkfifo t/pipe; chown 7:8 t/pipe; ln -s f t/home/l; chown -h 9:10 t/home/l
            chown 3:4 t/home; chmod 1777 t/home; echo mine >t/plain; find t -exec touch -h -d @1000000000 {} +'",
    );
    let expected = run(Command::new("fakeroot").current_dir(world.path()).args([
        "-i",
        "save",
        "sh",
        "-c",
        "tar --numeric-owner --sort=name -C t -cf all.tar . && tar -tvf all.tar",
    ]));
    assert!(expected.contains("1000/1001"), "{expected}");
    let from = "fakeroot:save";
    world
        .run(&["layer", "create", "t", "--owner-from", from, "--compression", "none", "-o", "ours.tar"])
        .ok();
    let read = |name: &str| entries(&std::fs::read(world.join(name)).unwrap());
    assert_eq!(read("ours.tar"), read("all.tar"));

    // Once committed, the file is not needed again: what it said is in the ledger, of this tree and of its copies.
    world.run(&["commit", "t", "app:v1", "--owner-from", from]).ok();
    std::fs::remove_file(world.join("save")).unwrap();
    assert_eq!(world.run(&["diff", "t"]).ok().text(), "");
    world.run(&["export", "t", "-o", "tree.tar"]).ok();
    assert_eq!(read("tree.tar"), read("all.tar"));
    world.run(&["unpack", "app:v1", "copy"]).ok();
    assert_eq!(world.run(&["diff", "t", "copy"]).ok().text(), "");
    // The user's own change of mode counts, a new file of the old name is a new file.
    world.sh("chmod 600 t/home/f; rm t/bin; echo new >t/bin; chmod 700 t/bin");
    world.run(&["export", "t", "-o", "tree.tar"]).ok();
    let changed = read("tree.tar");
    assert_eq!(changed["home/f"], "File 600 1000:1001 (0, 0) ");
    assert_eq!(changed["bin"], "File 700 0:0 (0, 0) ");
}

/// fakeroot's file names inodes; an index from before has nothing of it.
#[test]
fn a_save_file_is_asked_for_what_has_not_changed() {
    if !need("fakeroot", &["--version"]) {
        return;
    }
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.sh("fakeroot -s save chown 5:6 tree/etc/motd");
    let diff = world.run(&["diff", "tree", "--owner-from", "fakeroot:save", "--reasons"]).ok();
    assert_eq!(diff.text(), "C /etc\tparent\nC /etc/motd\towner\n");
    world.run(&["commit", "tree", "app:v2", "--owner-from", "fakeroot:save"]).ok();
    assert_eq!(world.run(&["diff", "tree"]).ok().text(), "");
    assert_eq!(
        world.run(&["diff", "app:v1", "app:v2", "--reasons"]).ok().text(),
        "C /etc\tparent\nC /etc/motd\towner\n"
    );
}

/// What umoci writes down is what we read, and what we write is what umoci writes.
#[test]
fn umoci_and_we_write_the_same_attribute() {
    if !need("umoci", &["--version"]) {
        return;
    }
    let world = World::new();
    image(&world, "app:v1", &layer());
    let source = format!("{}:app:v1", world.join("store/oci").display());
    run(Command::new("umoci")
        .arg("unpack")
        .arg("--rootless")
        .arg("--image")
        .arg(source)
        .arg(world.join("umoci")));
    world.run(&["unpack", "--owner-xattr", "rootlesscontainers", "app:v1", "ours"]).ok();
    let (theirs, ours) = (world.join("umoci/rootfs"), world.join("ours"));
    let seen = scan(&theirs, &OwnerSource::Xattr(OwnerXattr::RootlessContainers)).unwrap().snapshot;
    let again = scan(&ours, &OwnerSource::Xattr(OwnerXattr::RootlessContainers)).unwrap().snapshot;
    for entry in layer() {
        let path = std::str::from_utf8(&entry.path).unwrap().trim_start_matches("./");
        // Where one of the two is root, umoci says "as it is" and we say 0.
        if (entry.uid == 0) == (entry.gid == 0) {
            assert_eq!(
                attribute(&ours.join(path), ROOTLESS),
                attribute(&theirs.join(path), ROOTLESS),
                "{path}"
            );
        }
        assert_eq!(owner(&seen, path), (entry.uid, entry.gid), "{path}");
        assert_eq!(owner(&again, path), (entry.uid, entry.gid), "{path}");
        let index = seen.lookup(path.as_bytes()).unwrap();
        assert!(seen.xattrs(index).is_empty(), "the attribute of {path} is no attribute of the file");
    }
    assert_eq!(attribute(&ours.join("home/me/f"), ROOTLESS).unwrap(), r"\x08\xe8\x07\x10\xe9\x07");
    assert_eq!(attribute(&ours.join("bin"), ROOTLESS), None);
}

/// A tree unpacked with either attribute compares as clean, gives owners without the store, and what a tool changes in the
/// attribute is a change of owner.
#[test]
fn unpacked_for_another_tool() {
    for kind in OwnerXattr::ALL {
        let world = World::new();
        let mut layer = layer();
        layer.push(device("null", b'3', (1, 3)).owner(0, 6).mode(0o666));
        image(&world, "app:v1", &layer);
        world.run(&["unpack", "--owner-xattr", &kind.to_string(), "app:v1", "work"]).ok();
        assert_eq!(world.run(&["diff", "work"]).ok().text(), "", "{kind}");
        let name = std::str::from_utf8(kind.name()).unwrap();
        let work = world.join("work");
        let seen = scan(&work, &OwnerSource::Xattr(kind)).unwrap().snapshot;
        for path in ["home", "home/me", "home/me/g", "group", "high"] {
            let entry = layer.iter().find(|entry| entry.path == path.as_bytes()).unwrap();
            assert_eq!(owner(&seen, path), (entry.uid, entry.gid), "{path}");
        }
        if kind == OwnerXattr::OverrideStat {
            // Permissions and devices, too, and the root, by which fuse-overlayfs recognises such a tree.
            assert_eq!(attribute(&work, name).unwrap(), "0:0:0755:dir");
            assert_eq!(attribute(&work.join("home/me"), name).unwrap(), "1000:1001:2750:dir");
            assert_eq!(seen.meta(seen.lookup(b"bin").unwrap()).mode, 0o4755);
            if !is_root() {
                assert_eq!(attribute(&work.join("null"), name).unwrap(), "0:6:0666:char-1-3");
                let null = seen.meta(seen.lookup(b"null").unwrap());
                assert_eq!((null.kind, null.rdev, null.gid), (Kind::CharDevice, (1, 3), 6));
            }
        }
        // A tool inside gives a file away.
        let value: &[u8] = match kind {
            OwnerXattr::RootlessContainers => b"\x08\x07\x10\x08",
            OwnerXattr::OverrideStat => b"7:8:0644:file",
        };
        set(&work.join("high"), name, value);
        let diff = world.run(&["diff", "work", "--reasons"]).ok();
        assert_eq!(diff.text(), "C /high\towner\n", "{kind}");
        world.run(&["commit", "work", "app:v2"]).ok();
        assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
        world.run(&["export", "app:v2", "-o", "v2.tar"]).ok();
        let exported = entries(&std::fs::read(world.join("v2.tar")).unwrap());
        assert_eq!(exported["high"], "File 644 7:8 (0, 0) ");
        // A layer applied on top says its owners in the same attribute.
        std::fs::write(world.join("more.tar"), support::tar::tar(&[file("new", "x").owner(5, 6)])).unwrap();
        world.run(&["layer", "apply", "more.tar", "work"]).ok();
        assert_eq!(owner(&scan(&work, &OwnerSource::Xattr(kind)).unwrap().snapshot, "new"), (5, 6));
        assert_eq!(world.run(&["diff", "work"]).ok().text(), "A /new\n");
    }
}

/// Owners of what carries no attribute of users are lost to other tools, and that is reported.
#[test]
fn what_carries_no_attribute_is_reported() {
    if is_root() {
        println!("SKIP-PART as root these owners are on disk");
        return;
    }
    let world = World::new();
    image(&world, "app:v1", &[symlink("l", "x").owner(5, 6), symlink("m", "x"), fifo("p").owner(0, 7)]);
    let run = world.run(&["unpack", "--owner-xattr", "override-stat", "app:v1", "work"]).ok();
    for path in ["/l", "/p"] {
        assert!(run.stderr.contains(&format!("{path}: {OVERRIDE} is lost")), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("/m:"), "{}", run.stderr);
    let denied = ["unpack", "--owner-xattr", "override-stat", "--deny-loss", "app:v1", "other"];
    world.run(&denied).fails(1, OVERRIDE);
    // The store has them all the same.
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
}

/// An attribute out of an image never gets onto the disk, where it would be believed, and is not lost either.
#[test]
fn an_image_is_not_believed() {
    let world = World::new();
    let lying = [
        file("r", "x").owner(1, 2).xattr(ROOTLESS, b"\x08\x07\x10\x08"),
        file("o", "x").owner(1, 2).xattr(OVERRIDE, "7:8:4755:file"),
        file("n", "").xattr(OVERRIDE, "0:0:0666:char-1-3"),
        dir("d").owner(1, 2).xattr(OVERRIDE, "7:8:0777:dir").xattr(ROOTLESS, b"nonsense"),
    ];
    image(&world, "app:v1", &lying);
    for (number, flags) in
        [&[][..], &["--owner-xattr", "rootlesscontainers"], &["--owner-xattr", "override-stat"]]
            .iter()
            .enumerate()
    {
        let work = format!("work{number}");
        world.run(&[&["unpack"], *flags, &["app:v1", &work]].concat()).ok();
        for path in ["r", "o", "n", "d"] {
            let path = world.join(&work).join(path);
            let ours = |name| flags.last().is_some_and(|flag| name == attribute_of(flag));
            let lies =
                ["\\x08\\x07\\x10\\x08", "7:8:4755:file", "0:0:0666:char-1-3", "7:8:0777:dir", "nonsense"];
            for name in [ROOTLESS, OVERRIDE] {
                let value = attribute(&path, name);
                assert!(value.is_none() || ours(name), "{path:?} has {name}");
                assert!(
                    value.is_none_or(|value| !lies.contains(&&value[..])),
                    "{path:?} has the image's {name}"
                );
            }
        }
        // Neither the store's word on the tree nor a source named by hand gives anything to the image's.
        for source in [&[][..], &["--owner-from", "rootlesscontainers"], &["--owner-from", "override-stat"]] {
            world.run(&[&["export", &work, "-o", "tree.tar"], source].concat()).ok();
            let found = entries(&std::fs::read(world.join("tree.tar")).unwrap());
            assert_eq!(found["r"], "File 644 1:2 (0, 0) ", "{flags:?} {source:?}");
            assert_eq!(found["o"], "File 644 1:2 (0, 0) ");
            assert_eq!(found["n"], "File 644 0:0 (0, 0) ");
            assert_eq!(found["d"], "Directory 755 1:2 (0, 0) ");
        }
        // They are attributes like others, and stay.
        assert_eq!(world.run(&["diff", &work]).ok().text(), "");
        let listed = world.run(&["diff", &work, "--compare", "content"]).ok();
        assert_eq!(listed.text(), "");
    }
    // Applied once more, over the tree: what stands there is not taken for a tool's.
    world.run(&["layer", "apply", "layer.tar", "work0"]).ok();
    for (path, name) in [("r", ROOTLESS), ("o", OVERRIDE), ("n", OVERRIDE), ("d", ROOTLESS)] {
        assert_eq!(attribute(&world.join("work0").join(path), name), None, "{path}");
    }
}

fn attribute_of(flag: &str) -> &'static str {
    match flag {
        "rootlesscontainers" => ROOTLESS,
        _ => OVERRIDE,
    }
}

#[test]
fn attributes_that_nobody_asked_about_are_attributes() {
    let world = World::with_tree();
    set(&world.join("tree/etc/motd"), ROOTLESS, b"\x08\x07\x10\x08");
    let plain = scan(&world.join("tree"), &OwnerSource::Nothing).unwrap().snapshot;
    assert_eq!(owner(&plain, "etc/motd"), (0, 0));
    assert!(plain.xattrs(plain.lookup(b"etc/motd").unwrap()).get(ROOTLESS.as_bytes()).is_some());
    let other = scan(&world.join("tree"), &OwnerSource::Xattr(OwnerXattr::OverrideStat)).unwrap().snapshot;
    assert_eq!(owner(&other, "etc/motd"), (0, 0));
}

#[test]
fn an_attribute_that_makes_no_sense_is_an_error() {
    let world = World::with_tree();
    let motd = world.join("tree/etc/motd");
    let source = OwnerSource::Xattr(OwnerXattr::OverrideStat);
    for value in
        ["", "0:0", "0:0:0644:dir", "0:0:0644:char-1-3", "0:0:0644:symlink", "a:b:c", "0:0:0644:socket"]
    {
        set(&motd, OVERRIDE, value.as_bytes());
        let error = scan(&world.join("tree"), &source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{value}");
        assert!(error.to_string().contains("etc/motd: user.containers.override_stat"), "{error}");
    }
    world.run(&["diff", "tree", "--owner-from", "override-stat"]).fails(1, "is not usable");
    // An empty file may stand for a socket, which is in no layer.
    std::fs::write(&motd, "").unwrap();
    let found = scan(&world.join("tree"), &source).unwrap();
    assert!(found.snapshot.lookup(b"etc/motd").is_none());
    assert_eq!(found.skipped[0].path, b"etc/motd");
    world.run(&["diff", "tree", "--owner-from", "nobody"]).fails(2, "expected none, rootlesscontainers");
    world
        .run(&["diff", "tree", "--owner-from", "fakeroot:tree/bin/hello"])
        .fails(1, "line 1 is not a line of fakeroot's");
}

/// An upper directory of fuse-overlayfs gives the owners of what was copied up or made.
#[test]
fn an_upper_directory_with_override_stat() {
    let world = World::new();
    world.sh(
        "umask 022; mkdir -p lower/d upper/d; echo old >lower/d/f; echo same >lower/d/s; echo new >upper/d/f
         : >upper/null; find . -exec touch -h -d @1000000000 {} +",
    );
    for (path, value) in [
        ("lower/d", "3:4:0755:dir"),
        ("lower/d/f", "1:2:0644:file"),
        ("upper/d", "3:4:0755:dir"),
        ("upper/d/f", "1:5:0644:file"),
        ("upper/null", "0:6:0666:char-1-3"),
    ] {
        set(&world.join(path), OVERRIDE, value.as_bytes());
    }
    let diff = ["diff", "--upper", "upper", "--lower", "lower", "--owner-from", "override-stat", "--reasons"];
    assert_eq!(world.run(&diff).ok().text(), "C /d\tparent\nC /d/f\tcontent,owner\nA /null\n");
    world.run(&["commit", "lower", "app:v1", "--owner-from", "override-stat"]).ok();
    let commit = ["commit", "--upper", "upper", "--lower", "lower", "--base", "app:v1"];
    world.run(&[&commit[..], &["--owner-from", "override-stat", "app:v2"]].concat()).ok();
    world.run(&["export", "app:v2", "-o", "v2.tar"]).ok();
    let exported = entries(&std::fs::read(world.join("v2.tar")).unwrap());
    assert_eq!(exported["d"], "Directory 755 3:4 (0, 0) ");
    assert_eq!(exported["d/f"], "File 644 1:5 (0, 0) ");
    assert_eq!(exported["null"], "CharDevice 666 0:6 (1, 3) ");
}

/// Returns an image with owners of a user's own, as a lower directory is unpacked from.
fn lower_image(world: &World) {
    let mut entries = vec![dir("./").owner(0, 0).mode(0o755), dir("etc").owner(33, 44).mode(0o750)];
    for name in ["mode", "written", "replaced", "moved", "twice"] {
        entries.push(file(&format!("etc/{name}"), "content").owner(33, 44).mode(0o640));
    }
    entries.push(hardlink("etc/again", "etc/twice").owner(33, 44).mode(0o640));
    entries.push(file("etc/su", "x").owner(5, 6).mode(0o4755));
    entries.push(symlink("etc/link", "mode").owner(7, 8));
    image(world, "app:v1", &entries);
}

/// Commits `upper` over `lower`, and returns what its image has.
fn committed_upper(world: &World, flags: &[&str]) -> BTreeMap<String, String> {
    let commit = ["commit", "--upper", "upper", "--lower", "lower", "--base", "app:v1"];
    world.run(&[&commit[..], flags, &["app:v2"]].concat()).ok();
    world.run(&["export", "app:v2", "-o", "v2.tar"]).ok();
    entries(&std::fs::read(world.join("v2.tar")).unwrap())
}

/// A copy has another inode than the one that the ledger names, and the owners of that all the same.
#[test]
fn what_was_copied_up_keeps_the_owner_that_is_recorded() {
    let world = World::new();
    lower_image(&world);
    for flags in [&[][..], &["--owner-xattr", "rootlesscontainers"], &["--owner-xattr", "override-stat"]] {
        world.run(&[&["unpack"], flags, &["app:v1", "lower"]].concat()).ok();
        // As the kernel copies up where it has no file handles.
        world.sh(
            "cp -a lower upper; cd upper/etc; for f in mode written twice; do setfattr -n user.overlay.origin $f; done
             chmod 600 mode; echo more >>written; rm again replaced; echo new >replaced; chmod 644 replaced; chmod 700 twice
             setfattr -n user.overlay.opaque -v n .",
        );
        let list = world.run(&["diff", "--upper", "upper", "--lower", "lower", "--reasons"]).ok();
        let changed = list.text().to_string();
        assert!(!changed.contains("/su") && !changed.contains("/link"), "{flags:?}: {changed}");
        let found = committed_upper(&world, &[]);
        assert_eq!(found["etc"], "Directory 750 33:44 (0, 0) ", "{flags:?}");
        // The mode is in this attribute as well, which chmod(2) does not change.
        let mode = |mode| if flags.contains(&"override-stat") { "640" } else { mode };
        assert_eq!(found["etc/mode"], format!("File {} 33:44 (0, 0) ", mode("600")), "{flags:?}");
        assert_eq!(found["etc/written"], "File 640 33:44 (0, 0) ", "{flags:?}");
        assert_eq!(found["etc/twice"], format!("File {} 33:44 (0, 0) ", mode("700")), "{flags:?}");
        assert_eq!(found["etc/su"], "File 4755 5:6 (0, 0) ", "{flags:?}");
        // This one is another file than before.
        assert_eq!(found["etc/replaced"], "File 644 0:0 (0, 0) ", "{flags:?}");
        world.sh("chmod -R u+rwX lower upper; rm -rf lower upper");
    }
}

/// The same through a mount, where this machine makes one.
#[test]
fn what_the_kernel_copied_up_keeps_the_owner_that_is_recorded() {
    let world = World::new();
    lower_image(&world);
    world.run(&["unpack", "app:v1", "lower"]).ok();
    std::fs::create_dir(world.join("upper")).unwrap();
    std::fs::create_dir(world.join("work")).unwrap();
    std::fs::create_dir(world.join("merged")).unwrap();
    let script = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged || exit 77
        cd merged/etc; chmod 600 mode; echo more >>written; rm replaced; echo new >replaced; chmod 644 replaced
        chmod 700 twice; chmod 4711 su; touch .";
    let flags = if is_root() { "-m" } else { "-Urm" };
    let out = Command::new("unshare").args([flags, "sh", "-euc", script]).current_dir(world.path()).output();
    let out = out.unwrap();
    if out.status.code() != Some(0) {
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(77) || text.contains("unshare"), "{text}");
        support::tools::missing("PART", "overlay", "this machine does not let us mount an overlay");
        return;
    }
    let found = committed_upper(&world, &[]);
    assert_eq!(found["etc"], "Directory 750 33:44 (0, 0) ");
    assert_eq!(found["etc/mode"], "File 600 33:44 (0, 0) ");
    assert_eq!(found["etc/written"], "File 640 33:44 (0, 0) ");
    assert_eq!(found["etc/twice"], "File 700 33:44 (0, 0) ");
    assert_eq!(found["etc/again"], "File 640 33:44 (0, 0) ");
    assert_eq!(found["etc/su"], "File 4711 5:6 (0, 0) ");
    assert_eq!(found["etc/replaced"], "File 644 0:0 (0, 0) ");
}
