//! Networks of containers: the host's, none, and one of their own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::lifecycle::{all, listed};
use support::busybox::{Way, World, ways};

/// Returns a port without a listener.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Returns the answer of a server on a port of this machine; nothing where there is none.
fn fetch(port: u16) -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) else {
        return String::new();
    };
    let mut text = String::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let _ = stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n");
    let _ = stream.read_to_string(&mut text);
    text
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns how many processes are pasta with this among their arguments.
fn pastas(mark: &str) -> usize {
    let is = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|&c| c == 0).collect();
        words[0].ends_with(b"pasta") && words.contains(&mark.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().map(is).filter(|is| *is).count()
}

#[test]
fn a_port_leads_to_a_network_of_the_containers_own() {
    let open = |path: &str| std::fs::OpenOptions::new().read(true).write(true).open(path).is_ok();
    if !Path::new("/usr/bin/pasta").exists() || !open("/dev/net/tun") {
        println!("SKIP-PART pasta: it is not here, or has no /dev/net/tun");
        return;
    }
    let Some(world) = World::new() else { return };
    // This user, so that the device can be opened.
    let way = Way { rung: "notify", drop: false };
    world.prepare(way);
    let port = free_port();
    let (publish, mark) = (format!("{port}:80"), format!("{port}:80"));
    let script = "echo of its own >/index.html; exec httpd -f -p 80 -h /";
    let line = ["run", "-d", "--rung", way.rung, "-p", &publish, "--name", "box", "bb:1", "sh", "-c", script];
    let (code, _, error) = all(&world, way, &line);
    assert!(code == 0 && !error.contains("the host's network"), "{error}");
    until("the server answers", || fetch(port).ends_with("of its own\n"));
    let shown: serde_json::Value = serde_json::from_str(&world.ok(way, &["inspect", "box"])).unwrap();
    assert_eq!(shown[0]["HostConfig"]["NetworkMode"], "own");
    // The host's own services are out of reach, by its loopback address and by that of the gateway.
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = service.local_addr().unwrap().port();
    let script = format!(
        "for a in 127.0.0.1 $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'); do nc -w 1 $a {other} </dev/null && echo reached; done; cat /etc/resolv.conf"
    );
    let said = world.ok(way, &["exec", "box", "sh", "-c", &script]);
    assert!(!said.contains("reached") && said.contains("169.254.1.1"), "{said}");
    // It ends with the container, whatever ends that.
    assert_eq!(pastas(&mark), 1);
    world.ok(way, &["stop", "-t", "0", "box"]);
    until("pasta ends", || pastas(&mark) == 0);
    world.ok(way, &["start", "box"]);
    until("the server answers again", || fetch(port).ends_with("of its own\n"));
    let pid = listed(&world, way)[0]["pid"].as_i64().unwrap() as i32;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    until("pasta ends with its supervisor", || pastas(&mark) == 0);
    world.ok(way, &["rm", "box"]);
}

#[test]
fn without_a_network_of_its_own_a_container_has_the_hosts_and_says_so() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let with = |line: &[&str]| {
            // No pasta is found there.
            let out = world.command(way, line).env("PATH", "/nowhere").output();
            let out = out.unwrap_or_else(|error| panic!("{error}"));
            (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
        };
        // The program that becomes another user is found by PATH as well.
        if way.drop {
            continue;
        }
        let port = free_port().to_string();
        let (code, error) = with(&["run", "--rm", "--rung", way.rung, "-p", &port, "bb:1", "true"]);
        assert_eq!(code, 0, "{way:?} {error}");
        assert!(
            error.contains("uses the host's network") && error.contains("make network"),
            "{way:?} {error}"
        );
        let (code, error) = with(&["run", "--rm", "--rung", way.rung, "--network", "own", "bb:1", "true"]);
        assert!(code == 125 && error.contains("make network"), "{way:?} {error}");
    }
    let way = ways()[0];
    for wrong in ["x", "0", "1-2:3", "80/sctp"] {
        let (code, _, error) = all(&world, way, &["create", "-p", wrong, "bb:1"]);
        assert!(code == 1 && error.contains("read port"), "{wrong}: {error}");
    }
}

#[test]
fn a_pasta_that_makes_no_network_is_not_waited_for_without_end() {
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &str| std::fs::OpenOptions::new().read(true).write(true).open(path).is_ok();
    if !open("/dev/net/tun") {
        println!("SKIP-PART pasta: /dev/net/tun cannot be opened here");
        return;
    }
    let Some(world) = World::new() else { return };
    let way = Way { rung: "notify", drop: false };
    world.prepare(way);
    let programs = world.join("programs");
    std::fs::create_dir(&programs).unwrap();
    let pasta = programs.join("pasta");
    std::fs::write(&pasta, format!("#!/bin/sh\nexec {}/pasta-sleep 1000\n", programs.display())).unwrap();
    std::fs::copy("/bin/sleep", programs.join("pasta-sleep")).unwrap();
    std::fs::set_permissions(&pasta, std::fs::Permissions::from_mode(0o755)).unwrap();
    let left = || {
        let is = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_link(entry.unwrap().path().join("exe")).is_ok_and(|exe| exe.starts_with(&programs))
        };
        std::fs::read_dir("/proc").unwrap().map(is).filter(|is| *is).count()
    };
    let port = free_port().to_string();
    for (options, code) in [(["-p", &port], 0), (["--network", "own"], 125)] {
        let begun = Instant::now();
        let line = [&["run", "--rm", "--rung", way.rung][..], &options, &["bb:1", "true"]].concat();
        let out = world.command(way, &line).env("PATH", &programs).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{error}");
        assert!(error.contains("pasta made none within 4 s"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        until("pasta is ended", || left() == 0);
    }
}

#[test]
fn one_more_command_has_no_more_network_than_the_first() {
    let Some(world) = World::new() else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // By chroot(2) the network cannot be taken away, and the command is refused.
    for way in ways().into_iter().filter(|way| way.rung != "chroot") {
        world.prepare(way);
        let line =
            ["run", "-d", "--rung", way.rung, "--network", "none", "--name", "box", "bb:1", "sleep", "60"];
        let (code, _, error) = all(&world, way, &line);
        assert_eq!(code, 0, "{way:?} {error}");
        let script = format!("nc -w 1 127.0.0.1 {port} </dev/null && echo reached; echo done");
        assert_eq!(world.ok(way, &["exec", "box", "sh", "-c", &script]), "done\n", "{way:?}");
        world.ok(way, &["rm", "-f", "box"]);
    }
}
