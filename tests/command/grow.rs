//! commit and unpack.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use snapbox::{assert_data_eq, str};

use support::command::{Run, World, run};

#[test]
fn commit_prints_the_image_id_and_nothing_else() {
    let world = World::with_tree();
    let made = world.run(&["commit", "tree", "app:v1"]).ok();
    assert_eq!(made.shape(), "DIGEST\n");
    assert!(made.stderr.contains("5 added"), "{}", made.stderr);
    let quiet = world.run(&["commit", "-q", "tree", "app:v1"]).ok();
    assert_eq!(quiet.stderr, "");
    let id = quiet.text().trim().to_string();
    assert_eq!(world.run(&["images", "-q", "--no-trunc", "app"]).ok().text().trim(), id);
}

#[test]
fn flags_end_up_in_the_image() {
    let world = World::with_tree();
    let line = [
        "commit",
        "-a",
        "Ada <ada@example.org>",
        "-m",
        "First",
        "-c",
        "CMD [\"/bin/hello\"]",
        "-c",
        "ENV A=1 B=2",
        "--change",
        "LABEL team=blue",
        "--platform",
        "linux/arm64",
        "--annotation",
        "org.example.k=v=w",
        "--iidfile",
        "id",
        "tree",
        "app:v1",
    ];
    let made = world.run(&line).ok();
    assert_eq!(std::fs::read_to_string(world.join("id")).unwrap(), made.text().trim());
    let shown = world.run(&["inspect", "app:v1"]).ok().json();
    let image = &shown[0];
    assert_eq!(image["Id"], made.text().trim());
    assert_eq!(image["Author"], "Ada <ada@example.org>");
    assert_eq!(image["Comment"], "First");
    assert_eq!(image["Architecture"], "arm64");
    assert_eq!(image["Config"]["Cmd"], json!(["/bin/hello"]));
    assert_eq!(image["Config"]["Env"], json!(["A=1", "B=2"]));
    assert_eq!(image["Config"]["Labels"], json!({"team": "blue"}));
    assert_eq!(image["Annotations"], json!({"org.example.k": "v=w"}));
    assert_eq!(image["RepoTags"], json!(["app:v1"]));
}

#[test]
fn commit_as_json_has_everything() {
    let world = World::unpacked();
    world.sh("echo new >work/etc/new; rm work/bin/hi");
    let made = world.run(&["commit", "--json", "work", "app:v2"]).ok().json();
    assert_eq!(made["name"], "app:v2");
    assert_eq!(made["changes"], json!({"added": 1, "changed": 2, "deleted": 1, "bytes": 4}));
    assert!(made["id"].as_str().unwrap().starts_with("sha256:"));
    assert!(made["layer"]["diff_size"].as_u64().unwrap().is_multiple_of(512));
    assert_eq!(made["skipped"], json!([]));
    // Only the configuration is new now, and there is no layer to speak of.
    let again = world.run(&["commit", "--json", "work", "app:v3", "-c", "USER 1000"]).ok().json();
    assert_eq!(again["layer"], json!(null));
    assert_eq!(again["changes"]["changed"], 0);
}

#[test]
fn a_commit_without_a_name_is_kept_until_prune() {
    let world = World::with_tree();
    let made = world.run(&["commit", "tree"]).ok();
    let listed = world.run(&["images", "--no-trunc"]).ok().text();
    assert!(listed.contains("<none>") && listed.contains(made.text().trim()), "{listed}");
}

