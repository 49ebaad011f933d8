//! The helper program: takes one order from the host program, sets the step up, and supervises it until it ends.
//!
//! ```text
//! helper       namespaces made, root changed; answers calls, talks to the host program
//!  └─ reaper   process 1 of the step's process namespace: reaps, and ends the step when the helper is gone
//!      └─ command
//! ```
//! This process is the helper's own, so it may fork, change directory and set its umask. The host program never does.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::beside::{Beside, Wait, Watch};
use super::handle::native::{Native, Place};
use super::handle::{Service, State};
use super::ids::{Held, Mapper};
use super::launch::SOCKET;
use super::network::{self, Keeper};
use super::notify::{self, Turn};
use super::order::{Lending, Mount, Network, Order, Shown};
use super::protocol::{Channel, Message, Reader, Writer};
use super::ptrace::{self, Tracer};
use super::rung::Rung;
use super::{bpf, command, credentials, mounts, sys, syscalls};
use crate::error::ErrorKind;
use crate::fs::stat::stat_fd;
use crate::tree::{Ledger, journal};

/// How many descriptors come with an order before those of what is shown: tree, ledger, journal, and three streams.
pub const FIXED: usize = 6;

/// The reason why a step could not be run.
#[derive(Debug)]
pub struct Failure {
    /// The kind of error.
    pub kind: ErrorKind,
    /// The message.
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
            // EBUSY: another tool has the one listener there can be.
            Some(libc::EPERM | libc::EACCES | libc::ENOSPC | libc::ENOSYS | libc::EINVAL | libc::EBUSY) => {
                ErrorKind::Unsupported
            }
            _ => ErrorKind::Io,
        };
        Failure { kind, message: format!("{what}: {text}"), code: 0 }
    }

    /// Returns the body of a message.
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

/// The result of a part of the setup.
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
            Some(Message { kind: Message::START, body, descriptors, .. }) => {
                let order = Order::decode(&body)?;
                let hosts = order.mounts.iter().filter(|it| matches!(it.what, Shown::Host { .. }));
                if descriptors.len() != FIXED + hosts.count() {
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
            // Without a host program there is no receiver.
            let _ = host.send(Message::FAILED, &failure.encode(), &[]);
            1
        }
    }
}

/// Descriptors that an order brings along.
pub struct Given {
    /// The root of the tree.
    pub tree: OwnedFd,
    ledger: OwnedFd,
    journal: OwnedFd,
    /// Standard input, output and error.
    pub streams: [OwnedFd; 3],
    /// Files and directories of the host that are shown.
    pub binds: Vec<OwnedFd>,
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
    let (mut keeper, held) = namespaces(order)?;
    let lent = held.map(|held| Lent::new(order, held, &given)).transpose()?;
    if let (Some(lent), Lending::TakeBack { all }) = (&lent, order.owners) {
        return take_back(host, order, given, (proc, device), lent, all);
    }
    let (inner, theirs) = Channel::pair().what("make socket")?;
    inner.ask_for_senders().what("make socket")?;
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
    // A reader of the command's output gets its end when the last process that may write is gone, whatever this one does.
    let Given { tree, ledger, journal, binds, .. } = given;
    // Whatever happens from here on, the reaper ends with this process: its end of the socket closes.
    let processes = proc.try_clone().what("open /proc")?;
    // Calls that wait for an answer wait until their processes have ended: closed before, it would fail them, and the step would
    // go on for a moment.
    let (mut listener, mut state) = (None, None);
    let result = setup_and_supervise(
        host,
        order,
        (tree, ledger, journal, binds),
        (&inner, go),
        proc,
        device,
        (&mut listener, &mut state, &lent),
    );
    drop(inner);
    if lent.is_none() {
        // With it goes the lock of the tree.
        state = None;
    }
    if order.rung.mounts() {
        let _ = sys::kill(reaper, libc::SIGKILL);
        if let Some(keeper) = &mut keeper {
            keeper.end();
        }
        // The namespace of its processes is gone when the last of them is, and those that are traced this process has to see end.
        while sys::wait(if order.rung.traces() { -1 } else { reaper }, true).is_ok() {}
    } else if order.rung.serves() {
        // It ends its children itself, now that its socket is closed. Those are traced by this process, which has to see them end.
        while sys::wait(-1, true).is_ok() {}
        command::end_children(&processes);
    } else {
        // It ends its children itself, now that its socket is closed; what it could not end is left to this process.
        let _ = sys::wait(reaper, true);
        command::end_children(&processes);
    }
    if let (Some(state), Some(lent)) = (&mut state, lent.filter(|_| order.owners == Lending::Lend)) {
        state.take_back(&lent.places).what(TAKE_BACK)?;
    }
    let (code, signal) = result?;
    exited(host, code, signal)
}

