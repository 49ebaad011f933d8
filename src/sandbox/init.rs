//! The helper program: takes one order from the host program, sets the step up, and supervises it until it ends.
//!
//! ```text
//! helper       namespaces made, root changed; answers calls, talks to the host program
//!  └─ reaper   process 1 of the step's process namespace: reaps, and ends the step when the helper is gone
//!      └─ command
//! ```
//! This process is nobody's but ours, so it may fork, change directory and set its umask. The host program never does.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::handle::State;
use super::launch::SOCKET;
use super::notify::{self, Turn};
use super::order::{Network, Order};
use super::protocol::{Channel, Message, Reader, Writer};
use super::rung::Rung;
use super::{bpf, command, credentials, mounts, sys, syscalls};
use crate::error::ErrorKind;
use crate::fs::stat::stat_fd;
use crate::tree::{Ledger, journal};

/// How many descriptors come with an order before those of what is shown: tree, ledger, journal, and three streams.
pub const FIXED: usize = 6;

/// Why a step could not be run.
#[derive(Debug)]
pub struct Failure {
    /// What kind of error.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: String,
    /// The exit code of a command that could not be executed, else 0.
    pub code: i32,
}

impl Failure {
    fn new(what: &str, error: impl Into<io::Error>) -> Failure {
        let error = error.into();
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        let kind = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSPC | libc::ENOSYS | libc::EINVAL) => {
                ErrorKind::Unsupported
            }
            _ => ErrorKind::Io,
        };
        Failure { kind, message: format!("{what}: {text}"), code: 0 }
    }

    /// The body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.kind.code() as u64).bytes(self.message.as_bytes()).number(self.code as u64);
        out.finish()
    }

    /// Reads the body of a message: error kind's number, message, exit code.
    pub fn decode(body: &[u8]) -> io::Result<(i32, String, i32)> {
        let mut body = Reader::new(body);
        let (kind, message, code) = (body.small()?, body.bytes()?, body.small()?);
        Ok((kind as i32, String::from_utf8_lossy(&message).into_owned(), code as i32))
    }
}

/// What a part of the setup gives.
type Setup<T> = Result<T, Failure>;

trait What<T> {
    /// Names what failed.
    fn what(self, what: &str) -> Setup<T>;
}

impl<T, E: Into<io::Error>> What<T> for Result<T, E> {
    fn what(self, what: &str) -> Setup<T> {
        self.map_err(|error| Failure::new(what, error))
    }
}

/// Runs the helper on the socket that it was started with, and gives its exit code. For programs that are the helper and nothing else: it
/// changes the whole process.
pub fn main() -> i32 {
    sys::close_from(SOCKET + 1);
    // SAFETY: the host program put the socket there; nothing else in this process uses that number.
    let host = Channel::new(unsafe { OwnedFd::from_raw_fd(SOCKET) });
    if rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::CLOEXEC).is_err() {
        eprintln!("treering-init: this is started by treering, not by hand");
        return 2;
    }
    let talk = || -> io::Result<(Order, Vec<OwnedFd>)> {
        host.expect_hello()?;
        host.hello()?;
        match host.receive()? {
            Some(Message { kind: Message::START, body, descriptors }) => {
                let order = Order::decode(&body)?;
                if descriptors.len() != FIXED + order.binds.len() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok((order, descriptors))
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let result = match talk() {
        Ok((order, descriptors)) => run(&host, &order, descriptors),
        Err(error) => Err(Failure::new("receive order", error)),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            // A host program that is gone has nobody to tell.
            let _ = host.send(Message::FAILED, &failure.encode(), &[]);
            1
        }
    }
}

/// Descriptors that an order brings along.
pub struct Given {
    tree: OwnedFd,
    ledger: OwnedFd,
    journal: OwnedFd,
    /// Standard input, output and error.
    pub streams: [OwnedFd; 3],
    binds: Vec<OwnedFd>,
}

fn run(host: &Channel, order: &Order, descriptors: Vec<OwnedFd>) -> Setup<()> {
    let mut descriptors = descriptors.into_iter();
    let mut next =
        || descriptors.next().ok_or_else(|| Failure::new("receive order", io::ErrorKind::InvalidData));
    let (tree, ledger, journal) = (next()?, next()?, next()?);
    let streams = [next()?, next()?, next()?];
    let given = Given { tree, ledger, journal, streams, binds: descriptors.collect() };
    let device = stat_fd(&given.tree).what("look at tree")?.dev;
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .what("open /proc")?;
    // Copied into a new mount namespace, the working directory is the tree there: the only way to it that no path can change.
    rustix::process::fchdir(&given.tree).what("enter tree")?;
    rustix::process::umask(Mode::empty());
    become_owner(order, &given.tree)?;
    if !order.rung.mounts() {
        // What a killed reaper leaves comes to this process.
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).what("set up step")?;
    }
    namespaces(order)?;
    let (inner, theirs) = Channel::pair().what("make socket")?;
    // Reaper and command share their end of that socket, so what only the command is to read comes by a pipe.
    let (gate, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).what("make pipe")?;
    let reaper = match sys::fork().what("start process")? {
        0 => {
            drop((inner, go));
            command::reaper(order, given, theirs, gate)
        }
        pid => pid,
    };
    drop((theirs, gate));
    // A reader of the command's output sees its end when the last process that may write is gone, whatever this one does.
    let Given { ledger, journal, .. } = given;
    // Whatever happens from here on, the reaper ends with this process: its end of the socket closes.
    let processes = proc.try_clone().what("open /proc")?;
    // Calls that wait for an answer wait until their processes have ended: closed before, it would fail them, and the step would
    // go on for a moment.
    let mut listener = None;
    let result =
        setup_and_supervise(host, order, (ledger, journal), (&inner, go), proc, device, &mut listener);
    drop(inner);
    if order.rung.mounts() {
        let _ = sys::kill(reaper, libc::SIGKILL);
        let _ = sys::wait(reaper, true);
    } else {
        // It ends its children itself, now that its socket is closed; what it could not end is left to this process.
        let _ = sys::wait(reaper, true);
        command::end_children(&processes);
    }
    let (code, signal) = result?;
    let mut body = Writer::default();
    body.number(code as u64).number(signal as u64);
    host.send(Message::EXITED, &body.finish(), &[]).what("report")
}

