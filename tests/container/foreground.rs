//! `run`, `exec`, `start` and `attach` as people use them: with signals, and at a terminal.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, Winsize, tcsetwinsize};

use crate::lifecycle::{all, listed};
use crate::terminal::{modes, own_terminal};
use support::busybox::{Way, World, every_way, ways};

const PATIENCE: Duration = Duration::from_secs(30);

/// The output of a program that runs.
struct Shown {
    pieces: Receiver<Vec<u8>>,
    text: String,
    /// The bytes that were awaited already.
    seen: usize,
}

impl Shown {
    fn of(mut stream: impl Read + Send + 'static) -> Shown {
        let (send, pieces) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = stream.read(&mut bytes) {
                if n == 0 || send.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Shown { pieces, text: String::new(), seen: 0 }
    }

    /// Waits for a text after the last one that was waited for.
    fn await_text(&mut self, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text[self.seen..].find(wanted) {
                self.seen += at + wanted.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("no {wanted:?} after {} bytes of {:?}", self.seen, self.text),
            }
        }
    }
}

/// Waits for the end of a program, but not without end.
fn code(child: &mut Child) -> i32 {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A script that writes each signal, and ends by TERM.
const COUNTS: &str =
    "trap 'echo int' INT; trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.05; done";

#[test]
fn the_first_signal_is_the_commands_and_the_second_ends_it() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        let bye = "trap 'echo bye; exit 7' INT; echo up; while :; do sleep 0.05; done";
        for (script, signals, answer, expected) in [
            (bye, &[Signal::INT][..], "bye\n", 7),
            (COUNTS, &[Signal::TERM], "term\n", 9),
            (COUNTS, &[Signal::INT, Signal::INT], "int\n", 130),
            (COUNTS, &[Signal::INT, Signal::TERM], "int\n", 143),
        ] {
            let line = ["run", "--rm", "--rung", way.rung, "bb:1", "sh", "-c", script];
            let mut command = world.command(way, &line);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut shown = Shown::of(child.stdout.take().unwrap());
            shown.await_text("up\n");
            send(&child, signals[0]);
            shown.await_text(answer);
            for signal in &signals[1..] {
                send(&child, *signal);
            }
            assert_eq!(code(&mut child), expected, "{way:?} {signals:?}");
            assert!(listed(&world, way).is_empty(), "{way:?} {signals:?}: the container is gone");
        }
        // In a directory, which has no container.
        let mut command = world.command(way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", COUNTS]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut shown = Shown::of(child.stdout.take().unwrap());
        shown.await_text("up\n");
        send(&child, Signal::INT);
        shown.await_text("int\n");
        send(&child, Signal::TERM);
        assert_eq!(code(&mut child), 143, "{way:?}");
    }
}