fn exited(host: &Channel, code: i32, signal: i32) -> Setup<()> {
    let mut body = Writer::default();
    body.number(code as u64).number(signal as u64);
    host.send(Message::EXITED, &body.finish(), &[]).what("report")
}

const TAKE_BACK: &str = "take owners back from the disk";

/// The places of a step that has owners on the disk, and its range of ids.
struct Lent {
    held: Held,
    tree: OwnedFd,
    places: Vec<Place>,
}

impl Lent {
    fn new(order: &Order, held: Held, given: &Given) -> Setup<Lent> {
        let again = |fd: &OwnedFd| fd.try_clone().what("look at tree");
        let flags = rustix::fs::fstatvfs(&given.tree).what("look at tree")?.f_flag;
        if order.owners == Lending::Lend && flags.contains(rustix::fs::StatVfsMountFlags::NOSUID) {
            let message = "the tree is on a filesystem mounted with nosuid, where no program has setuid";
            return Err(Failure { kind: ErrorKind::Unsupported, message: message.into(), code: 0 });
        }
        let mut places = vec![Place { fd: again(&given.tree)?, at: Vec::new() }];
        let hosts = order.mounts.iter().filter_map(|mount| match &mount.what {
            Shown::Host { private, .. } => Some(private),
            _ => None,
        });
        for (private, fd) in hosts.zip(&given.binds) {
            if let Some(at) = private {
                places.push(Place { fd: again(fd)?, at: at.clone() });
            }
        }
        Ok(Lent { held, tree: again(&given.tree)?, places })
    }
}

/// Undoes what a killed step left of owners on the disk.
fn take_back(
    host: &Channel,
    order: &Order,
    given: Given,
    (proc, device): (OwnedFd, u64),
    lent: &Lent,
    all: bool,
) -> Setup<()> {
    rustix::process::fchdir(&proc).what("enter /proc")?;
    let Given { ledger, journal, .. } = given;
    let (ledger, journal) = (read_ledger(ledger)?, journal::Writer::new(File::from(journal)));
    let mut state = State::new(order, proc, device, ledger, journal, None);
    state.use_ids(Native::new(lent.held, &lent.tree));
    match all {
        true => state.find_lent(),
        false => state.suspect_attributes(),
    }
    state.take_back(&lent.places).what(TAKE_BACK)?;
    host.send(Message::STARTED, &[], &[]).what("report")?;
    exited(host, 0, 0)
}

/// Becomes the owner of the tree where root runs a command in a tree of an unprivileged user: on disk all of it belongs to
/// that user, root in the user namespace then.
fn become_owner(order: &Order, tree: &OwnedFd) -> Setup<()> {
    let stat = stat_fd(tree).what("look at tree")?;
    if !order.rung.emulates() || !rustix::process::geteuid().is_root() || stat.uid == 0 {
        return Ok(());
    }
    match sys::set_groups(&[]) {
        // Root of a namespace, or without the capability: it is no other user, and the tree is as it can be reached.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(()),
        other => other,
    }
    .and_then(|()| sys::set_gid(stat.gid))
    .and_then(|()| sys::set_uid(stat.uid))
    // Else the entries of this process in /proc, where its ids are mapped, would be root's.
    .and_then(|()| sys::prctl(libc::PR_SET_DUMPABLE, 1))
    .what("become the owner of the tree")
}

