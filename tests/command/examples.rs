//! Every example of every help text does what it shows.

use std::process::Command;

use support::command::{World, examples, run};

/// Things that the examples name: directories, images, files, and stand-ins for the programs of others that they pipe to.
const STAGE: &str = r##"
set -e
export PATH="$PWD/tools:$PATH"
mkdir -p rootfs/bin rootfs/etc lower upper low up home bin tools
printf '#!/bin/sh\necho hello\n' >rootfs/bin/app; chmod 755 rootfs/bin/app; echo welcome >rootfs/etc/motd
echo NAME=Stage >rootfs/etc/os-release; mkdir -p rootfs/usr/share docker; echo shared >rootfs/usr/share/file
printf 'FROM scratch AS base\nARG VERSION=1\nCOPY rootfs /\nFROM base AS test\nENV VERSION=$VERSION\nFROM base\n' >Dockerfile
cp Dockerfile docker/Dockerfile
mkdir -p rootfs/usr/share/doc; echo 'ID=debian' >rootfs/etc/os-release
printf 'install:\n\techo installed >etc/installed\n' >rootfs/Makefile
echo low >low/file; echo up >up/file; echo lower >lower/file; echo upper >upper/file
ln -s "$TREERING" tools/treering
printf '#!/bin/sh\ncase $1 in load) cat >/dev/null;; save) cat app.tar;; *) exit 1;; esac\n' >tools/docker
printf '#!/bin/sh\ntar -C rootfs -c .\n' >tools/debootstrap-tar
chmod 755 tools/docker tools/debootstrap-tar
treering commit -q rootfs debian:12
cp -a rootfs web; echo 13 >web/etc/version; treering commit -q web debian:13
echo web >web/etc/version; treering commit -q --base debian:12 web web:v1; rm -r web
treering commit -q lower app:v1 -c 'ENV A=b'
treering commit -q --base app:v1 rootfs app:v2
treering layer create -q rootfs -o layer.tar.zst; treering layer create -q rootfs -o layer.tar
treering layer create -q rootfs -o layer.tar.gz; treering save -q -o app.tar app:v1
tar -C rootfs -czf rootfs.tar.gz .
mkdir lone; echo 1 >lone/1; treering commit -q lone lone:v1; echo 2 >lone/2; treering commit -q --squash lone lone:v1
if command -v fakeroot >/dev/null; then fakeroot -s saved chown 7:8 rootfs/etc/motd; fi
"##;

/// Verbs that talk to a registry: `tests/registry/commands.rs` has one for them, and runs their examples.
const REGISTRY: [&str; 7] = ["pull", "push", "copy", "tags", "login", "logout", "manifest"];

/// Sets the place up: a tree with a record in the store, and a snapshot.
const PLACE: &str = r##"
set -e
"$TREERING" unpack -q app:v1 work; echo more >work/more; mkdir -p work/etc
"$TREERING" snapshot rootfs -o before
"##;

/// An image for two platforms.
const MULTI: &str = r##"
set -eo pipefail
export PATH="$PWD/tools:$PATH"
cp -a rootfs arm; treering commit -q arm app:arm --platform linux/arm64
mkdir layout
for name in v1 arm; do
  treering save -q --format oci-archive app:$name | tar -C layout -xf -
  jq -c ".manifests[0] | del(.annotations) | .platform = {os: \"linux\", architecture: \"$1\"}" layout/index.json
  set -- arm64
done | jq -cs '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: .}' | tr -d '\n' >index
jq '.manifests[0].platform.architecture = "amd64"' -c index | tr -d '\n' >index.new && mv index.new index
digest=$(sha256sum <index | cut -d' ' -f1); size=$(wc -c <index); chmod -R u+w layout; mv index layout/blobs/sha256/$digest
echo "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"digest\":\"sha256:$digest\",\
\"size\":$size,\"annotations\":{\"org.opencontainers.image.ref.name\":\"multi:v1\"}}]}" >layout/index.json
tar -C layout -c . | treering load -q; rm -rf layout
"##;

/// Programs for a tree in which commands are run.
const PROGRAMS: &str = r##"
set -e
mkdir -p work/bin; cp /usr/bin/busybox work/bin/; ln -sf busybox work/bin/sh
for name in apt-get make; do printf '#!/bin/sh\n' >work/bin/$name; chmod 755 work/bin/$name; done
"##;

/// An image with programs that run, and a container of it.
const BOX: &str = r##"
set -e
mkdir -p root/bin root/etc/nginx/conf.d root/usr/share root/var/log; touch root/var/log/dpkg.log site.conf; cp /usr/bin/busybox root/bin/; echo NAME=Stage >root/etc/os-release
for name in sh cat sleep ls touch; do ln -sf busybox root/bin/$name; done
for name in apt-get make; do printf '#!/bin/sh\n' >root/bin/$name; chmod 755 root/bin/$name; done
"$TREERING" commit -q root debian:12 -c 'CMD ["sh"]'; "$TREERING" create -q --name box debian:12
"##;

