//! The store's records of directories that were made from images: it stays usable whatever happens to names.

use std::process::{Command, Stdio};

use serde_json::json;

use support::command::World;
use support::is_root;
use support::tools::{missing, need};

/// A tree goes on from its image, whatever became of the name, before and after a prune.
#[test]
fn a_tree_outlives_the_name_of_its_image() {
    type Loss = fn(&World);
    let cases: [(&str, Loss); 4] = [
        ("rmi", |world| {
            world.run(&["rmi", "app:v1"]).ok();
        }),
        ("commit of another tree", |world| {
            world.sh("mkdir other; echo other >other/file");
            world.run(&["commit", "other", "app:v1"]).ok();
        }),
        ("tag", |world| {
            world.sh("mkdir other; echo other >other/file");
            world.run(&["commit", "other", "other:v1"]).ok();
            world.run(&["tag", "other:v1", "app:v1"]).ok();
        }),
        ("load", |world| {
            world.sh("mkdir other; echo other >other/file");
            world.run(&["--root=elsewhere", "commit", "other", "app:v1"]).ok();
            world.run(&["--root=elsewhere", "save", "-o", "other.tar", "app:v1"]).ok();
            world.run(&["load", "--names", "move", "-i", "other.tar"]).ok();
        }),
    ];
    for (what, lose) in cases {
        for prune in [false, true] {
            let world = World::unpacked();
            world.run(&["unpack", "app:v1", "third"]).ok();
            let manifest = world.run(&["inspect", "app:v1"]).ok().json()[0]["Descriptor"]["digest"].clone();
            let manifest = manifest.as_str().unwrap();
            lose(&world);
            if prune {
                world.run(&["prune", "-f"]).ok();
            }
            world.sh("echo x >work/x; echo y >tree/y");
            assert_eq!(world.run(&["diff", "work"]).ok().text(), "A /x\n", "{what}");
            let layers = |name: &str| {
                let shown = world.run(&["inspect", name]).ok().json();
                shown[0]["RootFS"]["Layers"].as_array().unwrap().len()
            };
            world.run(&["commit", "work", "app:v2"]).ok();
            world.run(&["commit", "tree", "app:v3"]).ok();
            // The manifest that a record holds can be named, and given a name again.
            world.run(&["commit", "--base", manifest, "work", "app:v4"]).ok();
            world.run(&["tag", manifest, "app:saved"]).ok();
            assert_eq!((layers("app:v2"), layers("app:v3")), (2, 2), "{what}");
            world.run(&["fsck"]).ok();
        }
    }
}

/// Returns the tree `tree` committed as `app:v1`, with a ledger: the owner of `bin/hello` is on no disk.
fn with_ledger() -> World {
    let world = World::with_tree();
    world.sh("printf 'dev=%s,ino=%s,mode=104755,uid=7,gid=8,nlink=1,rdev=0\\n' $(stat -c '%D %i' tree/bin/hello) >save");
    world.run(&["commit", "tree", "app:v1", "--owner-from", "fakeroot:save"]).ok();
    world
}

#[test]
fn a_damaged_record_is_found_and_said() {
    let cases = [
        ("echo junk >config.json", "config.json: the record of a tree is damaged: not valid JSON"),
        (
            "rm ledger",
            "ledger: the record of a tree is damaged: it is missing, with the owners and kinds of 1 files",
        ),
        ("printf X | dd of=ledger bs=1 seek=40 conv=notrunc status=none", "the checksum does not match"),
        (": >ledger", "too short"),
    ];
    for (damage, message) in cases {
        let world = with_ledger();
        world.run(&["fsck"]).ok();
        world.sh(&format!("cd store/containers/*; {damage}"));
        let run = world.run(&["fsck"]).code(1);
        assert!(run.text().starts_with("bad-tree: containers/"), "{damage}: {}", run.text());
        assert_eq!(run.lines().len(), 1, "{damage}: {}", run.text());
        let run = world.run(&["diff", "tree"]).fails(1, message);
        assert!(run.stderr.contains("\nhint: restore a copy, or remove /"), "{}", run.stderr);
        world.run(&["commit", "tree", "app:v2"]).fails(1, message);
        if damage.ends_with("config.json") {
            let run = world.run(&["prune", "-f"]).fails(1, message);
            assert!(run.stderr.contains("\nhint: restore a copy, or remove /"), "{}", run.stderr);
        }
        // The hint works.
        world.sh("rm -r store/containers/*");
        world.run(&["fsck"]).ok();
        world.run(&["prune", "-f"]).ok();
    }
    // A record of an older version, which says nothing of the ledger, is read as before.
    let world = with_ledger();
    world.sh("sed -i 's/,\"ledger\":1//' store/containers/*/config.json; ! grep ledger store/containers/*/config.json");
    world.run(&["fsck"]).ok();
    assert_eq!(world.run(&["diff", "tree"]).ok().text(), "");
}

