//! The test that matters most: for every user and every rung, the layer of a command has the same bytes.

use serde_json::Value;

use support::busybox::{World, every_way as ways};

/// Runs a script on every way, and compares the layers. The first way is the reference. Parts of a list that need no /proc run everywhere.
fn compare(script: &str) -> Option<String> {
    compare_in(&World::new()?, script)
}

fn compare_in(world: &World, script: &str) -> Option<String> {
    let mut first: Option<(String, String)> = None;
    for way in ways() {
        world.prepare(way);
        let text = world.script_ok(way, script);
        world.ok(way, &["commit", "work", "bb:2"]);
        let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "bb:2"])).unwrap();
        let layers = image[0]["RootFS"]["Layers"].to_string();
        let list = world.ok(way, &["diff", "work"]);
        assert_eq!(list, "", "{way:?}: a commit leaves no difference");
        match &first {
            None => first = Some((layers, text)),
            Some((expected, said)) => {
                assert_eq!(&text, said, "{way:?}: what the script sees");
                assert_eq!(&layers, expected, "{way:?}: what the script leaves");
            }
        }
    }
    first.map(|(_, text)| text)
}

#[test]
fn owners_and_modes_are_those_of_real_root() {
    let text = compare(
        "set -e; umask 022
         touch f; chown 33:44 f; ln -s f link; chown -h 5:6 link; stat -c '%n %u:%g' f link
         touch s; chmod 6755 s; stat -c %a s; chown 0:0 s; stat -c %a s
         touch t; chmod 2644 t; chown 1:1 t; stat -c %a t
         mkdir d; chmod 2775 d; chgrp 33 d; touch d/f; mkdir d/d; stat -c '%n %a %u:%g' d d/f d/d
         touch h; chown 7:8 h; ln h h2; mv h h3; stat -c '%n %u:%g %h' h2 h3
         mkdir none; chmod 0 none; touch locked; chmod 0 locked; stat -c '%n %a' none locked
         touch w; chmod 4755 w; echo x >w; stat -c %a w
         chmod 1777 d; stat -c %a d; chmod u-s s; stat -c %a s
         ls -ln f | cut -c1-10",
    );
    if let Some(text) = text {
        assert!(text.starts_with("f 33:44\nlink 5:6\n6755\n755\n2644\n"), "{text}");
        assert!(text.contains("d/f 644 0:33\nd/d 2755 0:33\n"), "{text}");
    }
}

/// What a directory's attributes say of new files holds on every way, whether the ledger has them or the disk.
#[test]
fn what_is_made_below_a_default_acl_has_that_acl() {
    let Some(world) = World::with_tool() else { return };
    let text = compare_in(
        &world,
        "set -e; umask 022; mkdir d a; tool acl d system.posix_acl_default; tool acl a system.posix_acl_access
         touch d/f; mkdir d/d; touch d/d/f; umask 077; touch d/g; (umask 0; mkdir -m 700 d/e); cp d/f a/f; mv d/g a/g
         stat -c '%n %a' d a d/f d/d d/d/f d/e a/f a/g; tool list d; tool list d/f; tool list d/d | sort; tool list a
         tool set a trusted.x y; chmod 750 a; stat -c %a a; tool get a trusted.x; chown 5:6 d/f; stat -c '%a %u:%g' d/f",
    );
    if let Some(text) = text {
        assert!(text.starts_with("d 755\na 775\nd/f 664\nd/d 775\nd/d/f 664\nd/e 700\n"), "{text}");
    }
}

/// Where files inherit a group they are made by the supervisor; what a link leads to may have no name at all.
#[test]
fn a_link_to_the_output_of_a_command_is_written_through() {
    let Some(world) = World::new() else { return };
    for way in ways().into_iter().filter(|way| way.rung != "chroot") {
        world.prepare(way);
        let dockerfile = "FROM bb:1\nRUN mkdir /d && chgrp 33 /d && chmod 2775 /d && ln -s /dev/stdout /d/log && ln -s log /d/again && \
            echo one >> /d/log && echo two > /d/again && ln -s ../there /d/lost && echo three > /d/lost && \
            test `stat -c %g /there` = 0 && test `cat /there` = three && test -h /d/log\n";
        std::fs::write(world.join("Dockerfile"), dockerfile).unwrap();
        let file = world.join("Dockerfile").to_str().unwrap().to_string();
        let context = world.join("bb").to_str().unwrap().to_string();
        let arguments = ["build", "--progress=plain", "--rung", way.rung, "-f", &file, &context];
        let out = world.output(way, &arguments);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{way:?}: {said}");
        for line in ["#2 one\n", "#2 two\n"] {
            assert!(said.contains(line), "{way:?}: {said}");
        }
    }
}

#[test]
fn devices_are_in_the_layer_of_every_user() {
    let text = compare(
        "set -e; mknod c c 1 3; mknod b b 7 200; mkfifo p; mknod big c 300 70000; chown 5:6 c; chmod 620 c
         stat -c '%n %F %a %u:%g %t,%T' c b p big; find . -xdev -type b; rm b; touch b; stat -c '%F' b",
    );
    if let Some(text) = text {
        assert!(text.contains("c character special file 620 5:6 1,3\n"), "{text}");
        assert!(text.ends_with("./b\nregular empty file\n"), "{text}");
    }
}

