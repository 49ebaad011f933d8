//! Kills, full disks and failing system calls: a store is as it was, or as it shall be.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use treering::store::{BindingFile, PruneOptions, Reference, Store};
use treering::{Control, Digest, ErrorKind};

use crate::world::{child, child_under, digest, name, problems, put_image, role, tag_image};
use support::tools::need;

/// Plays the part of the other processes; without a role, checks that the commit the others disturb works when none does.
#[test]
fn play() {
    let Some((role, root, arg)) = role() else {
        let temp = tempfile::tempdir().unwrap();
        one_commit(&temp.path().join("store")).unwrap();
        return;
    };
    match role.as_str() {
        "tag-40" => {
            let store = Store::open(root).unwrap();
            for tag in 0..40 {
                if tag == 20 {
                    println!("half way");
                    // Until the other end is closed.
                    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                }
                tag_image(&store, &format!("p{arg}:t{tag}"), &format!("{arg} {tag}")).unwrap();
            }
        }
        "hold-pin" => {
            let store = Store::open(root).unwrap();
            let store = store.pin(&Control::default()).unwrap();
            put_image(&store, "not named yet", "linux/amd64").unwrap();
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        "work-forever" => crate::pins::work_forever(&root, &arg),
        "tag-forever" => {
            let store = Store::open(root).unwrap();
            for number in 0u64.. {
                let text = format!("{arg} {number} ").repeat(20_000);
                tag_image(&store, &format!("app:{arg}-{number}"), &text).unwrap();
                println!("done {arg}-{number}");
                std::io::stdout().flush().unwrap();
            }
        }
        // The whole life of one image; the exit status says whether every step reported success.
        "one-commit" => {
            let worked = one_commit(&root).inspect_err(|error| eprintln!("{error}")).is_ok();
            std::process::exit(if worked { 0 } else { 9 });
        }
        "one-tag" => {
            let worked = Store::open(root).and_then(|store| {
                let old = store.resolve("old")?.descriptor;
                store.tag(&Reference::parse("new")?, &old).map(drop)
            });
            std::process::exit(if worked.is_ok() { 0 } else { 9 });
        }
        // A store on a small filesystem, made here because only this process has it mounted.
        "small-disk" => small_disk(&root),
        other => panic!("no role {other}"),
    }
}

fn one_commit(root: &Path) -> treering::Result<()> {
    let store = Store::open(root)?;
    tag_image(&store, "new", "new content")?;
    let binding = store.bind_tree("1-2-3")?;
    binding.replace(BindingFile::Ledger, b"new")
}

/// Kills a writer at random moments; what it reported as done is there, and everything that is there is whole.
#[test]
fn a_killed_writer_leaves_old_or_new() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let mut reported = Vec::new();
    // On a busy machine a writer may be killed before it has done anything: then there are more rounds.
    for round in 0..400u64 {
        if round >= 40 && reported.len() >= 40 {
            break;
        }
        let mut writer = child("tag-forever", temp.path(), &round.to_string()).spawn().unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let collect = std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .filter_map(|line| Some(line.strip_prefix("done ")?.to_string()))
                .collect()
        });
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 60));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let mut done: Vec<String> = collect.join().unwrap();
        // The last line may have been cut short by the kill, never made longer.
        reported.append(&mut done);
        assert_eq!(problems(&store), [""; 0], "round {round}");
    }
    assert!(!reported.is_empty(), "the writers were all killed too early");
    for tag in &reported {
        store.resolve(&format!("app:{tag}")).unwrap_or_else(|error| panic!("{tag} was reported: {error}"));
    }
    store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!(problems(&store), [""; 0]);
    let report = store.fsck(treering::store::FsckLevel::Bytes, &Control::default()).unwrap();
    assert!(report.problems.is_empty(), "prune took the leftovers: {:?}", report.problems);
    assert_eq!(store.dir().read_dir("tmp").unwrap().count(), 0);
}

const CALLS: [&str; 11] = [
    "openat",
    "openat2",
    "write",
    "fsync",
    "linkat",
    "renameat",
    "renameat2",
    "mkdirat",
    "fchmod",
    "flock",
    "unlinkat",
];