#[test]
fn a_blob_that_is_no_file_is_a_finding() {
    for make in ["mkdir", "mkfifo", "ln -s /dev/zero"] {
        let world = World::unpacked();
        let shown = world.run(&["inspect", "app:v1"]).ok().json();
        let manifest = shown[0]["Descriptor"]["digest"].as_str().unwrap()[7..].to_string();
        world.sh(&format!(
            "rm -f store/oci/blobs/sha256/{manifest}; {make} store/oci/blobs/sha256/{manifest}"
        ));
        let text = world.run(&["fsck"]).code(1).text();
        let needed = format!("missing: sha256:{manifest}: needed by app:v1, but not a regular file\n");
        let stray = format!("stray: oci/blobs/sha256/{manifest}: not a regular file\n");
        assert!(text.contains(&needed) && text.contains(&stray), "{make}: {text}");
    }
}

/// A filesystem that is mounted again has another device number; here really so, which takes root.
#[test]
fn a_tree_is_known_on_a_filesystem_that_was_mounted_again() {
    // Mounting is for root; without it, the unit test of the binding has the other half.
    if !is_root() {
        return;
    }
    let world = World::with_tree();
    let mount = "truncate -s 16M disk; mkfs.ext4 -q disk && mkdir mnt && mount -o loop disk mnt";
    let mounted = std::process::Command::new("sh").args(["-c", mount]).current_dir(world.path()).status();
    if !mounted.unwrap().success() {
        return missing("MACHINE", "loop mounts", "not everywhere can root mount");
    }
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["unpack", "app:v1", "mnt/work"]).ok();
    world.sh("echo x >mnt/work/x");
    let device = || world.sh("stat -c %d mnt");
    let before = device();
    // Not mounted: the tree is not where it was, and not forgotten.
    world.sh("umount mnt; rm -r tree");
    let gone = json!([world.join("tree").display().to_string()]);
    assert_eq!(world.run(&["prune", "--trees", "-f", "--json"]).ok().json()["forgotten"], gone);
    // Its loop device may have another user now; others may let go of one with a lower number meanwhile.
    let mut others = Vec::new();
    let again = loop {
        others.push(world.sh("truncate -s 16M other; losetup -f --show other"));
        world.sh("mount -o loop disk mnt");
        let again = device();
        if again != before || others.len() == 8 {
            break again;
        }
        world.sh("umount mnt");
    };
    let diff = world.run(&["diff", "mnt/work"]);
    let made = world.run(&["commit", "mnt/work", "app:v2", "--json"]);
    let forgotten = world.run(&["prune", "--trees", "-f", "--json"]);
    let trees = world.sh("ls store/containers | wc -l");
    world.sh(&format!("umount mnt; losetup -d {}", others.concat().replace('\n', " ")));
    assert_ne!(before, again);
    assert_eq!(diff.ok().text(), "A /x\n");
    assert_eq!(made.ok().json()["changes"]["added"], 1);
    assert_eq!(forgotten.ok().json()["forgotten"], json!([]));
    assert_eq!(trees.trim(), "1");
}

