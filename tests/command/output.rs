//! Where `-o` and standard output lead: links, descriptors, modes, closed descriptors.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use support::command::{World, run};
use support::is_root;

/// Every verb that takes `-o FILE`, with what it needs before it.
const WRITERS: [&[&str]; 4] =
    [&["save", "app:v1"], &["export", "app:v1"], &["layer", "create", "tree"], &["snapshot", "tree"]];

/// Returns whether two runs wrote the same. A snapshot has its own time in it.
fn same(line: &[&str], one: &[u8], other: &[u8]) -> bool {
    if line[0] == "snapshot" { one.len() == other.len() && one[..8] == other[..8] } else { one == other }
}

fn world() -> World {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world
}

#[test]
fn an_open_descriptor_is_written_to_whatever_its_name() {
    let world = world();
    symlink("/proc/self/fd/1", world.join("link")).unwrap();
    for line in WRITERS {
        let plain = run(&mut world.command(&[line, &["-o", "-"]].concat())).ok().stdout;
        assert!(!plain.is_empty());
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"] {
            fs::write(world.join("out"), "before ").unwrap();
            let out = File::options().append(true).open(world.join("out")).unwrap();
            let inode = out.metadata().unwrap().ino();
            run(world.command(&[line, &["-o", name]].concat()).stdout(out)).ok();
            let written = fs::read(world.join("out")).unwrap();
            let written = written.strip_prefix(b"before ").unwrap();
            assert!(same(line, written, &plain), "{line:?} -o {name}");
            assert_eq!(fs::metadata(world.join("out")).unwrap().ino(), inode);
        }
        // A pipe has a name in /proc too.
        let piped = run(&mut world.command(&[line, &["-o", "/dev/stdout"]].concat())).ok();
        assert!(same(line, &piped.stdout, &plain), "{line:?}");
    }
    assert!(fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
    let out = File::create(world.join("out")).unwrap();
    run(world.command(&["commit", "tree", "app:v2", "--iidfile", "/dev/stdout"]).stdout(out)).ok();
    assert!(fs::read_to_string(world.join("out")).unwrap().starts_with("sha256:"));
}

#[test]
fn a_link_is_followed_and_stays() {
    let world = world();
    fs::create_dir(world.join("sub")).unwrap();
    symlink("sub/second", world.join("first")).unwrap();
    symlink("../file", world.join("sub/second")).unwrap();
    for line in WRITERS {
        let plain = run(&mut world.command(&[line, &["-o", "-"]].concat())).ok().stdout;
        // The file is not there in the first round, and replaced in the second.
        for _ in 0..2 {
            world.run(&[line, &["-o", "first"]].concat()).ok();
            assert!(same(line, &fs::read(world.join("file")).unwrap(), &plain), "{line:?}");
        }
        for link in ["first", "sub/second"] {
            assert!(fs::symlink_metadata(world.join(link)).unwrap().is_symlink(), "{link}");
        }
        fs::remove_file(world.join("file")).unwrap();
    }
    symlink("loop", world.join("loop")).unwrap();
    world.run(&["save", "app:v1", "-o", "loop"]).fails(1, "loop: too many links");
    assert!(fs::symlink_metadata(world.join("loop")).unwrap().is_symlink());
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    let world = world();
    for line in WRITERS {
        fs::write(world.join("out"), "secret").unwrap();
        fs::set_permissions(world.join("out"), fs::Permissions::from_mode(0o600)).unwrap();
        world.run(&[line, &["-o", "out"]].concat()).ok();
        assert_eq!(fs::metadata(world.join("out")).unwrap().mode() & 0o7777, 0o600, "{line:?}");
    }
}