#[test]
fn a_recycled_inode_belongs_to_root() {
    let text = compare(
        "set -e; i=0; while [ $i -lt 300 ]; do touch r; chown 33:33 r; rm r; touch q$i; i=$((i+1)); done
         find . -xdev -user 33 | wc -l; find . -xdev -name 'q*' -user 0 | wc -l",
    );
    if let Some(text) = text {
        assert_eq!(text, "0\n300\n");
    }
}

#[test]
fn files_of_other_users_are_theirs() {
    let text = compare(
        "set -e; umask 022; mkdir -m 777 home; echo 'root:x:0:0::/:/bin/sh' >passwd
         mkdir -p /etc; mv passwd /etc/passwd; echo 'app:x:1234:1235::/home:/bin/sh' >>/etc/passwd; echo 'app:x:1235:' >/etc/group
         su app -c 'id -u; touch home/x; mkdir home/d; ln -s x home/l; mkfifo home/p; chmod 600 home/x'
         stat -c '%n %a %u:%g' home/x home/d home/l home/p
         su app -c 'chown 0 home/x 2>&- || echo refused; touch /etc/y 2>&- || echo refused'
         id -u",
    );
    if let Some(text) = text {
        assert!(
            text.starts_with("1234\nhome/x 600 1234:1235\nhome/d 755 1234:1235\nhome/l 777 1234:1235\n"),
            "{text}"
        );
        assert!(text.ends_with("refused\nrefused\n0\n"), "{text}");
    }
}

#[test]
fn what_no_applet_asks_for_is_answered_alike() {
    let Some(world) = World::with_tool() else { return };
    let text = compare_in(
        &world,
        "set -e; cd /; mkdir t; cd t; touch a; tool set a trusted.x one; tool get a trusted.x; tool list a
         tool set a trusted.y two; tool remove a trusted.y; tool get a trusted.y || true; chmod 644 a
         tool as 5 5 /bin/tool get a trusted.x || true; tool as 5 5 /bin/tool list a
         tool as 5 5 /bin/tool set a trusted.z x || true
         mkdir d; mknod d/c c 1 3; mknod d/b b 7 1; touch d/f; ln -s f d/l; mkfifo d/p; mkdir d/s
         i=0; while [ $i -lt 60 ]; do mknod d/device-$i c 1 $i; i=$((i+1)); done
         tool types d; tool old-types d | wc -l; cd d; rm device-*; cd ..; tool peer",
    );
    if let Some(text) = text {
        assert!(text.starts_with("one\ntrusted.x\nget: No data available\n"), "{text}");
        assert!(text.contains("\nset: Operation not permitted\nb 6\nc 2\ndevice-0 2\n"), "{text}");
        assert!(text.contains("\nf 8\nl 10\np 1\ns 4\n66\n66 77 1\n"), "{text}");
    }
}

#[test]
fn users_may_write_where_they_may_and_nowhere_else() {
    let Some(world) = World::with_tool() else { return };
    let text = compare_in(
        &world,
        "cd /; umask 022; mkdir t; cd t; mkdir -m 1777 tmp; mkdir own; chown 5:6 own; touch root own/mine tmp/root; chown 5:6 own/mine
         mkdir -m 775 group; chgrp 6 group; mkdir closed; touch closed/f
         as() { tool as 5 6 /bin/sh -c \"$*\" 2>&- && echo yes || echo no; }
         as 'echo x >root'; as 'echo x >>own/mine'; as 'echo x >own/new'; as 'touch new'; as 'mkdir closed/d'; as 'rm -f root'
         as 'rm closed/f'; as 'mv closed/f own/f'; as 'ln own/mine closed/l'; as 'ln -s x closed/s'; as 'touch tmp/new'
         as 'rm -f tmp/root'; as 'mv tmp/root tmp/other'; as 'rm tmp/new'; as 'touch group/g'; as 'rmdir closed'
         as 'test -w root'; as 'test -r root'; as 'test -w own'; as 'test -x root'; as 'truncate -s 0 root'; as 'chmod 777 root'
         find . | sort | xargs stat -c '%n %a %u:%g'",
    );
    if let Some(text) = text {
        let said: String = text.lines().take(22).map(|line| if line == "yes" { 'y' } else { 'n' }).collect();
        assert_eq!(said, "nyynnnnnnnynnyynnyynnn", "{text}");
    }
}

#[test]
fn a_user_that_a_command_starts_as_reads_what_it_may() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        world.script_ok(
            way,
            "mkdir -p /d /e; echo x >/d/secret; chmod 600 /d/secret; echo y >/d/open; chown 5:6 /e; echo z >/e/f; chown 5:6 /e/f; chmod 400 /e/f",
        );
        let script = "id -u; cat /d/open; cat /d/secret 2>&- || echo refused; cat /e/f; echo q >/e/n; stat -c %u:%g /e/n
                      (echo x >/d/n) 2>&- || echo refused";
        let run = ["run", "--rung", way.rung, "-u", "5:6", "work", "--", "sh", "-c", script];
        assert_eq!(world.ok(way, &run), "5\ny\nrefused\nz\n5:6\nrefused\n", "{way:?}");
    }
}

#[test]
fn many_threads_under_many_signals_and_many_recycled_inodes() {
    let Some(world) = World::with_tool() else { return };
    for way in ways() {
        world.prepare(way);
        // Many more of them once, in the way that emulates with the kernel's help: by a tracer they take a minute.
        let inodes = if way.rung == "notify" { 10_000 } else { 2_000 };
        let script = format!("mkdir /t; cd /t; tool threads; tool recycle {inodes}");
        assert_eq!(world.script_ok(way, &script), "0\n0\n", "{way:?}");
    }
}