/// Verbs for containers.
const BOXES: [&str; 17] = [
    "cp", "inspect", "run", "create", "ps", "rm", "commit", "export", "start", "exec", "attach", "logs",
    "stop", "restart", "kill", "wait", "rename",
];

fn sh(world: &World, script: &str) -> support::command::Run {
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(world.path());
    command.env("TREERING", support::program()).env("TREERING_ROOT", world.join("store"));
    command.env("HOME", world.join("home")).env_remove("SOURCE_DATE_EPOCH");
    run(&mut command)
}

#[test]
fn every_example_does_what_it_shows() {
    let help = World::new().run(&["--help"]).ok().text();
    let mut verbs: Vec<Vec<String>> = Vec::new();
    let listed = help.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for verb in listed.filter_map(|line| line.split_whitespace().next()) {
        if verb.starts_with('-') || verb == "treering" || verb.chars().any(|c| !c.is_ascii_lowercase()) {
            continue;
        }
        match verb {
            "help" | "image" | "container" | "system" => {}
            "builder" => verbs.push(vec![verb.into(), "prune".into()]),
            verb if REGISTRY.contains(&verb) => {}
            "layer" => verbs.extend(["create", "apply", "ls"].map(|inner| vec![verb.into(), inner.into()])),
            verb => verbs.push(vec![verb.to_string()]),
        }
    }
    assert!(verbs.len() > 20, "{verbs:?}");
    let stage = World::new();
    sh(&stage, STAGE).ok();
    for verb in verbs {
        let world = World::new();
        let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        let lines = examples(&world.run(&words).ok().text());
        if lines.is_empty() {
            assert_eq!(verb, ["version"]);
            continue;
        }
        world.sh(&format!("cp -a {}/. .", stage.path().display()));
        sh(&world, PLACE).ok();
        if verb == ["unpack"] {
            sh(&world, MULTI).ok();
        }
        let id = world.run(&["inspect", "lone:v1"]).ok().json()[0]["Id"].as_str().unwrap()[7..19].to_string();
        for line in lines {
            // The ids of help texts are made up.
            let line = line.replace("3f2a9c01b7d4", &id).replace("3f2a9c", &id[..6]);
            if line.contains("fakeroot") && !world.join("saved").exists() {
                assert!(std::env::var_os("CI").is_none(), "fakeroot is missing");
                println!("SKIP-PART fakeroot: {line}");
                continue;
            }
            if verb == ["unpack"] {
                world.sh("rm -rf work*");
            }
            if verb.len() == 1 && BOXES.contains(&verb[0].as_str()) {
                if !std::path::Path::new("/usr/bin/busybox").exists() {
                    support::tools::missing("TOOL", "busybox", "nothing to run in a tree");
                    continue;
                }
                if verb == ["run"] {
                    sh(&world, PROGRAMS).ok();
                }
                sh(&world, "$TREERING rm -f $($TREERING ps -aq) || true").ok();
                sh(&world, BOX).ok();
                if line.split_whitespace().any(|word| word == "web") && !line.contains("--name") {
                    // Long enough to be talked to, or short enough to be waited for.
                    let waited_for = ["attach", "wait"].contains(&verb[0].as_str()) || line.contains(" -f");
                    let seconds = if waited_for { 4 } else { 120 };
                    sh(&world, &format!("$TREERING run -q -d --name web debian:12 sleep {seconds}")).ok();
                }
                // Otherwise it would be the old one that the name stands for.
                if line.contains("--name box") {
                    sh(&world, "$TREERING rm box").ok();
                }
            }
            // One that asks needs a terminal to ask at.
            let line = if line == "treering prune" {
                "echo y | script -qec 'treering prune' /dev/null".to_string()
            } else if line.contains(" -it ") {
                format!("echo exit | script -qec '{line}' /dev/null")
            } else {
                line
            };
            let run = sh(&world, &format!("set -eo pipefail; PATH=$PWD/tools:$PATH; {line}"));
            assert_eq!(run.status.code(), Some(0), "{line}\n{}{}", run.text(), run.stderr);
            let output = line.split_whitespace().skip_while(|word| *word != "-o").nth(1);
            if let Some(file) = output.filter(|file| world.join(file).is_file()) {
                kind_of(&world, file);
            }
        }
        if verb.len() == 1 && BOXES.contains(&verb[0].as_str()) {
            sh(&world, "$TREERING rm -f $($TREERING ps -aq) || true").ok();
        }
    }
}

/// Checks that a file is what its name says.
fn kind_of(world: &World, file: &str) {
    let start = std::fs::read(world.join(file)).unwrap();
    let expected: &[u8] = match file.rsplit('.').next().unwrap() {
        "zst" => b"\x28\xb5\x2f\xfd",
        "gz" => b"\x1f\x8b",
        _ => return,
    };
    assert!(start.starts_with(expected), "{file}");
}
