//! The test that matters most: whoever runs a command, and however, the layer has the same bytes.

use serde_json::Value;

use crate::world::{World, ways};

/// Runs a script on every way, and compares the layers. The first way is the reference. Parts of a list that need no /proc run everywhere.
fn compare(script: &str) -> Option<String> {
    let world = World::new()?;
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

#[test]
fn devices_are_in_the_layer_whoever_made_them() {
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