/// Becomes the owner of the tree where root runs a command in a tree of somebody without privileges: on disk all of it belongs to that user,
/// who is root in the user namespace then.
fn become_owner(order: &Order, tree: &OwnedFd) -> Setup<()> {
    let stat = stat_fd(tree).what("look at tree")?;
    if !order.rung.emulates() || !rustix::process::geteuid().is_root() || stat.uid == 0 {
        return Ok(());
    }
    sys::set_groups(&[])
        .and_then(|()| sys::set_gid(stat.gid))
        .and_then(|()| sys::set_uid(stat.uid))
        // Else the entries of this process in /proc, where its ids are mapped, would be root's.
        .and_then(|()| sys::prctl(libc::PR_SET_DUMPABLE, 1))
        .what("become the owner of the tree")
}

/// Moves into new namespaces: with a user namespace the one id of this process is root in it.
fn namespaces(order: &Order) -> Setup<()> {
    if !order.rung.mounts() {
        return Ok(());
    }
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if order.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    if order.rung != Rung::Root {
        flags |= libc::CLONE_NEWUSER;
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(flags).what("make namespaces")?;
    if order.rung != Rung::Root {
        let write = |name: &str, text: String| -> io::Result<()> {
            let path = format!("/proc/self/{name}");
            let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(fd, text.as_bytes())?;
            Ok(())
        };
        write("setgroups", "deny".into()).what("give up groups")?;
        write("uid_map", format!("0 {uid} 1")).what("map user")?;
        write("gid_map", format!("0 {gid} 1")).what("map group")?;
    }
    if !order.hostname.is_empty() {
        rustix::system::sethostname(&order.hostname).what("set host name")?;
    }
    if order.network == Network::None {
        sys::loopback_up().what("set up loopback")?;
    }
    Ok(())
}

/// Waits until the command is about to be executed, then answers its calls until it ends. Gives exit code and signal.
fn setup_and_supervise(
    host: &Channel,
    order: &Order,
    (ledger, journal): (OwnedFd, OwnedFd),
    (inner, go): (&Channel, OwnedFd),
    proc: OwnedFd,
    device: u64,
    listener: &mut Option<OwnedFd>,
) -> Setup<(i32, i32)> {
    let Some(ready) = inner.receive().what("set up step")? else {
        return Err(Failure::new("set up step", io::Error::other("its first process ended")));
    };
    let mut descriptors = match ready.kind {
        Message::LISTENER => ready.descriptors.into_iter(),
        _ => return Err(failure_of(&ready.body)),
    };
    if order.rung.emulates() {
        *listener = descriptors.next();
    }
    let listener = listener.as_ref();
    let terminal = descriptors.next();
    let mut state = match listener {
        Some(listener) => {
            sys::wake_in_turn(listener);
            // Paths of this process in /proc are relative to it from here on: the step's /proc does not show it.
            rustix::process::fchdir(&proc).what("enter /proc")?;
            let ledger = read_ledger(ledger)?;
            let journal = journal::Writer::new(File::from(journal));
            Some(State::new(order, proc, device, ledger, journal))
        }
        None => None,
    };
    let with: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
    host.send(Message::STARTED, &[], &with).what("report")?;
    drop(terminal);
    rustix::io::write(&go, b"!").what("start command")?;
    drop(go);
    supervise(host, inner, listener, &mut state)
}

fn read_ledger(fd: OwnedFd) -> Setup<Ledger> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut File::from(fd), &mut bytes).what("read ledger")?;
    Ledger::from_bytes(&bytes).map_err(|error| Failure {
        kind: error.kind(),
        message: error.to_string(),
        code: 0,
    })
}

