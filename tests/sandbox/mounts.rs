//! `RUN --mount`: what commands see for a time, on every way to run them, and what is left of it.

use std::path::Path;

use serde_json::Value;

use support::busybox::{Way, World, every_way as ways};

const BASE: &str = "FROM bb:1\n";

/// Builds a Dockerfile with the context `context` of a way's home. Gives standard output and error.
fn try_build(world: &World, way: Way, dockerfile: &str, options: &[&str]) -> Result<String, String> {
    let home = world.join(&format!("{}-{}", way.rung, way.drop));
    std::fs::write(home.join("Dockerfile"), format!("{BASE}{dockerfile}")).unwrap();
    let mut arguments =
        vec!["build", "-t", "made", "--progress=plain", "--rung", way.rung, "-f", "Dockerfile"];
    arguments.extend(options);
    arguments.push("context");
    let out = world.output(way, &arguments);
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    if out.status.success() { Ok(text) } else { Err(text) }
}

fn build(world: &World, way: Way, dockerfile: &str, options: &[&str]) -> String {
    try_build(world, way, dockerfile, options).unwrap_or_else(|text| panic!("{way:?}: {dockerfile}: {text}"))
}

fn layers(world: &World, way: Way) -> String {
    let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "made"])).unwrap();
    image[0]["RootFS"]["Layers"].to_string()
}

fn prepare(world: &World, way: Way, files: &[(&str, &str)]) {
    let home = world.prepare(way);
    let context = home.join("context");
    std::fs::create_dir(&context).unwrap();
    for (path, text) in files {
        let path = context.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    if way.drop {
        let status = std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(&home).status();
        assert!(status.unwrap().success());
    }
}

/// Builds on every way, compares the layers, and gives what the last one said.
fn everywhere(world: &World, dockerfile: &str, options: &[&str]) -> String {
    let mut first: Option<String> = None;
    let mut said = String::new();
    for way in ways() {
        said = build(world, way, dockerfile, options);
        let made = layers(world, way);
        let expected = first.get_or_insert_with(|| made.clone());
        assert_eq!(&made, expected, "{way:?}: {dockerfile}");
    }
    said
}

fn prepared(files: &[(&str, &str)]) -> Option<World> {
    let world = World::new()?;
    ways().into_iter().for_each(|way| prepare(&world, way, files));
    Some(world)
}

/// Returns whether a text is in a file below a directory.
fn holds(dir: &Path, text: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap() {
            meta if meta.is_dir() => holds(&path, text),
            meta if meta.is_file() => {
                std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text)
            }
            _ => false,
        }
    })
}

#[test]
fn a_bind_mount_shows_files_and_leaves_nothing() {
    let Some(world) = prepared(&[("a/b", "text\n"), ("a/ignored", "x"), (".dockerignore", "a/ignored")])
    else {
        return;
    };
    everywhere(
        &world,
        "RUN --mount=target=/src,source=a set -e; cat /src/b >/copied; test ! -e /src/ignored; stat -c %u:%g /src/b >/owner\n\
         RUN --mount=type=bind,source=a/b,target=/deep/er/file,rw cat /deep/er/file >/second; echo more >>/deep/er/file\n\
         RUN --mount=type=bind,target=/bin/../mnt set -e; test -f /mnt/a/b; test -d /mnt/a\n\
         RUN test ! -e /src; test ! -e /deep; test ! -e /mnt; test \"$(cat /owner)\" = 0:0\n",
        &[],
    );
    for way in ways() {
        let list = world.ok(way, &["ls", "made"]);
        assert!(
            !list.contains("src") && !list.contains("deep") && list.contains("copied"),
            "{way:?}: {list}"
        );
        // Written to or not, the context stays.
        let home = world.join(&format!("{}-{}", way.rung, way.drop));
        assert_eq!(std::fs::read_to_string(home.join("context/a/b")).unwrap(), "text\n");
        if way.rung != "chroot" {
            let text = "RUN --mount=target=/src touch /src/x\n";
            assert!(
                try_build(&world, way, text, &[]).unwrap_err().contains("Read-only file system"),
                "{way:?}"
            );
        }
    }
}

