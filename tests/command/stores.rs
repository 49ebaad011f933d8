//! Stores and trees where they are seldom tried: used by two users, on a filesystem that says little or has little room for attributes.

use support::command::{World, run};
use support::is_root;
use support::tools::{missing, need};

/// Runs a script in a mount namespace in which `mnt` is a fresh ext4, made with these options. `$T` is the program. `None`
/// where this machine has no loop mounts.
fn on_ext4(world: &World, options: &str, script: &str) -> Option<String> {
    let mount =
        format!("truncate -s 16M disk; mkfs.ext4 -q {options} disk && mkdir mnt && mount -o loop disk mnt");
    let probe = format!("unshare -m sh -euc '{mount}' || echo no; rm -rf disk mnt");
    // Mounting is for root.
    if !is_root() || !need("mkfs.ext4", &["-V"]) {
        return None;
    }
    if world.sh(&probe).contains("no") {
        missing("MACHINE", "loop mounts", "not everywhere can root mount");
        return None;
    }
    let script = format!("{mount}; T={}; export TREERING_ROOT=$PWD/store; {script}", support::program());
    Some(world.sh(&format!("unshare -m sh -euc '{script}'")))
}

/// What root makes in the store of a user stays the user's: nothing there is closed to them afterwards.
#[test]
fn root_in_the_store_of_a_user_leaves_it_to_them() {
    // Only root can be two users.
    if !is_root() || !need("setpriv", &["--version"]) || !need("/usr/bin/busybox", &["true"]) {
        return;
    }
    let world = World::with_tree();
    world.sh(&format!("chmod 755 .; cp {} treering; mkdir home; chown 65534:65534 home", support::program()));
    world.sh("mkdir -p context/bin; cp -r tree context; cp /usr/bin/busybox context/bin");
    let user = "export TREERING_ROOT=$PWD/home/store HOME=$PWD/home
        exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all ./treering \"$@\"";
    let go = |script: &'static str| {
        let world = &world;
        move |arguments: &[&str]| {
            // The program is not where users may go.
            let mut shell = std::process::Command::new("sh");
            shell.args(["-euc", script, "sh"]).args(arguments).current_dir(world.path());
            run(shell.stdin(std::process::Stdio::null()))
        }
    };
    let (user, root) = (go(user), go("export TREERING_ROOT=$PWD/home/store; exec ./treering \"$@\""));
    let dockerfile = |word: &str| {
        let text = format!(
            "FROM app:v1\\nCOPY tree /t\\nCOPY bin /bin\\nRUN --mount=type=cache,target=/c [\"/bin/busybox\", \"touch\", \"/c/{word}\", \"/{word}\"]\\n"
        );
        world.sh(&format!("printf '{text}' >context/Dockerfile"));
    };
    user(&["commit", "tree", "app:v1"]).ok();
    user(&["unpack", "app:v1", "home/work"]).ok();

    // Every kind of thing that stays in a store: records, lists, indexes, what builds keep.
    root(&["unpack", "app:v1", "theirs"]).ok();
    world.sh("echo more >theirs/etc/more");
    root(&["commit", "theirs", "app:v2"]).ok();
    root(&["commit", "home/work", "app:v3"]).ok();
    dockerfile("root");
    root(&["build", "-t", "app:v4", "context"]).ok();
    root(&["save", "-o", "app.tar", "app:v2"]).ok();
    root(&["load", "-i", "app.tar"]).ok();
    // But for the trees that commands ran in, with their owners.
    let trees = "-path home/store/cache/trees/\\* -prune -o -path home/store/cache/mounts/\\* -prune -o";
    assert_eq!(world.sh(&format!("find home/store {trees} ! -user 65534 -print")), "");

    user(&["fsck"]).ok();
    user(&["df"]).ok();
    user(&["diff", "home/work"]).ok();
    dockerfile("user");
    user(&["build", "-t", "app:v5", "context"]).ok();
    user(&["prune", "--trees", "--force"]).ok();
    user(&["rmi", "app:v2", "app:v3", "app:v4"]).ok();
    user(&["prune", "--all", "--build-cache", "--force"]).ok();
    user(&["commit", "tree", "app:v6"]).ok();
    user(&["unpack", "app:v6", "home/other"]).ok();
    root(&["prune", "--all", "--build-cache", "--force"]).ok();
    assert_eq!(world.sh("find home/store ! -user 65534"), "");
}

/// A directory need not say what its entries are (DT_UNKNOWN): fuse-overlayfs below every rootless container does not, nor does
/// ext4 without the feature `filetype`.
#[test]
fn a_filesystem_that_gives_no_types_is_as_good_as_any() {
    let world = World::with_tree();
    let script = "
        T=\"$T --root mnt/store\"; cp -a tree mnt/tree
        $T commit mnt/tree app:v1; $T unpack app:v1 mnt/work; $T diff mnt/work
        ln mnt/work/etc/motd mnt/work/motd; $T commit mnt/work app:v2; $T diff app:v1 app:v2
        $T fsck --level bytes; $T df >/dev/null; rm -r mnt/work; $T prune --trees --force >/dev/null; $T rmi app:v2 >/dev/null
        $T fsck; $T images -q";
    let Some(text) = on_ext4(&world, "-O ^filetype,^has_journal", script) else { return };
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("sha256:")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0], "A /motd", "{text}");
}

/// An inode of ext4 with blocks of 1 KiB has no room for an attribute of 3000 bytes, on a disk that is all but empty.
#[test]
fn what_no_inode_has_room_for_is_in_the_ledger_or_a_loss() {
    let world = World::with_tree();
    world.sh(r#"PYTHONUTF8=1 python3 -c '
import tarfile
archive = tarfile.open("layer.tar", "w", format=tarfile.PAX_FORMAT)
file = tarfile.TarInfo("file")
file.pax_headers = {"SCHILY.xattr.user.large": "v" * 3000, "SCHILY.xattr.user.small": "w"}
archive.addfile(file)
archive.close()'"#);
    let script = r#"
        $T import layer.tar app:v1 >/dev/null
        # Only the store can have it, and the store has.
        $T unpack --deny-loss app:v1 mnt/work 2>unpacked; $T diff mnt/work; $T commit mnt/work app:v2 >/dev/null; $T diff app:v1 app:v2
        $T checkout --deny-loss app:v1 mnt/work 2>/dev/null
        # Without a store it is a loss, which may be an error.
        $T layer apply layer.tar mnt/plain 2>applied; cat applied
        ! $T layer apply --deny-loss layer.tar mnt/other 2>denied; cat denied
        getfattr --absolute-names -n user.small --only-values mnt/plain/file; echo"#;
    let script = script.replace('\'', "'\\''");
    let Some(text) = on_ext4(&world, "-b 1024 -I 256", &script) else { return };
    let lost = "the disk did not take owners, permissions, devices or attributes of 1 entry";
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("hint: ")).collect();
    assert_eq!(
        lines,
        [&format!("warning: {lost}")[..], &format!("error: apply layer: mnt/other: {lost}"), "w"]
    );
}