/// Serves the images of a store as a registry with one repository does, for as long as the test runs; gives its address.
#[cfg(feature = "registry")]
fn registry(store: &std::path::Path) -> String {
    use std::io::{BufRead, BufReader};
    let layout = store.join("oci");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, layout) = (stream.unwrap(), layout.clone());
            std::thread::spawn(move || {
                let mut start = [0];
                if stream.peek(&mut start).is_ok() && start[0] == 22 {
                    // The beginning of TLS.
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                    return;
                }
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let mut read = move || {
                    let mut line = String::new();
                    lines.read_line(&mut line).map(|_| line)
                };
                loop {
                    let first = read().unwrap_or_default();
                    let Some(path) = first.split(' ').nth(1) else { return };
                    while read().is_ok_and(|line| !line.trim().is_empty()) {}
                    let name = path.rsplit('/').next().unwrap().to_string();
                    let index = std::fs::read(layout.join("index.json")).unwrap();
                    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
                    let first_one = &index["manifests"][0];
                    let digest = match name.starts_with("sha256:") {
                        true => name,
                        false => first_one["digest"].as_str().unwrap().to_string(),
                    };
                    let body = std::fs::read(layout.join("blobs").join(digest.replace(':', "/")))
                        .unwrap_or_default();
                    let kind = match path.contains("/manifests/") {
                        true => first_one["mediaType"].as_str().unwrap(),
                        false => "application/octet-stream",
                    };
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    if !first.starts_with("HEAD") {
                        stream.write_all(&body).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// Each of these operations handles signals.
#[cfg(feature = "registry")]
#[test]
fn the_first_signal_after_a_pull_is_the_commands_as_well() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    let home = world.prepare(way);
    let image = format!("{}/bb:1", registry(&home.join("store")));
    let script = "trap 'echo bye; exit 7' INT; echo up; while :; do sleep 0.05; done";
    let line = ["--root", "other", "run", "--rm", "--rung", way.rung, &image, "sh", "-c", script];
    let mut child = world.command(way, &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let mut shown = Shown::of(child.stdout.take().unwrap());
    shown.await_text("up\n");
    send(&child, Signal::INT);
    assert_eq!(code(&mut child), 7, "{:?}", errors.join());
    assert_eq!(world.ok(way, &["--root", "other", "ps", "-aq"]), "");
}

/// A program at a terminal of its own, and the person at it.
struct Seat {
    child: Child,
    program: OwnedFd,
    keys: std::fs::File,
    shown: Shown,
    before: LocalModes,
}

impl Seat {
    fn new(world: &World, way: Way, line: &[&str]) -> Seat {
        let (program, keys) = own_terminal();
        tcsetwinsize(&program, size(33, 99)).unwrap();
        let before = modes(&program);
        let inner = world.command(way, line);
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(inner.get_program()).args(inner.get_args());
        command.current_dir(inner.get_current_dir().unwrap());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let end = || Stdio::from(program.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let shown = Shown::of(keys.try_clone().unwrap());
        Seat { child, program, keys, shown, before }
    }

    fn key(&mut self, bytes: &str) {
        self.keys.write_all(bytes.as_bytes()).unwrap();
    }

    /// Waits for the end; gives the exit code. The terminal is what it was.
    fn end(&mut self) -> i32 {
        let code = code(&mut self.child);
        assert_eq!(modes(&self.program), self.before, "{}", self.shown.text);
        code
    }
}

/// Returns the ways that give a command a terminal: by chroot(2) alone there is no /dev/pts.
fn with_terminals() -> Vec<Way> {
    ways().into_iter().filter(|way| way.rung != "chroot").collect()
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn a_shell_at_a_terminal_has_its_keys_jobs_and_size() {
    let Some(world) = World::new() else { return };
    for way in with_terminals() {
        world.prepare(way);
        world.ok(way, &["create", "--rung", way.rung, "-it", "--name", "box", "bb:1", "sh"]);
        for line in [
            &["run", "--rm", "--rung", way.rung, "-it", "bb:1", "sh"][..],
            &["run", "--rung", way.rung, "-it", "work", "--", "sh"],
            &["start", "-ai", "box"],
        ] {
            let mut seat = Seat::new(&world, way, line);
            seat.key("PS1='ready> '\n");
            seat.shown.await_text("\nready> ");
            seat.key("stty size\n");
            seat.shown.await_text("33 99\r\n");
            assert!(!modes(&seat.program).contains(LocalModes::ISIG), "{way:?} {line:?}");
            tcsetwinsize(&seat.keys, size(7, 88)).unwrap();
            seat.key("sleep 0.3; stty size\n");
            seat.shown.await_text("7 88\r\n");
            // Ctrl-Z, job control, Ctrl-C.
            seat.key("sleep 1000\n");
            seat.shown.await_text("sleep 1000");
            std::thread::sleep(Duration::from_millis(300));
            seat.key("\x1a");
            seat.shown.await_text("ready> ");
            seat.key("jobs\n");
            seat.shown.await_text("Stopped");
            seat.shown.await_text("ready> ");
            seat.key("fg\n");
            seat.shown.await_text("sleep 1000");
            std::thread::sleep(Duration::from_millis(300));
            seat.key("\x03");
            seat.shown.await_text("ready> ");
            seat.key("echo code-$?\n");
            seat.shown.await_text("code-130");
            seat.key("exit 4\n");
            assert_eq!(seat.end(), 4, "{way:?} {line:?}");
        }
        world.ok(way, &["rm", "box"]);
        assert!(listed(&world, way).is_empty());
    }
}

#[test]
fn without_input_ctrl_c_stays_a_signal() {
    let Some(world) = World::new() else { return };
    for way in with_terminals() {
        world.prepare(way);
        let script = "trap 'echo bye; exit 7' INT; echo up; while :; do sleep 0.05; done";
        let sh = ["sh", "-c", script];
        world
            .ok(way, &[&["create", "--rung", way.rung, "-t", "--name", "box", "bb:1"][..], &sh[..]].concat());
        let sits = |line: &[&str]| {
            let mut seat = Seat::new(&world, way, line);
            seat.shown.await_text("up\r");
            assert!(modes(&seat.program).contains(LocalModes::ISIG), "{way:?} {line:?}");
            seat.key("\x03");
            seat.shown.await_text("bye\r");
            assert_eq!(seat.end(), 7, "{way:?} {line:?}");
        };
        sits(&[&["run", "--rm", "--rung", way.rung, "-t", "bb:1"][..], &sh[..]].concat());
        sits(&[&["run", "--rung", way.rung, "-t", "work", "--"][..], &sh[..]].concat());
        sits(&["start", "-a", "box"]);
        world.ok(way, &["run", "-d", "--rung", way.rung, "--name", "other", "-t", "bb:1", "sleep", "1000"]);
        if !way.serves() {
            sits(&[&["exec", "-t", "other"][..], &sh[..]].concat());
        }
        world.ok(way, &["rm", "-f", "other"]);
        world.ok(way, &["start", "box"]);
        let mut seat = Seat::new(&world, way, &["attach", "--no-stdin", "box"]);
        // What came before it joined is not shown.
        std::thread::sleep(Duration::from_millis(300));
        seat.key("\x03");
        seat.shown.await_text("bye\r");
        assert_eq!(seat.end(), 7, "{way:?}");
        world.ok(way, &["rm", "box"]);
    }
}

#[test]
fn a_terminal_for_the_command_takes_none_of_ours_without_input() {
    let Some(world) = World::new() else { return };
    for way in with_terminals() {
        world.prepare(way);
        let yes = "test -t 0 && test -t 1 && echo yes";
        let run = |line: &[&str]| {
            let mut command = world.command(way, line);
            let out = command.stdin(Stdio::null()).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
        };
        for line in [
            &["run", "--rm", "--rung", way.rung, "-t", "bb:1", "sh", "-c", yes][..],
            &["run", "--rung", way.rung, "-t", "work", "--", "sh", "-c", yes],
        ] {
            let (code, out, error) = run(line);
            assert_eq!((code, out.as_str()), (0, "yes\r\n"), "{way:?} {line:?}: {error}");
        }
        let (code, _, error) = run(&["run", "--rm", "--rung", way.rung, "-it", "bb:1", "tty"]);
        assert!(code == 2 && error.contains("--interactive"), "{way:?}: {error}");
    }
}

#[test]
fn output_that_nobody_reads_ends_logs_as_a_shell_has_it() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    world.ok(way, &["run", "--rung", way.rung, "--name", "box", "bb:1", "seq", "100000"]);
    let mut command = world.command(way, &["logs", "box"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!((&first, code(&mut child)), (b"1\n", 141));
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(error, "");
    let (code, out, _) = all(&world, way, &["logs", "--tail", "1", "box"]);
    assert_eq!((code, out.as_str()), (0, "100000\n"));
}