#[test]
fn a_bind_mount_of_a_stage_goes_by_its_content() {
    let Some(world) = prepared(&[("f", "1\n")]) else { return };
    let text = |n: &str| {
        format!(
            "AS one\nENV N={n}\nCOPY --chown=5:6 --chmod=2755 f /out/f\nRUN chown 7:8 /out\nFROM bb:1\n\
             RUN --mount=from=one,source=/out,target=/in stat -c '%u:%g %a' /in /in/f >/seen\n\
             RUN --mount=from=one,target=/whole,rw set -e; test -x /whole/bin/sh; touch /whole/x\n"
        )
    };
    for way in ways() {
        let home = world.join(&format!("{}-{}", way.rung, way.drop));
        let dockerfile = format!("FROM bb:1 {}", text("1"));
        let run = |dockerfile: &str| {
            std::fs::write(home.join("Dockerfile"), dockerfile).unwrap();
            let arguments =
                ["--json", "build", "-t", "made", "--rung", way.rung, "-f", "Dockerfile", "context"];
            let out = world.output(way, &arguments);
            let error = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{way:?}: {error}");
            serde_json::from_slice::<Value>(&out.stdout).unwrap()
        };
        assert_eq!(run(&dockerfile)["carried_out"], 4, "{way:?}");
        assert_eq!(world.ok(way, &["cat", "made:/seen"]), "7:8 755\n5:6 2755\n", "{way:?}");
        // The stage has another configuration, and the same files.
        assert_eq!(run(&dockerfile.replace("N=1", "N=2"))["carried_out"], 1, "{way:?}: the chown alone");
    }
}

#[test]
fn a_cache_keeps_files_and_their_owners_and_is_in_no_layer() {
    let Some(world) = prepared(&[("f", "1\n")]) else { return };
    let step = |n: u32| {
        format!(
            "RUN mkdir -p /var/c && echo own >/var/c/own && chown 3:3 /var/c/own\n\
             RUN --mount=type=cache,target=/var/c,id=k,uid=9,gid=10,mode=1770 : {n}; set -e; stat -c '%u:%g %a' /var/c >/seen; \
             test ! -e /var/c/own; if test -e /var/c/f; then stat -c '%u:%g %a' /var/c/f >>/seen; else echo new >>/seen; fi; \
             echo x >/var/c/f; chown 11:12 /var/c/f; chmod 4711 /var/c/f; ls /var/c >>/seen\n"
        )
    };
    everywhere(&world, &step(1), &[]);
    for way in ways() {
        assert_eq!(world.ok(way, &["cat", "made:/seen"]), "9:10 1770\nnew\nf\n", "{way:?}");
    }
    everywhere(&world, &step(2), &[]);
    for way in ways() {
        assert_eq!(world.ok(way, &["cat", "made:/seen"]), "9:10 1770\n11:12 4711\nf\n", "{way:?}");
        assert_eq!(world.ok(way, &["cat", "made:/var/c/own"]), "own\n");
    }
    // The tree's own file below keeps its owner, a step that failed leaves what it wrote, and ids are never paths.
    let other = "RUN --mount=type=cache,id=../../../x,target=/c,from=one,source=/bin set -e; test -e /c/busybox; touch /c/y; exit 3\n";
    for way in ways() {
        let text = format!("AS one\nFROM bb:1\n{other}");
        let home = world.join(&format!("{}-{}", way.rung, way.drop));
        std::fs::write(home.join("Dockerfile"), format!("FROM bb:1 {text}")).unwrap();
        let arguments = ["build", "--rung", way.rung, "-f", "Dockerfile", "context"];
        assert_eq!(world.output(way, &arguments).status.code(), Some(3), "{way:?}");
        let again = "RUN --mount=type=cache,id=../../../x,target=/d test -e /d/y -a -e /d/busybox\n";
        build(&world, way, again, &[]);
        assert!(!home.join("x").exists() && !world.join("x").exists());
        // Another namespace, another cache.
        let other = "RUN --mount=type=cache,id=../../../x,target=/e test ! -e /e/y\n";
        build(&world, way, other, &["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=n"]);
    }
}

