//! Terminals of commands that the library runs, and containers that are joined in with and left.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, Termios, tcgetattr};
use treering::container::{Container, Process, ProcessOptions, Settings, StartOptions};
use treering::event::OutputStream;
use treering::sandbox::{Rung, Stream, WindowSize};
use treering::{Control, ErrorKind};

use crate::process::{Output, Place, code, place, script, text, traces};

const PATIENCE: Duration = Duration::from_secs(30);

fn pipe() -> (OwnedFd, std::fs::File) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), OwnedFd::from(write).into())
}

/// Waits until a command wrote this.
fn await_text(output: &Output, wanted: &str) {
    let end = Instant::now() + PATIENCE;
    while !text(output, OutputStream::Stdout).contains(wanted) {
        assert!(Instant::now() < end, "no {wanted:?} in {:?}", text(output, OutputStream::Stdout));
        std::thread::sleep(Duration::from_millis(5));
    }
}

const SIZE: WindowSize = WindowSize { rows: 33, columns: 99 };

/// Returns the options of a command with a terminal, and what writes to that.
fn at_terminal(say: &str, output: &Output) -> (ProcessOptions, std::fs::File) {
    let (stdin, keys) = pipe();
    let options = ProcessOptions {
        terminal: true,
        window: Some(SIZE),
        stdin: Stream::Fd(stdin),
        ..script(say, output)
    };
    (options, keys)
}

/// Starts a container with a command that waits, so that others run beside it.
fn waiting(place: &Place) -> (Container, Process) {
    let container = place.container(Settings::default());
    let reopened = Container::open(&place.store, container.name()).unwrap();
    let running = Process::of_container(container, script("sleep 1000", &Output::default()), &place.control);
    (reopened, running.unwrap())
}

#[test]
fn a_command_of_each_kind_gets_a_terminal_its_size_and_its_keys() {
    let Some(place) = place() else { return };
    let say = "tty; stty size; echo err >&2; read x; echo \"got $x $(stty size)\"; cat; exit 3";
    let (container, running) = waiting(&place);
    for way in ["tree", "container", "beside"] {
        if way == "beside" && running.rung() == Some(Rung::Paths) {
            continue;
        }
        let output = Output::default();
        let (mut options, mut keys) = at_terminal(say, &output);
        let process = match way {
            "tree" => place.in_tree(options),
            "container" => {
                Process::of_container(place.container(Settings::default()), options, &place.control)
            }
            _ => {
                options.helper = None;
                Process::beside(&container, options, &place.control)
            }
        }
        .unwrap();
        await_text(&output, "/dev/pts/");
        await_text(&output, "33 99\r\n");
        await_text(&output, "err\r\n");
        process.resize(WindowSize { rows: 7, columns: 8 }).unwrap();
        keys.write_all(b"yes\n").unwrap();
        await_text(&output, "got yes 7 8\r\n");
        // The end of what it reads ends `cat`, in the midst of a line as well.
        keys.write_all(b"rest").unwrap();
        drop(keys);
        assert_eq!(code(&process), 3, "{way}");
        assert!(text(&output, OutputStream::Stdout).ends_with("restrest"), "{way}: {output:?}");
        assert_eq!(text(&output, OutputStream::Stderr), "", "{way}");
        process.resize(SIZE).unwrap();
    }
    let plain = place.in_tree(script("true", &Output::default())).unwrap();
    assert_eq!(plain.resize(SIZE).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(plain.detach().unwrap_err().kind(), ErrorKind::InvalidArgument);
    code(&plain);
    running.kill();
}

/// Makes a terminal of this test: the end that a program has, and the one of the person at it.
pub fn own_terminal() -> (OwnedFd, std::fs::File) {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let person = rustix::pty::openpt(flags | rustix::pty::OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::unlockpt(&person).unwrap();
    (rustix::pty::ioctl_tiocgptpeer(&person, flags).unwrap(), person.into())
}

pub fn modes(terminal: impl AsFd) -> LocalModes {
    let modes: Termios = tcgetattr(terminal).unwrap();
    modes.local_modes
}

#[test]
fn the_terminal_of_this_process_stays_as_it_is() {
    let Some(place) = place() else { return };
    let (program, mut person) = own_terminal();
    let before = modes(&program);
    assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON));
    let (mut options, _keys) = at_terminal("stty size; read x; echo \"got $x\"", &Output::default());
    options.stdin = Stream::Fd(program.try_clone().unwrap());
    options.stdout = Stream::Fd(program.try_clone().unwrap());
    let process = place.in_tree(options).unwrap();
    person.write_all(b"keys\n").unwrap();
    assert_eq!(code(&process), 0);
    assert_eq!(modes(&program), before);
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("got keys") {
        let mut bytes = [0; 512];
        let n = person.read(&mut bytes).unwrap();
        shown.extend_from_slice(&bytes[..n]);
    }
    assert!(String::from_utf8_lossy(&shown).contains("33 99"));
}