#[test]
fn a_directory_made_anew_is_no_tree_of_the_store() {
    let world = World::with_tree();
    let first = world.run(&["commit", "tree", "app:v1"]).ok();
    assert!(!first.stderr.contains("warning"), "{}", first.stderr);
    world.sh("cp -a tree copy; mv tree old; mv copy tree");
    let run = world.run(&["commit", "tree", "app:v2"]).ok();
    let warning =
        "warning: tree is not the directory app:v1 was committed from; everything in it counts as new";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    let again = world.run(&["commit", "tree", "app:v3"]).ok();
    assert!(!again.stderr.contains("warning"), "{}", again.stderr);
}

/// What a killed unpack leaves beside its target goes with the next prune or the next unpack to that place; one that is
/// ended by a signal leaves nothing.
#[test]
fn an_interrupted_unpack_leaves_nothing_for_good() {
    use rustix::process::{Pid, Signal, kill_process};
    let world = World::new();
    world.sh("mkdir tree; head -c 64M /dev/zero >tree/large");
    world.run(&["commit", "--compression", "none", "tree", "app:v1"]).ok();
    let scratch = || {
        let names = std::fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".work.unpacking-")).count()
    };
    let interrupt = |signal: Signal| {
        let before = scratch();
        for _ in 0..20 {
            let mut child =
                world.command(&["unpack", "app:v1", "work"]).stderr(Stdio::null()).spawn().unwrap();
            let pid = Pid::from_child(&child);
            while child.try_wait().unwrap().is_none() {
                if scratch() > before {
                    let _ = kill_process(pid, signal);
                    break;
                }
            }
            let status = child.wait().unwrap();
            if !status.success() {
                return status.code();
            }
            // It was faster.
            world.sh("rm -r work");
        }
        panic!("every unpack was done before it could be interrupted");
    };
    assert_eq!(interrupt(Signal::INT), Some(130));
    assert_eq!(scratch(), 0);
    assert_eq!(interrupt(Signal::TERM), Some(143));
    assert_eq!(scratch(), 0);
    assert_eq!(interrupt(Signal::KILL), None);
    assert_eq!(scratch(), 1);
    // Not one that looks like it but has no owner.
    world.sh("mkdir .work.unpacking-1-0");
    world.run(&["prune", "-f"]).ok();
    assert!(scratch() == 1 && world.join(".work.unpacking-1-0").exists());
    interrupt(Signal::KILL);
    assert_eq!(scratch(), 2);
    world.run(&["unpack", "app:v1", "work"]).ok();
    assert_eq!(scratch(), 1);
    assert_eq!(world.sh("ls store/tmp"), "");
}

/// A directory that is filled where it is, because a link leads to it, is emptied again of what was put there.
#[test]
fn an_interrupted_unpack_in_place_leaves_the_directory_empty() {
    use rustix::process::{Pid, Signal, kill_process};
    let world = World::new();
    world.sh(
        "mkdir tree real; ln -s real work; cd tree; seq 3000 | xargs touch; head -c 64M /dev/zero >large",
    );
    world.run(&["commit", "--compression", "none", "tree", "app:v1"]).ok();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut interrupted = false;
        for _ in 0..20 {
            let mut child =
                world.command(&["unpack", "app:v1", "work"]).stderr(Stdio::null()).spawn().unwrap();
            let pid = Pid::from_child(&child);
            while child.try_wait().unwrap().is_none() {
                if world.join("real").read_dir().unwrap().next().is_some() {
                    let _ = kill_process(pid, signal);
                    break;
                }
            }
            let status = child.wait().unwrap();
            if !status.success() {
                assert_eq!(status.code(), Some(code));
                interrupted = true;
                break;
            }
            // It was faster.
            world.sh("cd real; ls -A | xargs rm -r");
        }
        assert!(interrupted, "every unpack was done before it could be interrupted");
        assert_eq!(world.sh("ls -A real | head -n 3"), "");
    }
    world.run(&["unpack", "app:v1", "work"]).ok();
    assert_eq!(world.sh("ls -A real | wc -l").trim(), "3001");
}