#[test]
fn a_filesystem_in_memory_is_empty_and_gone() {
    let Some(world) = prepared(&[]) else { return };
    let hiding = "RUN --mount=type=tmpfs,target=/bin/../t/u set -e; mkdir /t/u/d; chown 5:5 /t/u/d; ls /t/u >/seen\n\
                  RUN mkdir /full && echo x >/full/x\n\
                  RUN --mount=type=tmpfs,target=/full set -e; test ! -e /full/x; touch /full/y\n\
                  RUN set -e; test ! -e /t; test \"$(ls /full)\" = x\n";
    everywhere(&world, hiding, &[]);
    for way in ways() {
        let sized = "RUN --mount=type=tmpfs,target=/t,size=64k ! head -c 200000 /dev/zero >/t/x\n\
                     RUN --mount=type=cache,target=/t/in/side --mount=type=tmpfs,target=/t test -d /t/in/side\n";
        let built = try_build(
            &world,
            way,
            sized,
            &["--shm-size=1m", "--ulimit=nofile=77:88", "--add-host=far:9.8.7.6"],
        );
        match way.mounts() {
            false => assert!(built.unwrap_err().contains("/t: "), "{way:?}"),
            true => drop(built.unwrap()),
        }
        if way.mounts() {
            let text = "RUN set -e; test $(ulimit -n) = 77; test $(ulimit -Hn) = 88; grep -q '^9.8.7.6.far$' /etc/hosts; \
                        test $(df -k /dev/shm | tail -n1 | awk '{print $2}') = 1024\n";
            build(&world, way, text, &["--shm-size=1m", "--ulimit=nofile=77:88", "--add-host=far:9.8.7.6"]);
        }
    }
}

#[test]
fn a_secret_is_seen_by_its_command_and_nowhere_else() {
    let Some(world) = prepared(&[("f", "1\n")]) else { return };
    const VALUE: &str = "Zq7-very-secret-Xw2";
    let dockerfile = "RUN --mount=type=secret,id=one,env=ONE test \"$ONE\" = Zq7-very-secret-$X\n\
                      RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing\n";
    let files = "RUN --mount=type=secret,id=one set -e; stat -c '%u:%g %a' /run/secrets/one >/seen; grep -q secret-$X /run/secrets/one\n\
                 RUN --mount=type=secret,id=one,target=sub/key,uid=7,gid=8,mode=0440,required stat -c '%u:%g %a' /sub/key >>/seen\n\
                 RUN test ! -e /run && test ! -e /sub\n";
    for way in ways() {
        let home = world.join(&format!("{}-{}", way.rung, way.drop));
        let file = home.join("value");
        std::fs::write(&file, VALUE).unwrap();
        if way.drop {
            std::os::unix::fs::chown(&file, Some(65_534), Some(65_534)).unwrap();
        }
        let secret = format!("id=one,src={}", file.display());
        let options = ["--secret", &secret, "--build-arg", "X=Xw2"];
        let said = build(&world, way, &format!("ARG X\n{dockerfile}"), &options);
        assert!(!said.contains(VALUE));
        let built = try_build(&world, way, &format!("ARG X\n{files}"), &options);
        if way.rung == "chroot" {
            let text = built.unwrap_err();
            assert!(text.contains("/run/secrets/one: ") && text.contains("needs a mount"), "{text}");
        } else {
            assert!(!built.unwrap().contains(VALUE));
            assert_eq!(world.ok(way, &["cat", "made:/seen"]), "0:0 400\n7:8 440\n", "{way:?}");
        }
        assert!(!holds(&home.join("store"), VALUE.as_bytes()), "{way:?}: the value is in the store");
        // Another value does not carry the step out again; none where one is required is an error.
        std::fs::write(&file, "other").unwrap();
        let again = build(&world, way, &format!("ARG X\n{dockerfile}"), &options);
        assert!(again.contains("CACHED"), "{way:?}: {again}");
        let required = "RUN --mount=type=secret,id=gone,required true\n";
        let text = try_build(&world, way, required, &[]).unwrap_err();
        assert!(
            text.contains("the secret gone is required")
                && text.contains("give the secret gone with --secret id=ID,src=FILE"),
            "{text}"
        );
        let large = home.join("large");
        std::fs::write(&large, vec![b'x'; 600_000]).unwrap();
        let large = format!("id=gone,src={}", large.display());
        assert!(try_build(&world, way, required, &["--secret", &large]).is_err());
    }
}