/// Runs `one_commit` once for each of the system calls of a kind at which a sweep stops, with that one failing or killing.
///
/// `check` gets the exit status and the store after each run, and must find the store as it was or as it shall be.
fn at_every_call(fault: &str, calls: &[&str], check: impl Fn(&str, Option<i32>, &Store)) {
    if !need("strace", &["-f", "-o", "/dev/null", "true"]) {
        return;
    }
    let mut runs = 0;
    for call in calls {
        for number in support::stops(1) {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path().join("store");
            let store = Store::open(&root).unwrap();
            tag_image(&store, "old", "old content").unwrap();
            store.bind_tree("1-2-3").unwrap().replace(BindingFile::Ledger, b"old").unwrap();
            let trace = temp.path().join("trace");
            // Only calls below the store count: the loader and the test harness have theirs before it is opened.
            let inject = format!("inject={call}:{fault}:when={number}");
            let program = ["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), "-e", &inject];
            let mut command = child_under(&program, "one-commit", &root, "");
            let status = command.output().unwrap().status;
            let injected = std::fs::read_to_string(&trace).unwrap_or_default();
            let hit = injected.contains("(INJECTED)") || injected.contains("+++ killed by SIGKILL");
            let what = format!("{fault} at {call} number {number}");
            assert_eq!(problems(&store), [""; 0], "{what}");
            store.resolve("old").unwrap_or_else(|error| panic!("{what}: {error}"));
            let ledger =
                store.find_tree("1-2-3").unwrap().unwrap().read(BindingFile::Ledger, 100).unwrap().unwrap();
            assert!(ledger == b"old" || ledger == b"new", "{what}");
            check(&what, status.code(), &store);
            store.prune(&PruneOptions::default(), &Control::default()).unwrap();
            assert_eq!(problems(&store), [""; 0], "{what}, after prune");
            runs += 1;
            if !hit {
                assert_eq!(status.code(), Some(0), "{what}: it works when nothing is injected");
                break;
            }
        }
    }
    println!("{runs} runs with {fault}");
}

#[test]
fn a_kill_at_any_system_call_leaves_old_or_new() {
    at_every_call("signal=KILL", &CALLS, |_, _, _| {});
}

#[test]
fn a_failing_system_call_is_an_error_and_leaves_old_or_new() {
    for error in ["ENOSPC", "EIO"] {
        let calls =
            ["write", "fsync", "linkat", "renameat", "renameat2", "mkdirat", "openat2", "fchmod", "flock"];
        at_every_call(&format!("error={error}"), &calls, |what, code, store| {
            let there = store.resolve("new").is_ok();
            match code {
                Some(0) => assert!(there, "{what}: reported as done"),
                // The name may have come before the step that failed (the fsync of its directory, the ledger).
                Some(9) => {}
                // The harness itself hit the fault (writing its own output).
                Some(101) => {}
                other => panic!("{what}: {other:?}"),
            }
        });
    }
}

/// An error says that nothing happened: a name that cannot be made durable is taken back.
#[test]
fn a_name_in_a_directory_that_cannot_be_synced_is_taken_back() {
    if !need("strace", &["-f", "-o", "/dev/null", "true"]) {
        return;
    }
    for call in ["fsync", "renameat", "openat2"] {
        for number in 1.. {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path().join("store");
            tag_image(&Store::open(&root).unwrap(), "old", "old content").unwrap();
            let trace = temp.path().join("trace");
            let inject = format!("inject={call}:error=EIO:when={number}");
            let program = ["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), "-e", &inject];
            let status = child_under(&program, "one-tag", &root, "").output().unwrap().status;
            let there = Store::open(&root).unwrap().resolve("new").is_ok();
            let what = format!("{call} number {number}");
            match status.code() {
                Some(0) => assert!(there, "{what}"),
                Some(9) => assert!(!there, "{what}: it failed, and the name is there"),
                Some(101) => {}
                other => panic!("{what}: {other:?}"),
            }
            if !std::fs::read_to_string(&trace).unwrap_or_default().contains("(INJECTED)") {
                break;
            }
        }
    }
}

/// Nothing gets its name before its bytes are on disk, and every new name is on disk before the work is reported: read
/// from the order of the system calls, since no test here can cut the power.
#[test]
fn bytes_are_synced_before_names_and_names_before_success() {
    if !need("strace", &["-f", "-o", "/dev/null", "true"]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("store");
    let trace = temp.path().join("trace");
    let calls = "trace=write,fsync,fdatasync,linkat,renameat,renameat2,rename,mkdirat,close";
    let program = ["strace", "-f", "-y", "-qq", "-s", "300", "-o", trace.to_str().unwrap(), "-e", calls];
    let status = child_under(&program, "one-commit", &root, "").output().unwrap().status;
    assert!(status.success());
    let trace = std::fs::read_to_string(&trace).unwrap();
    let ours: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains(root.to_str().unwrap()) || line.contains("/proc/self/fd/"))
        .filter(|line| !line.contains(" = -1 "))
        .collect();
    let (mut linked, mut named) = (0, 0);
    for (i, line) in ours.iter().enumerate() {
        // linkat(AT_FDCWD<...>, "/proc/self/fd/7", 5</store/oci>, "name", AT_SYMLINK_FOLLOW) = 0, or
        // linkat(15</proc/123/fd>, "7", 5</store/oci>, "name", AT_SYMLINK_FOLLOW) = 0
        let unnamed = line.split_once("\"/proc/self/fd/").or_else(|| line.split_once("/fd>, \""));
        if let Some((_, rest)) = unnamed.filter(|_| line.contains(" linkat(")) {
            let fd = rest.split('"').next().unwrap();
            let on_it = |call: &str, line: &str| line.contains(&format!(" {call}({fd}<"));
            let last = ours[..i].iter().rposition(|line| on_it("write", line) || on_it("fsync", line));
            assert!(last.is_some_and(|last| on_it("fsync", ours[last])), "not synced before: {line}");
            linked += 1;
        }
        let names =
            [" linkat(", " renameat(", " renameat2(", " mkdirat("].iter().any(|call| line.contains(call));
        if names {
            // The last directory in the call is where the name went.
            let dir = line.rsplit_once('<').unwrap().1.split('>').next().unwrap();
            // A name that is given for the time being, to take another one in the next step.
            if dir.ends_with("/store/tmp") {
                continue;
            }
            let synced = format!("<{dir}>)");
            let after = ours[i + 1..].iter().any(|line| line.contains(" fsync(") && line.contains(&synced));
            assert!(after, "no sync of {dir} after: {line}");
            named += 1;
        }
    }
    assert!(linked >= 7, "three blobs, index.json twice, oci-layout, the ledger: {linked}\n{trace}");
    assert!(named > linked, "{named}");
}

/// A disk that fills up: the error says so, and the store is as it was.
#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    if !need("unshare", &["-Urm", "true"]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().to_str().unwrap();
    for size in ["size=64k", "size=96k", "size=512k,nr_inodes=32"] {
        let mount = format!("mount -t tmpfs -o {size} tmpfs '{root}' && exec \"$0\" \"$@\"");
        let program = ["unshare", "-Urm", "sh", "-c", &mount];
        let output = child_under(&program, "small-disk", temp.path(), "").output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{size}: {text}");
        assert!(text.contains("the disk was full"), "{size}: {text}");
    }
}

fn small_disk(root: &Path) {
    let store = Store::open(root).unwrap();
    tag_image(&store, "old", "old").unwrap();
    // Far too large at once.
    let mut writer = store.blob_writer().unwrap();
    let error = writer.write_all(&vec![7; 1 << 20]).unwrap_err();
    assert_eq!(treering::Error::io("write", "blob", error).kind(), ErrorKind::NoSpace);
    drop(writer);
    assert_eq!(store.dir().read_dir("tmp").unwrap().count(), 0);
    tag_image(&store, "still", "works").unwrap();
    // Then until nothing fits any more: at every step the store is whole, with the names that were reported.
    let mut names = 0;
    let error = loop {
        let before = index(&store);
        match tag_image(&store, &format!("app:{names}"), &format!("{names} ").repeat(400)) {
            Ok(_) => names += 1,
            Err(error) => {
                assert_eq!(index(&store), before);
                break error;
            }
        }
        assert!(names < 10_000);
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.hint().is_some());
    assert_eq!(store.refs().unwrap().len(), names + 2);
    assert_eq!(problems(&store), [""; 0]);
    // A full disk can be emptied with the store's own means.
    let mut freed = 0;
    for number in 0..names {
        match store.untag(&name(&format!("app:{number}"))) {
            Ok(_) => {}
            // Replacing index.json itself needs room: prune makes some.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                freed += store.prune(&PruneOptions::default(), &Control::default()).unwrap().blobs.len();
            }
        }
    }
    freed += store.prune(&PruneOptions::default(), &Control::default()).unwrap().blobs.len();
    assert!(freed > 0);
    assert_eq!(problems(&store), [""; 0]);
    println!("the disk was full after {names} images, {freed} blobs went");
}