/// Starts a container that runs by itself, maybe at a terminal.
fn started(place: &Place, say: &str, terminal: bool) -> Container {
    let container = place.container(Settings::default());
    let start = StartOptions {
        command: ["sh", "-c", say].map(String::from).to_vec(),
        terminal: Some(terminal),
        window: Some(SIZE),
        interactive: true,
        helper: Some(env!("CARGO_BIN_EXE_treering").into()),
        ..StartOptions::default()
    };
    container.start(&start).unwrap();
    container
}

const ANSWERS: &str =
    "while read x; do echo \"got $x $(stty size 2>/dev/null)\"; [ \"$x\" = end ] && exit 5; done";

/// Joins in with a container; gives what it reads as well.
fn join(container: &Container, output: &Output, control: &Control) -> (Process, std::fs::File) {
    let (options, keys) = at_terminal("", output);
    let options = ProcessOptions { command: Vec::new(), terminal: false, ..options };
    (Process::attached(container, options, control).unwrap(), keys)
}

#[test]
fn a_container_is_left_by_keys_and_joined_again() {
    if !crate::process::alone() {
        return;
    }
    let Some(place) = place() else { return };
    let container = started(&place, ANSWERS, true);
    let before = traces();
    for way in 0..5 {
        let (output, control) = (Output::default(), Control::default());
        let (process, mut keys) = join(&container, &output, &control);
        keys.write_all(format!("round{way}\n").as_bytes()).unwrap();
        await_text(&output, &format!("got round{way} 33 99\r\n"));
        process.resize(WindowSize { rows: 5, columns: 6 }).unwrap();
        keys.write_all(b"more\n").unwrap();
        await_text(&output, "got more 5 6\r\n");
        assert!(process.ended().is_none());
        match way {
            // A Ctrl-P alone is held back, and passed on with what follows it.
            0 => keys.write_all(b"\x10\x11never\n").unwrap(),
            1 => process.detach().unwrap(),
            2 => process.kill(),
            3 => control.cancel.cancel(),
            _ => drop(process),
        }
        if way == 4 {
            break;
        }
    }
    assert!(container.is_running().unwrap());
    assert_eq!(traces(), before);

    for way in 0..2 {
        let (output, control) = (Output::default(), Control::default());
        let (process, mut keys) = join(&container, &output, &control);
        match way {
            0 => {
                keys.write_all(b"\x10").unwrap();
                std::thread::sleep(Duration::from_millis(20));
                keys.write_all(b"\x11").unwrap();
                let ended = process.wait(Some(PATIENCE)).unwrap().unwrap();
                assert_eq!((ended.code, ended.detached), (0, true));
                process.detach().unwrap();
            }
            _ => {
                keys.write_all(b"end\n").unwrap();
                let ended = process.wait(Some(PATIENCE)).unwrap().unwrap();
                assert_eq!((ended.code, ended.detached), (5, false));
                // That it ended is written down as well.
                assert!(!container.is_running().unwrap());
                process.resize(SIZE).unwrap();
            }
        }
        drop(keys);
        drop(process);
        assert_eq!(traces(), before);
    }
    let refused = Process::attached(&container, script("", &Output::default()), &place.control).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    container.remove().unwrap();
}

#[test]
fn a_container_without_a_terminal_is_joined_byte_by_byte() {
    let Some(place) = place() else { return };
    let say = "echo err >&2; while read -r x; do echo \"got $x\"; done; echo over; exit 6";
    let container = started(&place, say, false);
    let output = Output::default();
    let (process, mut keys) = join(&container, &output, &place.control);
    assert_eq!(process.resize(SIZE).unwrap_err().kind(), ErrorKind::InvalidArgument);
    keys.write_all(b"a\x10\x11b\n").unwrap();
    await_text(&output, "got a\x10\x11b\n");
    drop(keys);
    let ended = process.wait(Some(PATIENCE)).unwrap().unwrap();
    assert_eq!((ended.code, ended.detached), (6, false));
    assert!(text(&output, OutputStream::Stdout).ends_with("over\n"));
}

#[test]
fn one_that_does_not_read_is_left_all_the_same() {
    let Some(place) = place() else { return };
    let container = started(&place, "read x; stty raw -echo; echo ready; sleep 1000", true);
    let output = Output::default();
    let (process, mut keys) = join(&container, &output, &place.control);
    keys.write_all(b"go\n").unwrap();
    await_text(&output, "ready");
    let full = std::thread::spawn(move || {
        // More than the terminal and all sockets on the way hold.
        for _ in 0..1024 {
            if keys.write_all(&[b'x'; 4096]).is_err() {
                break;
            }
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    process.detach().unwrap();
    assert!(process.wait(Some(PATIENCE)).unwrap().unwrap().detached);
    drop(process);
    full.join().unwrap();
    container.remove_by_force(&place.control).unwrap();
}