fn failure_of(body: &[u8]) -> Failure {
    match Failure::decode(body) {
        Ok((kind, message, code)) => {
            let known =
                [ErrorKind::Unsupported, ErrorKind::NotFound, ErrorKind::CommandFailed, ErrorKind::Io];
            let kind = known.into_iter().find(|known| known.code() == kind).unwrap_or(ErrorKind::Io);
            Failure { kind, message, code }
        }
        Err(error) => Failure::new("set up step", error),
    }
}

fn supervise(
    host: &Channel,
    inner: &Channel,
    listener: Option<&OwnedFd>,
    state: &mut Option<State>,
) -> Setup<(i32, i32)> {
    let mut listening = listener;
    loop {
        let mut fds = vec![PollFd::new(host, PollFlags::IN), PollFd::new(inner, PollFlags::IN)];
        fds.extend(listening.map(|listener| PollFd::new(listener, PollFlags::IN)));
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other.what("wait for step")?,
        };
        let came: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        if let (Some(events), Some(fd), Some(state)) = (came.get(2), listening, state.as_mut())
            && !events.is_empty()
        {
            if !events.contains(PollFlags::IN) {
                listening = None;
            } else {
                match notify::turn(fd, state).what("answer call")? {
                    Turn::Goes => {}
                    Turn::Over => listening = None,
                    Turn::Foreign => {
                        return Err(Failure {
                            kind: ErrorKind::Unsupported,
                            message: "a program of another ABI (32-bit, or x32) was run, whose calls are not understood here; \
                                      nothing of the step is to be kept"
                                .into(),
                            code: 0,
                        });
                    }
                }
            }
        }
        if !came[1].is_empty() {
            match inner.receive().what("wait for step")? {
                Some(Message { kind: Message::EXITED, body, .. }) => {
                    let mut body = Reader::new(&body);
                    let code = body.small().what("wait for step")?;
                    return Ok((code as i32, body.small().what("wait for step")? as i32));
                }
                Some(message) => return Err(failure_of(&message.body)),
                // Not even the first process is left; something outside killed it.
                None => return Ok((128 + libc::SIGKILL, libc::SIGKILL)),
            }
        }
        if !came[0].is_empty() {
            match host.receive().what("receive from host")? {
                Some(Message { kind: Message::SIGNAL, body, .. }) => {
                    inner.send(Message::SIGNAL, &body, &[]).what("send signal")?;
                }
                Some(_) => {}
                // The host program is gone; the step goes with it.
                None => return Err(Failure::new("wait for step", io::ErrorKind::UnexpectedEof)),
            }
        }
    }
}

/// Builds what the step sees. Gives whether it has a /proc of its own.
pub fn see(order: &Order, given: &Given) -> Setup<bool> {
    if order.rung.mounts() {
        return mounts::build(order, &given.binds).map_err(|(what, error)| Failure::new(&what, error));
    }
    rustix::process::chroot(".").what("change root")?;
    rustix::process::chdir("/").what("change root")?;
    Ok(false)
}

/// The filter of a rung, installed on this process; the listener, where there is one.
pub fn filter(order: &Order) -> Setup<Option<OwnedFd>> {
    let foreign = if order.rung.emulates() { bpf::Verdict::Notify } else { bpf::Verdict::Allow };
    let filter = bpf::assemble(&syscalls::rules(order.rung), foreign);
    match sys::install_filter(&filter, order.rung.emulates()) {
        // Without CAP_SYS_ADMIN it would cost the step its setuid programs; the container it is in has a filter of its own.
        Err(error) if order.rung == Rung::Chroot && error.raw_os_error() == Some(libc::EACCES) => Ok(None),
        other => other.what("install filter"),
    }
}

/// Takes all capabilities but a container's from what a program can have.
pub fn limit_capabilities() -> Setup<()> {
    for capability in 0..=40u64 {
        if credentials::ROOT & 1 << capability == 0 {
            match sys::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong) {
                // One that this kernel does not have.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                other => other.what("limit capabilities")?,
            }
        }
    }
    sys::clear_inheritable().what("limit capabilities")
}

/// A byte string for the kernel.
pub fn c_string(bytes: &[u8]) -> Setup<CString> {
    CString::new(bytes)
        .map_err(|_| Failure::new("start command", io::Error::from(io::ErrorKind::InvalidInput)))
}

/// Names what failed; for the parts of the helper in other files.
pub fn failed(what: &str, error: impl Into<io::Error>) -> Failure {
    Failure::new(what, error)
}