/// Moves into new namespaces: with a user namespace the one id of this process is root in it.
fn namespaces(order: &Order) -> Setup<(Option<Keeper>, Option<Held>)> {
    if !order.rung.mounts() {
        return Ok((None, None));
    }
    let unsupported = |message: String| Failure { kind: ErrorKind::Unsupported, message, code: 0 };
    let mapper = match order.rung {
        Rung::Ids => Some(Mapper::start().map_err(unsupported)?),
        _ => None,
    };
    let mut keeper = match order.network {
        Network::Own => Some(Keeper::new(&order.pasta).what(network::FAILED)?),
        _ => None,
    };
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if order.network != Network::Host {
        flags |= libc::CLONE_NEWNET;
    }
    if order.rung != Rung::Root {
        flags |= libc::CLONE_NEWUSER;
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(flags).what("make namespaces")?;
    let held = match mapper {
        Some(mapper) => Some(mapper.finish().map_err(unsupported)?),
        None => None,
    };
    let user = &order.user;
    if held.is_some_and(|held| !user.groups.iter().chain([&user.gid]).all(|&gid| held.has(user.uid, gid))) {
        let message = format!("become user: the subordinate ids do not reach to {}:{}", user.uid, user.gid);
        return Err(unsupported(message));
    }
    if matches!(order.rung, Rung::Notify | Rung::Ptrace) {
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
    if order.network != Network::Host {
        sys::loopback_up().what("set up loopback")?;
    }
    if let Some(keeper) = &mut keeper {
        keeper.begin().map_err(|error| Failure {
            kind: ErrorKind::Unsupported,
            message: format!("{}: {error}", network::FAILED),
            code: 0,
        })?;
    }
    Ok((keeper, held))
}

/// Waits until the command is about to be executed, then answers its calls until it ends. Gives exit code and signal.
fn setup_and_supervise(
    host: &Channel,
    order: &Order,
    (tree, ledger, journal, binds): (OwnedFd, OwnedFd, OwnedFd, Vec<OwnedFd>),
    (inner, go): (&Channel, OwnedFd),
    proc: OwnedFd,
    device: u64,
    (listener, state, lent): (&mut Option<OwnedFd>, &mut Option<State>, &Option<Lent>),
) -> Setup<(i32, i32)> {
    let Some(ready) = inner.receive().what("set up step")? else {
        return Err(Failure::new("set up step", io::Error::other("its first process ended")));
    };
    let mut body = Reader::new(&ready.body);
    let (every, shown) = (body.small().unwrap_or(0) != 0, body.bytes().unwrap_or_default());
    let command = ready.sender.unwrap_or(0);
    let mut descriptors = match ready.kind {
        Message::LISTENER => ready.descriptors.into_iter(),
        _ => return Err(failure_of(&ready.body)),
    };
    // The listener comes first, and with a terminal there are two.
    if descriptors.len() > usize::from(order.terminal) {
        *listener = descriptors.next();
    }
    let listener = listener.as_ref();
    let terminal = descriptors.next();
    if let Some(listener) = listener {
        sys::wake_in_turn(listener);
    }
    *state = match listener.is_some() || order.rung.traces() {
        true => {
            if order.rung == Rung::Chroot {
                // Paths lead to the same files then as for the step, and links in them no further.
                rustix::process::chroot(".").what("change root")?;
            }
            // Paths of this process in /proc are relative to it from here on: the step's /proc does not show it.
            rustix::process::fchdir(&proc).what("enter /proc")?;
            let mut ledger = read_ledger(ledger)?;
            let shown = Ledger::from_bytes(&shown).map_err(not_ledger)?;
            shown.records().for_each(|record| ledger.insert(record.clone()));
            let journal = journal::Writer::new(File::from(journal));
            let service = match order.rung.serves() {
                true => Some(Service::new(&proc, tree, order).what("make root of step")?),
                false => None,
            };
            let mut state = State::new(order, proc, device, ledger, journal, service);
            if let Some(Lent { held, tree, .. }) = lent {
                state.use_ids(Native::new(*held, tree));
            }
            if order.rung.serves() {
                let mut binds = binds.into_iter();
                for Mount { target, what } in &order.mounts {
                    let shown = format!("show /{}", String::from_utf8_lossy(target));
                    match what {
                        Shown::Host { read_only, .. } => {
                            let fd = binds.next().ok_or(io::ErrorKind::InvalidData).what(&shown)?;
                            state.show(target, fd, *read_only)
                        }
                        Shown::Memory { mode, .. } => state.show_memory(target, *mode),
                        Shown::File { content, mode, uid, gid, .. } => {
                            state.show_file(target, content, *mode, (*uid, *gid))
                        }
                    }
                    .what(&shown)?;
                }
                let shown = format!("enter /{}", String::from_utf8_lossy(&order.directory));
                state.begin(command, &order.directory).what(&shown)?;
            }
            Some(state)
        }
        false => None,
    };
    if let (Some(state), Some(lent), Lending::Lend) = (state.as_mut(), lent, order.owners) {
        state.lend(&lent.places).what("put owners on the disk")?;
    }
    let mut tracer = None;
    if order.rung.traces() {
        let signals = sys::child_signals().what("wait for step")?;
        let mut first = Tracer::new(rules(order));
        first.begin(command, every).what("trace command")?;
        tracer = Some((first, signals));
    }
    let with: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
    host.send(Message::STARTED, &[], &with).what("report")?;
    drop(terminal);
    rustix::io::write(&go, b"!").what("start command")?;
    drop(go);
    supervise(host, inner, listener, state, tracer)
}

fn read_ledger(fd: OwnedFd) -> Setup<Ledger> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut File::from(fd), &mut bytes).what("read ledger")?;
    Ledger::from_bytes(&bytes).map_err(not_ledger)
}