#[test]
fn prune_says_what_trees_that_are_gone_hold() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    let quiet = world.run(&["prune", "-f"]).ok();
    assert!(!quiet.stderr.contains("--trees"), "{}", quiet.stderr);
    world.sh("rm -r tree");
    world.run(&["rmi", "app:v1"]).ok();
    let run = world.run(&["prune", "-f"]).ok();
    assert_eq!(run.text(), "Total reclaimed space: 0B\n");
    assert!(
        run.talk().contains("1 tree is not where it was; with --trees prune forgets it and frees "),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("frees 0B"), "{}", run.stderr);
    let table = world.run(&["df"]).ok().text();
    let row = table.lines().find(|line| line.starts_with("Trees")).unwrap();
    assert!(!row.ends_with('-') && !row.ends_with(" 0B"), "{table}");
    let held = world.run(&["prune", "-f", "--json"]).ok().json()["lost_bytes"].clone();
    let run = world.run(&["prune", "--trees", "-f", "--json"]).ok();
    assert!(run.json()["bytes"].as_u64() >= held.as_u64() && held.as_u64() > Some(0), "{}", run.text());
    assert_eq!(run.json()["lost_trees"], 0);
    assert_eq!(world.run(&["df", "--json"]).ok().json()["blobs"], 0);
}

#[test]
fn an_image_for_another_machine_is_said_to_be_one() {
    let world = World::with_tree();
    let other = if cfg!(target_arch = "aarch64") { "linux/amd64" } else { "linux/arm64" };
    world.run(&["commit", "tree", "app:v1", "--platform", other]).ok();
    let run = world.run(&["unpack", "app:v1", "work"]).ok();
    assert!(
        run.stderr.contains(&format!("the image is for {other}; this machine is linux/")),
        "{}",
        run.stderr
    );
    world.run(&["commit", "--base", "scratch", "tree", "app:v2"]).ok();
    assert!(!world.run(&["unpack", "app:v2", "work2"]).ok().stderr.contains("this machine is"));
}

/// Lines that make directories, files that are opened again, or trees.
const UNDER_A_UMASK: &str = "commit tree app:v1
commit big app:big
build -q -t built:v1 context
build -q -o out-local context
build -q -o type=tar,dest=out.tar context
build -q -o type=oci,dest=oci.tar context
build -q -o type=oci,dest=oci,tar=false context
build -q -o type=oci,dest=oci,tar=false context
build -q -t cached:v1 --cache-to type=local,dest=cache context
build -q -t cached:v2 --no-cache --cache-from type=local,src=cache context
import in.tar imported:v1
import --compression zstd in.tar imported:v2
load -i saved.tar
save -o out-save.tar app:v1
load -i out-save.tar
export -o out-export.tar app:v1
import out-export.tar imported:v3
report -o out-report.html app:v1
man out-man/man1
man out-man/man1
tag app:v1 app:v2
unpack app:v1 work
unpack app:v1 out-deep/er/tree
clone work twice
checkout app:big work
commit work app:v3
checkout app:v1 twice
layer apply in.tar applied
layer apply in.tar applied
cp app:v1:/etc out-etc
cp app:v1:/etc/motd out-motd
cp ./work:/n out-n
create --name box app:v1 /bin/busybox true
cp box:/etc out-box
cp tree/etc box:/copied
start -a box
logs box
run --name volume -v /data -w /made/dir app:v1 /bin/busybox ls -ld /data /made /made/dir
run --name other -v ./tree:/a/b/c app:v1 /bin/busybox ls -ld /a /a/b
run work /bin/busybox mkdir /ran
run work /bin/busybox mkdir /again
commit volume app:volume
run -d --name alive app:v1 /bin/busybox sleep 600
exec alive /bin/busybox true
stop -t 0 alive
diff work
snapshot -o out-snapshot work
edit app:v1 edited:v1 --label a=b
edit app:volume edited:v2 --squash
images -q
ps -aq
df
rm box
prune -f
fsck";