fn index(store: &Store) -> Digest {
    Digest::of(&store.dir().read("oci/index.json").unwrap())
}

/// Private whatever the umask, for everything a writer makes.
#[test]
fn modes_do_not_follow_the_umask() {
    use cap_std::fs::PermissionsExt;
    for umask in ["000", "077", "777"] {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("store");
        let script = format!("umask {umask} && exec \"$0\" \"$@\"");
        let output = child_under(&["sh", "-c", &script], "one-commit", &root, "").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{umask}: {}", String::from_utf8_lossy(&said));
        let store = Store::open(&root).unwrap();
        let manifest = digest(&store.resolve("new").unwrap().descriptor).hex();
        let mode = |path: &str| store.dir().metadata(path).unwrap().permissions().mode() & 0o7777;
        for dir in [".", "oci", "oci/blobs", "oci/blobs/sha256", "containers", "containers/1-2-3", "tmp"] {
            assert_eq!(mode(dir), 0o700, "{dir} under umask {umask}");
        }
        for file in [
            "oci/index.json",
            "oci/oci-layout",
            &format!("oci/blobs/sha256/{manifest}"),
            "containers/1-2-3/ledger",
        ] {
            assert_eq!(mode(file), 0o644, "{file} under umask {umask}");
        }
    }
}