fn not_ledger(error: crate::Error) -> Failure {
    Failure { kind: error.kind(), message: error.to_string(), code: 0 }
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

/// The source of an event.
enum Source {
    Listener,
    Tracer,
    Beside(Wait),
}

fn supervise(
    host: &Channel,
    inner: &Channel,
    listener: Option<&OwnedFd>,
    state: &mut Option<State>,
    mut tracer: Option<(Tracer, OwnedFd)>,
) -> Setup<(i32, i32)> {
    let mut listening = listener;
    let mut beside = Beside::default();
    let mut busy = false;
    loop {
        let mut fds = vec![PollFd::new(host, PollFlags::IN), PollFd::new(inner, PollFlags::IN)];
        let mut sources = Vec::new();
        if let Some(listener) = listening {
            fds.push(PollFd::new(listener, PollFlags::IN));
            sources.push(Source::Listener);
        }
        if let Some((_, signals)) = &tracer {
            fds.push(PollFd::new(signals, PollFlags::IN));
            sources.push(Source::Tracer);
        }
        for (wait, fd) in beside.waits() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            sources.push(Source::Beside(wait));
        }
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, busy.then_some(&at_once)) {
            Err(Errno::INTR) => continue,
            other => other.what("wait for step")?,
        };
        let came: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if let (true, Some((tracer, _)), Some(state)) = (busy, tracer.as_mut(), state.as_mut()) {
            busy = traced(tracer, state)?;
        }
        for (source, events) in sources.iter().zip(&came[2..]).filter(|(_, events)| !events.is_empty()) {
            match source {
                Source::Listener => {
                    if !answer(listening, *events, state)? {
                        listening = None;
                    }
                }
                Source::Tracer => {
                    if let (Some((tracer, signals)), Some(state)) = (tracer.as_mut(), state.as_mut()) {
                        let mut bytes = [0; 1024];
                        let _ = rustix::io::read(&*signals, &mut bytes);
                        busy = traced(tracer, state)?;
                    }
                }
                Source::Beside(Wait::Listener(at)) => {
                    if !answer(beside.listener(*at), *events, state)? {
                        beside.deaf(*at);
                    }
                }
                Source::Beside(Wait::Channel(at)) => {
                    let mut watch = Watch { state, tracer: &mut tracer };
                    beside.said(host, *at, &mut watch).what("report")?;
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
                Some(Message { kind: Message::EXEC_EXITED, body, .. }) => {
                    let mut watch = Watch { state, tracer: &mut tracer };
                    beside.ended(host, &body, &mut watch).what("report")?;
                }
                Some(message) => return Err(failure_of(&message.body)),
                // Not even the first process is left; something outside killed it.
                None => return Ok((128 + libc::SIGKILL, libc::SIGKILL)),
            }
        }
        if !came[0].is_empty() {
            match host.receive().what("receive from host")? {
                Some(Message { kind: kind @ (Message::SIGNAL | Message::EXEC_SIGNAL), body, .. }) => {
                    inner.send(kind, &body, &[]).what("send signal")?;
                }
                Some(message) if message.kind == Message::EXEC => {
                    beside.start(host, inner, state, message).what("start command")?;
                }
                Some(_) => {}
                // The host program is gone; the step goes with it.
                None => return Err(Failure::new("wait for step", io::ErrorKind::UnexpectedEof)),
            }
        }
        beside.sweep();
    }
}

