//! Containers that share the network of another one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::lifecycle::{all, listed};
use support::busybox::{Way, World, every_way};
use support::is_root;

/// A server of one page, as a container.
const SERVER: &str = "echo of its own >/index.html; exec httpd -f -p 80 -h /";
/// Prints the page once there is one, for a few seconds at most.
const FETCH: &str = "n=0; until wget -q -O - http://127.0.0.1/index.html; do n=$((n + 1)); test $n -lt 100 || exit 1; sleep 0.05; done";

/// Returns the users that the tests can be, each with the rungs it has.
fn users() -> Vec<(Way, Vec<&'static str>)> {
    let mut out: Vec<(Way, Vec<&'static str>)> = Vec::new();
    for way in every_way() {
        match out.iter_mut().find(|(first, _)| first.drop == way.drop) {
            Some((_, rungs)) => rungs.push(way.rung),
            None => out.push((way, vec![way.rung])),
        }
    }
    for (way, rungs) in &mut out {
        // The one that takes ranges of ids has them for each rung.
        if rungs.contains(&"ids") {
            way.rung = "ids";
        } else if !way.drop && is_root() {
            rungs.push("notify");
        }
    }
    out
}

#[test]
fn a_container_that_is_linked_has_the_network_of_the_other_one() {
    let Some(world) = World::new() else { return };
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = outside.local_addr().unwrap().port();
    for (way, rungs) in users() {
        world.prepare(way);
        for first in ["root", "notify", "ptrace", "ids"].into_iter().filter(|rung| rungs.contains(rung)) {
            let line = ["run", "-d", "--rung", first, "--network", "none", "--name", "web", "bb:1"];
            world.ok(way, &[&line[..], &["sh", "-c", SERVER]].concat());
            for &second in &rungs {
                let script = format!(
                    "{FETCH}; nc -w 1 127.0.0.1 {port} </dev/null && echo reached; grep -w www /etc/hosts; true"
                );
                let line =
                    ["run", "--rm", "--rung", second, "--link", "web:www", "bb:1", "sh", "-c", &script];
                let (code, out, error) = all(&world, way, &line);
                if second == "ids" && first != "ids" && first != "root" {
                    assert!(
                        code == 125 && error.contains("has one id alone"),
                        "{way:?} {first} {second}: {error}"
                    );
                    continue;
                }
                // By chroot(2) a command has the tree's own hosts.
                let hosts = if second == "chroot" { "" } else { "127.0.0.1\twww\n" };
                assert_eq!(
                    (code, out),
                    (0, format!("of its own\n{hosts}")),
                    "{way:?} {first} {second}: {error}"
                );
            }
            world.ok(way, &["rm", "-f", "web"]);
        }
    }
}

#[test]
fn a_network_is_shared_by_all_that_are_linked_and_stays_while_one_runs() {
    let Some(world) = World::new() else { return };
    for (way, _) in users() {
        world.prepare(way);
        let run = |more: &[&str], name: &str, script: &str| {
            let line = ["run", "-d", "--rung", "notify", "--name", name];
            world.ok(way, &[&line[..], more, &["bb:1", "sh", "-c", script]].concat());
        };
        run(&["--network", "none"], "web", "sleep 1000");
        run(&["--link", "web"], "server", SERVER);
        run(&["--link", "server", "--link", "web"], "client", "sleep 1000");
        assert_eq!(world.ok(way, &["exec", "client", "sh", "-c", FETCH]), "of its own\n", "{way:?}");
        let networks = |name: &str| -> serde_json::Value {
            serde_json::from_str::<serde_json::Value>(&world.ok(way, &["inspect", name])).unwrap()[0]["HostConfig"]
                ["NetworkMode"]
                .clone()
        };
        assert_eq!([networks("web"), networks("server"), networks("client")], ["none", "joined", "joined"]);
        world.ok(way, &["stop", "-t", "0", "web"]);
        assert_eq!(world.ok(way, &["exec", "client", "sh", "-c", FETCH]), "of its own\n", "{way:?}");
        // It is gone with the last one.
        world.ok(way, &["rm", "-f", "server", "client"]);
        let (code, _, error) = all(&world, way, &["run", "--rm", "--link", "web", "bb:1", "true"]);
        assert!(code == 125 && error.contains("does not run"), "{way:?}: {error}");
        world.ok(way, &["rm", "web"]);
    }
}

#[test]
fn a_network_with_a_way_out_is_joined_as_well() {
    let open = |path: &str| std::fs::OpenOptions::new().read(true).write(true).open(path).is_ok();
    if !Path::new("/usr/bin/pasta").exists() || !open("/dev/net/tun") {
        println!("SKIP-PART pasta: it is not here, or has no /dev/net/tun");
        return;
    }
    let Some(world) = World::new() else { return };
    // This user, so that the device can be opened.
    let way = Way { rung: "notify", drop: false };
    world.prepare(way);
    let line =
        ["run", "-d", "--rung", "notify", "--network", "own", "--name", "web", "bb:1", "sh", "-c", SERVER];
    let (code, _, error) = all(&world, way, &line);
    assert_eq!(code, 0, "{error}");
    let script = format!("{FETCH}; ip route | grep -c ^default; cat /etc/resolv.conf");
    for rung in ["notify", "ptrace"] {
        let line = ["run", "--rm", "--rung", rung, "--link", "web", "bb:1", "sh", "-c", &script];
        let (code, out, error) = all(&world, way, &line);
        assert!(
            code == 0 && out.starts_with("of its own\n1\nnameserver 169.254.1.1\n"),
            "{rung}: {out} {error}"
        );
    }
    // Ports are those of the container that has the network.
    let line = ["run", "--rm", "--link", "web", "-p", "8080:80", "bb:1", "true"];
    let (code, _, error) = all(&world, way, &line);
    assert!(code == 125 && error.contains("publish the port with that container"), "{error}");
    assert_eq!(listed(&world, way)[0]["status"], "running");
    world.ok(way, &["rm", "-f", "web"]);
}

#[test]
fn links_that_lead_to_no_network_are_refused() {
    let Some(world) = World::new() else { return };
    let way = Way { rung: "notify", drop: is_root() };
    world.prepare(way);
    for network in ["none", "own"] {
        let (code, _, error) = all(&world, way, &["create", "--link", "a", "--network", network, "bb:1"]);
        assert!(code == 1 && error.contains("the network of the other one"), "{network}: {error}");
    }
    let run = |rung: &str, network: &str, name: &str| {
        world.ok(
            way,
            &["run", "-d", "--rung", rung, "--network", network, "--name", name, "bb:1", "sleep", "1000"],
        );
    };
    run("notify", "none", "a");
    run("notify", "none", "b");
    run("paths", "none", "c");
    run("notify", "host", "d");
    world.ok(way, &["create", "--network", "none", "--name", "e", "bb:1", "true"]);
    world.ok(way, &["create", "--name", "f", "bb:1", "true"]);
    for (links, expected) in [
        (&["a", "b"][..], "another network than a"),
        (&["d", "a"], "another network than d"),
        (&["c"], "there is none to share"),
        (&["e"], "start the other container first"),
        (&["missing"], "no such container"),
    ] {
        let options: Vec<&str> = links.iter().flat_map(|link| ["--link", link]).collect();
        let line = [&["run", "--rm"][..], &options, &["bb:1", "true"]].concat();
        let (code, _, error) = all(&world, way, &line);
        assert!(code == 125 && error.contains(expected), "{links:?}: {code} {error}");
    }
    // Of the host's there is one, whether they run or not.
    let line = ["run", "--rm", "--link", "d", "--link", "f:g", "bb:1", "cat", "/etc/hosts"];
    let (code, out, error) = all(&world, way, &line);
    assert!(code == 0 && out.contains("127.0.0.1\td\n") && out.contains("127.0.0.1\tg\n"), "{out} {error}");
    for name in ["a", "b", "c", "d"] {
        world.ok(way, &["rm", "-f", name]);
    }
}
