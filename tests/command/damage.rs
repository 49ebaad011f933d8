//! Stores with a file that is damaged, or something else in its place, and stores on a full disk.

use std::collections::HashMap;

use support::command::World;
use support::tools::need;

use crate::attack::unshare;

/// Command lines that read each kind of file, and that write each.
const LINES: &str = "images
images -a
inspect app:v1
history app:v1
ls app:v1
cat app:v1:/etc/motd
diff work
diff --json work
df
fsck
info
ps -a
container ls
inspect box
logs box
start box
run work /bin/busybox true
run --rm app:v1 /bin/busybox true
create app:v1 /bin/busybox true
cp box:/etc/motd out-file
cp tree/etc/motd box:/new
commit box app:box
commit work app:v2
tag app:v1 app:v3
checkout app:big work
unpack app:v1 out
clone work twice
layer apply in.tar applied
export -o out.tar app:v1
save -o out.tar app:v1
load -i saved.tar
import --compression zstd in.tar imported:v1
edit app:two edited:v1 --squash
edit app:v1 edited:v2 --label a=b
build -q -t built:v1 context
build -q -t built:v2 --no-cache context
rm box
rmi app:v1
prune -f
prune -a -f --trees --build-cache";

/// Returns a world with a store that has something of every kind, kept in `kept`. The script `go` runs the lines on a copy of it.
fn world() -> World {
    let world = World::new();
    world.sh("umask 022; mkdir -p tree/bin tree/etc context; cp /usr/bin/busybox tree/bin; echo welcome >tree/etc/motd
        cp -r tree big; head -c 300000 /dev/urandom >big/large; tar -cf in.tar -C big .; cp in.tar context
        printf 'FROM app:v1\nADD in.tar /x\nRUN --mount=type=cache,target=/c [\"/bin/busybox\", \"touch\", \"/c/a\", \"/b\"]\n' >context/Dockerfile");
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["commit", "big", "app:big"]).ok();
    world.run(&["unpack", "app:v1", "work"]).ok();
    world.sh("head -c 300000 /dev/urandom >work/more");
    world.run(&["commit", "work", "app:two"]).ok();
    world.run(&["save", "-o", "saved.tar", "app:big"]).ok();
    world.run(&["build", "-q", "-t", "built:v0", "context"]).ok();
    world.run(&["run", "--name", "box", "app:v1", "/bin/busybox", "touch", "/x"]).ok();
    world.run(&["run", "--name", "other", "-v", "/data", "app:v1", "/bin/busybox", "touch", "/data/x"]).ok();
    // Pins, uploads and notes of scratch directories are there while a process is at work, and after a kill.
    world.sh("id=01234567-89ab-4def-8123-456789abcdef; hex=$(printf %064d 7)
        mkdir -p store/cache/uploads; echo '{}' >store/cache/uploads/$hex; echo >store/pins/$id; echo >store/tmp/$id
        echo >store/tmp/scratch-$id; echo >store/tmp/mend-$id; : >store/cache/trees/$(ls store/cache/trees | head -n 1)/journal
        mkdir kept; mv store kept");
    std::fs::write(world.join("lines"), LINES).unwrap();
    let go = format!(
        "while read -r line; do
            printf '== %s: %s\\n' \"$file\" \"$line\" >>messages
            TREERING_ROOT=$root timeout -k 5 30 {} $line </dev/null >>output 2>>messages || case $? in
                124 | 137) echo \"$file: $line hangs\" ;;
            esac
            rm -rf out out-file out.tar twice applied
        done <lines",
        support::program()
    );
    std::fs::write(world.join("go"), go).unwrap();
    world
}