/// Takes note of what traced threads did; whether there may be more.
fn traced(tracer: &mut Tracer, state: &mut State) -> Setup<bool> {
    match tracer.turn(state).what("answer call")? {
        ptrace::Turn::Idle => Ok(false),
        ptrace::Turn::More => Ok(true),
        ptrace::Turn::Foreign => Err(foreign()),
    }
}

fn foreign() -> Failure {
    Failure {
        kind: ErrorKind::Unsupported,
        message: "a program of another ABI (32-bit, or x32) was run, and its calls are not supported; nothing of the step is to be kept"
            .into(),
        code: 0,
    }
}

/// Answers a call; whether there may be more.
fn answer(listener: Option<&OwnedFd>, events: PollFlags, state: &mut Option<State>) -> Setup<bool> {
    let (Some(listener), Some(state)) = (listener, state.as_mut()) else { return Ok(false) };
    if !events.contains(PollFlags::IN) {
        return Ok(false);
    }
    match notify::turn(listener, state).what("answer call")? {
        Turn::Goes => Ok(true),
        Turn::Over => Ok(false),
        Turn::Foreign => Err(foreign()),
    }
}

/// Builds the step's root. Gives what the ledger is to say of files that were made for that.
pub fn see(order: &Order, given: &Given) -> Setup<Ledger> {
    if order.rung.mounts() {
        return mounts::build(order, &given.binds).map_err(|(what, error)| Failure::new(&what, error));
    }
    if !order.rung.serves() {
        rustix::process::chroot(".").what("change root")?;
    }
    rustix::process::chdir("/").what("change root")?;
    Ok(Ledger::default())
}

/// Returns the rules for a command's calls.
fn rules(order: &Order) -> Vec<bpf::Rule> {
    let rules = syscalls::rules(syscalls::Wanted {
        rung: order.rung,
        as_user: order.user.uid != 0,
        offline: order.network == Network::None,
    });
    match order.rung.listens() {
        true => rules,
        false => rules.into_iter().map(bpf::Rule::traced).collect(),
    }
}

/// The filter of a rung, installed.
#[derive(Debug, Default)]
pub struct Filtered {
    /// Its listener, where there is one.
    pub listener: Option<OwnedFd>,
    /// Whether there is none, so that every call has to be looked at.
    pub every: bool,
}

/// Installs the filter of a rung on this process.
pub fn filter(order: &Order) -> Setup<Filtered> {
    let rules = rules(order);
    if !order.rung.listens() {
        // Where none is to be had the tracer reads the same rules. A listener of somebody else comes before the tracer, where both are
        // to hear of a call; unless every call is looked at, which comes before filters.
        let taken = matches!(sys::install_filter(&bpf::assemble(&[], bpf::Verdict::Allow), true),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY));
        let foreign = bpf::Verdict::Foreign;
        let every = taken || sys::install_filter(&bpf::assemble(&rules, foreign), false).is_err();
        return Ok(Filtered { listener: None, every });
    }
    let foreign = if order.rung.emulates() { bpf::Verdict::Notify } else { bpf::Verdict::Allow };
    let listener = listening_filter(order, rules, foreign)?;
    Ok(Filtered { listener, every: false })
}

fn listening_filter(order: &Order, rules: Vec<bpf::Rule>, foreign: bpf::Verdict) -> Setup<Option<OwnedFd>> {
    match sys::install_filter(&bpf::assemble(&rules, foreign), true) {
        // Without CAP_SYS_ADMIN it would cost the step its setuid programs; the container it is in has a filter of its own.
        Err(error) if order.rung == Rung::Chroot && error.raw_os_error() == Some(libc::EACCES) => Ok(None),
        // Another tool has the one listener there can be, or there are none. Real root does without: what it loses by that
        // are trusted attributes.
        Err(_) if !order.rung.emulates() => {
            let rules: Vec<bpf::Rule> =
                rules.into_iter().filter(|rule| rule.otherwise != bpf::Verdict::Notify).collect();
            sys::install_filter(&bpf::assemble(&rules, foreign), false).what("install filter")
        }
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

/// Returns a byte string for the kernel.
pub fn c_string(bytes: &[u8]) -> Setup<CString> {
    CString::new(bytes)
        .map_err(|_| Failure::new("start command", io::Error::from(io::ErrorKind::InvalidInput)))
}

/// Names what failed; for the parts of the helper in other files.
pub fn failed(what: &str, error: impl Into<io::Error>) -> Failure {
    Failure::new(what, error)
}