#[test]
fn reproducible_commits_do_not_depend_on_when_and_where() {
    let world = World::with_tree();
    world.sh("touch tree/etc/motd; cp -a tree other; touch other/etc/motd other/etc other");
    let commit = |tree: &str, compression: &str, epoch: Option<&str>| {
        let mut command = world.command(&[
            "commit",
            "--base",
            "scratch",
            "--reproducible",
            "--compression",
            compression,
            tree,
        ]);
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch);
        }
        run(&mut command).ok().text()
    };
    for compression in ["gzip", "zstd", "none"] {
        assert_eq!(commit("tree", compression, None), commit("other", compression, None));
    }
    let dated = commit("tree", "gzip", Some("1000000000"));
    assert_eq!(dated, commit("other", "gzip", Some("1000000000")));
    let shown = world.run(&["inspect", dated.trim()]).ok().json();
    assert_eq!(shown[0]["Created"], "2001-09-09T01:46:40Z");
    let one =
        world.run(&["commit", "--threads", "1", "--reproducible", "--base", "scratch", "tree"]).ok().text();
    let three =
        world.run(&["commit", "--threads", "3", "--reproducible", "--base", "scratch", "tree"]).ok().text();
    assert_eq!(one, three);
    // Without --reproducible the variable is honoured as well.
    let plain =
        run(world.command(&["commit", "tree", "dated:v1"]).env("SOURCE_DATE_EPOCH", "1000000000")).ok();
    let shown = world.run(&["inspect", plain.text().trim()]).ok().json();
    assert_eq!(shown[0]["Created"], "2001-09-09T01:46:40Z");
    let wrong = run(world.command(&["commit", "tree"]).env("SOURCE_DATE_EPOCH", "yesterday"));
    assert_eq!(
        wrong.fails(1, "SOURCE_DATE_EPOCH").stderr,
        "error: read SOURCE_DATE_EPOCH: yesterday: expected seconds since 1970\n"
    );
}

#[test]
fn the_base_is_what_the_directory_came_from_or_what_base_says() {
    let world = World::unpacked();
    world.sh("echo more >>work/etc/motd");
    let layers = |name: &str| {
        let shown = world.run(&["inspect", name]).ok().json();
        shown[0]["RootFS"]["Layers"].as_array().unwrap().len()
    };
    world.run(&["commit", "work", "app:v2"]).ok();
    assert_eq!(layers("app:v2"), 2);
    world.run(&["commit", "--base", "app:v1", "work", "app:v3"]).ok();
    assert_eq!(layers("app:v3"), 2);
    world.run(&["commit", "--base", "scratch", "work", "app:v4"]).ok();
    assert_eq!(layers("app:v4"), 1);
    world.run(&["commit", "--base", "app:v2", "--squash", "work", "app:v5"]).ok();
    assert_eq!(layers("app:v5"), 1);
    world.run(&["commit", "--base", "nope", "work"]).fails(1, "no image in the store has this name or id");
    // A base that is there is not gone because it is of no use.
    let other = if cfg!(target_arch = "aarch64") { "linux/amd64" } else { "linux/arm64" };
    let run = world.run(&["commit", "work", "app:v6", "--platform", other]).fails(1, "not for");
    assert!(!run.stderr.contains("gone"), "{}", run.stderr);
    for line in [["tag", "app:v1", "sha256:abc"], ["commit", "work", "sha256:abc"]] {
        world.run(&line).fails(1, "would be taken for a digest");
    }
    world.run(&["tag", "app:v1", "other/sha256:abc"]).ok();
}

#[test]
fn an_upper_directory_becomes_a_layer() {
    let world = World::unpacked();
    world.sh("mkdir -p upper/etc; echo changed >upper/etc/motd; echo new >upper/new");
    let line = ["commit", "--upper", "upper", "--lower", "work", "--base", "app:v1", "--json", "app:v2"];
    let made = world.run(&line).ok().json();
    assert_eq!(made["name"], "app:v2");
    assert_eq!(made["changes"]["added"], 1);
    let listed = world.run(&["diff", "app:v1", "app:v2"]).ok().text();
    assert!(listed.contains("A /new\n") && listed.contains("C /etc/motd\n"), "{listed}");
    world.run(&["commit", "--upper", "upper", "tree", "x", "--lower", "work"]).fails(2, "do not go together");
    world.run(&["commit", "--upper", "upper", "--lower", "work", "app:v2"]).fails(1, "needs its image named");
}