#[test]
fn a_copy_goes_where_its_path_leads() {
    let world = world();
    world.sh("chmod 600 tree/etc/motd; echo old >file; ln -s file link; ln -s /proc/self/fd/1 stdout; mkfifo fifo; mkdir into
              ln -s ../file into/motd");
    world.run(&["create", "--name", "box", "app:v1", "/bin/hello"]).ok();
    // Root has a device of its own: what replaced one must not replace the machine's.
    let mut device = String::from("/dev/null");
    if is_root() {
        device = String::from("null");
        world.sh("mknod null c 1 3; chmod 666 null");
    }
    for from in ["app:v1:/etc/motd", "./tree:/etc/motd", "box:/etc/motd"] {
        let cp = |to: &str| world.run(&["cp", from, to]).ok();
        for to in ["link", "into"] {
            fs::write(world.join("file"), "old").unwrap();
            cp(to);
            assert_eq!(fs::read(world.join("file")).unwrap(), b"welcome\n", "{from} {to}");
        }
        assert!(world.join("link").is_symlink() && world.join("into/motd").is_symlink(), "{from}");
        for to in ["stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            assert_eq!(cp(to).text(), "welcome\n", "{from} {to}");
            fs::write(world.join("out"), "before ").unwrap();
            fs::set_permissions(world.join("out"), fs::Permissions::from_mode(0o666)).unwrap();
            let out = File::options().append(true).open(world.join("out")).unwrap();
            run(world.command(&["cp", from, to]).stdout(out)).ok();
            assert_eq!(fs::read(world.join("out")).unwrap(), b"before welcome\n", "{from} {to}");
            assert_eq!(
                fs::metadata(world.join("out")).unwrap().mode() & 0o7777,
                0o666,
                "its mode is its own"
            );
        }
        assert!(world.join("stdout").is_symlink());
        cp(&device);
        assert!(fs::metadata(world.join(&device)).unwrap().file_type().is_char_device(), "{from}");
        let fifo = world.join("fifo");
        let reader = std::thread::spawn(move || fs::read(fifo).unwrap());
        cp("fifo");
        assert!(fs::metadata(world.join("fifo")).unwrap().file_type().is_fifo(), "{from}");
        assert_eq!(reader.join().unwrap(), b"welcome\n");
        // A file has its mode from the one that is copied, as docker cp has it.
        cp("file");
        let mode = if from.starts_with("./") { 0o600 } else { 0o644 };
        assert_eq!(fs::metadata(world.join("file")).unwrap().mode() & 0o7777, mode, "{from}");
    }
    world.run(&["cp", "app:v1:/etc/motd", "absent/"]).fails(1, "not a file name");
}

#[test]
fn what_a_build_writes_beside_the_image_goes_where_its_path_leads() {
    let world = World::with_tree();
    world.sh("mkdir context; echo 'FROM scratch' >context/Dockerfile; echo 'COPY Dockerfile /' >>context/Dockerfile");
    for option in ["--iidfile", "--metadata-file"] {
        world.sh("echo old >file; chmod 600 file; ln -sf file link");
        world.run(&["build", "context", option, "link"]).ok();
        assert!(fs::read_to_string(world.join("file")).unwrap().contains("sha256:"), "{option}");
        assert!(world.join("link").is_symlink(), "{option}");
        assert_eq!(fs::metadata(world.join("file")).unwrap().mode() & 0o7777, 0o600, "{option}");
        // What stands in the file of standard output before is not cut off.
        fs::write(world.join("out"), "before ").unwrap();
        let out = File::options().append(true).open(world.join("out")).unwrap();
        run(world.command(&["build", "context", option, "/dev/stdout"]).stdout(out)).ok();
        let written = fs::read_to_string(world.join("out")).unwrap();
        assert!(written.starts_with("before ") && written.contains("sha256:"), "{option}: {written}");
    }
}

#[test]
fn closed_descriptors_are_an_error() {
    let world = world();
    let sh = |line: &str| {
        let mut command = Command::new("sh");
        command.current_dir(world.path()).env("TREERING_ROOT", world.join("store"));
        command.args(["-c", &format!("exec \"$0\" {line}"), support::program()]);
        run(&mut command)
    };
    for line in
        ["save app:v1", "images", "inspect app:v1", "layer create tree", "diff app:v1 tree", "version"]
    {
        sh(&format!("{line} >&-")).fails(1, "standard output: bad file descriptor");
        // The null device is a place to write to, whichever way it was opened.
        sh(&format!("{line} >/dev/null")).ok();
        sh(&format!("{line} 1<>/dev/null")).ok();
    }
    sh("load <&-").fails(1, "standard input: bad file descriptor");
    // Nothing is to go there.
    sh("tag app:v1 app:v3 >&-").ok();
    sh("images 2>&-").ok();
}

#[test]
fn usage_errors_as_json() {
    let world = World::new();
    for line in [
        &["--json", "commit", "--bogus", "w"][..],
        &["commit", "--bogus", "w", "--json"],
        &["--json", "nosuchverb"],
        &["images", "--json", "--threads", "many"],
        &["tag", "--json"],
    ] {
        let run = world.run(line).code(2);
        assert_eq!(run.text(), "", "{line:?}");
        let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!(error["error"]["kind"], "usage", "{line:?}");
        assert!(!error["error"]["message"].as_str().unwrap().contains('\n'), "{line:?}");
    }
    // Help is text, and what stands behind -- is no option.
    assert!(world.run(&["--json", "commit", "--help"]).ok().text().contains("Usage:"));
    world.run(&["tag", "--bogus", "--", "--json"]).fails(2, "unexpected argument");
}
