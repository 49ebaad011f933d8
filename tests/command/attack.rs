//! The command under bad circumstances: hostile input with little memory, decoys, signals, disks that are full or not to be
//! written, names that are no text. Each error names what it is about, and nothing half done stays.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use support::command::{Run, World, run};
use support::tools::{missing, need};

/// Returns whether we may mount here. In a namespace of its own, as root; or as root of a user namespace.
pub fn unshare(test: &str) -> Option<&'static str> {
    let flags = if support::is_root() { "-m" } else { "-Urm" };
    let works = Command::new("unshare").args([flags, "true"]).output().is_ok_and(|out| out.status.success());
    if !works {
        missing("PART", test, "no mount namespaces here");
    }
    works.then_some(flags)
}

fn header(name: &str, flag: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    for field in [100..107, 108..115, 116..123] {
        block[field].fill(b'0');
    }
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].fill(b'0');
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Makes a file that begins with `head` and is a hole from there on.
fn large(path: &Path, head: &[u8], size: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(head).unwrap();
    file.set_len(size).unwrap();
}

fn entry(name: &str, body: &[u8]) -> Vec<u8> {
    let mut out = header(name, b'0', body.len() as u64);
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// An allocation that fails ends a Rust program at once, so whatever an input announces has to be refused before it is
/// asked for.
#[test]
fn hostile_input_with_little_memory_is_an_error() {
    let world = World::unpacked();
    let limited = |line: &[&str]| -> Run {
        let start = Instant::now();
        let run = world.by_shell("ulimit -v 400000; exec \"$@\"", line);
        assert!(start.elapsed() < Duration::from_secs(30), "{line:?}: {:?}", start.elapsed());
        run
    };
    // Enough for what is no attack.
    limited(&["diff", "work"]).ok();
    limited(&["save", "-o", "good.tar", "app:v1"]).ok();
    limited(&["load", "-i", "good.tar"]).ok();

    let huge = 0o77777777777;
    for flag in *b"xgLK" {
        large(&world.join("long.tar"), &header("name", flag, huge), huge);
        for line in
            [&["layer", "ls", "long.tar"][..], &["import", "long.tar", "x:y"], &["load", "-i", "long.tar"]]
        {
            limited(line).fails(1, "long.tar");
        }
    }
    // Documents: one that is large, one that is deep, one that says it is large.
    for (name, body) in [("manifest.json", b"[".repeat(300_000)), ("index.json", b"{\"a\":".repeat(300_000))]
    {
        let layout = entry("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        std::fs::write(world.join("deep.tar"), [layout, entry(name, &body)].concat()).unwrap();
        limited(&["load", "-i", "deep.tar"]).fails(1, "nested more than 64 levels");
        large(&world.join("big.tar"), &header(name, b'0', huge), huge);
        limited(&["load", "-i", "big.tar"]).fails(1, "more than");
    }
    // zstd: a window of 2 GiB, and content of 2^62 bytes; gzip and zstd of nothing but beginnings.
    let window = [&b"\x28\xb5\x2f\xfd\x00\xa8"[..], &[0x01, 0, 0]].concat();
    let content =
        [&b"\x28\xb5\x2f\xfd\xe0"[..], &(1u64 << 62).to_le_bytes(), &[0x03, 0xff, 0xff, 0]].concat();
    for blob in [&window[..], &content, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", b"\x28\xb5\x2f\xfd"] {
        std::fs::write(world.join("packed"), blob).unwrap();
        limited(&["layer", "ls", "packed"]).fails(1, "packed");
        limited(&["import", "packed", "x:y"]).fails(1, "packed");
    }
    // A snapshot that counts to four billion, and one that is a hole.
    world.run(&["snapshot", "tree", "-o", "snapshot"]).ok();
    let mut snapshot = std::fs::read(world.join("snapshot")).unwrap();
    snapshot[12..16].fill(0xff);
    std::fs::write(world.join("snapshot"), &snapshot).unwrap();
    assert_eq!(limited(&["diff", "snapshot", "tree"]).code(1).text(), "");
    large(&world.join("snapshot"), &snapshot[..128], 1 << 40);
    assert_eq!(limited(&["diff", "snapshot", "tree"]).code(1).text(), "");
    // The store's own index, damaged.
    large(&world.join("store/oci/index.json"), b"{", 1 << 30);
    limited(&["images"]).fails(1, "index.json");
    let run = limited(&["fsck"]).code(1);
    assert!(run.text().contains("index.json"), "{}", run.text());
}

/// CVE-2019-14271 and its like: a tree full of programs and libraries that a reader might run.
#[test]
fn nothing_of_a_tree_is_run_or_loaded() {
    if !need("strace", &["-o", "/dev/null", "true"]) {
        return;
    }
    let world = World::with_tree();
    world.sh(
        "cd tree; mkdir -p usr/bin sbin lib/x86_64-linux-gnu etc/x; printf '#!/bin/sh\\ntouch RAN\\n' >usr/bin/tar
         for name in gzip gunzip unpigz pigz xz unxz zstd unzstd bzip2 sh newuidmap newgidmap; do cp usr/bin/tar usr/bin/$name; done
         chmod 755 usr/bin/*; cp -r usr/bin/. sbin/
         for name in libnss_files.so.2 libnss_dns.so.2 libc.so.6 libz.so.1 libgcc_s.so.1; do echo no >lib/x86_64-linux-gnu/$name; done
         ln -s /etc/passwd etc/passwd; mkfifo etc/group; ln -s /dev/zero etc/nsswitch.conf; ln -s . lib/lib64",
    );
    // From inside the tree, with its directories first wherever anybody might look.
    let script = "cd tree; export PATH=$PWD/usr/bin:$PATH; exec strace -f -qq -e trace=execve,execveat,openat,open -o ../trace \"$@\"";
    let lines: [&[&str]; 9] = [
        &["commit", ".", "app:v1", "--compression", "gzip"],
        &["commit", "--base", "scratch", ".", "app:v2", "--compression", "zstd", "--owner", "root"],
        &["diff", "app:v1", "."],
        &["unpack", "app:v1", "../out"],
        &["unpack", "app:v2", "../out2"],
        &["export", "app:v2", "-o", "../flat.tar"],
        &["import", "../flat.tar", "flat:v1"],
        &["save", "app:v1", "-o", "../app.tar"],
        &["load", "-i", "../app.tar"],
    ];
    for line in lines {
        world.by_shell(script, line).ok();
        let trace = std::fs::read_to_string(world.join("trace")).unwrap();
        let run: Vec<&str> = trace.lines().filter(|line| line.contains("exec")).collect();
        assert_eq!(run.len(), 1, "{line:?} runs: {run:#?}");
        // Names of users are not looked up, on the host or in the tree: numbers are all there is. A library in the tree is
        // content, read by one name below an open directory; the links and the pipe are no content at all.
        let asked = ["passwd\"", "/group\"", "\"group\"", "nsswitch", "libnss"];
        let content = |line: &str| line.contains("\"libnss") && line.contains("O_NOFOLLOW");
        let opened: Vec<&str> = trace
            .lines()
            .filter(|line| asked.iter().any(|name| line.contains(name)) && !content(line))
            .collect();
        assert!(opened.is_empty(), "{line:?} opens: {opened:#?}");
    }
    assert!(!world.join("RAN").exists() && !world.join("tree/RAN").exists());
}

/// Waits until a child has written so many bytes, or has ended.
fn written(child: &mut std::process::Child, bytes: u64) {
    let io = format!("/proc/{}/io", child.id());
    while child.try_wait().unwrap().is_none() {
        let io = std::fs::read_to_string(&io).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok());
        if written.is_some_and(|written| written >= bytes) {
            return;
        }
        std::thread::yield_now();
    }
}

/// A signal ends the program where it is. The store is as it was or has the new image; what is left over, prune takes.
#[test]
fn a_signal_in_the_midst_of_a_commit() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.sh("head -c 12000000 /dev/urandom >tree/large");
    world.run(&["commit", "--base", "scratch", "--owner", "root", "tree", "full:v1"]).ok();
    // In two of three rounds the image cannot get its name, so that the signal always finds the program at work; in the third
    // the two race.
    let index = std::fs::File::open(world.join("store/index.lock")).unwrap();
    let (mut ended, mut done) = (0, 0);
    for round in 0..24u64 {
        let held = round % 3 != 2;
        if held {
            index.lock().unwrap();
        }
        let name = format!("new:v{round}");
        let mut child = world.command(&["commit", "--base", "scratch", "tree", &name]).spawn().unwrap();
        // What is random does not shrink: this much is written for sure.
        written(&mut child, 12_000_000 * round / 24);
        let pid = rustix::process::Pid::from_child(&child);
        let signal =
            if round % 2 == 0 { rustix::process::Signal::INT } else { rustix::process::Signal::TERM };
        let _ = rustix::process::kill_process(pid, signal);
        let status = child.wait().unwrap();
        index.unlock().unwrap();
        assert!(!held || status.code().is_none(), "{status}: it gave a name while the index was locked");
        let there = world.run(&["inspect", &name]).status.success();
        match status.code() {
            Some(0) => done += 1,
            _ => {
                use std::os::unix::process::ExitStatusExt;
                assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
                ended += 1;
            }
        }
        assert!(there || status.code() != Some(0), "reported and not there");
        if there {
            world.run(&["unpack", &name, &format!("out{round}")]).ok();
        }
    }
    eprintln!("{ended} ended by a signal, {done} done before");
    world.run(&["inspect", "app:v1", "full:v1"]).ok();
    world.run(&["prune", "-f"]).ok();
    let run = world.run(&["fsck"]);
    assert!(run.text().is_empty() || run.text().contains("no problems"), "{}{}", run.text(), run.stderr);
    assert_eq!(world.sh("ls -A store/tmp"), "");
}

#[test]
fn a_store_that_cannot_be_written() {
    let Some(flags) = unshare("a_store_that_cannot_be_written") else { return };
    let world = World::unpacked();
    world.run(&["save", "-o", "app.tar", "app:v1"]).ok();
    world.sh("echo x >work/x");
    let read_only = |line: &[&str]| {
        let script = format!(
            "exec unshare {flags} sh -euc 'mount --bind store store; mount -o remount,ro,bind store; exec \"$@\"' sh \"$@\""
        );
        world.by_shell(&script, line)
    };
    for line in [
        &["images"][..],
        &["inspect", "app:v1"],
        &["history", "app:v1"],
        &["df"],
        &["fsck"],
        &["diff", "work"],
        &["save", "-o", "again.tar", "app:v1"],
        &["export", "-o", "flat.tar", "app:v1"],
        &["info"],
    ] {
        read_only(line).ok();
    }
    for line in [
        &["commit", "work", "app:v2"][..],
        &["tag", "app:v1", "app:v2"],
        &["rmi", "app:v1"],
        &["load", "-i", "app.tar"],
        &["import", "flat.tar", "flat:v1"],
        &["unpack", "app:v1", "elsewhere"],
    ] {
        read_only(line).fails(1, "read-only file system");
    }
    // An image without recorded owners is not unpacked.
    assert_eq!(world.sh("ls -A"), "again.tar\napp.tar\nflat.tar\nstore\ntree\nwork\n");
    assert_eq!(world.run(&["images", "-q"]).ok().lines().len(), 1);
}

#[test]
fn a_full_disk_is_named_and_nothing_half_written_stays() {
    let Some(flags) = unshare("a_full_disk_is_named_and_nothing_half_written_stays") else { return };
    let world = World::unpacked();
    world.sh("mkdir full; head -c 3000000 /dev/urandom >work/large");
    world.run(&["commit", "work", "app:v2"]).ok();
    world.run(&["save", "-o", "app.tar", "app:v2"]).ok();
    let on_full = |line: &[&str], left: &str, expected: &str| {
        let script = format!(
            "exec unshare {flags} sh -euc 'mount -t tmpfs -o size=1m none full; code=0; \"$@\" || code=$?; \
             test \"$(ls -A full)\" = \"{left}\" || {{ ls -A full >&2; exit 9; }}; exit $code' sh \"$@\""
        );
        let run = world.by_shell(&script, line).fails(1, "no space left on device");
        assert!(run.stderr.contains(expected) && run.stderr.contains("\nhint: "), "{line:?}: {}", run.stderr);
    };
    on_full(&["unpack", "app:v2", "full/t"], "", "large");
    on_full(&["save", "-o", "full/x.tar", "app:v2"], "", "full/x.tar");
    on_full(&["export", "-o", "full/x.tar", "app:v2"], "", "full/x.tar");
    on_full(&["layer", "create", "-o", "full/x.tar", "work"], "", "full/x.tar");
    on_full(&["--root", "full/s", "commit", "work", "a:b"], "s", "tmp");
    on_full(&["--root", "full/s", "load", "-i", "app.tar"], "s", "tmp");
}

#[test]
fn names_that_are_no_text_go_through_every_verb() {
    let world = World::with_tree();
    for name in [&b"caf\xe9 \xff"[..], b"two\nlines", b"-dash", b" ", &[b'n'; 251], b"back\\slash\x1b[31m"] {
        let os = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_os_string();
        let dir = os(name);
        let dotted = os(&[b"./", name].concat());
        let go = |line: &[&std::ffi::OsStr]| run(world.command(&[]).args(line));
        let word = std::ffi::OsStr::new;
        std::fs::create_dir(world.join("tree").join(&dir)).unwrap();
        std::fs::write(world.join("tree").join(&dir).join(&dir), "x").unwrap();
        go(&[word("commit"), word("tree"), word("odd:v1")]).ok();
        go(&[word("unpack"), word("odd:v1"), &dotted]).ok();
        assert_eq!(go(&[word("diff"), &dotted]).ok().text(), "");
        std::fs::remove_file(world.path().join(&dir).join(&dir).join(&dir)).unwrap();
        let listed = go(&[word("diff"), &dotted]).ok().stdout;
        let expected = [b"C /", name, b"\nD /", name, b"/", name, b"\n"].concat();
        assert_eq!(listed, expected, "{}", name.escape_ascii());
        go(&[word("commit"), &dotted, word("odd:v2")]).ok();
        let archive = os(&[b"./", &name[..name.len().min(200)], b".tar"].concat());
        go(&[word("save"), word("-o"), &archive, word("odd:v2")]).ok();
        go(&[word("load"), word("-i"), &archive]).ok();
        // In a message it is text, on one line, without what a terminal would obey.
        let gone = os(&[b"./gone/", name].concat());
        let run = go(&[word("commit"), &gone, word("x:y")]).fails(1, "no such file or directory");
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(!run.stderr.contains('\x1b') && run.stderr.contains("./gone/"), "{}", run.stderr);
        std::fs::remove_dir_all(world.path().join(&dir)).unwrap();
        std::fs::remove_dir_all(world.join("tree").join(&dir)).unwrap();
    }
    world.run(&["fsck"]).ok();
}

#[test]
fn what_may_not_be_read_is_named() {
    if support::is_root() {
        return missing_for_root();
    }
    let world = World::with_tree();
    // A file of one's own can be read all the same, a directory not.
    world.sh("mkdir tree/d; echo x >tree/d/f; chmod 0 tree/d");
    let run = world.run(&["commit", "tree", "a:b"]).fails(1, "open directory: tree/d: permission denied");
    assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
    world.run(&["diff", "tree"]).code(1);
    world.sh("chmod 600 tree/d");
    world.run(&["commit", "tree", "a:b"]).fails(1, "tree/d/f: permission denied");
    world.sh("chmod 700 tree/d; chmod 0 tree");
    world.run(&["commit", "tree", "a:b"]).fails(1, "open tree: tree: permission denied");
    world.sh("chmod 700 tree; chmod 500 .");
    world.run(&["unpack", "a:b", "out"]).code(1);
    world.run(&["save", "-o", "x.tar", "a:b"]).code(1);
    world.sh("chmod 700 .");
    assert_eq!(world.run(&["images", "-q"]).ok().text(), "");
    assert_eq!(world.sh("ls -A"), "store\ntree\n");
}

/// Prints that root leaves this out, since it may read everything: the run of the tests without privileges has the other half.
fn missing_for_root() {
    println!("what_may_not_be_read_is_named: nothing to refuse to root");
}

/// Few bytes that name one thing any number of times, each of them any number of times again.
#[test]
fn one_thing_named_again_and_again() {
    let world = World::unpacked();
    let limited = |line: &[&str]| -> Run {
        let start = Instant::now();
        let run = world.by_shell("ulimit -v 400000; exec \"$@\"", line);
        assert!(start.elapsed() < Duration::from_secs(20), "{line:?}: {:?}", start.elapsed());
        run
    };
    // Three indexes, each with the one below it 2,000 times.
    world.run(&["save", "--format", "oci-archive", "-o", "good.tar", "app:v1"]).ok();
    world.sh("mkdir oci; tar -C oci -xf good.tar; chmod -R u+w oci");
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.join("oci/index.json")).unwrap()).unwrap();
    let mut child = index["manifests"][0].clone();
    child.as_object_mut().unwrap().remove("annotations");
    for _ in 0..3 {
        let document = json!({ "schemaVersion": 2, "manifests": vec![child; 2000] }).to_string();
        let digest = treering::Digest::of(document.as_bytes());
        std::fs::write(world.join("oci/blobs/sha256").join(digest.hex()), &document).unwrap();
        child = json!({ "mediaType": treering::image::OCI_INDEX, "digest": digest, "size": document.len() });
    }
    child["annotations"] = json!({ "org.opencontainers.image.ref.name": "laughs:v1" });
    let document = json!({ "schemaVersion": 2, "manifests": [child] }).to_string();
    std::fs::write(world.join("oci/index.json"), document).unwrap();
    world.sh("tar -C oci -cf laughs.tar .");
    limited(&["load", "-i", "laughs.tar"]).ok();
    for line in [
        &["images"][..],
        &["fsck"],
        &["save", "--format", "oci-archive", "-o", "out.tar", "laughs:v1"],
        &["unpack", "laughs:v1", "laughs"],
        &["prune", "-f"],
        &["rmi", "laughs:v1"],
    ] {
        limited(line).ok();
    }
    // One large configuration for every image of manifest.json.
    let layer = [entry("a", b"1"), vec![0; 1024]].concat();
    let config = json!({
        "os": "linux", "architecture": "amd64", "x": vec![0; 1_300_000],
        "rootfs": { "type": "layers", "diff_ids": [treering::Digest::of(&layer)] },
    });
    let item = json!({ "Config": "c", "RepoTags": null, "Layers": ["l"] });
    let list = json!(vec![item; 2000]).to_string();
    let parts = [
        entry("c", config.to_string().as_bytes()),
        entry("l", &layer),
        entry("manifest.json", list.as_bytes()),
    ];
    std::fs::write(world.join("docker.tar"), [parts.concat(), vec![0; 1024]].concat()).unwrap();
    let loaded = limited(&["load", "-i", "docker.tar"]).ok().lines();
    assert_eq!(loaded.len(), 1, "{loaded:?}");
}

/// Too few descriptors, files that may not be large: an error, and nothing stays.
#[test]
fn unpacking_with_little_leaves_nothing() {
    let world = World::with_tree();
    world.sh("head -c 300000 /dev/urandom >tree/large");
    world.run(&["commit", "tree", "app:v1"]).ok();
    // Around the number at which the scratch directory can be made and not be opened.
    for count in 5..24 {
        let run = world.by_shell(&format!("ulimit -n {count}; exec \"$@\""), &["unpack", "app:v1", "out"]);
        let left = world.sh("ls -A | grep unpacking || true; rm -rf out");
        assert_eq!(left, "", "with {count} descriptors: {}", run.stderr);
    }
    let run = world.by_shell("ulimit -f 100; exec \"$@\"", &["unpack", "app:v1", "out"]);
    run.fails(1, "large");
    assert_eq!(world.sh("ls -A | grep -e out -e unpacking || true"), "");
}

/// What is only kept to save time next time is no reason to fail.
#[test]
fn a_list_that_cannot_be_kept_is_no_failure() {
    let world = World::unpacked();
    world.sh("find store/layers -name list -delete");
    let diff = ["diff", "app:v1", "app:v1"];
    assert_eq!(world.by_shell("ulimit -f 0; exec \"$@\"", &diff).ok().text(), "");
    assert_eq!(world.sh("find store/layers -name list"), "");
    world.run(&diff).ok();
    assert_ne!(world.sh("find store/layers -name list"), "");
}

/// A layer is about the tree, and what this machine mounts in it is none of its business.
#[test]
fn a_whiteout_does_not_reach_through_a_mount_point() {
    let Some(flags) = unshare("a_whiteout_does_not_reach_through_a_mount_point") else { return };
    let world = World::unpacked();
    world.sh("mkdir work/m data w; echo mine >data/file; touch w/.wh.m; tar -C w -cf gone.tar .wh.m
              mkdir w/m; touch w/m/.wh..wh..opq w/m/.wh.file; tar -C w -cf opaque.tar m/.wh..wh..opq
              tar -C w -cf one.tar m/.wh.file");
    let bound = format!("unshare {flags} sh -euc 'mount --bind data work/m; exec \"$@\"' sh \"$@\"");
    for layer in ["gone.tar", "opaque.tar", "one.tar"] {
        world.by_shell(&bound, &["layer", "apply", layer, "work"]).fails(1, "another filesystem is mounted");
        assert_eq!(world.sh("cat data/file"), "mine\n", "{layer}");
    }
    world.run(&["layer", "apply", "gone.tar", "work"]).ok();
    assert!(!world.join("work/m").exists());
}

/// Docker keeps what is under a volume: what was not looked at was not deleted, whatever compares and whatever is mounted: another
/// filesystem, a directory of this one, or a single file.
#[test]
fn what_lies_under_a_mount_point_is_not_deleted() {
    let Some(flags) = unshare("what_lies_under_a_mount_point_is_not_deleted") else { return };
    let world = World::unpacked();
    world.sh("mkdir data; touch data/mounted; echo secret >token");
    for mount in [
        "mount -t tmpfs none work/etc; touch work/etc/mounted",
        "mount --bind data work/etc",
        "mount --bind token work/etc/motd",
    ] {
        world.run(&["snapshot", "work", "-o", "before"]).ok();
        let mounted = format!("unshare {flags} sh -euc '{mount}; exec \"$@\"' sh \"$@\"");
        for line in [&["diff", "-x", "work"][..], &["diff", "-x", "before", "work"]] {
            assert_eq!(world.by_shell(&mounted, line).ok().text(), "", "{mount}: {line:?}");
        }
        let snapshot = ["snapshot", "-x", "work", "-o", "after"];
        assert!(world.by_shell(&mounted, &snapshot).ok().stderr.contains("mount point"), "{mount}");
        assert_eq!(world.run(&["diff", "before", "after"]).ok().text(), "", "{mount}");
        let layer = ["layer", "create", "-x", "work", "--base-snapshot", "before", "-o", "layer"];
        world.by_shell(&mounted, &layer).ok();
        assert_eq!(world.run(&["layer", "ls", "-n", "layer"]).ok().text(), "", "{mount}");
        world.by_shell(&mounted, &["commit", "-x", "work", "app:v2"]).ok();
        world.sh("rm -rf again");
        world.run(&["unpack", "app:v2", "again"]).ok();
        world.sh("cmp again/etc/motd tree/etc/motd; test ! -e again/etc/mounted");
        // Nor is it new when the mount is gone.
        assert_eq!(world.run(&["diff", "work"]).ok().text(), "", "{mount}");
        // Where there was nothing, the mount point is empty.
        world.by_shell(&mounted, &["commit", "-x", "--base", "scratch", "work", "app:v3"]).ok();
        let listed = world.run(&["ls", "app:v3:/etc"]).ok().text();
        assert!(!listed.contains("mounted"), "{listed}");
        if mount.contains("token") {
            assert_eq!(world.run(&["cat", "app:v3:/etc/motd"]).ok().text(), "");
        }
        world.run(&["unpack", "app:v1", "other"]).ok();
        world.sh("rm -rf work; mv other work");
    }
}

/// Root without the capabilities that make it root, as in a container with `--cap-drop=ALL`.
#[test]
fn root_without_capabilities_is_a_user() {
    if !support::is_root() || !need("setpriv", &["--version"]) {
        return missing_for_root();
    }
    let world = World::with_tree();
    world.sh(
        "mkdir tree/closed; echo x >tree/closed/f; chown 5:6 tree/closed; chmod 0 tree/closed/f tree/closed",
    );
    world.run(&["commit", "--owner", "keep", "tree", "app:v1"]).ok();
    let dropped = "exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all \"$@\"";
    let info = world.by_shell(dropped, &["info", "--json"]).ok().json();
    assert_eq!(info["abilities"]["set_owners"]["works"], false, "{info}");
    world.by_shell(dropped, &["unpack", "app:v1", "work"]).ok();
    assert_eq!(world.by_shell(dropped, &["diff", "work"]).ok().text(), "");
    world.by_shell(dropped, &["commit", "work", "app:v2"]).ok();
    assert_eq!(world.run(&["diff", "app:v1", "app:v2"]).ok().text(), "");
    // One capability of the three is not enough to be exact on disk.
    let one = "exec setpriv --bounding-set=-all,+chown \"$@\"";
    world.by_shell(one, &["unpack", "app:v1", "other"]).ok();
    assert_eq!(world.by_shell(one, &["diff", "other"]).ok().text(), "");

    // What cannot be read is no row without an id.
    let manifest =
        world.run(&["images", "--digests", "--no-trunc", "--json"]).ok().json()[0]["digest"].clone();
    let hex = manifest.as_str().unwrap().trim_start_matches("sha256:");
    world.sh(&format!("chmod 0 store/oci/blobs/sha256/{hex}"));
    world.by_shell(dropped, &["images"]).fails(1, "permission denied");
}

/// What commands are given belongs to the user that is asked for, also where the disk does not take that.
#[test]
#[cfg(feature = "sandbox")]
fn what_commands_of_root_without_capabilities_are_given_has_its_owner() {
    if !support::is_root() || !need("setpriv", &["--version"]) || !need("/usr/bin/busybox", &["true"]) {
        return missing_for_root();
    }
    let world = World::new();
    world.sh("mkdir context; cp /usr/bin/busybox context; echo secret >s");
    let dockerfile = "FROM scratch\nCOPY --chmod=755 busybox /bin/\nCOPY --chown=5:6 --chmod=750 <<E /v/f\nx\nE\n\
        RUN --mount=type=cache,target=/c,uid=5,gid=6,mode=750 --mount=type=secret,id=s,target=/s,uid=5,gid=6,mode=440 \
        [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox stat -c '%u:%g %a' /c /s >/seen; /bin/busybox touch /c/kept\"]\n\
        RUN --mount=type=cache,target=/c,uid=5 [\"/bin/busybox\", \"ls\", \"/c/kept\"]\nVOLUME /v\n";
    std::fs::write(world.join("context/Dockerfile"), dockerfile).unwrap();
    let build = ["build", "-q", "--no-cache", "--secret", "id=s,src=s", "-t", "made", "context"];
    let dropped = "exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all \"$@\"";
    // First those of root as it is: the other one has caches of its own.
    world.run(&build).ok();
    for _ in 0..2 {
        world.by_shell(dropped, &build).ok();
        assert_eq!(world.run(&["cat", "made:/seen"]).ok().text(), "5:6 750\n5:6 440\n");
    }
    let run = ["run", "--rm", "made", "/bin/busybox", "stat", "-c", "%u:%g %a", "/v/f"];
    assert_eq!(world.by_shell(dropped, &run).ok().text(), "5:6 750\n");
}