/// What was done through a mount has owners of its own; a plain directory was given none.
#[test]
fn an_upper_directory_has_the_owners_on_disk() {
    if !support::is_root() {
        // Only root can give files to other users.
        return;
    }
    let world = World::new();
    world.sh(
        "mkdir l u; echo a >l/a; chown 7:7 l/a; cp -a l/a u/a; echo more >>u/a; echo n >u/n; chown 9:9 u/n",
    );
    world.run(&["commit", "--owner", "keep", "l", "l:1"]).ok();
    let owners = |line: &[&str]| {
        world.run(&[&["commit", "--upper", "u", "--lower", "l", "--base", "l:1", "l:2"], line].concat()).ok();
        world.sh("rm -f out.tar");
        world.run(&["export", "l:2", "-o", "out.tar"]).ok();
        world.sh("tar --numeric-owner -tvf out.tar a n | tr -s ' ' | cut -d' ' -f2 | tr '\\n' ' '")
    };
    assert_eq!(owners(&[]), "7/7 9/9 ");
    assert_eq!(owners(&["--owner", "root"]), "0/0 0/0 ");
    assert_eq!(
        world.run(&["diff", "--upper", "u", "--lower", "l", "--reasons"]).ok().text(),
        "C /a\tcontent,mtime\nA /n\n"
    );
    // That a lower directory was committed as root's says nothing about the upper one; anything else does.
    world.run(&["commit", "l", "l:1"]).ok();
    assert_eq!(owners(&[]), "7/7 9/9 ");
    world.run(&["commit", "--owner", "3:4", "l", "l:1"]).ok();
    assert_eq!(owners(&[]), "3/4 3/4 ");
}

#[test]
fn a_store_in_the_tree_is_no_part_of_it() {
    let world = World::with_tree();
    let beside = ["--root", "tree/var/store"];
    world.sh("mkdir tree/var");
    let made = world.run(&[&beside[..], &["commit", "tree", "app:v1"]].concat()).ok();
    assert!(made.stderr.contains("left out /var/store: the image store itself"), "{}", made.stderr);
    let again = world.run(&[&beside[..], &["commit", "--json", "tree", "app:v2"]].concat()).ok();
    let again = again.json();
    assert_eq!(again["layer"], json!(null));
    assert_eq!(again["skipped"], json!([{"path": "/var/store", "reason": "the image store itself"}]));
    assert_eq!(world.run(&[&beside[..], &["diff", "tree"]].concat()).ok().text(), "");
    world.sh("cp -a tree copy; rm -r copy/var/store; touch -r tree/var copy/var");
    assert_eq!(world.run(&[&beside[..], &["diff", "copy", "tree"]].concat()).ok().text(), "");
    let made = world.run(&[&beside[..], &["layer", "create", "tree", "-o", "layer.tar"]].concat()).ok();
    assert!(made.stderr.contains("left out /var/store"), "{}", made.stderr);
    let listed = world.run(&["layer", "ls", "-n", "layer.tar"]).ok().text();
    assert!(listed.contains("var/\n") && !listed.contains("var/store"), "{listed}");
    // To another store it is a directory like any.
    assert!(world.run(&["commit", "tree", "app:v1"]).ok().stderr.find("left out").is_none());
}

#[test]
fn what_a_commit_says_makes_sense() {
    let world = World::with_tree();
    let first = world.run(&["commit", "tree", "app:v1"]).ok();
    assert!(!first.stderr.contains("replaced"), "every file is the caller's: {}", first.stderr);
    world.sh("touch -d @1234567890 tree");
    let touched = world.run(&["commit", "tree", "app:v2"]).ok();
    assert!(
        touched.stderr.starts_with("nothing but the directory itself changed; layer of"),
        "{}",
        touched.stderr
    );
    let again = world.run(&["commit", "tree", "app:v2"]).ok();
    assert!(again.stderr.starts_with("nothing changed; no new layer;"), "{}", again.stderr);
    if support::is_root() {
        world.sh("chown 7:7 tree/etc/motd");
        let made = world.run(&["commit", "tree", "app:v3"]).ok();
        assert!(
            made.stderr.contains("1 owner replaced (--owner keep takes them from the disk)"),
            "{}",
            made.stderr
        );
        let made = world.run(&["commit", "--base", "scratch", "--owner", "root", "tree", "app:v3"]).ok();
        assert!(!made.stderr.contains("replaced"), "{}", made.stderr);
    }
}

#[test]
fn a_file_for_the_id_that_cannot_be_made_leaves_no_image() {
    let world = World::with_tree();
    world.run(&["commit", "--iidfile", "nowhere/id", "tree", "app:v1"]).fails(1, "no such file or directory");
    assert_eq!(world.run(&["images", "-q"]).ok().text(), "");
    let made = world.run(&["commit", "--iidfile", "id", "tree", "app:v1"]).ok();
    assert_eq!(world.sh("cat id"), made.text().trim());
}

