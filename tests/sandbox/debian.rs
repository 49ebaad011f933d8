//! The same in a Debian tree, with the tools that packages use. It needs the tree that `tests/corpus.sh debian-min` makes.

use std::collections::BTreeSet;

use serde_json::Value;

use support::busybox::{Way, World, every_way as ways};

const SCRIPT: &str = r#"
set -e
# What useradd writes has the day in it.
export SOURCE_DATE_EPOCH=1700000000
mkdir /t; cd /t
touch f; chown 33:44 f
ln -s f link; chown -h 5:6 link
touch s; chmod 6755 s; chown 0:0 s
touch c; setcap cap_net_raw+ep c
touch d; setcap cap_net_raw+ep d; chown 0:0 d
mknod n c 1 3; mknod b b 7 0; mkfifo p
test "$(stat -c %F n)" = "character special file"
mkdir a; setfacl -m u:1234:rwx a; mkdir da; setfacl -d -m u:1234:rwx da; mkdir da/sub; touch da/file
getfacl -R da a >/dev/null
useradd -m -u 1234 app; su app -c 'touch ~/x; mkdir ~/d; ln -s x ~/l'
mkdir g; chgrp 33 g; chmod 2775 g; touch g/f; mkdir g/d
touch h; chown 7:8 h; ln h h2; mv h h3
echo cap > e; setcap cap_net_raw+ep e; echo more >> e
cp -a /t /t2
tar cf - -C / t | (mkdir /t3; tar xf - -C /t3)
for i in 1 2 3 4 5 6 7 8 9 10; do touch r; chown 33 r; rm r; done; touch r
su app -c 'touch /etc/x' 2>/dev/null && exit 9
install -o 12 -g 13 -m 4755 /bin/true inst
id -u; su app -c id
rm -f /var/log/lastlog /var/log/faillog
"#;

#[test]
fn a_debian_tree_has_the_same_layer_for_every_user() {
    let cache = std::env::var("TREERING_CORPORA").unwrap_or("/var/tmp/treering-corpora".into());
    let tar = format!("{cache}/debian-min.tar");
    if std::fs::File::open(&tar).is_err() {
        println!("SKIP-CORPUS debian-min: {tar} is not there");
        return;
    }
    let Some(world) = World::new() else { return };
    let mut first: Option<(String, Way)> = None;
    for way in ways().into_iter().filter(|way| way.rung != "chroot") {
        world.prepare(way);
        world.ok(way, &["import", &tar, "deb:1"]);
        world.ok(way, &["unpack", "deb:1", "debian"]);
        let out = world.output(way, &["run", "--rung", way.rung, "debian", "--", "sh", "-c", SCRIPT]);
        assert!(out.status.success(), "{way:?}: {}", String::from_utf8_lossy(&out.stderr));
        world.ok(way, &["commit", "debian", "deb:2"]);
        let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "deb:2"])).unwrap();
        let layers = image[0]["RootFS"]["Layers"].to_string();
        let Some((expected, reference)) = &first else {
            first = Some((layers, way));
            continue;
        };
        if layers != *expected {
            panic!("{way:?}: {expected} became {layers}: {:#?}", differences(&world, *reference, way));
        }
    }
}

/// Returns what differs between the images `deb:2` of two ways: lines of their lists, and names of files with other content.
fn differences(world: &World, one: Way, other: Way) -> Vec<String> {
    let list = |way| world.ok(way, &["ls", "-lR", "deb:2"]);
    let (here, there) = (list(one), list(other));
    let (here, there): (BTreeSet<&str>, BTreeSet<&str>) = (here.lines().collect(), there.lines().collect());
    let mut out: Vec<String> = here.symmetric_difference(&there).map(|line| line.to_string()).collect();
    let changed = world.ok(one, &["diff", "deb:1", "deb:2"]);
    for path in changed.lines().filter_map(|line| line.split_once(' ')).map(|(_, path)| path) {
        let read = |way| world.output(way, &["cat", &format!("deb:2:{path}")]).stdout;
        if read(one) != read(other) {
            out.push(format!("content of {path}"));
        }
    }
    out
}
