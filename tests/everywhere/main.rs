//! Commands in trees where it takes its time: a distribution's packages, and containers of an engine. Whatever user runs them, and wherever,
//! the layers have the same bytes.
#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods)]

use std::process::Command;

use serde_json::Value;
use support::busybox::{Way, World, every_way};
use support::docker::Engine;
use support::tools::run;

/// Installs packages with scripts that do all that packages do: users, groups, setgid and setuid programs, ACLs,
/// capabilities. Then takes away what is another at every installation.
const PACKAGES: &str = r#"
set -e
export SOURCE_DATE_EPOCH=1700000000 DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get -qq update
apt-get -qq -y --no-install-recommends install openssh-client dbus systemd man-db iputils-ping sudo acl libcap2-bin attr >/tmp/out 2>&1 || { cat /tmp/out; exit 1; }
stat -c '%a %U:%G %n' /usr/bin/ssh-agent /usr/lib/dbus-1.0/dbus-daemon-launch-helper /var/log/journal
stat -c '%u:%g %n' /var/cache/man; getcap /usr/bin/ping; getfacl -cp /var/log/journal | head -3
useradd -m -u 1234 app; echo 'app ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/app; chmod 440 /etc/sudoers.d/app
su app -c 'id -u; touch ~/x; sudo -n id -u; sudo -n touch /made'; stat -c '%u:%g %n' /made /home/app/x
mkdir /c /d; cp -a /usr/bin/ssh-agent /usr/bin/ping /usr/bin/sudo /var/log/journal /c; setfattr -n trusted.x -v y /c/ping
tar -C /c --xattrs --xattrs-include='*' --acls -cf - . | tar -C /d --xattrs --xattrs-include='*' --acls -xf -
for d in /c /d; do (cd $d; stat -c '%a %u:%g %n' *; getcap ping; getfattr -d -m - ping | grep trusted; getfacl -Rc journal | md5sum); done
rm -rf /tmp/* /var/log/*.log /var/log/apt /var/log/lastlog /var/log/faillog /var/cache/apt/*.bin /var/cache/ldconfig /var/lib/apt/lists
rm -f /etc/machine-id /var/lib/dbus/machine-id /etc/shadow- /etc/passwd- /etc/group- /etc/gshadow- /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -rf /var/cache/man /run/sudo /var/lib/sudo/lectured
"#;

#[test]
fn an_installation_of_packages_leaves_the_same_layer_everywhere() {
    let cache = std::env::var("TREERING_CORPORA").unwrap_or("/var/tmp/treering-corpora".into());
    let tar = format!("{cache}/debian-apt.tar");
    if std::fs::File::open(&tar).is_err() {
        println!("SKIP-CORPUS debian-apt: {tar} is not there");
        return;
    }
    let Some(world) = World::new() else { return };
    let mut first: Option<(String, String)> = None;
    // A bare chroot has no /proc and no /dev, which packages need.
    for way in every_way().into_iter().filter(|way| way.rung != "chroot") {
        world.prepare(way);
        world.ok(way, &["import", &tar, "apt:1"]);
        world.ok(way, &["unpack", "apt:1", "debian"]);
        let out = world.output(way, &["run", "--rung", way.rung, "debian", "--", "sh", "-c", PACKAGES]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{way:?}: {text} {}", String::from_utf8_lossy(&out.stderr));
        world.ok(way, &["commit", "debian", "apt:2"]);
        let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "apt:2"])).unwrap();
        let layers = image[0]["RootFS"]["Layers"].to_string();
        match &first {
            None => {
                for line in [
                    "2755 root:_ssh /usr/bin/ssh-agent\n4754 root:messagebus /usr/lib/dbus-1.0/dbus-daemon-launch-helper\n",
                    "2755 root:systemd-journal /var/log/journal\n6:12 /var/cache/man\n/usr/bin/ping cap_net_raw=ep\n",
                    "\n1234\n0\n0:0 /made\n1234:1234 /home/app/x\n",
                    "trusted.x=\"y\"\n",
                ] {
                    assert!(text.contains(line), "{way:?}: {line} is not in {text}");
                }
                first = Some((layers, text));
            }
            Some((expected, said)) => {
                assert_eq!(&text, said, "{way:?}: what the script sees");
                assert_eq!(&layers, expected, "{way:?}: what the script leaves");
            }
        }
    }
}

/// The script that is run in a container: a tree is made, worked on and committed.
const IN_CONTAINER: &str = r#"
export HOME=/tmp/h TREERING_ROOT=/tmp/h/store SOURCE_DATE_EPOCH=1700000000; mkdir -p /tmp/h; cd /tmp/h
treering -q commit /bb bb:1 >/dev/null; treering -q unpack bb:1 work
treering run work -- sh -c 'set -e; touch /f; chown 33:44 /f; mknod /c c 1 3; mknod /b b 7 1; mkdir -m 2775 /g; chgrp 33 /g; touch /g/x; mkdir /g/d
  ln -s /f /l; chown -h 5:6 /l; touch /s; chmod 6755 /s; ln /f /h; mv /h /h2; rm -f /f; touch /f; chown 33:44 /f
  head -c 3 /dev/zero | wc -c >/seen; cat /proc/self/status | grep -c "^Uid:.0" >>/seen; grep -c localhost /etc/hosts >>/seen; ls -l /proc/self/fd >/dev/null
  stat -c "%n %a %u:%g %F" /f /c /b /g /g/x /g/d /l /s /h2
  mkdir /n; cd /n; mknod c c 1 3; mknod b b 7 1; touch f; tool types /n; find /n -type c; tool peer; rm -r /n
  sh /acceptance.sh' || exit 1
treering -q commit work bb:2
"#;

/// Makes the root of a container: busybox, the command and its libraries, and the tree to work on.
fn image_root(world: &World) -> String {
    let root = world.join("image");
    for directory in ["bin", "tmp", "etc"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    run(Command::new("chmod").arg("1777").arg(root.join("tmp")));
    run(Command::new("cp").arg("-a").arg(world.join("bb")).arg(root.join("bb")));
    run(Command::new("cp").args(["-a", "-T"]).arg(world.join("bb/bin")).arg(root.join("bin")));
    run(Command::new("cp").arg(world.join("treering")).arg(root.join("bin/treering")));
    let libraries = run(Command::new("ldd").arg(world.join("treering")));
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(library, to).unwrap();
    }
    root.to_str().unwrap().to_string()
}

#[test]
fn a_container_of_an_engine_makes_the_same_layer_as_root_and_as_a_user() {
    let Some(world) = World::with_acceptance() else { return };
    let Some(engine) = Engine::start(world.path()) else { return };
    let root = image_root(&world);
    let tar = world.join("image.tar");
    run(Command::new("tar").args(["-C", &root, "-cf"]).arg(&tar).arg("."));
    run(engine.command(&["import"]).arg(&tar).arg("box"));
    let mut first: Option<String> = None;
    for (rung, options) in [
        // The owners are on the disk, and what the engine forbids to mount is the supervisor's answer.
        ("no namespace", &["--user", "0"][..]),
        ("no namespace", &["--user", "1000"]),
        ("no namespace", &["--user", "1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]),
    ] {
        let out = engine
            .command(&["run", "--rm", "--network", "none"])
            .args(options)
            .args(["box", "sh", "-c", IN_CONTAINER])
            .output()
            .unwrap();
        let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{options:?}: {text} {error}");
        assert!(error.contains(&format!("run: {rung}")), "{options:?}: {error}");
        assert!(
            text.starts_with("/f 644 33:44 regular empty file\n/c 644 0:0 character special file\n"),
            "{text}"
        );
        assert_eq!(*first.get_or_insert_with(|| text.to_string()), text, "{options:?}");
    }
    // And real root of this machine, the reference.
    let way = Way { rung: "root", drop: false };
    world.prepare(way);
    let script =
        IN_CONTAINER.lines().filter(|line| line.starts_with("treering run") || line.starts_with("  "));
    let script: Vec<&str> = script.collect();
    let script = script.join("\n");
    let script = script.strip_prefix("treering run work -- sh -c '").unwrap();
    let script = script.strip_suffix("' || exit 1").unwrap();
    let mut text = world.script_ok(way, script);
    text.push_str(&world.ok(way, &["-q", "commit", "work", "bb:2"]));
    assert_eq!(first.as_deref(), Some(&text[..]));
}