#[test]
fn times_have_fractions_where_asked_for() {
    let world = World::with_tree();
    world.sh("touch -d @1000000000.123456789 tree/etc/motd");
    let time =
        |world: &World| world.sh("tar --full-time -tvf out.tar etc/motd | grep -c '\\.123456789' || true");
    for (flags, expected) in [(&[][..], "0\n"), (&["--nanoseconds"], "1\n")] {
        world
            .run(&[&["layer", "create", "tree", "--compression", "none", "-o", "out.tar"], flags].concat())
            .ok();
        assert_eq!(time(&world), expected, "layer create {flags:?}");
        world.run(&[&["export", "tree", "-o", "out.tar"], flags].concat()).ok();
        assert_eq!(time(&world), expected, "export {flags:?}");
        let line = ["commit", "--base", "scratch", "tree", "app:v1"];
        world.run(&[&line, flags].concat()).ok();
        world.run(&["export", "--nanoseconds", "app:v1", "-o", "out.tar"]).ok();
        assert_eq!(time(&world), expected, "commit {flags:?}");
    }
}

#[test]
fn whiteouts_of_old_tools_are_taken_where_asked_for() {
    let world = World::unpacked();
    world.sh("mkdir l; echo full >l/.wh.gone; tar -C l -cf layer.tar .wh.gone; mkdir dir; echo x >dir/gone");
    world.run(&["layer", "apply", "layer.tar", "dir"]).fails(1, "whiteout");
    assert_eq!(world.sh("ls dir"), "gone\n");
    world.run(&["layer", "apply", "--lenient", "layer.tar", "dir"]).ok();
    assert_eq!(world.sh("ls dir"), "");
    world.run(&["unpack", "--lenient", "app:v1", "lenient"]).ok();
}

#[test]
fn a_directory_may_be_named_in_any_way() {
    let world = World::with_tree();
    world.sh("mkdir a; ln -s ../tree a/link");
    for (number, tree) in
        ["tree/", "./tree", "tree/.", "a/../tree", "a/link", "a/link/", "tree/etc/.."].iter().enumerate()
    {
        let name = format!("app:v{number}");
        let made = world.run(&["commit", "--json", tree, &name]).ok().json();
        assert_eq!(made["layer"].is_null(), number > 0, "{tree}: it is the same tree");
        assert_eq!(world.run(&["diff", tree]).ok().text(), "", "{tree}");
        assert_eq!(world.run(&["diff", "tree", tree]).ok().text(), "", "{tree}");
        world.run(&["layer", "create", tree, "-o", "a/layer"]).ok();
        world.run(&["snapshot", tree, "-o", "a/../snapshot"]).ok();
        world.run(&["export", tree, "-o", "./a/../out.tar"]).ok();
    }
    for new in ["new0", "new1/", "./new2", "a/../new3", "a/../new4/"] {
        world.run(&["unpack", "app:v0", new]).ok();
        assert_eq!(world.run(&["diff", new]).ok().text(), "", "{new}");
        world.run(&["layer", "apply", "a/layer", new]).ok();
    }
    world.sh("mkdir empty");
    let mut inside = world.command(&["unpack", "app:v0", "."]);
    run(inside.current_dir(world.join("empty"))).ok();
    assert_eq!(world.run(&["diff", "empty"]).ok().text(), "");
    world.run(&["unpack", "app:v0", "a/.."]).fails(1, "not");
}

#[test]
fn what_cannot_be_in_a_layer_is_reported() {
    let world = World::with_tree();
    let _socket = std::os::unix::net::UnixListener::bind(world.join("tree/sock")).unwrap();
    let made = world.run(&["commit", "tree", "app:v1"]).ok();
    assert!(made.stderr.contains("warning: left out /sock: socket\n"), "{}", made.stderr);
    world.sh("cp -a tree copy");
    let _socket = std::os::unix::net::UnixListener::bind(world.join("copy/other")).unwrap();
    let made = world.run(&["commit", "--json", "-q", "copy", "app:v1"]).ok();
    assert_eq!(made.json()["skipped"][0], json!({"path": "/other", "reason": "socket"}));
    assert_eq!(made.stderr, "");
}