/// Returns what a path is the file of: without what names of its kind differ in.
fn kind(path: &str) -> String {
    let part = |part: &str| match part.split_once(|c: char| "-_".contains(c)) {
        Some((head, rest)) if rest.len() > 30 && head.len() < 8 => format!("{head}-*"),
        _ if part.len() > 20 => "*".into(),
        _ => part.to_string(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Puts something in the place of a file of each kind, one after the other, and runs half of the lines, with each file the other one; all
/// of them with `TREERING_SWEEP=all`. Returns what hangs; `messages` has what the program says.
fn replace_each(world: &World, replace: &str) -> String {
    let files = world
        .sh("cd kept/store; find . -type f ! -path './boxes/*/rootfs/*' ! -path './boxes/*/volumes/*' \
            ! -path './cache/trees/*/root/*' ! -path './cache/mounts/*/tree/*' | sort");
    let mut seen: HashMap<String, usize> = HashMap::new();
    // Blobs are manifests, configurations and layers.
    let most = |kind: &str| match kind.split('/').nth(1) {
        Some("oci") => 4,
        Some("boxes") => 2,
        _ => 1,
    };
    let files: Vec<&str> = files
        .lines()
        .filter(|path| {
            let kind = kind(path);
            let count = seen.entry(kind.clone()).or_default();
            *count += 1;
            *count <= most(&kind)
        })
        .collect();
    assert!(seen.len() > 25, "{seen:?}");
    std::fs::write(world.join("files"), files.join("\n") + "\n").unwrap();
    let every = if std::env::var("TREERING_SWEEP").is_ok_and(|sweep| sweep == "all") { 1 } else { 2 };
    world.sh(&format!(
        "root=$PWD/store
        cp lines all-lines
        number=0
        exec 3<files
        while read -r file <&3; do
            rm -rf store; cp -a kept/store .
            f=store/$file; rm $f; {replace}
            number=$((number + 1))
            awk \"NR % {every} == $number % {every}\" all-lines >lines
            . ./go
        done
        cp all-lines lines"
    ))
}

/// Checks that no message names a file of the store without the store. Returns the messages.
#[track_caller]
fn check_paths(world: &World) -> String {
    let messages = std::fs::read_to_string(world.join("messages")).unwrap();
    let names = ["oci", "layers", "containers", "boxes", "cache", "pins", "tmp", "lock", "index.lock"];
    let below =
        ["trees", "mounts", "records", "index.json", "oci-layout", "config.json", "index", "ledger", "list"];
    let mut line = "";
    for message in messages.lines() {
        if message.starts_with("== ") {
            line = message;
        }
        // `error: operation: path: reason`
        let path = message.strip_prefix("error: ").and_then(|rest| rest.split(": ").nth(1));
        let first = path.and_then(|path| path.split('/').next()).unwrap_or_default();
        assert!(!names.contains(&first) && !below.contains(&first), "{line}: {message}");
    }
    messages
}

#[test]
fn a_fifo_in_place_of_a_file_of_the_store_holds_nothing_up() {
    if !need("/usr/bin/busybox", &["true"]) {
        return;
    }
    let world = world();
    assert_eq!(replace_each(&world, "mkfifo $f"), "");
}

#[test]
fn damage_is_named_with_the_whole_path() {
    if !need("/usr/bin/busybox", &["true"]) {
        return;
    }
    let world = world();
    assert_eq!(replace_each(&world, "mkdir $f"), "");
    let messages = check_paths(&world);
    let store = world.join("store");
    for name in ["oci/index.json", "oci/oci-layout", "containers/", "boxes/", "lock"] {
        assert!(messages.contains(store.join(name).to_str().unwrap()), "{name}: {messages}");
    }
    world.sh("rm messages");
    assert_eq!(replace_each(&world, "echo '{' >$f"), "");
    let messages = check_paths(&world);
    for name in ["oci/index.json", "oci/oci-layout", "containers/", "boxes/"] {
        assert!(messages.contains(store.join(name).to_str().unwrap()), "{name}: {messages}");
    }
}

#[test]
fn a_full_disk_is_named_with_the_whole_path() {
    let Some(flags) = unshare("a_full_disk_is_named_with_the_whole_path") else { return };
    if !need("/usr/bin/busybox", &["true"]) {
        return;
    }
    let world = world();
    // So much is left, in KiB.
    for left in [0, 16, 100, 400] {
        let script = format!(
            "mkdir -p small; mount -t tmpfs -o size=64m none small; cp -a kept/store small
            root=$PWD/small/store
            dd if=/dev/zero of=small/fill bs=4k 2>/dev/null || true
            [ {left} = 0 ] || truncate -s -{left}k small/fill
            file=full; . ./go"
        );
        assert_eq!(
            world.sh(&format!("cat >script <<'END'\n{script}\nEND\nunshare {flags} sh -euc '. ./script'")),
            ""
        );
    }
    let messages = check_paths(&world);
    let tmp = world.join("small/store/tmp");
    for message in ["import", "read file of image", "read archive"] {
        let start = format!("error: {message}: {}", tmp.display());
        assert!(messages.contains(&start), "{start}: {messages}");
    }
}