#[test]
fn a_here_document_that_names_its_interpreter_is_executed() {
    let Some(world) = prepared(&[]) else { return };
    let text = "RUN <<EOF\n#!/bin/sh\necho of it\nEOF\nENV X=y\nRUN <<one\n#!/bin/sh -e\necho $0 >/name; test $X = y\none\n\
                RUN test ! -e /dev/pipes\n";
    let mut expected = None;
    for way in ways() {
        let said = build(&world, way, text, &[]);
        assert!(said.contains("of it"), "{said}");
        assert_eq!(world.ok(way, &["cat", "made:/name"]), "/dev/pipes/one\n");
        let made = layers(&world, way);
        assert_eq!(&made, expected.get_or_insert_with(|| made.clone()), "{way:?}");
    }
}

#[test]
fn an_agent_is_reached_through_a_socket_of_the_step() {
    use std::io::{Read, Write};
    let Some(world) = prepared(&[]) else { return };
    let socket = world.join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut byte = [0];
            if stream.read(&mut byte).is_ok_and(|n| n == 1) {
                stream.write_all(b"agent says hello\n").unwrap();
            }
        }
    });
    let option = format!("k={}", socket.display());
    let text = "RUN --mount=type=ssh,id=k,uid=5,gid=6,mode=0666 set -e; test -S $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK >/seen; \
                stat -c '%u:%g %a' $SSH_AUTH_SOCK >>/seen; echo x | nc local:$SSH_AUTH_SOCK >>/seen || echo x | nc -U $SSH_AUTH_SOCK >>/seen || true\n\
                RUN --mount=type=ssh set -e; test -z \"$SSH_AUTH_SOCK\"; test ! -e /run\n";
    everywhere(&world, text, &["--ssh", &option]);
    for way in ways() {
        let seen = world.ok(way, &["cat", "made:/seen"]);
        assert!(seen.starts_with("/run/buildkit/ssh_agent.0\n5:6 666\n"), "{way:?}: {seen}");
        let required = "RUN --mount=type=ssh,required true\n";
        assert!(try_build(&world, way, required, &[]).unwrap_err().contains("the agent default is required"));
    }
}

#[test]
fn what_is_not_granted_is_refused_by_name() {
    let Some(world) = prepared(&[("f", "1\n")]) else { return };
    std::os::unix::fs::symlink("/etc", world.join("out")).unwrap();
    for way in ways() {
        let home = world.join(&format!("{}-{}", way.rung, way.drop));
        std::os::unix::fs::symlink("/etc", home.join("context/link")).unwrap();
        std::os::unix::fs::symlink("../../../..", home.join("context/up")).unwrap();
        for (text, expected) in [
            ("RUN --security=insecure true\n", "--security=insecure is refused"),
            ("RUN --network=other true\n", "--network takes"),
            ("RUN --device=/dev/kvm true\n", "--device"),
            // Links of the context lead nowhere else.
            ("RUN --mount=source=link,target=/m ls /m\n", "not in "),
            ("RUN --mount=source=link/passwd,target=/m ls /m\n", "not in "),
            ("RUN --mount=from=nothing,target=/m ls /m\n", "nothing"),
            ("RUN --mount=target=/ true\n", "cannot have / as its target"),
            ("RUN --mount=type=cache,target=/c,sharing=all true\n", "sharing takes"),
        ] {
            let error = try_build(&world, way, text, &[]).unwrap_err();
            assert!(error.contains(expected), "{way:?} {text}: {error}");
        }
        // What leads upwards ends at the root of the context; a target through links stays in the tree.
        build(&world, way, "RUN --mount=source=up,target=/m test -f /m/f\n", &[]);
        let text = "RUN ln -s ../../../../../../tmp /link && mkdir /tmp\nRUN --mount=source=f,target=/link/inside test -f /tmp/inside\n";
        build(&world, way, text, &[]);
        build(&world, way, "RUN --network=host true\nRUN --network=default true\n", &[]);
        let none = "RUN --network=none test \"$(ls /sys/class/net 2>&- || echo lo)\" = lo\n";
        match try_build(&world, way, none, &[]) {
            Err(text) if way.rung == "chroot" => {
                assert!(text.contains("cannot take the network away"), "{text}");
            }
            built => drop(built.unwrap()),
        }
    }
}