#[test]
fn slips_get_a_hint() {
    let world = World::with_tree();
    let run = world.run(&["commit", "app:v1"]).fails(1, "no such file");
    assert_data_eq!(
        run.stderr,
        str![[r#"
error: open tree: app:v1: no such file or directory
hint: the directory comes first: treering commit TREE [REPOSITORY[:TAG]]

"#]]
    );
    world.run(&["commit"]).fails(2, "no directory to commit");
    world.run(&["commit", "tree", "App"]).fails(1, "must be lower case");
    world.run(&["commit", "tree", "--level", "40"]).fails(2, "level");
    world.run(&["commit", "tree", "--owner", "me"]).fails(2, "invalid value 'me' for '--owner <OWNER>'");
    world.run(&["commit", "tree", "-c", "RUN true"]).fails(1, "RUN");
    // Nothing of all that is in the store.
    assert_eq!(world.run(&["images", "-q"]).ok().text(), "");
}

#[test]
fn an_unpacked_image_is_what_was_committed() {
    let world = World::unpacked();
    let listed = world.sh("cd work; find . -printf '%p %y %m %l\\n' | sort; cat etc/motd");
    assert_eq!(listed, world.sh("cd tree; find . -printf '%p %y %m %l\\n' | sort; cat etc/motd"));
    let made = world.run(&["unpack", "--json", "app:v1", "again"]).ok().json();
    assert_eq!(made["entries"], 5);
    assert_eq!(made["losses"], json!([]));
    let run = world.run(&["unpack", "app:v1", "work"]).fails(1, "the directory is not empty");
    assert!(run.stderr.contains("hint: name a new directory"), "{}", run.stderr);
    world.run(&["unpack", "app:v9", "elsewhere"]).fails(1, "no image in the store");
    assert!(!world.join("elsewhere").exists());
    let other = if cfg!(target_arch = "aarch64") { "linux/amd64" } else { "linux/arm64" };
    world.run(&["unpack", "--platform", other, "app:v1", "elsewhere"]).fails(1, "not for");
}

#[test]
fn owners_survive_every_unpacking() {
    let world = World::with_tree();
    world.sh("chmod 4711 tree/bin/hello");
    world.run(&["commit", "--owner", "70000:80000", "tree", "app:v1"]).ok();
    world.run(&["unpack", "app:v1", "work"]).ok();
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
    let made = world.run(&["commit", "--squash", "work", "flat:v1"]).ok();
    assert!(made.stderr.contains("nothing changed"), "{}", made.stderr);
    assert_eq!(world.run(&["diff", "app:v1", "flat:v1"]).ok().text(), "");
    let mode = world.join("work/bin/hello").metadata().unwrap().permissions().mode() & 0o7777;
    if !support::is_root() {
        // No file is setuid to the user that unpacked it.
        assert_eq!(mode & 0o4000, 0);
    }
}

#[test]
fn an_unchanged_directory_is_the_same_image_where_asked_for() {
    let world = World::new();
    world.sh("mkdir tree && echo 1 >tree/f");
    let first = world.run(&["commit", "tree", "app:1"]).ok().text();
    assert_eq!(world.run(&["commit", "--only-if-changed", "tree", "app:2"]).ok().text(), first);
    assert_ne!(world.run(&["commit", "tree", "app:3"]).ok().text(), first);
    world.sh("echo 2 >>tree/f");
    assert_ne!(world.run(&["commit", "--only-if-changed", "tree", "app:4"]).ok().text(), first);
}

/// Files as shadow (0000) and sudo (4111) are those of the user that commits them: they are read, and stay what they were.
#[test]
fn a_directory_of_ones_own_that_may_not_be_read_is_an_error_with_a_way_out() {
    if support::is_root() && !support::tools::need("setpriv", &["--version"]) {
        return;
    }
    let world = World::with_tree();
    world.sh("mkdir tree/closed; echo in >tree/closed/in; chmod 0 tree/closed");
    if support::is_root() {
        world.sh("chown -R 65534:65534 .");
    }
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all";
    let as_user = |line: &[&str]| -> Run {
        match support::is_root() {
            true => world.by_shell(&format!("exec {user} \"$@\""), line),
            false => world.run(line),
        }
    };
    for line in [&["commit", "tree", "app:v1"][..], &["snapshot", "tree", "-o", "before"]] {
        let run = as_user(line).fails(1, "closed");
        assert!(run.stderr.contains("hint: ") && run.stderr.contains("chmod"), "{}", run.stderr);
    }
    assert_eq!(as_user(&["images", "-q"]).ok().text(), "");
    world.sh("chmod 700 tree/closed");
}

#[test]
fn a_user_commits_files_of_their_own_that_they_may_not_read() {
    let world = World::with_tree();
    let as_user = |script: &str| {
        let line = format!("export TREERING_ROOT=$PWD/store HOME=$PWD; {script}");
        match support::is_root() {
            true => {
                let script = line.replace('\'', "'\\''");
                world.sh(&format!("setpriv --reuid 65534 --regid 65534 --clear-groups sh -euc '{script}'"))
            }
            false => world.sh(&line),
        }
    };
    let treering = support::program();
    world.sh("echo shadow >tree/etc/shadow; chmod 0 tree/etc/shadow; echo sudo >tree/bin/sudo; ln tree/bin/sudo tree/bin/sudoedit
              touch -d @1000000000.25 tree/etc/shadow tree/bin/sudo; touch -d @1000000000 tree/etc tree/bin");
    if support::is_root() && !support::tools::need("setpriv", &["--version"]) {
        return;
    }
    if support::is_root() {
        world.sh("chown -R 65534:65534 .");
    }
    // A change of owner takes setuid away.
    as_user("chmod 4111 tree/bin/sudo");
    let before = as_user("stat -c '%n %a %Y %X %h' tree/etc/shadow tree/bin/sudo");
    as_user(&format!("{treering} commit tree app:v1"));
    assert_eq!(as_user("stat -c '%n %a %Y %X %h' tree/etc/shadow tree/bin/sudo"), before);
    assert_eq!(
        as_user(&format!("{treering} cat app:v1:/etc/shadow; {treering} cat app:v1:/bin/sudo")),
        "shadow\nsudo\n"
    );
    let listed = as_user(&format!("{treering} ls --json app:v1:/bin"));
    assert!(listed.contains("\"mode\":\"4111\""), "{listed}");
    assert_eq!(as_user(&format!("{treering} diff tree; {treering} diff app:v1 tree; ls store/tmp")), "");
    as_user(&format!(
        "{treering} commit --compare content --squash tree app:v2; {treering} layer create tree -o layer"
    ));
    assert_eq!(as_user("stat -c '%n %a %Y %X %h' tree/etc/shadow tree/bin/sudo"), before);

    // A killed process leaves a promise, which the next one keeps; what was changed since is not touched.
    let promise = |mode: &str, file: &str| {
        format!(
            "printf '{mode} %s\\n%s' \"$(stat -c '%d %i' {file})\" \"$PWD/{file}\" >store/tmp/mend-$$; chmod 400 {file}"
        )
    };
    as_user(&promise("0", "tree/etc/shadow"));
    as_user(&promise("4111", "tree/bin/sudo"));
    as_user(&format!("{treering} diff tree"));
    assert_eq!(as_user("stat -c %a tree/etc/shadow tree/bin/sudo; ls store/tmp"), "0\n400\n");

    // A directory is not opened so, and the hint says what can be done.
    as_user("mkdir tree/closed; chmod 0 tree/closed");
    let failed = as_user(&format!("{treering} commit tree app:v3 2>&1 || true; chmod 700 tree/closed"));
    assert!(failed.contains("tree/closed") && failed.contains("hint: every directory"), "{failed}");
}

/// The same tree, the same image, however often it is committed.
#[test]
fn a_reproducible_commit_of_an_unchanged_tree_is_the_same_image() {
    let world = World::with_tree();
    let first = world.run(&["commit", "--reproducible", "tree", "app:v1"]).ok().text();
    for name in ["app:v1", "app:v2"] {
        assert_eq!(world.run(&["commit", "--reproducible", "tree", name]).ok().text(), first);
    }
    assert_eq!(world.run(&["images"]).ok().lines().len(), 3);
    let message = world.run(&["commit", "--reproducible", "-m", "new", "tree", "app:v3"]).ok().text();
    assert_ne!(message, first);
}