/// Starts a registry that takes any password and has nothing. Returns its port.
fn registry() -> u16 {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let known = head.iter().any(|line| line.to_lowercase().starts_with("authorization:"));
            let first =
                if known { "200 OK" } else { "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"" };
            let _ = write!(stream, "HTTP/1.1 {first}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}

/// A umask may take bits of the owner; without privileges nothing could be made in a new directory then, and no file opened again.
#[test]
fn the_umask_does_not_matter_to_a_tree() {
    if is_root() && !need("setpriv", &["--version"]) || !need("/usr/bin/busybox", &["true"]) {
        return;
    }
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all";
    let user = if is_root() { user } else { "" };
    let port = registry();
    // What the lines say that is no matter of chance, the modes of the trees, of what is private, and of what others may use.
    let under = |umask: &str| {
        let world = World::with_tree();
        world.sh("umask 022; cp /usr/bin/busybox tree/bin; mkdir -p tree/etc/sub context; chmod 750 tree/etc/sub
            cp -a tree big; mkdir -p big/n/m/o; echo x >big/n/m/o/x; chmod 500 big/n; tar -cf in.tar -C big .; cp in.tar context
            printf 'FROM app:v1\nWORKDIR /new/dir\nADD in.tar /x\nRUN --mount=type=cache,target=/c [\"/bin/busybox\", \"touch\", \"/c/a\", \"/b\"]\n' >context/Dockerfile");
        // The program is not where users may go.
        world.sh(&format!(
            "chmod 755 .; cp {} program; [ $(id -u) != 0 ] || chown -R 65534:65534 .",
            support::program()
        ));
        let go = |umask: &str, root: &str, line: &str| {
            let script = format!(
                "export TREERING_ROOT=$PWD/{root} HOME=$PWD DOCKER_CONFIG=$PWD/docker/of/user; exec {user} sh -c 'umask {umask}; exec ./program {line}'"
            );
            let mut shell = Command::new("sh");
            support::command::run(
                shell.args(["-euc", &script]).current_dir(world.path()).stdin(Stdio::null()),
            )
        };
        go("022", "before", "commit tree saved:v1").ok();
        go("022", "before", "save -o saved.tar saved:v1").ok();
        let said: Vec<_> = UNDER_A_UMASK
            .lines()
            .map(|line| {
                let run = go(umask, "new/store", line);
                assert_eq!(run.status.code(), Some(0), "{umask}: {line}: {}", run.stderr);
                // Owners and dates are no matter here.
                line.contains("ls -ld")
                    .then(|| run.text().lines().map(|line| line[..10].to_string()).collect::<Vec<_>>())
            })
            .collect();
        go(umask, "new/store", &format!("login -u user -p secret localhost:{port}")).ok();
        let trees = world.sh("find work twice applied out-deep/er/tree out-etc out-motd out-n out-local out-box -printf '%M %p\\n' | sort -k2");
        let private = world.sh("find new/store docker ! -path 'new/store/*/*' -printf '%m %p\\n' | sort -k2");
        assert_eq!(
            world
                .sh("find new/store ! -perm -400 ! -path '*/rootfs/*' ! -path '*/root/*' ! -path '*/tree/*'"),
            "",
            "{umask}"
        );
        // What others may not do stays so.
        let open = world.sh("find new/store oci cache out-man out-save.tar out-export.tar -perm /077 ! -path '*/rootfs/*' ! -path '*/root/*' ! -path '*/tree/*' ! -type l -printf '%m %p\\n'");
        (said, trees, private, open)
    };
    let ordinary = under("022");
    for umask in ["0777", "0700", "0400", "0300", "0100", "0077"] {
        let (said, trees, private, open) = under(umask);
        assert_eq!(said, ordinary.0, "{umask}");
        assert_eq!(trees, ordinary.1, "{umask}");
        assert_eq!(private, ordinary.2, "{umask}");
        let outside = open.lines().filter(|line| !line.contains(" new/store/")).count();
        assert_eq!(outside == 0, umask.ends_with("77"), "{umask}: {open}");
    }
    let world = World::unpacked();
    let program = support::program();
    let script = format!("umask 0777; {program} unpack app:v1 masked && {program} clone masked twice");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(world.path()).env("TREERING_ROOT", world.join("store"));
    assert!(command.status().unwrap().success());
    assert_eq!(world.run(&["diff", "masked"]).ok().text(), "");
    assert_eq!(world.run(&["diff", "work", "masked"]).ok().text(), "");
    assert_eq!(world.run(&["diff", "work", "twice"]).ok().text(), "");
}
